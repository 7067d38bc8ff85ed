WITH ended AS (
    SELECT date_trunc('minute', at) AS minute, sum(tasks) AS tasks, sum(tasks) FILTER (WHERE state = 'FAILURE') AS failed
    FROM celeriac.stats
    WHERE at >= date_trunc('minute', now() - interval '10 minutes') AND state <> 'RETRY'
    GROUP BY 1
)
SELECT minute, coalesce(tasks, 0) AS tasks, coalesce(failed, 0) AS failed
FROM generate_series(date_trunc('minute', now() - interval '10 minutes'), now(), '1 minute') AS minute
LEFT JOIN ended USING (minute)
ORDER BY minute;
