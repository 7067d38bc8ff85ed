"""Bytes and UUIDs."""

import uuid

from fleet.app import app


@app.task
def name_id(namespace, name):
    return uuid.uuid5(namespace, name)


@app.task
def mask(data, key):
    return bytes(byte ^ key for byte in data)
