"""A message read exactly as a Celery worker reads it."""

from types import SimpleNamespace

from celery.worker import strategy
from kombu.compression import decompress
from kombu.serialization import loads, prepare_accept_content

EMBEDDED = ("callbacks", "errbacks", "chain", "chord")


def decode(body, content_type, content_encoding, headers, accept):
    """The three parts of the body, how it was laid out, and the headers that the worker goes by."""
    headers = dict(headers or {})
    compression = headers.get("compression")
    if compression:
        body = decompress(body, compression)
    payload = loads(body, content_type, content_encoding, accept=prepare_accept_content(accept))
    message = SimpleNamespace(headers=headers, payload=payload)
    if "task" not in headers:
        if not isinstance(payload, dict) or "task" not in payload or "id" not in payload:
            raise ValueError("neither the header `task` nor a body of protocol 1")
        (args, kwargs, embed), headers, _, utc = strategy.proto1_to_proto2(message, dict(payload))
        layout = "1"
    elif "args" in payload:
        (args, kwargs, embed), headers, _, utc = strategy.hybrid_to_proto2(message, payload)
        layout = "hybrid"
    else:
        args, kwargs, embed = payload
        layout, utc = "2", True
    return {"protocol": layout, "args": args, "kwargs": kwargs, "embed": embed, "headers": headers, "utc": utc}
