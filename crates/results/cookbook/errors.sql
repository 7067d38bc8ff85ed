SELECT counted.fingerprint, name, error_kind, normalized_message, own_frame, tasks, first_at, last_at, last_id
FROM (
    SELECT fingerprint, count(*) AS tasks, min(finished_at) AS first_at, max(finished_at) AS last_at,
           (array_agg(id ORDER BY finished_at DESC))[1] AS last_id
    FROM celeriac.fingerprints
    WHERE finished_at > now() - interval '1 hour'
    GROUP BY fingerprint
) AS counted
JOIN celeriac.failed_tasks AS last ON last.id = last_id
ORDER BY tasks DESC, last_at DESC, fingerprint;
