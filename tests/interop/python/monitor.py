"""A monitor of Celery that a test talks to, as Flower is one: `app.events.Receiver` and `app.events.State`.

It reads and answers as driver.py does: a JSON object a line.

    {"seq", "command": "info"}
        -> {"ready"}                once it consumes events
    {"seq", "command": "events", "after": 0}
        -> {"events": [..]}         the events so far, after this many, in the order of their arrival
    {"seq", "command": "state"}
        -> {"workers": {hostname: {..}}, "tasks": {uuid: {..}}}
"""

import json
import sys
import threading

from app import app

WORKER = "hostname pid freq active processed loadavg sw_ident sw_ver sw_sys".split()
TASK = (
    "uuid name state received sent started rejected succeeded failed retried revoked args kwargs eta expires retries "
    "result exception runtime traceback root_id parent_id"
).split()

ready = threading.Event()
events = []
state = app.events.State(max_tasks_in_memory=100_000)


class Receiver(app.events.Receiver):
    def on_consume_ready(self, connection, channel, consumers, **kwargs):
        ready.set()


def keep(event):
    events.append(dict(event))
    state.event(event)


def capture():
    with app.connection_for_read() as connection:
        Receiver(connection, handlers={"*": keep}, app=app).capture(limit=None, timeout=None, wakeup=False)


def told_of_worker(worker):
    return {**{name: getattr(worker, name) for name in WORKER}, "alive": worker.alive}


def told_of_task(task):
    return {**{name: getattr(task, name) for name in TASK}, "worker": task.worker.hostname if task.worker else None}


def answer(command):
    if command["command"] == "info":
        if not ready.wait(60):
            raise TimeoutError("it does not consume")
        return {"ready": True}
    if command["command"] == "events":
        return {"events": events[command.get("after", 0) :]}
    return {
        "workers": {name: told_of_worker(worker) for name, worker in state.workers.items()},
        "tasks": {uuid: told_of_task(task) for uuid, task in state.tasks.items()},
    }


threading.Thread(target=capture, daemon=True).start()
for line in sys.stdin:
    command = json.loads(line)
    try:
        answered = answer(command)
    except Exception as error:
        answered = {"error": str(error), "error_type": type(error).__name__}
    print(json.dumps({"seq": command["seq"], **answered}), flush=True)
