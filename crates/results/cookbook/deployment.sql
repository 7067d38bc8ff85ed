SELECT name,
       count(*) FILTER (WHERE finished_at < at) AS tasks_before,
       count(*) FILTER (WHERE finished_at >= at) AS tasks_after,
       round(100.0 * count(*) FILTER (WHERE finished_at < at AND state = 'FAILURE')
             / nullif(count(*) FILTER (WHERE finished_at < at), 0), 2) AS percent_failed_before,
       round(100.0 * count(*) FILTER (WHERE finished_at >= at AND state = 'FAILURE')
             / nullif(count(*) FILTER (WHERE finished_at >= at), 0), 2) AS percent_failed_after
FROM celeriac.tasks, (VALUES (timestamptz '2026-11-30 11:30:00+00')) AS deployment (at)
WHERE finished_at BETWEEN at - interval '1 hour' AND at + interval '1 hour'
GROUP BY name
ORDER BY percent_failed_after DESC NULLS LAST, name;
