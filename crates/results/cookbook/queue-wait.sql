SELECT queue, tasks,
       least(celeriac.percentile(buckets, 0.5), max_seconds) AS p50_seconds,
       least(celeriac.percentile(buckets, 0.95), max_seconds) AS p95_seconds,
       max_seconds
FROM (
    SELECT queue, sum(waits) AS tasks, celeriac.sum_buckets(wait_buckets) AS buckets, max(max_wait) AS max_seconds
    FROM celeriac.stats
    WHERE at > now() - interval '1 hour' AND waits > 0
    GROUP BY queue
) AS counted
ORDER BY p95_seconds DESC, queue;
