-- The table and the views of Postgres, without a schema. Times are ISO 8601 in UTC, JSON is text.
CREATE TABLE tasks (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN
                  ('PENDING', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')),
    args          TEXT CHECK (json_valid(args)),
    kwargs        TEXT CHECK (json_valid(kwargs)),
    result        TEXT CHECK (json_valid(result)),
    error_kind    TEXT,
    error_message TEXT,
    error_trace   TEXT,
    queue         TEXT NOT NULL,
    exchange      TEXT NOT NULL,
    routing_key   TEXT NOT NULL,
    worker        TEXT NOT NULL,
    attempts      INTEGER NOT NULL,
    root_id       TEXT,
    parent_id     TEXT,
    group_id      TEXT,
    eta           TEXT,
    expires       TEXT,
    sent_at       TEXT,
    received_at   TEXT,
    started_at    TEXT,
    finished_at   TEXT,
    runtime       REAL,
    trace_id      TEXT,
    args_text     TEXT,
    kwargs_text   TEXT,
    result_text   TEXT
) STRICT;

CREATE INDEX tasks_finished_at ON tasks (finished_at);
CREATE INDEX tasks_root_id ON tasks (root_id) WHERE root_id <> id;
CREATE INDEX tasks_group_id ON tasks (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX tasks_unfinished ON tasks (state, received_at) WHERE state IN ('PENDING', 'STARTED', 'RETRY');

CREATE VIEW slowest AS
SELECT name,
       count(*) AS runs,
       avg(runtime) AS mean_seconds,
       min(CASE WHEN share >= 0.5 THEN runtime END) AS median_seconds,
       min(CASE WHEN share >= 0.95 THEN runtime END) AS p95_seconds,
       max(runtime) AS max_seconds,
       sum(runtime) AS total_seconds
FROM (
    SELECT name, runtime, cume_dist() OVER (PARTITION BY name ORDER BY runtime) AS share
    FROM tasks
    WHERE runtime IS NOT NULL
)
GROUP BY name
ORDER BY p95_seconds DESC;

CREATE VIEW failures AS
SELECT name,
       state,
       error_kind,
       count(*) AS tasks,
       min(finished_at) AS first_at,
       max(finished_at) AS last_at,
       last_message,
       last_id
FROM (
    SELECT name, state, error_kind, finished_at,
           first_value(error_message) OVER latest AS last_message,
           first_value(id) OVER latest AS last_id
    FROM tasks
    WHERE state IN ('FAILURE', 'REJECTED', 'REVOKED')
    WINDOW latest AS (PARTITION BY name, state, error_kind ORDER BY finished_at DESC)
)
GROUP BY name, state, error_kind
ORDER BY tasks DESC;

CREATE VIEW throughput AS
SELECT strftime('%Y-%m-%dT%H:%M:00Z', finished_at) AS minute,
       name,
       count(*) AS tasks,
       count(*) FILTER (WHERE state IN ('SUCCESS', 'IGNORED')) AS succeeded,
       count(*) FILTER (WHERE state NOT IN ('SUCCESS', 'IGNORED')) AS failed,
       sum(runtime) AS busy_seconds
FROM tasks
WHERE finished_at IS NOT NULL AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
GROUP BY 1, 2
ORDER BY 1 DESC, 2;

CREATE VIEW queue_wait AS
SELECT queue,
       name,
       count(*) AS tasks,
       avg(wait) AS mean_seconds,
       min(CASE WHEN share >= 0.5 THEN wait END) AS median_seconds,
       min(CASE WHEN share >= 0.95 THEN wait END) AS p95_seconds,
       max(wait) AS max_seconds
FROM (
    SELECT queue, name, wait, cume_dist() OVER (PARTITION BY queue, name ORDER BY wait) AS share
    FROM (
        SELECT queue, name,
               (julianday(started_at) - julianday(max(sent_at, coalesce(eta, sent_at)))) * 86400.0 AS wait
        FROM tasks
        WHERE attempts = 1 AND sent_at IS NOT NULL AND started_at IS NOT NULL
    )
)
GROUP BY queue, name
ORDER BY p95_seconds DESC;

CREATE VIEW unfinished AS
SELECT id, name, state, queue, worker, attempts, error_kind, error_message,
       coalesce(started_at, received_at, sent_at) AS last_seen_at,
       eta
FROM tasks
WHERE state IN ('PENDING', 'STARTED', 'RETRY')
ORDER BY last_seen_at;

CREATE VIEW workflows AS
SELECT coalesce(root_id, id) AS root_id,
       count(*) AS tasks,
       count(*) FILTER (WHERE state IN ('SUCCESS', 'IGNORED')) AS succeeded,
       count(*) FILTER (WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED')) AS failed,
       count(*) FILTER (WHERE state IN ('PENDING', 'STARTED', 'RETRY')) AS unfinished,
       min(coalesce(sent_at, received_at, started_at)) AS began_at,
       max(finished_at) AS last_finished_at,
       sum(runtime) AS busy_seconds
FROM tasks
WHERE coalesce(root_id, id) IN (SELECT root_id FROM tasks WHERE root_id <> id)
GROUP BY 1
ORDER BY last_finished_at DESC;
