"""The Celery app. Start a worker with `celery -A fleet.app worker`."""

import os

from celery import Celery
from kombu import Queue

MODULES = (
    "numbers text collections calls money dates blobs request retries failures progress flows limits delivery work"
)

app = Celery(
    "fleet",
    broker=os.environ["FLEET_BROKER_URL"],
    # Stands for Redis or a database: a backend that counts chords and that other processes read.
    backend=f"file://{os.environ['FLEET_FOLDER']}/results",
    include=[f"fleet.{module}" for module in MODULES.split()],
)
app.conf.update(
    task_queues=[
        Queue("fleet-python", routing_key="fleet-python"),
        Queue("fleet-python-urgent", routing_key="fleet-python-urgent", max_priority=9),
    ],
    task_default_queue="fleet-python",
    broker_connection_retry_on_startup=True,
)
