-- Attempts that were delivered again and begun again: one of them may be what brought its worker down.
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
COMMENT ON COLUMN celeriac.suspects.retries IS 'The attempt: another one is not suspected for this one.';
COMMENT ON COLUMN celeriac.suspects.starts IS 'How often it was begun after its first delivery, and has not ended in order.';
COMMENT ON COLUMN celeriac.suspects.waits IS 'Whether it waits until no other suspect runs on its worker.';

CREATE INDEX suspects_seen_at ON celeriac.suspects (seen_at);
