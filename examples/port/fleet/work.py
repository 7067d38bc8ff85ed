"""Work for a processor, and work that waits."""

import time
from concurrent.futures import ThreadPoolExecutor

from fleet.app import app


@app.task
def primes(limit):
    sieve = [True] * limit
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = [False] * len(sieve[number * number :: number])
    return sum(sieve[2:])


@app.task
def gather(waits):
    def wait(seconds):
        time.sleep(seconds)
        return seconds

    with ThreadPoolExecutor() as pool:
        return list(pool.map(wait, waits))
