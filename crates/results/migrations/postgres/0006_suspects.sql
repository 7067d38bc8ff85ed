-- Redelivered attempts that started again. One of them may have brought its worker down.
CREATE TABLE celeriac.suspects (
    id       text PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 255),
    retries  bigint NOT NULL,
    replays  bigint NOT NULL,
    starts   bigint NOT NULL,
    waits    boolean NOT NULL,
    worker   text NOT NULL,
    seen_at  timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE celeriac.suspects IS 'Tasks that may have brought down a worker, until they have ended.';
COMMENT ON COLUMN celeriac.suspects.retries IS 'Number of earlier attempts. Each attempt has its own count of starts.';
COMMENT ON COLUMN celeriac.suspects.starts IS 'Number of starts after the first delivery without an orderly end.';
COMMENT ON COLUMN celeriac.suspects.waits IS 'True while it waits until no other suspect runs on its worker.';

CREATE INDEX suspects_seen_at ON celeriac.suspects (seen_at);
