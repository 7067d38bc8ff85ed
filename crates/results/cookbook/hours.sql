SELECT extract(isodow FROM at) AS weekday, extract(hour FROM at) AS hour, sum(tasks) AS tasks,
       round(sum(runtime_seconds)::numeric, 1) AS busy_seconds
FROM celeriac.stats
WHERE at > now() - interval '7 days' AND state <> 'RETRY'
GROUP BY weekday, hour
ORDER BY tasks DESC
LIMIT 24;
