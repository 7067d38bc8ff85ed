"""Text."""

import re

from fleet.app import app


@app.task
def slug(title):
    return re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")


@app.task
def greet(name, greeting="Hello"):
    return f"{greeting}, {name}!"


@app.task
def shorten(text, *, width=10, end="…"):
    return text if len(text) <= width else text[: width - len(end)] + end


@app.task
def encode(text, encoding="utf-8"):
    return text.encode(encoding)
