-- One row for each task, written when the task ends or waits for its next attempt.
CREATE TABLE celeriac.tasks (
    id            text PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 255),
    name          text NOT NULL,
    state         text NOT NULL CHECK (state IN
                  ('PENDING', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')),
    args          jsonb,
    kwargs        jsonb,
    result        jsonb,
    error_kind    text,
    error_message text,
    error_trace   text,
    queue         text NOT NULL,
    exchange      text NOT NULL,
    routing_key   text NOT NULL,
    worker        text NOT NULL,
    attempts      bigint NOT NULL,
    root_id       text,
    parent_id     text,
    group_id      text,
    eta           timestamptz,
    expires       timestamptz,
    sent_at       timestamptz,
    received_at   timestamptz,
    started_at    timestamptz,
    finished_at   timestamptz,
    runtime       double precision,
    trace_id      text,
    args_text     text,
    kwargs_text   text,
    result_text   text
);

COMMENT ON TABLE celeriac.tasks IS 'One row for each task.';
COMMENT ON COLUMN celeriac.tasks.queue IS 'The queue that delivered the task.';
COMMENT ON COLUMN celeriac.tasks.worker IS 'The worker that wrote this row.';
COMMENT ON COLUMN celeriac.tasks.attempts IS 'Number of attempts started.';
COMMENT ON COLUMN celeriac.tasks.sent_at IS 'Time at which the task was sent, if its id or its sender tells.';
COMMENT ON COLUMN celeriac.tasks.started_at IS 'Start of the last attempt.';
COMMENT ON COLUMN celeriac.tasks.runtime IS 'Duration of the last attempt, in seconds.';
COMMENT ON COLUMN celeriac.tasks.args_text IS 'The exact JSON of args, if jsonb cannot hold it; args is null then.';
COMMENT ON COLUMN celeriac.tasks.kwargs_text IS 'The exact JSON of kwargs, if jsonb cannot hold it; kwargs is null then.';
COMMENT ON COLUMN celeriac.tasks.result_text IS 'The exact JSON of result, if jsonb cannot hold it; result is null then.';

-- Finds old rows to delete, and recent ones. Every new entry goes to its end, which is cheap.
CREATE INDEX tasks_finished_at ON celeriac.tasks (finished_at);
-- Only members of a workflow: a single task is its own root.
CREATE INDEX tasks_root_id ON celeriac.tasks (root_id) WHERE root_id <> id;
CREATE INDEX tasks_group_id ON celeriac.tasks (group_id) WHERE group_id IS NOT NULL;
-- Few at any time.
CREATE INDEX tasks_unfinished ON celeriac.tasks (state, received_at) WHERE state IN ('PENDING', 'STARTED', 'RETRY');

CREATE VIEW celeriac.slowest AS
SELECT name,
       count(*) AS runs,
       avg(runtime) AS mean_seconds,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY runtime) AS median_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY runtime) AS p95_seconds,
       max(runtime) AS max_seconds,
       sum(runtime) AS total_seconds
FROM celeriac.tasks
WHERE runtime IS NOT NULL
GROUP BY name
ORDER BY p95_seconds DESC;
COMMENT ON VIEW celeriac.slowest IS 'Duration of the last attempt of each task, slowest task name first.';

CREATE VIEW celeriac.failures AS
SELECT name,
       state,
       error_kind,
       count(*) AS tasks,
       min(finished_at) AS first_at,
       max(finished_at) AS last_at,
       (array_agg(error_message ORDER BY finished_at DESC NULLS LAST))[1] AS last_message,
       (array_agg(id ORDER BY finished_at DESC NULLS LAST))[1] AS last_id
FROM celeriac.tasks
WHERE state IN ('FAILURE', 'REJECTED', 'REVOKED')
GROUP BY name, state, error_kind
ORDER BY tasks DESC;
COMMENT ON VIEW celeriac.failures IS 'Tasks that ended without success, by name and error, most frequent first.';

CREATE VIEW celeriac.throughput AS
SELECT date_trunc('minute', finished_at) AS minute,
       name,
       count(*) AS tasks,
       count(*) FILTER (WHERE state IN ('SUCCESS', 'IGNORED')) AS succeeded,
       count(*) FILTER (WHERE state NOT IN ('SUCCESS', 'IGNORED')) AS failed,
       sum(runtime) AS busy_seconds
FROM celeriac.tasks
WHERE finished_at IS NOT NULL AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
GROUP BY 1, 2
ORDER BY 1 DESC, 2;
COMMENT ON VIEW celeriac.throughput IS 'Tasks that ended, by minute and name, latest minute first.';

CREATE VIEW celeriac.queue_wait AS
SELECT queue,
       name,
       count(*) AS tasks,
       avg(wait) AS mean_seconds,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY wait) AS median_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY wait) AS p95_seconds,
       max(wait) AS max_seconds
FROM (
    SELECT queue, name, extract(epoch FROM started_at - greatest(sent_at, eta))::double precision AS wait
    FROM celeriac.tasks
    WHERE attempts = 1 AND sent_at IS NOT NULL AND started_at IS NOT NULL
) AS waits
GROUP BY queue, name
ORDER BY p95_seconds DESC;
COMMENT ON VIEW celeriac.queue_wait IS
    'From sent (or its eta) to the start of the only attempt, where the time of sending is known.';

CREATE VIEW celeriac.unfinished AS
SELECT id, name, state, queue, worker, attempts, error_kind, error_message,
       coalesce(started_at, received_at, sent_at) AS last_seen_at,
       eta
FROM celeriac.tasks
WHERE state IN ('PENDING', 'STARTED', 'RETRY')
ORDER BY last_seen_at;
COMMENT ON VIEW celeriac.unfinished IS
    'Tasks that wait for another attempt, and those sent or started where that is tracked; the longest silent first.';

CREATE VIEW celeriac.workflows AS
SELECT coalesce(root_id, id) AS root_id,
       count(*) AS tasks,
       count(*) FILTER (WHERE state IN ('SUCCESS', 'IGNORED')) AS succeeded,
       count(*) FILTER (WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED')) AS failed,
       count(*) FILTER (WHERE state IN ('PENDING', 'STARTED', 'RETRY')) AS unfinished,
       min(coalesce(sent_at, received_at, started_at)) AS began_at,
       max(finished_at) AS last_finished_at,
       sum(runtime) AS busy_seconds
FROM celeriac.tasks
WHERE coalesce(root_id, id) IN (SELECT root_id FROM celeriac.tasks WHERE root_id <> id)
GROUP BY 1
ORDER BY last_finished_at DESC NULLS LAST;
COMMENT ON VIEW celeriac.workflows IS 'Tasks that belong together, by their first task, the latest first.';
