SELECT root_id, count(*) AS members,
       count(*) FILTER (WHERE state IN ('SUCCESS', 'IGNORED')) AS succeeded,
       count(*) FILTER (WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED')) AS failed,
       count(*) FILTER (WHERE state IN ('PENDING', 'STARTED', 'RETRY')) AS unfinished,
       max(finished_at) AS last_at
FROM celeriac.tasks
WHERE root_id <> id AND root_id IN (
    SELECT root_id FROM celeriac.tasks WHERE root_id <> id AND finished_at > now() - interval '1 hour'
)
GROUP BY root_id
ORDER BY failed DESC, unfinished DESC, last_at DESC
LIMIT 100;
