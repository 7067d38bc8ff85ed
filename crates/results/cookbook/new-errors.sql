SELECT counted.fingerprint, name, error_kind, normalized_message, own_frame, tasks, first_at
FROM (
    SELECT fingerprint, count(*) AS tasks, min(finished_at) AS first_at, max(id) AS one_id
    FROM celeriac.fingerprints
    WHERE finished_at > timestamptz '2026-11-30 11:30:00+00' - interval '1 day'
    GROUP BY fingerprint
    HAVING min(finished_at) >= timestamptz '2026-11-30 11:30:00+00'
) AS counted
JOIN celeriac.failed_tasks AS one ON one.id = one_id
ORDER BY tasks DESC, first_at, fingerprint;
