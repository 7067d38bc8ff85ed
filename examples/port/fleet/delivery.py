"""Options of tasks, and a base class with handlers."""

from celery import Task

from fleet import journal
from fleet.app import app


class Audited(Task):
    """Writes down the end of each task."""

    def on_success(self, retval, task_id, args, kwargs):
        journal.write(self.request, "success", retval)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        journal.write(self.request, "failure", str(exc))

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        journal.write(self.request, "returned", status)


@app.task(bind=True, acks_late=False)
def early(self, word):
    journal.write(self.request, word)
    return word


@app.task(bind=True, ignore_result=True)
def silent(self, word):
    journal.write(self.request, word)
    return word


@app.task(bind=True, priority=7)
def urgent(self):
    return self.request.delivery_info["priority"]


@app.task(base=Audited)
def audited(number):
    if number < 0:
        raise ValueError("negative")
    return number
