"""The Celery app of the interop tests. Everything that differs between tests comes from the environment:

INTEROP_BROKER_URL        amqp://..., required
INTEROP_RESULT_BACKEND    rpc://
INTEROP_QUEUE             interop-python: the queue of the tasks interop.*, which this app's worker consumes
INTEROP_RUST_QUEUE        interop-rust: the queue of the tasks rust.*, which the other side declares
INTEROP_DECLARE           1: whether INTEROP_QUEUE is declared here; 0 when the other side does that, too
INTEROP_SERIALIZER        json, or msgpack: of tasks and of results
INTEROP_ACCEPT            json,msgpack
INTEROP_SETTINGS          {}: more settings of Celery, a JSON object
INTEROP_OTLP              the URL of a collector of spans; none by default
JOURNAL                   the file that `collect` and `on_error` write to
"""

import builtins
import json
import os
import signal
import time

from celery import Celery
from kombu import Exchange, Queue

from spelling import spell


def setting(name, default):
    return os.environ.get(f"INTEROP_{name}") or default


QUEUE = setting("QUEUE", "interop-python")
RUST_QUEUE = setting("RUST_QUEUE", "interop-rust")
SERIALIZER = setting("SERIALIZER", "json")


def queue(name, declare):
    return Queue(name, Exchange(name, type="direct", no_declare=not declare), routing_key=name, no_declare=not declare)


app = Celery("interop", broker=os.environ["INTEROP_BROKER_URL"], backend=setting("RESULT_BACKEND", "rpc://"))
app.conf.update(
    task_serializer=SERIALIZER,
    result_serializer=SERIALIZER,
    accept_content=setting("ACCEPT", "json,msgpack").split(","),
    task_default_queue=QUEUE,
    task_queues=[queue(QUEUE, setting("DECLARE", "1") == "1")]
    + ([queue(RUST_QUEUE, False)] if RUST_QUEUE != QUEUE else []),
    task_routes={"interop.*": {"queue": QUEUE}, "rust.*": {"queue": RUST_QUEUE}},
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
app.conf.update(json.loads(setting("SETTINGS", "{}")))


def export_spans(url):
    """Each span is sent at its end: a process that the pool forks has no thread for it."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "python"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


if os.environ.get("INTEROP_OTLP"):
    export_spans(os.environ["INTEROP_OTLP"])


class Declined(Exception):
    """An exception that only this app knows."""

    def __init__(self, reason, code):
        super().__init__(reason, code)
        self.reason, self.code = reason, code


def journal(*words):
    """One write to a file opened for appending: whole, even when the process is killed right after."""
    line = json.dumps([spell(word) for word in words]) + "\n"
    file = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@app.task(name="interop.add")
def add(x, y):
    return x + y


# As the tasks rust.sum, rust.refuse and rust.twice of events.rs.
@app.task(name="interop.sum")
def add_up(x, y):
    return x + y


@app.task(name="interop.refuse")
def refuse():
    raise ValueError("it's too late")


@app.task(name="interop.twice", bind=True)
def twice(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0, exc=RuntimeError("not yet"))
    return self.request.retries + 1


@app.task(name="interop.concat")
def concat(*parts):
    return "".join(parts)


@app.task(name="interop.echo")
def echo(value=None, **more):
    return value if not more else [value, more]


@app.task(name="interop.grüße")
def greet(größe):
    return f"Grüße, {größe} 👋"


@app.task(name="interop.length")
def length(text):
    return len(text)


@app.task(name="interop.fail")
def fail(kind, message="failed"):
    """Raises a builtin exception by its name, or `Declined`."""
    if kind == "Declined":
        raise Declined(message, 7)
    raise getattr(builtins, kind)(message)


@app.task(name="interop.flaky", bind=True, max_retries=None)
def flaky(self, times, countdown=0):
    """Fails `times` times; then returns how many attempts there were."""
    if self.request.retries < times:
        raise self.retry(countdown=countdown, exc=RuntimeError(f"attempt {self.request.retries + 1}"))
    return self.request.retries + 1


@app.task(name="interop.exhausted", bind=True, max_retries=1)
def exhausted(self, countdown=0):
    try:
        raise ValueError(f"attempt {self.request.retries + 1}")
    except ValueError as error:
        raise self.retry(countdown=countdown, exc=error)


@app.task(name="interop.given_up", bind=True, max_retries=1)
def given_up(self, countdown=0):
    """Retries without saying why."""
    raise self.retry(countdown=countdown)


@app.task(name="interop.ignored", bind=True, ignore_result=True)
def ignored(self, *note):
    journal("ignored", self.request.id, *note)
    return "nobody asks"


@app.task(name="interop.collect", bind=True)
def collect(self, *note):
    """Writes down what it was given, and returns it."""
    journal("collect", self.request.id, *note)
    return list(note)


# Bound, so that Celery sends it as a message: the failed task's id, then what was stored with the errback.
@app.task(name="interop.on_error", bind=True)
def on_error(self, task_id, *note):
    journal("on_error", self.request.id, task_id, *note)
    return task_id


@app.task(name="interop.rest")
def rest(seconds):
    """Takes its time: to be limited, revoked, or caught by the end of its worker."""
    time.sleep(seconds)
    return seconds


@app.task(name="interop.die")
def die():
    """Ends the process it runs in, as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="interop.replaced", bind=True)
def replaced(self, name):
    """Puts another task in its place."""
    raise self.replace(app.signature(name))


# Known on both sides, for workers that share a queue.
@app.task(name="shared.double")
def double(number):
    return {"doubled": 2 * number, "by": "python"}


@app.task(name="interop.describe", bind=True)
def describe(self, *args, **kwargs):
    """What a Celery worker made of the message."""
    request = self.request
    names = (
        "id root_id parent_id group group_index retries eta expires timelimit headers stamped_headers stamps "
        "delivery_info argsrepr kwargsrepr origin shadow replaced_task_nesting correlation_id reply_to ignore_result "
        "lang args kwargs callbacks errbacks chain chord"
    ).split()
    return {name: getattr(request, name, None) for name in names}
