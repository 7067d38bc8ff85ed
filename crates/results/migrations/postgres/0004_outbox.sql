-- Messages that were written in a caller's transaction, until a relay has sent them.
CREATE TABLE celeriac.outbox (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL,
    task        text NOT NULL,
    exchange    text NOT NULL,
    routing_key text NOT NULL,
    queue       text,
    order_key   text,
    eta         timestamptz,
    expires     timestamptz,
    headers     text NOT NULL,
    properties  text NOT NULL,
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts    integer NOT NULL DEFAULT 0,
    error       text,
    next_at     timestamptz
);

COMMENT ON TABLE celeriac.outbox IS 'Tasks that were sent in a transaction and are not on a queue yet, one row each.';
COMMENT ON COLUMN celeriac.outbox.id IS 'Task id.';
COMMENT ON COLUMN celeriac.outbox.queue IS 'The queue of a task that is to run later.';
COMMENT ON COLUMN celeriac.outbox.order_key IS 'Tasks with the same key are sent in order.';
COMMENT ON COLUMN celeriac.outbox.headers IS 'The exact JSON.';
COMMENT ON COLUMN celeriac.outbox.attempts IS 'Number of failed attempts to send it.';
COMMENT ON COLUMN celeriac.outbox.error IS 'Error of the last failed attempt.';
COMMENT ON COLUMN celeriac.outbox.next_at IS 'Time of the next attempt, after a failed one.';

-- Messages without a failed attempt, in order; and the few with one.
CREATE INDEX outbox_fresh ON celeriac.outbox (seq) WHERE next_at IS NULL;
CREATE INDEX outbox_failing ON celeriac.outbox (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX outbox_held_back ON celeriac.outbox (order_key, seq) WHERE next_at IS NOT NULL;

CREATE VIEW celeriac.outbox_lag AS
SELECT count(*) AS waiting,
       count(*) FILTER (WHERE next_at IS NOT NULL) AS failing,
       min(created_at) AS oldest_at,
       extract(epoch FROM clock_timestamp() - min(created_at))::double precision AS oldest_seconds
FROM celeriac.outbox;
COMMENT ON VIEW celeriac.outbox_lag IS 'Number of tasks in the outbox, number of failing ones among them, and age of the oldest.';

-- One row for each valid idempotency key.
CREATE TABLE celeriac.idempotency (
    task        text NOT NULL,
    key         text NOT NULL,
    id          text NOT NULL,
    fingerprint text NOT NULL,
    sent        boolean NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz,
    PRIMARY KEY (task, key)
);

COMMENT ON TABLE celeriac.idempotency IS 'Tasks that were sent with an idempotency key: the same key again means the same task.';
COMMENT ON COLUMN celeriac.idempotency.fingerprint IS 'Fingerprint of the arguments: the same key with others is an error.';
COMMENT ON COLUMN celeriac.idempotency.sent IS 'True if the task is known to be on a queue, or in the outbox.';
COMMENT ON COLUMN celeriac.idempotency.claimed_at IS 'Time at which a caller last began to send it.';
CREATE INDEX idempotency_expires_at ON celeriac.idempotency (expires_at) WHERE expires_at IS NOT NULL;
