SELECT revocations.id, tasks.name, tasks.state, revocations.terminate, revocations.revoked_by, revocations.revoked_at
FROM celeriac.revocations
LEFT JOIN celeriac.tasks USING (id)
WHERE revocations.revoked_at > now() - interval '1 day'
ORDER BY revocations.revoked_at DESC
LIMIT 100;
