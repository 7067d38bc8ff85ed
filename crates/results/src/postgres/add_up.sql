-- Rows of $1 seconds that are older than $3 become rows of $2 seconds. A row that arrives late is
-- added the next time.
WITH old AS (
    DELETE FROM celeriac.rollups WHERE (seconds, at, queue, name, state, writer) IN (
        SELECT seconds, at, queue, name, state, writer FROM celeriac.rollups
        WHERE seconds = $1::integer AND at < clock_timestamp() - make_interval(secs => $3)
        ORDER BY at LIMIT $4 FOR UPDATE SKIP LOCKED
    ) RETURNING *
), added AS (
    INSERT INTO celeriac.rollups AS kept (
        seconds, at, queue, name, state, writer, tasks, runs, runtime_seconds, max_runtime, runtime_buckets,
        waits, wait_seconds, max_wait, wait_buckets
    )
    SELECT $2::integer, begins_at, queue, name, state, 0, sum(tasks), sum(runs), sum(runtime_seconds), max(max_runtime),
           celeriac.sum_buckets(runtime_buckets), sum(waits), sum(wait_seconds), max(max_wait),
           celeriac.sum_buckets(wait_buckets)
    FROM (
        SELECT *, to_timestamp($2::integer * floor(date_part('epoch', at) / $2::integer)) AS begins_at FROM old
    ) AS old
    GROUP BY begins_at, queue, name, state
    ORDER BY begins_at, queue, name, state
    ON CONFLICT (seconds, at, queue, name, state, writer) DO UPDATE SET
        tasks = kept.tasks + excluded.tasks,
        runs = kept.runs + excluded.runs,
        runtime_seconds = kept.runtime_seconds + excluded.runtime_seconds,
        max_runtime = greatest(kept.max_runtime, excluded.max_runtime),
        runtime_buckets = celeriac.add_buckets(kept.runtime_buckets, excluded.runtime_buckets),
        waits = kept.waits + excluded.waits,
        wait_seconds = kept.wait_seconds + excluded.wait_seconds,
        max_wait = greatest(kept.max_wait, excluded.max_wait),
        wait_buckets = celeriac.add_buckets(kept.wait_buckets, excluded.wait_buckets)
)
SELECT count(*) FROM old
