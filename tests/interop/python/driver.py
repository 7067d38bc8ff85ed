"""A Celery client that a test talks to: a JSON object a line on stdin, a JSON object a line on stdout.

Each command has a `seq`; its answer has the same, and either the fields named below or `error` (and `error_type`).
Values in `args`, `kwargs` and `options`, and all values in answers, are spelt as in spelling.py. Commands run one after
another, in order.

    {"seq", "command": "send", "task", "args": [], "kwargs": {}, "options": {}, "count": 1, "number": false,
     "by_name": false}
        -> {"id", "ids"}            the ids of all that were sent; "number" puts the number of each in front of args,
                                    "by_name" sends without a look at the task's own options and signature
        options are those of apply_async; link and link_error are signatures or lists of them, eta and expires may be
        numbers or spelt datetimes; stamps is an object: each of its members becomes a stamp
    {"seq", "command": "send", "chain": [signature, ..], "options": {}}
        -> {"id", "ids"}            id is that of the last step, ids are those of all steps
    {"seq", "command": "send", "canvas": signature, "options": {}}
        -> {"id"}                   any signature: groups and chords, too
    {"seq", "command": "result", "id", "timeout": 60, "forget": true}
        -> {"state", "result"} or {"state", "exception": {"module", "type", "mro", "args", "text"}, "traceback"},
           and "meta": the rest of what came over the wire; {"state", "timeout": true} when it did not come
    {"seq", "command": "results", "ids": [], "timeout": 60}
        -> {"results": {id: as above}, "missing": [id, ..], "states": {state: how many}}
    {"seq", "command": "revoke", "ids"}
        -> {"replies": [..]}        once a worker has heard of it
    {"seq", "command": "control", "method", "arguments": {}, "destination": null, "pattern": null, "matcher": null,
     "timeout": 20, "limit": null}
        -> {"replies": [{node: reply}, ..]}     of `app.control.broadcast`
    {"seq", "command": "decode", "body": "<base64>", "content_type", "content_encoding", "headers": {}, "accept": [..]}
        -> {"protocol": "1" | "2" | "hybrid", "args", "kwargs", "embed", "headers", "utc", "repr"}
    {"seq", "command": "decode_all", "messages": [{"body", "content_type", ..}, ..]}
        -> {"answers": [..]}        each as above, or {"error", "error_type"}
    {"seq", "command": "read_results", "messages": [{"body", "content_type", "content_encoding"}, ..]}
        -> {"answers": [..]}        as "result" has it of replies with these bodies, or {"error", "error_type"}
    {"seq", "command": "take", "queue", "count"}
        -> {"answers": [..]}        so many messages of a queue, each as from "decode", with "properties"
    {"seq", "command": "encode", "value", "serializer": "json", "compression": null}
        -> {"body": "<base64>", "content_type", "content_encoding", "compression"}
    {"seq", "command": "info"}
        -> {"reply_to", "versions": {package: version}}
    {"seq", "command": "quit"}
        -> {}                       and ends; so does the end of stdin

A signature is {"task", "args": [], "kwargs": {}, "options": {}, "immutable": false}, {"chain": [..]}, {"group": [..]}
or {"chord": [..], "body": signature}.
"""

import base64
import json
import os
import sys
import time
from collections import Counter
from importlib.metadata import version

from celery import chain, chord, group, states
from celery.canvas import Signature
from celery.exceptions import TimeoutError
from celery.result import AsyncResult
from celery.worker.request import Request
from kombu.asynchronous.timer import to_timestamp
from kombu.compression import compress
from kombu.serialization import dumps, loads, prepare_accept_content

import spelling
from app import app
from decoding import decode


def signature(given):
    """What a test describes as a signature."""
    if "chain" in given:
        return chain(*map(signature, given["chain"]))
    if "chord" in given:
        return chord([signature(step) for step in given["chord"]], signature(given["body"]))
    if "group" in given:
        return group(*map(signature, given["group"]))
    return Signature(
        given["task"],
        args=spelling.read(given.get("args", [])),
        kwargs=spelling.read(given.get("kwargs", {})),
        options=options(given.get("options", {})),
        immutable=given.get("immutable", False),
        app=app,
    )


def options(given):
    read = {}
    for name, value in given.items():
        if name in ("link", "link_error"):
            read[name] = [signature(one) for one in (value if isinstance(value, list) else [value])]
        elif name == "stamps":
            stamps = spelling.read(value)
            read.update(stamps, stamped_headers=list(stamps))
        else:
            read[name] = spelling.read(value)
    return read


def send(command):
    chosen = options(command.get("options", {}))
    if "chain" in command or "canvas" in command:
        canvas = signature(command if "chain" in command else command["canvas"])
        result = canvas.apply_async(**chosen)
        ids, step = [], result
        while isinstance(step, AsyncResult):
            ids.insert(0, step.id)
            step = step.parent
        keep(*ids)
        return {"id": result.id, "ids": ids}
    args, kwargs = spelling.read(command.get("args", [])), spelling.read(command.get("kwargs", {}))
    ids = []
    with app.producer_or_acquire() as producer:
        for number in range(command.get("count", 1)):
            numbered = [number, *args] if command.get("number") else args
            task = None if command.get("by_name") else app.tasks.get(command["task"])
            if task is None:
                result = app.send_task(command["task"], numbered, kwargs, producer=producer, **chosen)
            else:
                result = task.apply_async(numbered, kwargs, producer=producer, **chosen)
            keep(result.id)
            ids.append(result.id)
    return {"id": ids[-1] if ids else None, "ids": ids}


# Results must be waited for by those who have asked: Celery forgets those whose object is gone.
asked = {}


def keep(*ids):
    for one in ids:
        asked[one] = AsyncResult(one, app=app)
        app.backend.add_pending_result(asked[one])


def outcome(result):
    return told_of(result._get_task_meta())


def told_of(meta):
    children = [child.as_tuple() for child in meta.get("children") or []]
    plain = {name: item for name, item in meta.items() if name != "result"}
    told = {"state": meta["status"], "meta": spelling.spell({**plain, "children": json.loads(json.dumps(children))})}
    value = meta["result"]
    if meta["status"] in states.EXCEPTION_STATES and isinstance(value, BaseException):
        told["exception"] = {
            "module": type(value).__module__,
            "type": type(value).__qualname__,
            "mro": [f"{one.__module__}.{one.__qualname__}" for one in type(value).__mro__],
            "args": spelling.spell(list(value.args)),
            "text": str(value),
        }
        told["traceback"] = meta.get("traceback")
    else:
        told["result"] = spelling.spell(value)
    return told


def result(command):
    one = asked.get(command["id"]) or AsyncResult(command["id"], app=app)
    try:
        one.get(timeout=command.get("timeout", 60), propagate=False)
    except TimeoutError:
        return {"state": one.state, "timeout": True}
    told = outcome(one)
    if command.get("forget", True):
        asked.pop(one.id, None)
    return told


def results(command):
    until = time.monotonic() + command.get("timeout", 60)
    found, missing = {}, []
    for task_id in command["ids"]:
        answer = result({"id": task_id, "timeout": max(0.01, until - time.monotonic())})
        if answer.get("timeout"):
            missing.append(task_id)
        else:
            found[task_id] = answer
    return {"results": found, "missing": missing, "states": Counter(one["state"] for one in found.values())}


def revoke(command):
    return {"replies": app.control.revoke(command["ids"], reply=True, timeout=20, limit=1)}


def control(command):
    replies = app.control.broadcast(
        command["method"],
        arguments=command.get("arguments") or {},
        destination=command.get("destination"),
        pattern=command.get("pattern"),
        matcher=command.get("matcher"),
        timeout=command.get("timeout", 20),
        limit=command.get("limit"),
        reply=True,
    )
    return {"replies": replies}


def decoded(command):
    headers = spelling.read(command.get("headers", {}))
    accept = command.get("accept") or app.conf.accept_content
    body = base64.b64decode(command["body"])
    told = decode(body, command["content_type"], command.get("content_encoding"), headers, accept)
    return {
        "repr": repr((told["args"], told["kwargs"], told["embed"])),
        **{k: spelling.spell(v) for k, v in told.items()},
    }


def decoded_all(command):
    return {"answers": [answered(decoded, message) for message in command["messages"]]}


def read_result(command):
    kind = command["content_type"]
    body = base64.b64decode(command["body"])
    meta = loads(body, kind, command["content_encoding"], accept=prepare_accept_content([kind]))
    one = AsyncResult(meta["task_id"], app=app)
    one._set_cache(app.backend.meta_from_decoded(meta))
    return told_of(one._cache)


def read_results(command):
    return {"answers": [answered(read_result, message) for message in command["messages"]]}


def take(command):
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        # As it is: kombu would decompress and decode.
        raw = super(type(channel), channel)
        messages = [raw.basic_get(command["queue"], no_ack=True) for _ in range(command["count"])]
        return {"answers": [answered(lambda message: taken(message, channel), message) for message in messages]}


def taken(message, channel):
    properties = {name: value for name, value in message.properties.items() if name != "application_headers"}
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    kind, encoding = properties.get("content_type"), properties.get("content_encoding")
    told = decode(body, kind, encoding, message.headers, ["json", "msgpack"])
    # What a worker does with it before it runs it.
    received = channel.message_to_python(message)
    received.accept = prepare_accept_content(["json", "msgpack"])
    request = Request(received, app=app, hostname="driver", task=app.tasks["interop.echo"])
    for moment in (request.eta, request.expires):
        if moment is not None:
            to_timestamp(moment)
    hard, soft = request.time_limits
    assert all(limit is None or limit >= 0 for limit in (hard, soft)), request.time_limits
    told = {**told, "properties": properties}
    return {name: spelling.spell(value) for name, value in told.items()}


def encoded(command):
    content_type, content_encoding, body = dumps(spelling.read(command["value"]), command.get("serializer", "json"))
    compression = None
    if command.get("compression"):
        body, compression = compress(body, command["compression"])
    body = body.encode() if isinstance(body, str) else body
    return {
        "body": base64.b64encode(body).decode(),
        "content_type": content_type,
        "content_encoding": content_encoding,
        "compression": compression,
    }


def info(_):
    packages = ("celery", "kombu", "amqp", "msgpack")
    return {"reply_to": app.thread_oid, "versions": {name: version(name) for name in packages}}


COMMANDS = {
    "send": send,
    "result": result,
    "results": results,
    "revoke": revoke,
    "control": control,
    "decode": decoded,
    "decode_all": decoded_all,
    "read_results": read_results,
    "take": take,
    "encode": encoded,
    "info": info,
}


def answer_to(command):
    return COMMANDS[command["command"]](command)


def answered(act, command):
    try:
        return act(command)
    except Exception as error:  # every command is answered
        return {"error": f"{error}", "error_type": f"{type(error).__module__}.{type(error).__qualname__}"}


def main():
    # Answers have the real stdout to themselves: whatever else prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        try:
            command = dict(json.loads(line))
        except (TypeError, ValueError) as error:
            command, answer = {}, {"error": f"{error}", "error_type": type(error).__name__}
        else:
            answer = {} if command.get("command") == "quit" else answered(answer_to, command)
        answers.write(json.dumps({"seq": command.get("seq"), **answer}, allow_nan=False) + "\n")
        if command.get("command") == "quit":
            break


if __name__ == "__main__":
    main()
