"""Values that JSON lacks, spelt in JSON.

{"$bigint": "18446744073709551616"}     an integer outside -2**63 .. 2**64-1
{"$float": "nan" | "inf" | "-inf"}
{"$bytes": "<base64>"}
{"$datetime": "2026-01-02T03:04:05+00:00"}, {"$date": "2026-01-02"}, {"$time": "03:04:05"}
{"$decimal": "1.10"}
{"$uuid": "00000000-0000-0000-0000-000000000001"}
{"$tuple": [..]}, {"$set": [..]}        a set is sorted by its members' repr
{"$map": [[key, value], ..]}            an object with a key that is no string, or whose only key begins with $
{"$surrogates": "<base64>"}             text with unpaired surrogates, in UTF-8 as if they were characters
{"$repr": "<text>"}                     anything else; only ever written
"""

import base64
import math
import uuid
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal


def spell(value):
    """A value as JSON can hold it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else {"$bigint": str(int(value))}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, str):
        try:
            value.encode()
            return str(value)
        except UnicodeEncodeError:
            return {"$surrogates": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    if isinstance(value, time):
        return {"$time": value.isoformat()}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, uuid.UUID):
        return {"$uuid": str(value)}
    if isinstance(value, Mapping):
        plain = all(isinstance(key, str) for key in value)
        if plain and not (len(value) == 1 and next(iter(value)).startswith("$")):
            return {key: spell(item) for key, item in value.items()}
        return {"$map": [[spell(key), spell(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"$tuple": [spell(item) for item in value]}
    if isinstance(value, list):
        return [spell(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"$set": [spell(item) for item in sorted(value, key=repr)]}
    return {"$repr": repr(value)}


READERS = {
    "$bigint": int,
    "$float": float,
    "$bytes": base64.b64decode,
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$decimal": Decimal,
    "$uuid": uuid.UUID,
    "$tuple": lambda items: tuple(read(item) for item in items),
    "$set": lambda items: {read(item) for item in items},
    "$map": lambda pairs: {read(key): read(item) for key, item in pairs},
    "$surrogates": lambda text: base64.b64decode(text).decode("utf-8", "surrogatepass"),
}


def read(value):
    """The value that was spelt."""
    if isinstance(value, list):
        return [read(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1:
            key, item = next(iter(value.items()))
            if key in READERS:
                return READERS[key](item)
        return {key: read(item) for key, item in value.items()}
    return value
