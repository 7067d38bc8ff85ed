"""The effects of tasks: lines in a file."""

import json
import os


def write(request, *words):
    """Appends a line for a running task."""
    line = json.dumps({"root": request.root_id, "task": request.task, "words": words}) + "\n"
    with open(os.environ["FLEET_JOURNAL"], "ab", buffering=0) as file:
        file.write(line.encode())
