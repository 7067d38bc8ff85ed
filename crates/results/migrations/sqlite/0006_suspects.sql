-- Redelivered attempts that started again. One of them may have brought its worker down.
CREATE TABLE suspects (
    id      TEXT PRIMARY KEY NOT NULL,
    retries INTEGER NOT NULL,
    replays INTEGER NOT NULL,
    starts  INTEGER NOT NULL,
    waits   INTEGER NOT NULL,
    worker  TEXT NOT NULL,
    seen_at TEXT NOT NULL
) STRICT;

CREATE INDEX suspects_seen_at ON suspects (seen_at);
