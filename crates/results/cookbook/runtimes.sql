SELECT name, count(*) AS runs,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY runtime) AS p50_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY runtime) AS p95_seconds,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY runtime) AS p99_seconds,
       max(runtime) AS max_seconds
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour' AND runtime IS NOT NULL
GROUP BY name
ORDER BY p95_seconds DESC, name;
