"""The calls that go to both fleets."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from decimal import Decimal

from celery import chain, group
from celery.canvas import xmap, xstarmap

NOON = dt.datetime(2026, 12, 24, 12, tzinfo=dt.timezone.utc)
BERLIN = dt.timezone(dt.timedelta(hours=1))


@dataclass
class Case:
    """A call, or a canvas of calls."""

    label: str
    tasks: list
    #: Makes the signature, from a function that makes the signature of one task of a fleet.
    canvas: object
    options: dict = field(default_factory=dict)
    #: Lines in the journal.
    lines: int = 0
    #: The state in which the call stays, if Celery does not count it as an end.
    stays: str = None


CASES = []


def case(label, tasks, canvas, lines=0, stays=None, **options):
    CASES.append(Case(label, tasks, canvas, options, lines, stays))


def call(task, /, *args, lines=0, stays=None, options=None, label="", **kwargs):
    """A call of one task. Options of `apply_async` are in `options`."""
    shown = [repr(value) for value in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
    label = f"{task}({', '.join(shown)}){label and ' ' + label}"
    case(label, [task], lambda task_of: task_of(task, *args, **kwargs), lines, stays, **(options or {}))


def mapped(kind, task, items):
    """A task for all items, by a client that knows it by name only."""
    return kind(task, items, app=task.app).set(queue=task.options["queue"])


# First, so that it reaches a worker before it expires.
call("limits.patient", 0.0, label="expired", options={"countdown": 3, "expires": 2})

# Numbers. JSON has integers of any size.
call("numbers.add", 2, 3)
call("numbers.add", x=2, y=-3)
call("numbers.add", 2, y=2**63)
call("numbers.add", 2**90, -(2**91))
call("numbers.add", 2**200, 1)
call("numbers.add", 1)
call("numbers.add", 1, 2, 3)
call("numbers.add", 1, x=2)
call("numbers.add", 1, 2, z=3)
call("numbers.add", 1, None)
call("numbers.add", 1.5, 2)
call("numbers.divide", 7, 2)
call("numbers.divide", 6, 3)
call("numbers.divide", 1, 0)
call("numbers.divide", float("inf"), 2)
call("numbers.divide", float("nan"), 2)
call("numbers.quotient", 17, 5)
call("numbers.quotient", -17, 5)
call("numbers.quotient", 17, 0)
call("numbers.parse", "-42")
call("numbers.parse", " 7 ")
call("numbers.parse", "4x")
call("numbers.parse", "")

# Text.
call("text.slug", "Ein Gruß, aus Köln!")
call("text.slug", "")
call("text.slug", 5)
call("text.greet", "Ada")
call("text.greet", "Ada", "Moin")
call("text.greet", greeting="Grüße", name="👋")
call("text.greet")
call("text.shorten", "Robinson Crusoe")
call("text.shorten", "Robinson Crusoe", width=4, end="--")
call("text.shorten", "Grüße")
call("text.shorten", "Robinson", 4)
call("text.encode", "Grüße")
call("text.encode", "plain", encoding="ascii")
call("text.encode", "Grüße", encoding="ascii")
call("text.encode", "x", encoding="klingon")

# Lists and dicts.
call("collections.merge", {"a": 1, "b": {"c": None}}, {"b": [], "d": True})
call("collections.merge", {}, {})
call("collections.merge", {"a": 1}, [1])
call("collections.group_by", [{"k": "a", "n": 1}, {"k": "b", "n": 2}, {"k": "a", "n": 3.5}], "k")
call("collections.group_by", [{"k": "a"}], "q")
call("collections.pluck", {"a": [{"b": "c"}]}, "a", 0, "b")
call("collections.pluck", {"a": 1})
call("collections.pluck", {"a": {"b": 1}}, "a", "x")
call("collections.pluck", [1, 2], 2)
call("collections.invert", {"a": "x", "b": "y"})
call("collections.invert", {"a": 1})
call("collections.total", [{"cents": 250, "count": 2}, {"cents": 99, "count": 1, "gift": True}])
call("collections.total", [])
call("collections.total", [{"cents": 250}])

# Ways to pass arguments.
call("calls.nothing")
call("calls.nothing", 1)
for value in (None, True, "text", 1.0, -0.0, 1e300, [], {}, [None, [1, {"a": ()}]], {"ключ": "значение"}, "a\u0000b"):
    call("calls.echo", value)
for value in (b"text", b"\xff\x00", Decimal("1.50"), NOON, NOON.date(), dt.time(9, 30), uuid.UUID(int=7)):
    call("calls.echo", value)
    call("calls.echo", {"in": [value]})
call("calls.echo", NOON.replace(tzinfo=None))
call("calls.echo", NOON.astimezone(BERLIN))
call("calls.echo", value=0)
call("calls.add_all")
call("calls.add_all", 1, 2, 3)
call("calls.add_all", 1, number=2)
call("calls.describe", 1)
call("calls.describe", 1, 2, [3], sep="+", x=None, y={"z": 1})
call("calls.describe", 1, first=2)
call("calls.describe")
call("calls.rename", "ada")
call("calls.rename", "ada", nickname=None)
call("calls.rename", "ada", nickname="Countess")

# Decimals, dates, UUIDs and bytes.
call("money.gross", Decimal("10.00"), 19)
call("money.gross", Decimal("0.05"), 10)
call("money.split", Decimal("10.00"), 3)
call("money.convert", Decimal("8.00"), "USD")
call("money.convert", Decimal("8.00"), "XXX")
call("money.charge", "ada", Decimal("5.00"), Decimal("7.50"))
call("money.charge", "ada", Decimal("9.99"), Decimal("7.50"))
call("dates.next_day", dt.date(2028, 2, 28))
call("dates.next_day", "tomorrow")
call("dates.due", NOON, 14)
call("dates.due", NOON.astimezone(BERLIN), 14)
call("dates.slot", dt.datetime(2026, 12, 31, 23), 2)
call("blobs.name_id", uuid.NAMESPACE_DNS, "example.com")
call("blobs.mask", b"secret", 255)
call("blobs.mask", b"", 1)

# The request.
call("request.whoami")
call("request.tenant", label="of a header", options={"headers": {"tenant": "blue"}})
call("request.tenant")
call("request.envelope")
call("request.envelope", label="at priority 5", options={"priority": 5, "shadow": "shown"})
call("request.deadline")
call("request.deadline", label="with limits", options={"time_limit": 60, "soft_time_limit": 50})
call("request.stamps", options={"stamped_headers": ["build"], "build": [7]})

# Retries.
call("retries.flaky", 0)
call("retries.flaky", 5)
call("retries.pages", 1)
call("retries.pages", 3, ["x"])
call("retries.resume")
call("retries.resume", offset=10)
call("retries.exhausted", "bank")
call("retries.given_up")
call("retries.download", 1)
call("retries.download", 9)
call("retries.upload", "/root/x")
call("retries.upload", "/tmp/x")
call("retries.later")

# Exceptions.
call("failures.declined", "no funds", 7)
call("failures.declined", [1, {"a": None}], None)
call("failures.fail", "RuntimeError")
call("failures.fail", "ValueError", "Grüße 👋")
call("failures.fail", "KeyError", "sku")
call("failures.fail", "LookupError", 1, "two", [3.0])
call("failures.fail", "OSError", 2, "No such file")
call("failures.fail", "AssertionError")
call("failures.fail", "TimeoutError", "slow")
call("failures.caused", "x")
call("failures.caused", "1")
call("failures.reject", lines=1)
call("failures.ignore", lines=1, stays="PENDING")

# States.
call("progress.progress", 4)
call("progress.pause", 3, lines=1, stays="PAUSED")

# Links, chains and groups of the caller.
case("add, link note", ["numbers.add", "flows.note"], lambda task: task("numbers.add", 1, 2), 1, link="flows.note")
case("parse, errback alarm", ["flows.alarm"], lambda task: task("numbers.parse", "x"), 1, link_error="flows.alarm")
case("parse, errback explain", ["flows.explain"], lambda task: task("numbers.parse", "x"), 1, link_error="flows.explain")
case(
    "add | double | double",
    ["flows.double"],
    lambda task: chain(task("numbers.add", 2, 3), task("flows.double"), task("flows.double")),
)
case("parse | double", [], lambda task: chain(task("numbers.parse", "x"), task("flows.double")))
case("add | fail | double", [], lambda task: chain(task("numbers.add", 2, 3), task("text.slug"), task("flows.double")))
case(
    "nothing | immutable add",
    [],
    lambda task: chain(task("calls.nothing"), task("numbers.add", 1, 1).set(immutable=True)),
)
case("chain of notes", [], lambda task: chain(task("calls.echo", "a"), task("flows.note", "b")), 1, stays="PENDING")
case("group of double", [], lambda task: group(task("flows.double", number) for number in range(3)))
case("group, one fails", [], lambda task: group(task("numbers.parse", text) for text in ("1", "x")))
case("group of chains", [], lambda task: group(chain(task("numbers.parse", "4"), task("flows.double")), task("calls.nothing")))
case("whoami in a group", [], lambda task: group([task("request.whoami"), task("request.whoami")]))
case("double.map", [], lambda task: mapped(xmap, task("flows.double"), [1, 2, 3]))
case("add.starmap", [], lambda task: mapped(xstarmap, task("numbers.add"), [(1, 2), (3, 4)]))
case("parse.map, one fails", [], lambda task: mapped(xmap, task("numbers.parse"), ["1", "x"]))
case("replace_by_task | double", [], lambda task: chain(task("flows.replace_by_task", 3), task("flows.double")))

# Tasks that send others.
call("flows.note", "a", 1, None, lines=1, stays="PENDING")
call("flows.notify", "hello", lines=1)
call("flows.fan_out", 3, lines=3)
call("flows.pipeline", 4, lines=1)
call("flows.tally", 4, lines=1)
call("flows.countdown", 3, lines=4)
call("flows.replace_by_task", 4)
call("flows.replace_by_chain", 4)
call("flows.replace_by_group", 3)
call("flows.wait_for", 1)
call("flows.double", 21)
call("flows.double", "ab")

# Limits and options.
call("limits.tidy")
call("limits.stuck")
call("limits.patient", 0.1)
call("limits.patient", 20.0, label="with a hard limit", options={"time_limit": 1})
call("limits.patient", 20.0, label="with a soft limit", options={"soft_time_limit": 1})
call("limits.patient", 0.0, label="after a countdown", options={"countdown": 1})
for page in range(3):
    call("limits.fetch", page)
call("delivery.early", "once", lines=1)
call("delivery.silent", "hush", lines=1, stays="PENDING")
call("numbers.add", 1, 1, label="ignoring its result", stays="PENDING", options={"ignore_result": True})
call("delivery.urgent", options={"priority": 7, "queue": "urgent"})
call("delivery.audited", 1, lines=2)
call("delivery.audited", -1, lines=2)
call("work.primes", 100_000)
call("work.gather", [0.2, 0.1, 0.3])
case("unknown task", [], lambda task: task("unknown.task"))
