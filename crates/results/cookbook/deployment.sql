SELECT name,
       coalesce(sum(tasks) FILTER (WHERE at < deployed_at), 0) AS tasks_before,
       coalesce(sum(tasks) FILTER (WHERE at >= deployed_at), 0) AS tasks_after,
       round(100.0 * coalesce(sum(tasks) FILTER (WHERE at < deployed_at AND state = 'FAILURE'), 0)
             / sum(tasks) FILTER (WHERE at < deployed_at), 2) AS percent_failed_before,
       round(100.0 * coalesce(sum(tasks) FILTER (WHERE at >= deployed_at AND state = 'FAILURE'), 0)
             / sum(tasks) FILTER (WHERE at >= deployed_at), 2) AS percent_failed_after
FROM celeriac.stats, (VALUES (timestamptz '2026-11-30 11:30:00+00')) AS deployment (deployed_at)
WHERE at BETWEEN deployed_at - interval '1 hour' AND deployed_at + interval '1 hour' AND state <> 'RETRY'
GROUP BY name
ORDER BY percent_failed_after DESC NULLS LAST, name;
