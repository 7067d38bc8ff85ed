-- Rows of attempts that have started, where results.track is started.
CREATE VIEW celeriac.running AS
SELECT id, name, queue, worker, attempts, replays, started_at,
       extract(epoch FROM now() - started_at)::double precision AS running_seconds,
       args, kwargs, trace_id
FROM celeriac.tasks
WHERE state = 'STARTED'
ORDER BY started_at;
COMMENT ON VIEW celeriac.running IS 'Attempts that have started and not ended, the longest first. Needs results.track: started.';

CREATE VIEW celeriac.stuck AS
SELECT running.*
FROM celeriac.running
WHERE started_at < now() - interval '10 minutes'
    AND NOT EXISTS (SELECT FROM celeriac.runs WHERE runs.id = running.id AND runs.expires_at > now())
    AND NOT EXISTS (
        SELECT FROM celeriac.tasks AS ended
        WHERE ended.worker = running.worker AND ended.finished_at > now() - interval '10 minutes'
    )
    AND NOT EXISTS (
        SELECT FROM celeriac.running AS other
        WHERE other.worker = running.worker AND other.started_at > now() - interval '10 minutes'
    );
COMMENT ON VIEW celeriac.stuck IS
    'Attempts that started over ten minutes ago, on workers that have recorded nothing for ten minutes.';
