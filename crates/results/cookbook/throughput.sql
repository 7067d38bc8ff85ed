WITH ended AS (
    SELECT date_trunc('minute', finished_at) AS minute, count(*) AS tasks, count(*) FILTER (WHERE state = 'FAILURE') AS failed
    FROM celeriac.tasks
    WHERE finished_at >= date_trunc('minute', now() - interval '10 minutes')
    GROUP BY 1
)
SELECT minute, coalesce(tasks, 0) AS tasks, coalesce(failed, 0) AS failed
FROM generate_series(date_trunc('minute', now() - interval '10 minutes'), now(), '1 minute') AS minute
LEFT JOIN ended USING (minute)
ORDER BY minute;
