WITH counted AS (
    SELECT queue, name,
           coalesce(sum(tasks) FILTER (WHERE state <> 'RETRY'), 0) AS tasks,
           coalesce(sum(tasks) FILTER (WHERE state IN ('FAILURE', 'REJECTED')), 0) AS failed,
           coalesce(sum(tasks) FILTER (WHERE state = 'RETRY'), 0) AS retried,
           celeriac.sum_buckets(runtime_buckets) AS runtimes, max(max_runtime) AS max_runtime,
           celeriac.sum_buckets(wait_buckets) AS waits, max(max_wait) AS max_wait
    FROM celeriac.stats
    WHERE at >= to_timestamp(10 * floor(extract(epoch FROM now() - interval '5 minutes') / 10))
    GROUP BY queue, name
)
SELECT queue, name,
       round((tasks / (extract(epoch FROM now())
              - 10 * floor(extract(epoch FROM now() - interval '5 minutes') / 10)))::numeric, 2) AS tasks_per_second,
       tasks, failed, retried,
       round(least(celeriac.percentile(runtimes, 0.5), max_runtime)::numeric, 4) AS p50_seconds,
       round(least(celeriac.percentile(runtimes, 0.95), max_runtime)::numeric, 4) AS p95_seconds,
       round(least(celeriac.percentile(waits, 0.95), max_wait)::numeric, 4) AS p95_wait_seconds
FROM counted
ORDER BY tasks_per_second DESC, queue, name;
