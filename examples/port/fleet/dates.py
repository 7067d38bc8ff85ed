"""Dates and times."""

from datetime import timedelta

from fleet.app import app


@app.task
def next_day(day):
    return day + timedelta(days=1)


@app.task
def due(start, days):
    return start + timedelta(days=days)


@app.task
def slot(start, hours):
    return {"start": start, "end": start + timedelta(hours=hours)}
