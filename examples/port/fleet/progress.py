"""States between the start and the end."""

import time

from celery.exceptions import Ignore

from fleet import journal
from fleet.app import app


@app.task(bind=True)
def progress(self, steps):
    self.update_state(state="PROGRESS", meta={"done": 1, "of": steps})
    time.sleep(1.5)
    return steps


@app.task(bind=True)
def pause(self, page):
    self.update_state(state="PAUSED", meta={"page": page, "why": "closed"})
    journal.write(self.request, "pauses")
    raise Ignore
