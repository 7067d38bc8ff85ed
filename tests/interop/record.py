"""Records what Celery really puts on the wire, into golden/ and golden/replies/.

    INTEROP_BROKER_URL=amqp://guest:guest@127.0.0.1:5672/a-virtual-host-of-its-own python tests/interop/record.py

Each case is sent by Celery, taken off its queue by py-amqp and written down as it was. A file of golden/ has

    case, note         its name, and what is worth knowing about it
    exchange, routing_key
    properties         as py-amqp reads them, without the headers
    headers            likewise, with values spelt as in python/spelling.py
    header_types       the tag of each header on the wire; [..] and {..} hold those of an array's and a table's members
    headers_base64     the header table as on the wire, with its length in front
    body_base64        the body as on the wire
    refused            why Celeriac does not execute it; null when it has to
    expect             what a Celery worker reads, or {"error"} when it cannot:
                       protocol ("1", "2" or "hybrid"), args, kwargs, callbacks, errbacks, chain, chord,
                       embed (other members of the third part; null when the part itself is null), utc,
                       request (the headers that the worker goes by, when they are in the body)

and one of golden/replies/

    case, note, exchange, routing_key, properties, headers, header_types, headers_base64, body_base64
    number             which of the replies to this call it is, from 1 on
    expect             the decoded body; result is what the task returned, or Celery's description of the exception
    exception          what Celery raises for it: module, type, args; null when there is none

A case with several messages has several files: chord-1.json, chord-2.json, in the order in which they were sent.

Ids, times and names of machines are made up, so that recording again shows what Celery changed. The time is in the future:
what has an eta is held by a worker and not executed.
"""

import base64
import json
import os
import re
import struct
import subprocess
import sys
import time as clock
import zlib
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "python"))

import amqp.serialization  # noqa: E402
import billiard.einfo  # noqa: E402
import celery.app.amqp  # noqa: E402
import celery.app.base  # noqa: E402
from celery import chain, chord, group, signature  # noqa: E402
from celery.signals import task_prerun  # noqa: E402
from kombu.compression import compress  # noqa: E402
from kombu.serialization import enable_insecure_serializers, loads, prepare_accept_content  # noqa: E402
from kombu.utils import uuid  # noqa: E402

import app as interop  # noqa: E402
from app import add, app, collect, concat, die, echo, exhausted, fail, flaky, given_up, ignored, on_error, rest  # noqa: E402
from decoding import EMBEDDED, decode  # noqa: E402
from spelling import spell  # noqa: E402

GOLDEN = HERE / "golden"
NOW = datetime(2036, 1, 2, 3, 4, 5, 678900, tzinfo=timezone.utc)
WORKER = os.environ.get("RECORD_WORKER")
REPLY_TO = f"0000000{2 if WORKER else 1}-0000-3000-8000-000000000000"
PATIENCE = 30
EVERYTHING = ["json", "msgpack", "yaml", "pickle", "application/data", "text/plain"]


# ---- what is made up

numbers = {"prefix": 0xFEED if WORKER else 0, "next": 0}


def numbered():
    numbers["next"] += 1
    return UUID(f"{numbers['prefix']:08x}-0000-4000-8000-{numbers['next']:012x}")


def begin(name):
    numbers.update(prefix=zlib.crc32(name.encode()), next=0)


def make_up():
    app.now = lambda: NOW
    # So that a message is on its queue when the call returns.
    app.conf.broker_transport_options = {"confirm_publish": True}
    uuid.__defaults__ = (numbered,)
    celery.app.amqp.anon_nodename = lambda: f"gen{2 if WORKER else 1}@recorder"
    celery.app.base.Celery.thread_oid = property(lambda _: REPLY_TO)
    # Chords need a backend that keeps results, which rpc does not: they are recorded as those backends send them.
    app.backend.ensure_chords_allowed = lambda: None
    if WORKER == "solo":
        os.getpid = lambda: 4242
    if WORKER:
        task_prerun.connect(lambda task_id, **_: begin(task_id), weak=False)
    original = billiard.einfo.ExceptionInfo.__init__

    def without_paths(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.traceback = re.sub(r'File "[^"]*/([^/"]+)", line \d+', r'File "\1", line 1', self.traceback)

    billiard.einfo.ExceptionInfo.__init__ = without_paths


make_up()


# ---- reading messages as they are

read_properties = amqp.serialization.PROPERTY_CLASSES[60]
last_properties = b""


def remembering(buf, offset):
    global last_properties
    properties, end = read_properties(buf, offset)
    last_properties = bytes(buf[offset:end])
    return properties, end


amqp.serialization.PROPERTY_CLASSES[60] = remembering


def header_table(raw):
    """The header table among the properties, with its length."""
    (flags,) = struct.unpack_from(">H", raw)
    at = 2
    for bit in (0x8000, 0x4000):
        if flags & bit:
            at += 1 + raw[at]
    if not flags & 0x2000:
        return struct.pack(">I", 0)
    (length,) = struct.unpack_from(">I", raw, at)
    return raw[at : at + 4 + length]


WIDTHS = {
    "t": 1,
    "b": 1,
    "B": 1,
    "s": 2,
    "U": 2,
    "u": 2,
    "I": 4,
    "i": 4,
    "f": 4,
    "D": 5,
    "L": 8,
    "l": 8,
    "d": 8,
    "T": 8,
    "V": 0,
}


def tags(table, array=False):
    """The types of a table's or an array's members."""
    found, at = [], 4
    while at < len(table):
        name = None
        if not array:
            name = table[at + 1 : at + 1 + table[at]].decode()
            at += 1 + table[at]
        tag = chr(table[at])
        at += 1
        if tag in WIDTHS:
            width = WIDTHS[tag]
        else:
            (length,) = struct.unpack_from(">I", table, at)
            width = 4 + length
        inner = table[at : at + width]
        found.append((name, tags(inner, tag == "A") if tag in "AF" else tag))
        at += width
    return [tag for _, tag in found] if array else dict(found)


def wire(message):
    properties = {name: value for name, value in message.properties.items() if name != "application_headers"}
    table = header_table(message.raw_properties)
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    return {
        "exchange": message.delivery_info["exchange"],
        "routing_key": message.delivery_info["routing_key"],
        "properties": spell(properties),
        "headers": spell(message.headers or {}),
        "header_types": tags(table),
        "headers_base64": base64.b64encode(table).decode(),
        "body_base64": base64.b64encode(body).decode(),
    }, body


def expected(message, body):
    properties, headers = message.properties, message.headers or {}
    try:
        told = decode(body, properties.get("content_type"), properties.get("content_encoding"), headers, EVERYTHING)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    embed = told["embed"]
    expect = {"protocol": told["protocol"], "args": spell(told["args"]), "kwargs": spell(told["kwargs"])}
    expect.update({name: spell((embed or {}).get(name)) for name in EMBEDDED})
    others = {name: value for name, value in (embed or {}).items() if name not in EMBEDDED}
    expect["embed"] = None if embed is None else spell(others)
    expect["utc"] = told["utc"]
    if told["protocol"] != "2":
        expect["request"] = spell(
            {name: value for name, value in told["headers"].items() if name not in ("args", "kwargs")}
        )
    return expect


READ_COMPRESSIONS = (
    None,
    "application/x-gzip",
    "gzip",
    "zlib",
    "application/x-bz2",
    "bzip2",
    "bzip",
    "application/zstd",
    "zstd",
    "zstandard",
)


def why_refused(message):
    kind = message.properties.get("content_type")
    if kind not in ("application/json", "application/x-msgpack"):
        return f"content type {kind}"
    compression = (message.headers or {}).get("compression")
    if compression not in READ_COMPRESSIONS:
        return f"compression {compression}"
    return None


def write(path, recorded):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(recorded, indent=1, allow_nan=False) + "\n")


class Broker:
    """The queues, by py-amqp."""

    def __init__(self):
        self.connection = app.connection_for_write()
        self.channel = self.connection.default_channel
        # Recorded as it is: kombu would decompress and decode.
        self.raw = super(type(self.channel), self.channel)

    def fresh(self):
        for name in (interop.QUEUE, interop.RUST_QUEUE, REPLY_TO):
            self.channel.queue_delete(name)
        for name in (interop.QUEUE, interop.RUST_QUEUE):
            self.channel.queue_declare(name, durable=True, auto_delete=False)

    def get(self, queue):
        message = self.raw.basic_get(queue, no_ack=True)
        if message is not None:
            message.raw_properties = last_properties
        return message

    def all(self, queue):
        return list(iter(lambda: self.get(queue), None))

    def take(self, queue, count, pleases=lambda _: True):
        """So many messages that please; others are dropped."""
        found, until = [], clock.monotonic() + PATIENCE
        while len(found) < count:
            message = self.get(queue)
            if message is None:
                assert clock.monotonic() < until, f"{queue}: {len(found)} of {count} messages came"
                clock.sleep(0.02)
            elif pleases(message):
                found.append(message)
        return found


def record(name, messages, note=None, refused=None):
    for number, message in enumerate(messages, 1):
        plain, body = wire(message)
        full = name if len(messages) == 1 else f"{name}-{number}"
        recorded = {"case": full, "note": note, **plain}
        recorded["refused"] = refused or why_refused(message)
        recorded["expect"] = expected(message, body)
        write(GOLDEN / f"{full}.json", recorded)


def record_replies(name, messages, note=None):
    for number, message in enumerate(messages, 1):
        plain, body = wire(message)
        kind = message.properties["content_type"]
        meta = loads(body, kind, message.properties["content_encoding"], accept=prepare_accept_content([kind]))
        exception = None
        if meta["status"] in ("FAILURE", "RETRY", "REVOKED") and meta["result"] is not None:
            raised = app.backend.exception_to_python(meta["result"])
            exception = {
                "module": type(raised).__module__,
                "type": type(raised).__qualname__,
                "args": spell(list(raised.args)),
            }
        full = name if len(messages) == 1 else f"{name}-{number}"
        recorded = {
            "case": full,
            "note": note,
            "number": number,
            **plain,
            "expect": spell(meta),
            "exception": exception,
        }
        write(GOLDEN / "replies" / f"{full}.json", recorded)


# ---- the cases: what a client sends

TEXT = "Grüße, 世界! 🌱 " * 40
PLAIN = [[1, 2], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
NESTED = {
    "list": [1, [2, [3, [4, []]]]],
    "object": {"a": {"b": {"c": {}}}},
    "mixed": [{"x": [None, True, False, -0.5]}],
}
EXTENDED = [
    datetime(2026, 1, 2, 3, 4, 5),
    datetime(2026, 1, 2, 3, 4, 5, 678901),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    date(2026, 1, 2),
    time(1, 2),
    time(1, 2, 3, 4, tzinfo=timezone.utc),
    Decimal("1.10"),
    Decimal("-1E+30"),
    UUID("00000000-0000-0000-0000-000000000001"),
    b"ab",
    "ü".encode(),
    b"\xff\x00",
    b"",
]


def call(task, *args, kwargs=None, **options):
    options.setdefault("task_id", uuid())
    return task.apply_async(args, kwargs or {}, **options)


def raw(body, headers, content_type="application/json", content_encoding="utf-8", **properties):
    """A message that some other producer might send."""
    body = json.dumps(body).encode() if not isinstance(body, bytes) else body
    with app.producer_or_acquire() as producer:
        producer.publish(
            body,
            exchange="",
            routing_key=interop.QUEUE,
            headers=headers,
            content_type=content_type,
            content_encoding=content_encoding,
            **properties,
        )


@contextmanager
def settings(**changed):
    before = {name: app.conf[name] for name in changed}
    forget = ("create_task_message", "send_task_message")
    app.conf.update(changed)
    for name in forget:
        app.amqp.__dict__.pop(name, None)
    try:
        yield
    finally:
        app.conf.update(before)
        for name in forget:
            app.amqp.__dict__.pop(name, None)


def protocol_1(send):
    def act():
        with settings(task_protocol=1):
            send()

    return act


def of(name, *args, **kwargs):
    """A signature of a task that this app does not have."""
    return signature(name, args=args, kwargs=kwargs, app=app)


def full_options():
    return {
        "countdown": 10,
        "expires": 60,
        "priority": 5,
        "headers": {"x-custom": "v"},
        "time_limit": 9,
        "soft_time_limit": 5,
        "shadow": "shown",
        "root_id": "the-root",
        "parent_id": "the-parent",
        "group_id": "the-group",
        "group_index": 3,
        "link": [add.s(1)],
        "link_error": [on_error.s("note")],
        "stamped_headers": ["team"],
        "team": "x",
        "replaced_task_nesting": 2,
    }


def serializer_cases():
    for name in ("json", "msgpack", "yaml", "pickle"):
        yield (
            f"serializer_{name}",
            lambda name=name: call(echo, TEXT[:14], kwargs={"n": [1, 2.5, None]}, serializer=name),
        )
    for name in ("gzip", "bzip2", "zstd", "lzma", "brotli"):
        yield f"compression_{name}", lambda name=name: call(echo, TEXT, compression=name)
    for name in ("gzip", "bzip2", "zstd"):
        yield f"compression_{name}_msgpack", lambda name=name: call(echo, TEXT, compression=name, serializer="msgpack")


def both(name, send):
    """The same with each of the two serializers that are read."""
    yield name, lambda: send("json")
    yield f"{name}_msgpack", lambda: send("msgpack")


CASES = {
    "plain": lambda: call(add, 1, 2),
    "keywords": lambda: call(add, kwargs={"x": 1, "y": 2}),
    "empty_arguments": lambda: call(echo),
    # Headers and properties, one by one.
    "shadow": lambda: call(add, 1, 2, shadow="shown"),
    "eta": lambda: call(add, 1, 2, eta=datetime(2036, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))),
    "eta_microseconds": lambda: call(add, 1, 2, eta=datetime(2036, 2, 3, 4, 5, 6, 789, tzinfo=timezone.utc)),
    "eta_naive": lambda: call(add, 1, 2, eta=datetime(2036, 2, 3, 4, 5, 6)),
    "countdown": lambda: call(add, 1, 2, countdown=10),
    "countdown_fraction": lambda: call(add, 1, 2, countdown=0.25),
    "expires_seconds": lambda: call(add, 1, 2, expires=60),
    "expires_fraction": lambda: call(add, 1, 2, expires=1.5),
    "expires_datetime": lambda: call(add, 1, 2, expires=NOW + timedelta(minutes=5)),
    "retries": lambda: call(add, 1, 2, retries=3),
    "time_limits": lambda: call(add, 1, 2, time_limit=9, soft_time_limit=5),
    "time_limit_hard": lambda: call(add, 1, 2, time_limit=9),
    "time_limit_soft_fraction": lambda: call(add, 1, 2, soft_time_limit=0.5),
    "root_and_parent": lambda: call(add, 1, 2, root_id="the-root", parent_id="the-parent"),
    "group_header": lambda: call(add, 1, 2, group_id="the-group", group_index=3),
    "ignore_result": lambda: call(add, 1, 2, ignore_result=True),
    "ignore_result_declared": lambda: call(ignored, "note"),
    "unknown_to_the_sender": lambda: app.send_task("rust.add", [1, 2], task_id="by-name", queue=interop.QUEUE),
    "replaced_task_nesting": lambda: call(add, 1, 2, replaced_task_nesting=2),
    "stamps": lambda: call(add, 1, 2, stamped_headers=["team", "many"], team="x", many=["a", "b"]),
    "origin": lambda: call(add, 1, 2, origin="gen7@elsewhere"),
    "argsrepr": lambda: call(add, 1, 2, argsrepr="(secret)", kwargsrepr="{secret}"),
    "long_argsrepr": lambda: call(echo, ["x" * 50] * 60, kwargs={"deep": NESTED, "more": list(range(500))}),
    "headers": lambda: call(
        add,
        1,
        2,
        headers={
            "x-text": "Grüße",
            "x-small": 7,
            "x-negative": -7,
            "x-large": 2**40,
            "x-float": 1.5,
            "x-true": True,
            "x-null": None,
            "x-bytes": b"\xff\x00",
            "x-list": ["a", 1, None, ["b"]],
            "x-table": {"a": {"b": 1}},
            "x-time": datetime(2026, 1, 2, 3, 4, 5),
            "x-decimal": Decimal("1.25"),
            "celery_beat_task": True,
        },
    ),
    "death_headers": lambda: call(
        add,
        1,
        2,
        headers={
            "x-death": [
                {
                    "count": 1,
                    "reason": "expired",
                    "queue": "q",
                    "time": datetime(2026, 1, 2),
                    "exchange": "",
                    "routing-keys": ["q"],
                }
            ],
            "x-first-death-reason": "expired",
            "x-first-death-queue": "q",
            "x-first-death-exchange": "",
            "x-last-death-reason": "expired",
            "x-last-death-queue": "q",
            "x-last-death-exchange": "",
        },
    ),
    "priority": lambda: call(add, 1, 2, priority=9),
    "transient": lambda: call(add, 1, 2, delivery_mode=1),
    "reply_to": lambda: call(add, 1, 2, reply_to="somewhere-else"),
    "task_id_text": lambda: call(add, 1, 2, task_id="any text ü " + "x" * 140),
    "everything": lambda: call(add, 1, 2, **full_options()),
    # Values.
    **dict(serializer_cases()),
    **dict(
        both("unicode", lambda form: call(concat, "Grüße", "世界", "🌱", "\x00\x1f\u2028", kwargs={}, serializer=form))
    ),
    **dict(both("unicode_keywords", lambda form: call(echo, kwargs={"value": "ä", "schlüssel": "ö"}, serializer=form))),
    "unicode_name": lambda: app.send_task("interop.grüße_世界", ["ä"], task_id="unicode", queue=interop.QUEUE),
    "unicode_name_msgpack": lambda: app.send_task(
        "interop.grüße_世界", ["ä"], task_id="unicode", queue=interop.QUEUE, serializer="msgpack"
    ),
    "big_integers": lambda: call(
        echo, [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**200, -(2**63), -(2**63) - 1, -(2**200)]
    ),
    "big_integers_msgpack": lambda: call(
        echo, [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)], serializer="msgpack"
    ),
    **dict(
        both(
            "floats",
            lambda form: call(echo, [0.1, -0.0, 1e300, 5e-324, 1.0, 1e22, 123456789.123456789], serializer=form),
        )
    ),
    **dict(both("not_finite", lambda form: call(echo, [float("nan"), float("inf"), float("-inf")], serializer=form))),
    **dict(both("nested", lambda form: call(echo, NESTED, kwargs={"more": [[], {}, [[]], [{}]]}, serializer=form))),
    **dict(both("tuples", lambda form: call(echo, (1, (2, ())), serializer=form))),
    "keys_that_are_not_text": lambda: call(echo, {1: "a", None: "b", False: "c", 2.5: "d"}),
    "extended": lambda: call(echo, EXTENDED, kwargs={"nested": {"when": EXTENDED[2]}}),
    "extended_pickle": lambda: call(echo, EXTENDED, serializer="pickle"),
    "bytes_msgpack": lambda: call(echo, [b"ab", b"\xff\x00", b""], serializer="msgpack"),
    # Callbacks and canvases.
    "link": lambda: call(add, 1, 2, link=add.s(3)),
    "link_immutable": lambda: call(add, 1, 2, link=add.si(3, 4)),
    "links": lambda: call(
        add, 1, 2, link=[add.s(3), of("rust.note", "ä", key=1).set(queue="q", countdown=5, priority=3)]
    ),
    "link_group": lambda: call(add, 1, 2, link=group(add.s(3), add.s(4))),
    "link_chain": lambda: call(add, 1, 2, link=chain(add.s(3), add.s(4))),
    "link_error": lambda: call(fail, "ValueError", link_error=on_error.s("note")),
    "link_errors": lambda: call(
        fail, "ValueError", link_error=[on_error.s(), on_error.si("fixed"), of("rust.on_error", "note")]
    ),
    **dict(
        both(
            "chain",
            lambda form: chain(add.s(1, 2), add.s(3), add.s(4)).apply_async(task_id=f"last-{form}", serializer=form),
        )
    ),
    "chain_across": lambda: chain(add.s(1, 2), of("rust.add", 3), add.s(4)).apply_async(),
    "chain_options": lambda: chain(
        add.s(1, 2), add.s(3).set(countdown=5, priority=2, stamped_headers=["team"], team="x"), add.si(4, 5)
    ).apply_async(link=collect.s("last"), link_error=on_error.s("any")),
    "chain_countdown": lambda: chain(add.s(1, 2), add.s(3)).apply_async(countdown=10),
    "chain_with_group": lambda: chain(add.s(1, 2), group(add.s(3), add.s(4))).apply_async(),
    "chain_with_chord": lambda: chain(
        add.s(1, 2), group(add.s(3), add.s(4)), collect.s(), collect.s("end")
    ).apply_async(),
    "group": lambda: group(add.s(1, 2), add.s(3, 4), chain(add.s(5, 6), add.s(7))).apply_async(),
    "chord": lambda: chord([add.s(1, 2), add.s(3, 4)], collect.s("body").on_error(on_error.s("chord"))).apply_async(),
    "chord_of_chains": lambda: chord(
        [chain(add.s(1, 2), add.s(3)), add.s(4, 5)], chain(collect.s("body"), collect.s("after"))
    ).apply_async(),
    "map": lambda: add.map([1, 2]).apply_async(task_id="map"),
    "starmap": lambda: add.starmap([(1, 2), (3, 4)]).apply_async(task_id="starmap"),
    "chunks": lambda: add.chunks([(1, 2), (3, 4), (5, 6)], 2).apply_async(),
    # Older layouts.
    "protocol_1": protocol_1(lambda: call(add, 1, 2)),
    "protocol_1_msgpack": protocol_1(lambda: call(echo, "ä", serializer="msgpack")),
    "protocol_1_everything": protocol_1(
        lambda: call(
            add, 1, kwargs={"y": 2}, **{k: v for k, v in full_options().items() if k not in ("stamped_headers", "team")}
        )
    ),
    "protocol_1_chord": protocol_1(lambda: chord([add.s(1, 2), add.s(3, 4)], collect.s("body")).apply_async()),
    "hybrid": lambda: raw(
        {"task": "interop.add", "id": "hybrid", "args": [1, 2], "kwargs": {}, "retries": 1, "callbacks": [add.s(3)]},
        {"task": "interop.add", "id": "hybrid"},
    ),
    # What Celery itself does not send and its workers execute.
    "minimal_headers": lambda: raw([[1, 2], {}, {}], {"task": "interop.add", "id": "minimal"}),
    "null_embed": lambda: raw([[1, 2], {}, None], {"task": "interop.add", "id": "null-embed"}),
    "other_embed": lambda: raw(
        [[1, 2], {}, {"chain": [], "chord_size": 3}], {"task": "interop.add", "id": "other-embed"}
    ),
    "raw_utf8": lambda: raw('[["Grüße 🌱"], {}, {}]'.encode(), {"task": "interop.echo", "id": "raw-utf8"}),
    "null_root": lambda: raw(PLAIN, {"task": "interop.add", "id": "null-root", "root_id": None, "timelimit": None}),
    "compression_alias": lambda: raw(
        compress(json.dumps(PLAIN).encode(), "gzip")[0], {"task": "interop.add", "id": "alias", "compression": "zlib"}
    ),
    "user_object_that_looks_extended": lambda: raw(
        [
            [{"__type__": "decimal", "__value__": "2.50"}, {"__type__": "decimal", "more": 1, "__value__": "2.50"}],
            {},
            {},
        ],
        {"task": "interop.echo", "id": "looks-extended"},
    ),
}

# What its workers cannot read, or die of, or what has no counterpart in Rust.
REFUSED = {
    "lone_surrogate": ("half of a character", lambda: call(echo, "\ud83c")),
    "keys_that_are_not_text_msgpack": ("a key that is not text", lambda: call(echo, {1: "a"}, serializer="msgpack")),
    "unknown_type": (
        "unknown __type__",
        lambda: raw(
            [[{"__type__": "money", "__value__": "1"}], {}, {}], {"task": "interop.echo", "id": "unknown-type"}
        ),
    ),
    "unknown_compression": (
        "compression application/x-nothing",
        lambda: raw(
            PLAIN, {"task": "interop.add", "id": "unknown-compression", "compression": "application/x-nothing"}
        ),
    ),
    "two_parts": ("a body of two parts", lambda: raw([[1, 2], {}], {"task": "interop.add", "id": "two-parts"})),
    "not_json": ("not JSON", lambda: raw(b"[[1, 2], {}, {", {"task": "interop.add", "id": "not-json"})),
    "no_task": ("no task", lambda: raw(PLAIN, {"id": "no-task"})),
}

NOTES = {
    "chain_with_chord": "the last two steps went into the chord's body",
    "chord": "celery.chord_unlock goes first: what backends without a counter of their own do",
    "eta_naive": "without an offset: UTC, or the worker's timezone where UTC is switched off",
    "expires_seconds": "twice: as a header, and as the property expiration in milliseconds",
    "group": "the group's id is on the chain's last step alone",
    "lone_surrogate": "half of a character, which JSON can spell and UTF-8 cannot",
    "keys_that_are_not_text": "JSON turns them into text",
    "priority": "0 where nothing was asked for",
    "raw_utf8": "Celery escapes what is not ASCII; others need not",
    "worker_retry_everything": "a parent_id that is there already stays; one that is null becomes the task's own id",
    "worker_retry_msgpack": "the call was in msgpack: a retry has the worker's own task_serializer",
    "unknown_to_the_sender": "ignore_result is null: the worker's own default holds",
}


def record_sent(broker):
    for name, send in CASES.items():
        begin(name)
        broker.fresh()
        send()
        messages = broker.all(interop.QUEUE) + broker.all(interop.RUST_QUEUE)
        assert messages, name
        record(name, messages, NOTES.get(name))
    for name, (reason, send) in REFUSED.items():
        begin(name)
        broker.fresh()
        send()
        record(name, broker.all(interop.QUEUE), NOTES.get(name), reason)
    for name, send in RETRIES.items():
        begin(name)
        broker.fresh()
        send()
        record(f"{name}_call", broker.all(interop.QUEUE), f"the call whose second attempt is {name}")


# ---- the cases: what a worker sends


@contextmanager
def worker(pool="solo", **changed):
    """A worker of this very module, with these settings; killed at the end."""
    environment = {**os.environ, "RECORD_WORKER": pool, "INTEROP_SETTINGS": json.dumps(changed)}
    environment["PYTHONPATH"] = f"{HERE}:{HERE / 'python'}"
    arguments = [
        "-A",
        "record",
        "worker",
        "-P",
        pool,
        "-c",
        "1",
        "-Q",
        interop.QUEUE,
        "-n",
        "worker@recorder",
        "-l",
        "INFO",
    ]
    arguments += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if " ready." in line:
                break
        else:
            raise RuntimeError("".join(said))
        # What it says from now on is of no interest, but a full pipe would stop it.
        sink = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        yield
    finally:
        process.kill()
        process.wait()
    sink.wait()


def of_call(result):
    return lambda message: message.properties["correlation_id"] == result.id


# Name: how the call is made, and what the worker then sends to the queue of the other side.
FOLLOW_UPS = {
    "worker_chain_step": (lambda: chain(add.s(1, 2), of("rust.add", 3), of("rust.add", 4)).apply_async(), 1),
    "worker_chain_last": (lambda: chain(add.s(1, 2), of("rust.add", 3)).apply_async(), 1),
    "worker_chain_group": (lambda: chain(add.s(1, 2), group(of("rust.add", 3), of("rust.add", 4))).apply_async(), 2),
    "worker_link": (lambda: call(add, 1, 2, link=of("rust.note", "x"), priority=4), 1),
    "worker_links": (lambda: call(add, 1, 2, link=[of("rust.note", "x"), of("rust.note", "y")]), 2),
    "worker_link_immutable": (lambda: call(add, 1, 2, link=of("rust.note", "x").set(immutable=True)), 1),
    "worker_errback": (lambda: call(fail, "ValueError", link_error=of("rust.on_error", "x")), 1),
    "worker_errbacks": (
        lambda: call(fail, "KeyError", link_error=[of("rust.on_error", "x"), of("rust.on_error", "y")]),
        2,
    ),
    "worker_link_stamped": (lambda: call(add, 1, 2, link=of("rust.note"), stamped_headers=["team"], team="x"), 1),
}

# Each is held by the worker until it is killed: RabbitMQ then has what the worker published.
RETRIES = {
    "worker_retry": lambda: call(flaky, 1, countdown=None, kwargs={"countdown": 3600}),
    "worker_retry_everything": lambda: call(
        flaky,
        1,
        kwargs={"countdown": 3600},
        headers={
            "x-custom": "v",
            "x-death": [{"count": 1, "queue": "q"}],
            "x-first-death-queue": "q",
            "x-last-death-queue": "q",
        },
        **{name: value for name, value in full_options().items() if name not in ("countdown", "headers")},
    ),
    "worker_retry_chain": lambda: chain(flaky.s(1, countdown=3600), of("rust.add", 3)).apply_async(),
    "worker_retry_msgpack": lambda: call(flaky, 1, kwargs={"countdown": 3600}, serializer="msgpack"),
}

# Name: how the call is made, and how many replies there are.
REPLIES = {
    "success": (lambda: call(add, 1, 2), 1),
    "success_null": (lambda: call(echo), 1),
    "success_nested": (lambda: call(echo, NESTED), 1),
    "success_values": (lambda: call(echo, EXTENDED), 1),
    "success_link": (lambda: call(add, 1, 2, link=of("rust.note", "x")), 1),
    "success_links": (lambda: call(add, 1, 2, link=[of("rust.note", "x"), of("rust.note", "y")]), 1),
    "failure_builtin": (lambda: call(fail, "ValueError", "bad ü"), 1),
    "failure_key": (lambda: call(fail, "KeyError", "k"), 1),
    "failure_custom": (lambda: call(fail, "Declined", "no"), 1),
    "failure_arguments": (lambda: app.send_task("interop.add", [1], task_id="arguments"), 1),
    "failure_unknown_task": (lambda: app.send_task("interop.missing", [1], task_id="missing"), 1),
    "retry": (lambda: call(flaky, 1), 2),
    "retry_exhausted": (lambda: call(exhausted), 2),
    "retry_without_cause": (lambda: call(given_up), 2),
}


def replies_of_chain():
    result = chain(add.s(1, 2), add.s(3), add.s(4)).apply_async()
    return [result.parent.parent, result.parent, result]


def replies_of_group():
    return group(add.s(1, 2), add.s(3, 4)).apply_async().results


def replies_of_failed_chain():
    result = chain(fail.s("ValueError"), add.s(3)).apply_async()
    return [result.parent, result]


def expired():
    """With the header alone: RabbitMQ would drop it by the property."""
    headers = {"task": "interop.add", "id": "expired", "expires": "2020-01-02T03:04:05+00:00"}
    raw(PLAIN, headers, reply_to=REPLY_TO, correlation_id="expired")
    return app.AsyncResult("expired")


def record_ends(broker):
    """What is told of a task that did not end by itself; some of it is told twice."""
    with worker("prefork"):
        for name, send, count in (
            ("failure_time_limit", lambda: call(rest, 60, time_limit=0.5), 2),
            ("failure_soft_time_limit", lambda: call(rest, 60, soft_time_limit=0.5), 1),
            ("failure_worker_lost", lambda: call(die), 1),
        ):
            begin(name)
            record_replies(name, broker.take(REPLY_TO, count, of_call(send())))
        begin("revoked")
        app.control.revoke("revoked", reply=True, timeout=5)
        record_replies("revoked", broker.take(REPLY_TO, 1, of_call(call(rest, 60, task_id="revoked"))))
        begin("revoked_terminated")
        running = call(rest, 60, task_id="terminated")
        until = clock.monotonic() + PATIENCE
        while not any(task["time_start"] for task in next(iter(app.control.inspect().active().values()))):
            assert clock.monotonic() < until, "the task did not begin"
        app.control.revoke("terminated", terminate=True, reply=True, timeout=5)
        record_replies("revoked_terminated", broker.take(REPLY_TO, 1, of_call(running)))


def record_worker(broker):
    broker.fresh()
    # The queue of replies is declared by the first call.
    call(ignored)
    with worker():
        for name, (send, count) in FOLLOW_UPS.items():
            begin(name)
            send()
            record(name, broker.take(interop.RUST_QUEUE, count), NOTES.get(name))
        for name, (send, count) in REPLIES.items():
            begin(name)
            result = send()
            record_replies(name, broker.take(REPLY_TO, count, of_call(result)))
        begin("expired")
        record_replies("revoked_expired", broker.take(REPLY_TO, 1, of_call(expired())))
        for name, send in (
            ("chain", replies_of_chain),
            ("group", replies_of_group),
            ("chain_failed", replies_of_failed_chain),
        ):
            begin(name)
            ids = {result.id: None for result in send()}
            found = broker.take(REPLY_TO, len(ids), lambda message: message.properties["correlation_id"] in ids)
            record_replies(name, found)
    for changed, suffix in (
        ({"result_extended": True, "task_track_started": True}, "extended"),
        ({"result_extended": True, "result_serializer": "msgpack"}, "msgpack"),
    ):
        with worker(**changed):
            for name, send, count in (
                ("success", lambda: call(add, 1, kwargs={"y": 2}, stamped_headers=["team"], team="x"), 1),
                ("failure", lambda: call(fail, "ValueError", "bad"), 1),
                ("retry", lambda: call(flaky, 1), 2),
            ):
                begin(f"{name}_{suffix}")
                count *= 2 if changed.get("task_track_started") else 1
                record_replies(f"{name}_{suffix}", broker.take(REPLY_TO, count, of_call(send())))
    record_ends(broker)
    broker.fresh()
    called = {}
    with worker():
        for name, send in RETRIES.items():
            begin(name)
            result = send()
            first = result.parent or result
            called[first.id] = name
            # It is published before the reply.
            broker.take(REPLY_TO, 1, of_call(first))
    for message in broker.take(interop.QUEUE, len(called)):
        name = called[message.headers["id"]]
        record(name, [message], NOTES.get(name, "taken back from a worker that held it until its eta"))


def main():
    enable_insecure_serializers(["pickle"])
    for old in GOLDEN.glob("**/*.json"):
        old.unlink()
    os.environ.setdefault("JOURNAL", os.devnull)
    broker = Broker()
    record_sent(broker)
    record_worker(broker)
    for name in (interop.QUEUE, interop.RUST_QUEUE, REPLY_TO):
        broker.channel.queue_delete(name)
    print(f"{len(list(GOLDEN.glob('**/*.json')))} messages in {GOLDEN}")


if __name__ == "__main__":
    main()
