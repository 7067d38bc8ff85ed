"""Lists and dicts."""

from fleet.app import app


@app.task
def merge(left, right):
    return {**left, **right}


@app.task
def group_by(rows, key):
    groups = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


@app.task
def pluck(document, *path):
    for key in path:
        document = document[key]
    return document


@app.task
def invert(mapping):
    return {value: key for key, value in mapping.items()}


@app.task
def total(lines):
    return {"cents": sum(line["cents"] * line["count"] for line in lines), "lines": len(lines)}
