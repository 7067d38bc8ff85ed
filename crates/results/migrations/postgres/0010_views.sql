-- Failures are few, so the index costs other rows nothing. Its creation reads the table once, and
-- writers wait for that.
CREATE INDEX tasks_failed ON celeriac.tasks (finished_at) WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED');

-- The parts of a message that differ between two occurrences of one error.
CREATE FUNCTION celeriac.normalized(message text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace(
        left(split_part($1, E'\n', 1), 500),
        '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}', '<id>', 'g'),
        '\m0x[0-9a-fA-F]+', '<hex>', 'g'),
        '"[^"]*"|''[^'']*''|`[^`]*`', '<text>', 'g'),
        '\d+([.,:]\d+)*', '<number>', 'g')
$$;
COMMENT ON FUNCTION celeriac.normalized(text) IS
    'The first line of a message, with ids, numbers and quoted texts replaced.';

-- Python: the last frame outside of libraries. Rust: the first frame of a backtrace with a relative
-- path, which only the program's own sources have.
CREATE FUNCTION celeriac.own_frame(trace text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        (SELECT frame[1] || ' in ' || frame[2]
         FROM regexp_matches($1, '^\s*File "([^"]+)", line \d+, in (\S+)', 'gn') WITH ORDINALITY AS frames (frame, position)
         WHERE frame[1] !~ '(site|dist)-packages|/lib/python|^<'
         ORDER BY position DESC LIMIT 1),
        substring($1 FROM '\n\s+at \./(\S+?):\d+(?::\d+)?(?:\n|$)')
    )
$$;
COMMENT ON FUNCTION celeriac.own_frame(text) IS 'The place in the program at which an error came up, without the line.';

CREATE VIEW celeriac.failed_tasks AS
SELECT id, name, state, error_kind, error_message, worker, queue, attempts, finished_at, trace_id,
       celeriac.normalized(error_message) AS normalized_message,
       celeriac.own_frame(error_trace) AS own_frame,
       left(md5(concat_ws(E'\n', name, state, error_kind, celeriac.normalized(error_message),
                          celeriac.own_frame(error_trace))), 12) AS fingerprint
FROM celeriac.tasks
WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED');
COMMENT ON VIEW celeriac.failed_tasks IS
    'Tasks that ended without success. Equal fingerprints: the same task, kind of error, normalized message and place.';

CREATE VIEW celeriac.failure_groups AS
SELECT fingerprint,
       name,
       state,
       error_kind,
       normalized_message,
       own_frame,
       count(*) AS tasks,
       min(finished_at) AS first_at,
       max(finished_at) AS last_at,
       (array_agg(id ORDER BY finished_at DESC NULLS LAST))[1] AS last_id
FROM celeriac.failed_tasks
GROUP BY fingerprint, name, state, error_kind, normalized_message, own_frame
ORDER BY tasks DESC;
COMMENT ON VIEW celeriac.failure_groups IS 'Failures by fingerprint, the most frequent first.';

CREATE OR REPLACE VIEW celeriac.slowest AS
SELECT name,
       count(*) AS runs,
       avg(runtime) AS mean_seconds,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY runtime) AS median_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY runtime) AS p95_seconds,
       max(runtime) AS max_seconds,
       sum(runtime) AS total_seconds,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY runtime) AS p99_seconds
FROM celeriac.tasks
WHERE runtime IS NOT NULL
GROUP BY name
ORDER BY p95_seconds DESC;

CREATE OR REPLACE VIEW celeriac.queue_wait AS
SELECT queue,
       name,
       count(*) AS tasks,
       avg(wait) AS mean_seconds,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY wait) AS median_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY wait) AS p95_seconds,
       max(wait) AS max_seconds,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY wait) AS p99_seconds
FROM (
    SELECT queue, name, extract(epoch FROM started_at - greatest(sent_at, eta))::double precision AS wait
    FROM celeriac.tasks
    WHERE attempts = 1 AND replays = 0 AND sent_at IS NOT NULL AND started_at IS NOT NULL
) AS waits
GROUP BY queue, name
ORDER BY p95_seconds DESC;

CREATE VIEW celeriac.waiting_retries AS
SELECT id, name, queue, attempts, replays, error_kind, error_message, started_at AS last_started_at, eta AS next_at,
       extract(epoch FROM now() - eta)::double precision AS overdue_seconds
FROM celeriac.tasks
WHERE state = 'RETRY'
ORDER BY next_at;
COMMENT ON VIEW celeriac.waiting_retries IS
    'Tasks that wait for their next attempt, the earliest first. overdue_seconds is negative until its time.';

CREATE VIEW celeriac.overdue_retries AS
SELECT * FROM celeriac.waiting_retries WHERE next_at < now() - interval '5 minutes';
COMMENT ON VIEW celeriac.overdue_retries IS
    'Tasks whose next attempt was due five minutes ago. Their queue is behind, or their message is lost.';

CREATE VIEW celeriac.worker_activity AS
SELECT worker,
       count(*) AS tasks,
       count(*) FILTER (WHERE state NOT IN ('SUCCESS', 'IGNORED')) AS failed,
       sum(runtime) AS busy_seconds,
       max(finished_at) AS last_at
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour'
GROUP BY worker
ORDER BY busy_seconds DESC NULLS LAST;
COMMENT ON VIEW celeriac.worker_activity IS 'Tasks that ended in the last hour, by worker, the busiest first.';

CREATE VIEW celeriac.queue_activity AS
SELECT queue,
       count(*) AS tasks,
       count(*) FILTER (WHERE state NOT IN ('SUCCESS', 'IGNORED')) AS failed,
       sum(runtime) AS busy_seconds,
       count(DISTINCT worker) AS workers,
       max(finished_at) AS last_at
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour'
GROUP BY queue
ORDER BY tasks DESC;
COMMENT ON VIEW celeriac.queue_activity IS 'Tasks that ended in the last hour, by queue, the most frequent first.';

-- A view cannot start its recursion at the task that a reader asks for.
CREATE FUNCTION celeriac.tree(root text)
RETURNS TABLE (depth bigint, path text[], id text, name text, state text, attempts bigint, runtime double precision,
               started_at timestamptz, finished_at timestamptz, error_kind text, error_message text)
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE tree AS (
        SELECT 0::bigint AS depth, ARRAY[task.id] AS path, task AS row
        FROM celeriac.tasks AS task
        WHERE task.id = $1
        UNION ALL
        SELECT tree.depth + 1, tree.path || child.id, child
        FROM tree
        JOIN celeriac.tasks AS child ON child.parent_id = (tree.row).id
        WHERE child.root_id = coalesce((tree.row).root_id, (tree.row).id) AND child.root_id <> child.id
            AND NOT child.id = ANY (tree.path)
    )
    SELECT tree.depth, tree.path, (row).id, (row).name, (row).state, (row).attempts, (row).runtime, (row).started_at,
           (row).finished_at, (row).error_kind, (row).error_message
    FROM tree
    ORDER BY tree.path
$$;
COMMENT ON FUNCTION celeriac.tree(text) IS 'A task and every task that it sent, in the order of the tree.';
