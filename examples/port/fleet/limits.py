"""Limits of time and rate."""

import time

from celery.exceptions import SoftTimeLimitExceeded

from fleet.app import app


@app.task(soft_time_limit=1)
def tidy():
    try:
        time.sleep(20)
    except SoftTimeLimitExceeded:
        return "tidied"


@app.task(time_limit=1)
def stuck():
    time.sleep(20)


@app.task
def patient(seconds):
    time.sleep(seconds)
    return seconds


@app.task(rate_limit="20/s")
def fetch(page):
    return f"page {page}"
