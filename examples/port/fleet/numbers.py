"""Arithmetic."""

from fleet.app import app


@app.task
def add(x, y):
    return x + y


@app.task
def divide(x, y):
    return x / y


@app.task
def quotient(x, y):
    return divmod(x, y)


@app.task
def parse(text):
    return int(text)
