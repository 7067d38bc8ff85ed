"""The differences on purpose: a reason, the fields that differ, and the calls."""

ON_PURPOSE = [
    (
        "A TypeError for wrong arguments names the argument in other words.",
        "args text",
        [
            "numbers.add(1)",
            "numbers.add(1, 2, 3)",
            "numbers.add(1, x=2)",
            "numbers.add(1, 2, z=3)",
            "text.greet()",
            "calls.nothing(1)",
            "calls.add_all(1, number=2)",
            "calls.describe(1, first=2)",
            "calls.describe()",
        ],
    ),
    (
        "An argument of a wrong type is a TypeError before the task runs. Python fails where it is used.",
        "args text",
        ["numbers.add(1, None)", "collections.merge({'a': 1}, [1])", "dates.next_day('tomorrow')"],
    ),
    (
        "The same, where Python's error is of another class.",
        "class args text",
        ["text.slug(5)", "collections.total([{'cents': 250}])"],
    ),
    (
        "The same, for a step of a chain: the later steps fail with its error, as in Python.",
        "class of part 0, args of part 0, text of part 0, class of part 1, args of part 1, text of part 1",
        ["add | fail | double"],
    ),
    (
        "The same, where Python accepts any type: floats, text times two, and integers beyond 128 bits.",
        "state result class args text",
        ["numbers.add(1.5, 2)", "flows.double('ab')", f"numbers.add({2**200}, 1)"],
    ),
    (
        "All arguments of a Rust task come by position or by name.",
        "state result class args text",
        ["text.shorten('Robinson', 4)"],
    ),
    (
        "A jiff::Timestamp is an instant: the same one, in UTC.",
        "result",
        [
            "dates.due(datetime.datetime(2026, 12, 24, 13, 0, "
            "tzinfo=datetime.timezone(datetime.timedelta(seconds=3600))), 14)"
        ],
    ),
    (
        "The text of MaxRetriesExceededError has no arguments, which may be secret.",
        "args text",
        ["retries.given_up()"],
    ),
    (
        "An errback gets the id of the failed task. Celery calls one of three arguments with the exception.",
        "journal",
        ["parse, errback explain"],
    ),
    (
        "Both refuse to wait for a task inside a task, each with an error of its own.",
        "class args text",
        ["flows.wait_for(1)"],
    ),
    (
        "With results in files, a chord has a child that counts its members. Celeriac's stores count them.",
        "children",
        ["flows.tally(4)"],
    ),
]


def fields_of(text):
    return text.split(", ") if "," in text else text.split()


DIFFERENCES = {}
for _, fields, labels in ON_PURPOSE:
    for label in labels:
        assert label not in DIFFERENCES, f"{label} is listed twice"
        DIFFERENCES[label] = set(fields_of(fields))
