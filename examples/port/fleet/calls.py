"""All ways to pass arguments."""

from fleet.app import app

KEEP = object()


@app.task
def nothing():
    pass


@app.task
def echo(value):
    return value


@app.task
def add_all(*numbers):
    return sum(numbers)


@app.task
def describe(first, *rest, sep="-", **options):
    return {"first": first, "rest": rest, "sep": sep, "options": options}


@app.task
def rename(user, *, nickname=KEEP):
    """Keeps the nickname if there is none, and removes it if it is `None`."""
    if nickname is KEEP:
        return f"{user} keeps it"
    return f"{user} has none" if nickname is None else f"{user} is {nickname}"
