-- Reads at most $8 ended tasks that are older than $1 seconds, after the place ($6, $7), and deletes
-- those that are kept for $1 seconds. The first rule that matches says so, or the default $2.
WITH piece AS (
    SELECT id, finished_at, coalesce((
        SELECT rule.keep
        FROM unnest($3::text[], $4::text[], $5::double precision[]) WITH ORDINALITY AS rule (task, states, keep, place)
        WHERE (rule.task IS NULL OR tasks.name LIKE rule.task) AND tasks.state = ANY(string_to_array(rule.states, ','))
        ORDER BY place LIMIT 1
    ), $2) AS keep
    FROM celeriac.tasks
    WHERE finished_at < clock_timestamp() - make_interval(secs => $1)
        AND finished_at >= coalesce($6::timestamptz, '-infinity')
        AND (finished_at, id) > (coalesce($6::timestamptz, '-infinity'), $7)
        AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
    ORDER BY finished_at, id LIMIT $8
), gone AS (
    DELETE FROM celeriac.tasks WHERE id IN (
        SELECT id FROM celeriac.tasks
        WHERE id IN (SELECT id FROM piece WHERE keep = $1)
            AND finished_at < clock_timestamp() - make_interval(secs => $1)
            AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
        FOR UPDATE SKIP LOCKED
    ) RETURNING 1
), last AS (
    SELECT finished_at, id FROM piece ORDER BY finished_at DESC, id DESC LIMIT 1
)
SELECT (SELECT count(*) FROM piece), (SELECT count(*) FROM gone), (SELECT finished_at FROM last), (SELECT id FROM last)
