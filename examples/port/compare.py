"""Sends each case to the Python fleet and to the Rust fleet, and compares what the client gets.

A difference is a line. `differences.py` lists those that are meant; one that is missing there, and
one there that does not exist, fails the script.
"""

import json
import os
import re
import socket
import sys
import time
from pathlib import Path

from celery import Celery
from celery.result import AsyncResult, GroupResult
from celery.states import EXCEPTION_STATES, READY_STATES
from kombu import Queue

import fleet.errors  # Its exceptions are raised by name.
from cases import CASES
from differences import DIFFERENCES

DEADLINE = 90
FOLDER = Path(os.environ["FLEET_FOLDER"])
UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
UNSEEN = ("PENDING", "RECEIVED", "STARTED", "RETRY")


class Fleet:
    """A client of one fleet, which knows tasks by name only."""

    def __init__(self, name, backend):
        self.name = name
        self.app = Celery(name, broker=os.environ["FLEET_BROKER_URL"], backend=backend, set_as_current=False)
        # Its worker declares the queues.
        queues = [Queue(queue, routing_key=queue, no_declare=True) for queue in (f"fleet-{name}", f"fleet-{name}-urgent")]
        self.app.conf.update(task_queues=queues, task_default_queue=f"fleet-{name}")
        self.journal = FOLDER / f"{name}.jsonl"
        self.sent = {}
        self.metas = {}
        self.states = {}

    def task(self, name, /, *args, **kwargs):
        return self.app.signature(f"fleet.{name}", args=args, kwargs=kwargs).set(queue=f"fleet-{self.name}")

    def send(self, case):
        options = dict(case.options)
        for link in ("link", "link_error"):
            if link in options:
                options[link] = self.task(options[link])
        if "queue" in options:
            options["queue"] = f"fleet-{self.name}-{options['queue']}"
        result = case.canvas(self.task).apply_async(**options)
        self.sent[case.label] = [one for part in parts(result) for one in [part, *parents(part)]]
        for one in self.sent[case.label]:
            self.keep(one)

    def keep(self, result):
        """Begins to look for a result."""

    def take(self, meta):
        """Takes a state of a task. The last one is its end."""
        task_id, state = meta["task_id"], meta["status"]
        seen = self.states.setdefault(task_id, [])
        shown = f"{state} {show(meta['result'])}"
        if state not in UNSEEN and state not in READY_STATES and shown not in seen:
            seen.append(shown)
        self.metas[task_id] = meta

    def lines(self):
        """Returns the lines of the journal by the root of their tasks."""
        lines = {}
        if self.journal.exists():
            for line in map(json.loads, self.journal.read_text().splitlines()):
                lines.setdefault(line["root"], []).append(line)
        return lines

    def is_done(self, case, lines):
        results = self.sent[case.label]
        ended = [self.metas.get(one.id, {}).get("status", "PENDING") for one in results]
        # Only the last one stays.
        if case.stays:
            ended[0] = "SUCCESS" if ended[0] == case.stays else ended[0]
        root = results[-1].id
        return all(state in READY_STATES for state in ended) and len(lines.get(root, [])) >= case.lines

    def outcome(self, case, lines):
        """Returns what the client got, by field, without ids and tracebacks."""
        results = self.sent[case.label]
        found = {}
        for number, one in enumerate(results):
            where = f" of part {number}" if len(results) > 1 else ""
            meta = self.metas.get(one.id, {"status": "PENDING", "result": None})
            found[f"state{where}"] = meta["status"]
            found[f"meta{where}"] = self.states.get(one.id, [])
            found[f"children{where}"] = shape(meta.get("children") or [])
            result = meta["result"]
            if meta["status"] in EXCEPTION_STATES:
                kind = type(result)
                found[f"class{where}"] = f"{kind.__module__}.{kind.__qualname__}"
                found[f"args{where}"] = show(list(getattr(result, "args", ())))
                found[f"text{where}"] = UUID.sub("ID", str(result))
            else:
                found[f"result{where}"] = show(result)
        written = lines.get(results[-1].id, [])
        found["journal"] = sorted(f"{line['task']}: {show(line['words'])}" for line in written)
        return found


class Files(Fleet):
    """Reads results from files, as others do from Redis or a database."""

    def look(self):
        for task_id in [one.id for results in self.sent.values() for one in results]:
            if self.metas.get(task_id, {}).get("status") in READY_STATES:
                continue
            try:
                meta = self.app.backend.get_task_meta(task_id, cache=False)
            except (ValueError, KeyError):
                continue  # The file is not complete yet.
            if meta["status"] != "PENDING":
                self.take({**meta, "task_id": task_id})


class Replies(Fleet):
    """Receives results as messages."""

    def keep(self, result):
        self.app.backend.add_pending_result(result)
        self.app.backend.result_consumer.on_message = self.take_reply

    def take_reply(self, meta):
        self.take(self.app.backend.meta_from_decoded(dict(meta)))

    def look(self):
        try:
            self.app.backend.result_consumer.drain_events(timeout=0.05)
        except socket.timeout:
            pass


def parts(result):
    return result.results if isinstance(result, GroupResult) else [result]


def parents(result):
    """Returns the steps before, the nearest first."""
    step = result.parent
    while isinstance(step, AsyncResult):
        yield step
        step = step.parent


def show(value):
    """Returns a text of a value and its types, with keys in order and without ids."""
    match value:
        case dict():
            return "{" + ", ".join(f"{show(key)}: {show(value[key])}" for key in sorted(value, key=str)) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(show, value)) + "]"
        case str():
            return repr(UUID.sub("ID", value))
        case BaseException():
            return f"{type(value).__qualname__}({show(list(value.args))})"
    return repr(value)


def shape(children):
    """Returns the tree of children, without ids."""
    shown = []
    for (_, _), members in children:
        shown.append(f"group{sorted(shape(members))}" if members else "task")
    return sorted(shown)


def gather(fleets):
    """Waits until all calls have ended, and returns the number of those that have not."""
    until = time.monotonic() + DEADLINE
    waiting = list(CASES)
    while waiting and time.monotonic() < until:
        for fleet in fleets:
            fleet.look()
        lines = [fleet.lines() for fleet in fleets]
        waiting = [
            case
            for case in waiting
            if not all(fleet.is_done(case, written) for fleet, written in zip(fleets, lines))
        ]
        time.sleep(0.05)
    for case in waiting:
        ended = [fleet.name for fleet, written in zip(fleets, lines) if fleet.is_done(case, written)]
        print(f"{case.label}: not ended after {DEADLINE} s, except in {ended}")
    return len(waiting)


def compare(python, rust):
    """Prints the differences, and returns their number and that of the mistakes in the table."""
    found, wrong = 0, 0
    assert len({case.label for case in CASES}) == len(CASES), "two cases have one label"
    lines = python.lines(), rust.lines()
    for case in CASES:
        left, right = python.outcome(case, lines[0]), rust.outcome(case, lines[1])
        meant = DIFFERENCES.get(case.label, set())
        fields = {name for name in {**left, **right} if left.get(name) != right.get(name)}
        for name in sorted(fields - meant):
            found += 1
            print(f"{case.label}: {name}: {left.get(name)} in Python, {right.get(name)} in Rust")
        for name in sorted(meant - fields):
            wrong += 1
            print(f"{case.label}: {name}: listed in differences.py, but does not differ: {left.get(name)}")
    for label in DIFFERENCES.keys() - {case.label for case in CASES}:
        wrong += 1
        print(f"{label}: listed in differences.py, but is no case")
    return found, wrong


def tasks_of_both():
    """Returns the number of tasks, and that of tasks which only one fleet has, or no case."""
    from fleet.app import app

    app.loader.import_default_modules()
    listed = json.loads((FOLDER / "tasks.json").read_text())
    names = {
        "Python": {name for name in app.tasks if name.startswith("fleet.")},
        "Rust": {task["name"] for task in listed},
        "cases.py": {f"fleet.{name}" for case in CASES for name in case.tasks},
    }
    every = set.union(*names.values())
    missing = [(name, where) for where, known in names.items() for name in sorted(every - known)]
    for name, where in missing:
        print(f"{name}: missing in {where}")
    return len(every), len(missing)


def main():
    python = Files("python", f"file://{FOLDER}/results")
    rust = Replies("rust", "rpc://")
    for case in CASES:
        for fleet in (python, rust):
            fleet.send(case)
    waiting = gather([python, rust])
    found, wrong = compare(python, rust)
    tasks, untested = tasks_of_both()
    print(f"{tasks} tasks, {len(CASES)} calls, {found} differences; {len(DIFFERENCES)} calls differ on purpose")
    sys.exit(1 if waiting or found or wrong or untested else 0)


if __name__ == "__main__":
    main()
