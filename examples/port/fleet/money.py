"""Decimals, and a table that each process loads once."""

from decimal import ROUND_HALF_UP, Decimal

from celery.signals import worker_process_init

from fleet.app import app
from fleet.errors import InsufficientFunds

CENT = Decimal("0.01")
rates = {}


@worker_process_init.connect
def load_rates(**_):
    rates.update(EUR=Decimal("1"), USD=Decimal("1.25"), JPY=Decimal("160"))


@app.task
def gross(net, percent):
    return (net * (100 + percent) / 100).quantize(CENT, ROUND_HALF_UP)


@app.task
def split(total, people):
    cents = int(total / CENT)
    return [CENT * (cents // people + (person < cents % people)) for person in range(people)]


@app.task
def convert(euros, currency):
    return (euros * rates[currency]).quantize(CENT, ROUND_HALF_UP)


@app.task(acks_late=True, reject_on_worker_lost=True)
def charge(account, amount, balance):
    if amount > balance:
        raise InsufficientFunds(account, amount - balance)
    return balance - amount
