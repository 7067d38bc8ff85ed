-- Chords, and what follows from the end of their last member.
CREATE TABLE joins (
    id         TEXT PRIMARY KEY NOT NULL,
    size       INTEGER NOT NULL CHECK (size > 0),
    body       TEXT NOT NULL,
    created_at TEXT NOT NULL,
    fired_at   TEXT,
    fired_by   INTEGER,
    error      TEXT
) STRICT;

CREATE INDEX joins_fired_at ON joins (fired_at) WHERE fired_at IS NOT NULL;

-- Members that have ended.
CREATE TABLE arrivals (
    join_id       TEXT NOT NULL,
    idx           INTEGER NOT NULL,
    task_id       TEXT NOT NULL,
    ok            INTEGER NOT NULL,
    result        TEXT,
    error_kind    TEXT,
    error_message TEXT,
    PRIMARY KEY (join_id, idx)
) STRICT;

-- Their number. One connection writes, so one row for each join is enough.
CREATE TABLE tallies (
    join_id TEXT PRIMARY KEY NOT NULL,
    ok      INTEGER NOT NULL,
    failed  INTEGER NOT NULL
) STRICT;
