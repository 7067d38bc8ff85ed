"""Tasks that send others, and tasks in the place of others."""

from celery import chain, chord, group

from fleet import journal
from fleet.app import app
from fleet.numbers import add


@app.task(bind=True, ignore_result=True)
def note(self, *words):
    journal.write(self.request, *words)


@app.task(bind=True, ignore_result=True)
def alarm(self, failed):
    """An errback, which gets the id of the failed task."""
    journal.write(self.request, failed)


@app.task(ignore_result=True)
def explain(request, exc, traceback):
    """An errback of the old kind, which Celery calls in the process of the failed task."""
    journal.write(request, repr(exc))


@app.task
def double(number):
    return 2 * number


@app.task
def notify(word):
    note.delay(word)
    return word


@app.task
def fan_out(count):
    group(note.s(number) for number in range(count)).delay()


@app.task
def pipeline(number):
    chain(add.s(number, 1), double.s(), note.s("piped")).delay()


@app.task
def tally(count):
    chord([double.s(number) for number in range(count)], note.s("tallied")).delay()


@app.task(bind=True)
def countdown(self, number):
    journal.write(self.request, number)
    if number:
        countdown.delay(number - 1)


@app.task(bind=True)
def replace_by_task(self, number):
    return self.replace(double.s(number))


@app.task(bind=True)
def replace_by_chain(self, number):
    return self.replace(chain(double.s(number), add.s(1)))


@app.task(bind=True)
def replace_by_group(self, count):
    return self.replace(group(double.s(number) for number in range(count)))


@app.task
def wait_for(number):
    return double.delay(number).get()
