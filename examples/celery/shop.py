"""The Python half of the shop, with the catalogue. Start it with `celery -A shop worker`."""

import os

from celery import Celery
from celery.utils.log import get_task_logger
from kombu import Queue

logger = get_task_logger(__name__)


def shared(name):
    """A queue with Celeriac's arguments, so that either side can declare it first."""
    return Queue(
        name,
        routing_key=name,
        queue_arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": 100,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"{name}.dead",
            "x-dead-letter-strategy": "at-least-once",
        },
    )


app = Celery("shop", broker=os.environ["SHOP_BROKER_URL"], backend="rpc://")
app.conf.update(
    task_queues=[Queue("catalog", routing_key="catalog"), shared("billing")],
    task_default_queue="catalog",
    # Tasks that are written in Rust.
    task_routes={"billing.*": {"queue": "billing"}},
    broker_connection_retry_on_startup=True,
)

PRICES = {"teapot": 2599, "cup": 450}


class OutOfStock(Exception):
    """An exception of this app."""


@app.task(name="catalog.price")
def price(article, pieces=1):
    if article == "samovar":
        raise OutOfStock("no samovar before spring")
    return PRICES[article] * pieces


@app.task(name="catalog.discount")
def discount(cents, percent):
    return cents * (100 - percent) // 100


@app.task(name="catalog.note")
def note(what, about):
    logger.info("note %s: %s", about, what)
