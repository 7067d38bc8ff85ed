-- Attempts that run for a long time, while the broker has their messages.
CREATE TABLE celeriac.runs (
    id         text PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 255),
    retries    bigint NOT NULL,
    replays    bigint NOT NULL,
    worker     text NOT NULL,
    expires_at timestamptz NOT NULL
);

COMMENT ON TABLE celeriac.runs IS 'Long attempts that a worker runs, while the broker has their messages.';
COMMENT ON COLUMN celeriac.runs.retries IS 'Number of earlier attempts.';
COMMENT ON COLUMN celeriac.runs.expires_at IS 'Until this time the worker is taken to run the attempt. The worker renews it.';

CREATE INDEX runs_expires_at ON celeriac.runs (expires_at);
