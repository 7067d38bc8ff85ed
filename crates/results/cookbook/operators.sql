SELECT began_at, ended_at, database_user, os_user, host, action, target, count, error
FROM celeriac.audit
WHERE began_at > now() - interval '7 days'
ORDER BY number DESC
LIMIT 100;
