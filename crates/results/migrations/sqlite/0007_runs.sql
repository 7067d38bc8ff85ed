-- Attempts that run for a long time, while the broker has their messages.
CREATE TABLE runs (
    id         TEXT PRIMARY KEY NOT NULL,
    retries    INTEGER NOT NULL,
    replays    INTEGER NOT NULL,
    worker     TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;

CREATE INDEX runs_expires_at ON runs (expires_at);
