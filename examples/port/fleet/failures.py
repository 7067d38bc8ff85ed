"""Exceptions."""

import builtins

from celery.exceptions import Ignore, Reject

from fleet import journal
from fleet.app import app
from fleet.errors import Declined


@app.task
def declined(reason, code):
    raise Declined(reason, code)


@app.task
def fail(kind, *args):
    raise getattr(builtins, kind)(*args)


@app.task
def caused(text):
    try:
        int(text)
    except ValueError as error:
        raise Declined("not a number", 400) from error


@app.task(bind=True)
def reject(self):
    journal.write(self.request, "rejects")
    raise Reject("no such order", requeue=False)


@app.task(bind=True)
def ignore(self):
    journal.write(self.request, "ignores")
    raise Ignore
