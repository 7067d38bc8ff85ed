-- Revoked tasks. Numbers follow the order of commits.
CREATE TABLE revocations (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    terminate  INTEGER NOT NULL,
    revoked_at TEXT NOT NULL,
    until      TEXT NOT NULL
) STRICT;

CREATE INDEX revocations_until ON revocations (until);
