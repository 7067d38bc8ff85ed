SELECT tasks.name, attempts.error_kind, count(*) AS failed_attempts,
       count(DISTINCT attempts.id) FILTER (WHERE tasks.state = 'SUCCESS') AS tasks_that_succeeded_later,
       count(DISTINCT attempts.id) FILTER (WHERE tasks.state = 'FAILURE') AS tasks_that_failed,
       count(DISTINCT attempts.id) FILTER (WHERE tasks.state = 'RETRY') AS tasks_that_wait
FROM celeriac.attempts
JOIN celeriac.tasks USING (id)
WHERE attempts.finished_at > now() - interval '1 hour'
GROUP BY tasks.name, attempts.error_kind
ORDER BY failed_attempts DESC, tasks.name;
