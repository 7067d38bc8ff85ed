SELECT fingerprint, name, error_kind, normalized_message, own_frame, count(*) AS tasks, min(finished_at) AS first_at
FROM celeriac.failed_tasks
WHERE finished_at > timestamptz '2026-11-30 11:30:00+00' - interval '1 day'
GROUP BY fingerprint, name, error_kind, normalized_message, own_frame
HAVING min(finished_at) >= timestamptz '2026-11-30 11:30:00+00'
ORDER BY tasks DESC, first_at, fingerprint;
