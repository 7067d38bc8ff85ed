-- Messages that were written in somebody's own transaction, until a relay has sent them.
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

COMMENT ON TABLE celeriac.outbox IS 'Tasks that were sent in a transaction and do not stand on a queue yet, one row each.';
COMMENT ON COLUMN celeriac.outbox.id IS 'Task id.';
COMMENT ON COLUMN celeriac.outbox.queue IS 'The queue that it is held for, where it is to run later.';
COMMENT ON COLUMN celeriac.outbox.order_key IS 'Tasks of one key are sent one after the other.';
COMMENT ON COLUMN celeriac.outbox.headers IS 'As JSON, to the letter.';
COMMENT ON COLUMN celeriac.outbox.attempts IS 'How often it could not be sent.';
COMMENT ON COLUMN celeriac.outbox.error IS 'Why it could not be sent the last time.';
COMMENT ON COLUMN celeriac.outbox.next_at IS 'When it is tried again, after it could not be sent.';

-- What has not failed, in order; and the few that have.
CREATE INDEX outbox_fresh ON celeriac.outbox (seq) WHERE next_at IS NULL;
CREATE INDEX outbox_failing ON celeriac.outbox (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX outbox_held_back ON celeriac.outbox (order_key, seq) WHERE next_at IS NOT NULL;

CREATE VIEW celeriac.outbox_lag AS
SELECT count(*) AS waiting,
       count(*) FILTER (WHERE next_at IS NOT NULL) AS failing,
       min(created_at) AS oldest_at,
       extract(epoch FROM clock_timestamp() - min(created_at))::double precision AS oldest_seconds
FROM celeriac.outbox;
COMMENT ON VIEW celeriac.outbox_lag IS 'How many tasks wait in the outbox, how many of them cannot be sent, and how old the oldest is.';

-- One row for each idempotency key that is in force.
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

COMMENT ON TABLE celeriac.idempotency IS 'What was sent with an idempotency key: the same key again means the same task.';
COMMENT ON COLUMN celeriac.idempotency.fingerprint IS 'Of the arguments: the same key with others is an error.';
COMMENT ON COLUMN celeriac.idempotency.sent IS 'Whether it is known to stand on a queue, or in the outbox.';
COMMENT ON COLUMN celeriac.idempotency.claimed_at IS 'When somebody last set out to send it.';
CREATE INDEX idempotency_expires_at ON celeriac.idempotency (expires_at) WHERE expires_at IS NOT NULL;
