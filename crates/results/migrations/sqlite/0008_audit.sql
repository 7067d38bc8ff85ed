-- Actions of operators. A row is written before its action, and completed after it.
CREATE TABLE audit (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    began_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    ended_at TEXT,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    count    INTEGER,
    error    TEXT,
    os_user  TEXT NOT NULL,
    host     TEXT NOT NULL,
    program  TEXT NOT NULL
) STRICT;

CREATE INDEX audit_began_at ON audit (began_at);
