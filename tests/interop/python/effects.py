"""Celery with its safest settings, for the ledger of `tests/faults/celery_killed.rs`.

EFFECTS_BROKER_URL    amqp://...
EFFECTS_DATABASE_URL  postgres://...

As a program it sends tasks: python effects.py COUNT A_SECOND. Each that is confirmed is written into ledger.issued.
"""

import faulthandler
import os
import signal
import sys
import time
import uuid

import psycopg
from celery import Celery
from celery.exceptions import Reject
from kombu import Queue

DATABASE = os.environ["EFFECTS_DATABASE_URL"]
TOGETHER = 20

app = Celery("effects", broker=os.environ["EFFECTS_BROKER_URL"])
app.conf.update(
    task_default_queue="celery",
    task_queues=[Queue("celery", routing_key="celery", queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_publish_retry_policy={"max_retries": 30, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 1},
)


@app.task(name="effects.effect", bind=True)
def effect(self, milliseconds):
    """Takes its time, and then takes effect, in a transaction of its own."""
    time.sleep(milliseconds / 1000)
    try:
        with psycopg.connect(DATABASE, connect_timeout=5) as database:
            database.execute(
                "INSERT INTO ledger.effects (id, run, worker) VALUES (%s, %s, %s)",
                (self.request.id, str(uuid.uuid4()), str(os.getpid())),
            )
    except psycopg.Error as error:
        # `retry` would lose the task where the next attempt cannot be published.
        time.sleep(0.5)
        raise Reject(error, requeue=True)


def issue(ids):
    """Writes down what was confirmed, as soon as the database takes it."""
    while True:
        try:
            with psycopg.connect(DATABASE, connect_timeout=5) as database:
                database.cursor().executemany(
                    "INSERT INTO ledger.issued (id) VALUES (%s) ON CONFLICT DO NOTHING", [(id,) for id in ids]
                )
            return
        except psycopg.Error:
            time.sleep(0.1)


def send(count, a_second):
    unconfirmed = 0
    for _ in range(count // TOGETHER):
        begun = time.monotonic()
        confirmed = []
        for _ in range(TOGETHER):
            try:
                confirmed.append(effect.delay(2).id)
            except Exception as error:
                print(f"unconfirmed: {error!r}", flush=True)
                unconfirmed += 1
        issue(confirmed)
        time.sleep(max(0, TOGETHER / a_second - (time.monotonic() - begun)))
    print(f"sent, unconfirmed {unconfirmed}", flush=True)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    send(int(sys.argv[1]), int(sys.argv[2]))
