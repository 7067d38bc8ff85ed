SELECT state, count(*) AS tasks, min(started_at) AS first_started_at, max(finished_at) AS last_finished_at
FROM celeriac.tasks
WHERE group_id = '0198b2a4-5c3e-7000-8000-000000000001'
GROUP BY state
ORDER BY tasks DESC, state;
