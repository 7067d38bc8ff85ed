SELECT name, runs,
       least(celeriac.percentile(buckets, 0.5), max_seconds) AS p50_seconds,
       least(celeriac.percentile(buckets, 0.95), max_seconds) AS p95_seconds,
       least(celeriac.percentile(buckets, 0.99), max_seconds) AS p99_seconds,
       max_seconds
FROM (
    SELECT name, sum(runs) AS runs, celeriac.sum_buckets(runtime_buckets) AS buckets, max(max_runtime) AS max_seconds
    FROM celeriac.stats
    WHERE at > now() - interval '1 hour' AND state <> 'RETRY' AND runs > 0
    GROUP BY name
) AS counted
ORDER BY p95_seconds DESC, name;
