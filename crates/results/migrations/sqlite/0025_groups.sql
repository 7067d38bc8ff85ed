-- Groups and chords whose handles were saved. The members are a JSON list of ids.
CREATE TABLE groups (
    id       TEXT PRIMARY KEY NOT NULL,
    members  TEXT NOT NULL,
    body     TEXT,
    saved_at TEXT NOT NULL
) STRICT;

CREATE INDEX groups_saved_at ON groups (saved_at);
