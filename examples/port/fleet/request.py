"""Bound tasks, which read their request."""

from fleet.app import app


@app.task(bind=True)
def whoami(self):
    request = self.request
    return {
        "id": request.id,
        "name": self.name,
        "root": request.root_id,
        "parent": request.parent_id,
        "retries": request.retries,
        "group": request.group,
        "index": request.group_index,
    }


@app.task(bind=True)
def tenant(self):
    return self.request.get("tenant")


@app.task(bind=True)
def envelope(self):
    request = self.request
    return {
        "priority": request.delivery_info["priority"],
        "replies": request.reply_to is not None,
        "correlation": request.correlation_id,
        "shadow": request.shadow,
    }


@app.task(bind=True)
def deadline(self):
    request = self.request
    return {"eta": request.eta, "expires": request.expires, "limits": request.timelimit}


@app.task(bind=True)
def stamps(self):
    return self.request.stamps
