SELECT name, sum(runs) AS runs, round(sum(runtime_seconds)::numeric, 1) AS busy_seconds,
       round((100 * sum(runtime_seconds) / nullif(sum(sum(runtime_seconds)) OVER (), 0))::numeric, 1) AS percent
FROM celeriac.stats
WHERE at > now() - interval '1 hour' AND runs > 0
GROUP BY name
ORDER BY busy_seconds DESC, name;
