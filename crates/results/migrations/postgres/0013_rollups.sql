-- Counts and histograms of outcomes, so that no question about rates reads every task. Triggers write
-- them in the transaction of the outcomes, also those of older programs. Each outcome is counted in
-- one row, and each session of the database has rows of its own, so no writer waits for another.
CREATE TABLE celeriac.rollups (
    seconds         integer NOT NULL CHECK (seconds IN (10, 60, 3600)),
    at              timestamptz NOT NULL,
    queue           text NOT NULL,
    name            text NOT NULL,
    state           text NOT NULL,
    writer          integer NOT NULL,
    tasks           bigint NOT NULL,
    runs            bigint NOT NULL,
    runtime_seconds double precision NOT NULL,
    max_runtime     double precision,
    runtime_buckets bigint[] NOT NULL,
    waits           bigint NOT NULL,
    wait_seconds    double precision NOT NULL,
    max_wait        double precision,
    wait_buckets    bigint[] NOT NULL,
    PRIMARY KEY (seconds, at, queue, name, state, writer)
-- The next version of a row fits on its page, so that the index does not change.
) WITH (fillfactor = 40);

COMMENT ON TABLE celeriac.rollups IS 'Counts of outcomes: read the view celeriac.stats.';
COMMENT ON COLUMN celeriac.rollups.writer IS 'Session of the database that counted. 0: several, added up.';

CREATE FUNCTION celeriac.bucket_bounds() RETURNS double precision[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '{0.005,0.01,0.025,0.05,0.075,0.1,0.25,0.5,0.75,1,2.5,5,7.5,10,30,60,300,900,3600,14400,86400}'::double precision[]
$$;
COMMENT ON FUNCTION celeriac.bucket_bounds() IS
    'Upper bounds of the buckets of celeriac.stats, in seconds. The last bucket has none.';

CREATE FUNCTION celeriac.add_to_bucket(buckets bigint[], bucket integer, tasks bigint) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF bucket IS NOT NULL THEN
        buckets[bucket + 1] := buckets[bucket + 1] + tasks;
    END IF;
    RETURN buckets;
END
$$;

CREATE FUNCTION celeriac.add_buckets(one bigint[], other bigint[]) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF one IS NULL OR other IS NULL THEN
        RETURN coalesce(one, other);
    END IF;
    FOR bucket IN 1..22 LOOP
        IF other[bucket] > 0 THEN
            one[bucket] := one[bucket] + other[bucket];
        END IF;
    END LOOP;
    RETURN one;
END
$$;

CREATE AGGREGATE celeriac.histogram(bucket integer, tasks bigint) (
    sfunc = celeriac.add_to_bucket, stype = bigint[], initcond = '{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}'
);

CREATE AGGREGATE celeriac.sum_buckets(bigint[]) (
    sfunc = celeriac.add_buckets, combinefunc = celeriac.add_buckets, stype = bigint[], parallel = safe
);
COMMENT ON AGGREGATE celeriac.sum_buckets(bigint[]) IS 'Adds histograms up, bucket by bucket.';

CREATE FUNCTION celeriac.percentile(buckets bigint[], fraction double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT lower + (upper - lower) * ($2 * total - (up_to - tasks)) / tasks
    FROM (
        SELECT bucket, tasks::double precision AS tasks,
               (sum(tasks) OVER (ORDER BY bucket))::double precision AS up_to,
               (sum(tasks) OVER ())::double precision AS total,
               coalesce((celeriac.bucket_bounds())[bucket - 1], 0) AS lower,
               coalesce((celeriac.bucket_bounds())[bucket], (celeriac.bucket_bounds())[bucket - 1]) AS upper
        FROM unnest($1) WITH ORDINALITY AS counted (tasks, bucket)
    ) AS counted
    WHERE tasks > 0 AND up_to >= $2 * total
    ORDER BY bucket
    LIMIT 1
$$;
COMMENT ON FUNCTION celeriac.percentile(bigint[], double precision) IS
    'Estimates a percentile of a histogram, between the bounds of its bucket. Null if nothing was counted.';

CREATE VIEW celeriac.stats AS
SELECT at, seconds, queue, name, state, tasks, runs, runtime_seconds, max_runtime, runtime_buckets,
       waits, wait_seconds, max_wait, wait_buckets
FROM celeriac.rollups
-- For the index, which begins with it.
WHERE seconds IN (10, 60, 3600);
COMMENT ON VIEW celeriac.stats IS
    'Outcomes by time, queue, task and state. Each outcome is counted in one row: add rows up.';

CREATE OR REPLACE VIEW celeriac.throughput AS
SELECT date_trunc('minute', at) AS minute,
       name,
       sum(tasks)::bigint AS tasks,
       coalesce(sum(tasks) FILTER (WHERE state IN ('SUCCESS', 'IGNORED')), 0)::bigint AS succeeded,
       coalesce(sum(tasks) FILTER (WHERE state NOT IN ('SUCCESS', 'IGNORED')), 0)::bigint AS failed,
       sum(runtime_seconds) FILTER (WHERE runs > 0) AS busy_seconds
FROM celeriac.rollups
WHERE seconds IN (10, 60) AND state <> 'RETRY'
GROUP BY 1, 2
ORDER BY 1 DESC, 2;

CREATE OR REPLACE VIEW celeriac.slowest AS
SELECT name,
       runs,
       mean_seconds,
       least(celeriac.percentile(buckets, 0.5), max_seconds) AS median_seconds,
       least(celeriac.percentile(buckets, 0.95), max_seconds) AS p95_seconds,
       max_seconds,
       total_seconds,
       least(celeriac.percentile(buckets, 0.99), max_seconds) AS p99_seconds
FROM (
    SELECT name, sum(runs)::bigint AS runs, sum(runtime_seconds) / sum(runs) AS mean_seconds,
           max(max_runtime) AS max_seconds, sum(runtime_seconds) AS total_seconds,
           celeriac.sum_buckets(runtime_buckets) AS buckets
    FROM celeriac.rollups
    WHERE state <> 'RETRY' AND runs > 0
    GROUP BY name
) AS counted
ORDER BY p95_seconds DESC;

CREATE OR REPLACE VIEW celeriac.queue_wait AS
SELECT queue,
       name,
       tasks,
       mean_seconds,
       least(celeriac.percentile(buckets, 0.5), max_seconds) AS median_seconds,
       least(celeriac.percentile(buckets, 0.95), max_seconds) AS p95_seconds,
       max_seconds,
       least(celeriac.percentile(buckets, 0.99), max_seconds) AS p99_seconds
FROM (
    SELECT queue, name, sum(waits)::bigint AS tasks, sum(wait_seconds) / sum(waits) AS mean_seconds,
           max(max_wait) AS max_seconds, celeriac.sum_buckets(wait_buckets) AS buckets
    FROM celeriac.rollups
    WHERE waits > 0
    GROUP BY queue, name
) AS counted
ORDER BY p95_seconds DESC;

-- The claim of one process to work that one process does at a time.
CREATE TABLE celeriac.leases (
    name       text PRIMARY KEY,
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE celeriac.leases IS 'Work that one process does at a time, and the process that does it.';

-- Two functions of one text: rows that were inserted, and rows whose outcome has changed. An outcome
-- that is written again, after a commit without an answer, is the same one.
DO $do$
DECLARE
    function record;
BEGIN
    FOR function IN VALUES
        ('count_inserted', ''),
        ('count_updated', 'JOIN replaced USING (id)
                WHERE (replaced.state, replaced.attempts, replaced.started_at, replaced.finished_at)
                    IS DISTINCT FROM (written.state, written.attempts, written.started_at, written.finished_at)')
    LOOP
        EXECUTE format($function$
CREATE FUNCTION celeriac.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    INSERT INTO celeriac.rollups AS kept (
        seconds, at, queue, name, state, writer, tasks, runs, runtime_seconds, max_runtime, runtime_buckets,
        waits, wait_seconds, max_wait, wait_buckets
    )
    SELECT 10, at, queue, name, state, pg_backend_pid(), sum(tasks),
           coalesce(sum(tasks) FILTER (WHERE runtime_bucket IS NOT NULL), 0), coalesce(sum(runtime_seconds), 0),
           max(max_runtime), celeriac.histogram(runtime_bucket, tasks),
           coalesce(sum(tasks) FILTER (WHERE wait_bucket IS NOT NULL), 0), coalesce(sum(wait_seconds), 0),
           max(max_wait), celeriac.histogram(wait_bucket, tasks)
    FROM (
        SELECT at, queue, name, state, width_bucket(runtime, bounds) AS runtime_bucket,
               width_bucket(wait, bounds) AS wait_bucket, count(*) AS tasks, sum(runtime) AS runtime_seconds,
               max(runtime) AS max_runtime, sum(wait) AS wait_seconds, max(wait) AS max_wait
        FROM (
            SELECT to_timestamp(10 * floor(date_part('epoch', coalesce(
                       written.finished_at, written.started_at + make_interval(secs => written.runtime), clock_timestamp()
                   )) / 10)) AS at,
                   left(written.queue, 255) AS queue, left(written.name, 255) AS name, written.state, written.runtime,
                   -- The eta of a retry is that of its next attempt.
                   CASE WHEN written.attempts = 1 AND written.replays = 0 AND written.state <> 'RETRY' THEN greatest(
                       date_part('epoch', written.started_at - greatest(written.sent_at, written.eta)), 0
                   ) END AS wait,
                   celeriac.bucket_bounds() AS bounds
            FROM (
                SELECT * FROM changed WHERE state IN ('RETRY', 'SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
            ) AS written %s
        ) AS outcomes
        GROUP BY 1, 2, 3, 4, 5, 6
    ) AS counted
    GROUP BY at, queue, name, state
    ON CONFLICT (seconds, at, queue, name, state, writer) DO UPDATE SET
        tasks = kept.tasks + excluded.tasks,
        runs = kept.runs + excluded.runs,
        runtime_seconds = kept.runtime_seconds + excluded.runtime_seconds,
        max_runtime = greatest(kept.max_runtime, excluded.max_runtime),
        runtime_buckets = celeriac.add_buckets(kept.runtime_buckets, excluded.runtime_buckets),
        waits = kept.waits + excluded.waits,
        wait_seconds = kept.wait_seconds + excluded.wait_seconds,
        max_wait = greatest(kept.max_wait, excluded.max_wait),
        wait_buckets = celeriac.add_buckets(kept.wait_buckets, excluded.wait_buckets);
    RETURN NULL;
END
$body$
        $function$, function.column1, function.column2);
    END LOOP;
END
$do$;

-- Last, because writers wait for the commit from here on.
CREATE TRIGGER count_inserted AFTER INSERT ON celeriac.tasks
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION celeriac.count_inserted();
CREATE TRIGGER count_updated AFTER UPDATE ON celeriac.tasks
    REFERENCING OLD TABLE AS replaced NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION celeriac.count_updated();
