SELECT extract(isodow FROM finished_at) AS weekday, extract(hour FROM finished_at) AS hour, count(*) AS tasks,
       round(sum(runtime)::numeric, 1) AS busy_seconds
FROM celeriac.tasks
WHERE finished_at > now() - interval '7 days'
GROUP BY weekday, hour
ORDER BY tasks DESC
LIMIT 24;
