SELECT name, count(*) AS runs, round(sum(runtime)::numeric, 1) AS busy_seconds,
       round((100 * sum(runtime) / sum(sum(runtime)) OVER ())::numeric, 1) AS percent
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour' AND runtime IS NOT NULL
GROUP BY name
ORDER BY busy_seconds DESC, name;
