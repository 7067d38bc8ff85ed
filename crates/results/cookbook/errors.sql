SELECT fingerprint, name, error_kind, normalized_message, own_frame, count(*) AS tasks,
       min(finished_at) AS first_at, max(finished_at) AS last_at,
       (array_agg(id ORDER BY finished_at DESC))[1] AS last_id
FROM celeriac.failed_tasks
WHERE finished_at > now() - interval '1 hour'
GROUP BY fingerprint, name, error_kind, normalized_message, own_frame
ORDER BY tasks DESC, last_at DESC, fingerprint;
