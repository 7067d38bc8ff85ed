"""Retries, on request and by exception."""

from datetime import datetime, timedelta, timezone

from fleet.app import app
from fleet.errors import Unavailable


@app.task(bind=True, max_retries=None)
def flaky(self, failures):
    if self.request.retries < failures:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task(bind=True)
def pages(self, page, seen=()):
    seen = [*seen, page]
    if page < 3:
        raise self.retry(args=(page + 1, seen), countdown=0)
    return seen


@app.task(bind=True)
def resume(self, offset=0):
    if offset < 20:
        raise self.retry(kwargs={"offset": offset + 10}, countdown=0)
    return offset


@app.task(bind=True, max_retries=1)
def exhausted(self, service):
    raise self.retry(exc=Unavailable(service, 503), countdown=0)


@app.task(bind=True, max_retries=1)
def given_up(self):
    raise self.retry(countdown=0)


@app.task(bind=True, autoretry_for=(ConnectionError,), max_retries=2, retry_backoff=1, retry_jitter=False)
def download(self, failures):
    if self.request.retries < failures:
        raise ConnectionResetError(f"reset {self.request.retries}")
    return self.request.retries


@app.task(autoretry_for=(OSError,), dont_autoretry_for=(PermissionError,), default_retry_delay=0, max_retries=1)
def upload(path):
    if path.startswith("/root"):
        raise PermissionError(f"no access to {path}")
    raise FileNotFoundError(f"no {path}")


@app.task(bind=True)
def later(self):
    if self.request.retries == 0:
        raise self.retry(eta=datetime.now(timezone.utc) + timedelta(seconds=1))
    return "later"
