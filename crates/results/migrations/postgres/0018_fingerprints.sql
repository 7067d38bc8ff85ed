-- The fingerprint of a failure, computed once, when the failure is written. Rows of before have none:
-- readers compute theirs.
ALTER TABLE celeriac.tasks ADD COLUMN fingerprint text;

-- As in 0010. It looks for the last frame from the end, so that a long traceback costs a writer
-- microseconds.
CREATE OR REPLACE FUNCTION celeriac.own_frame(trace text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    lines text[];
    frame text[];
BEGIN
    IF trace LIKE '%File "%' THEN
        lines := string_to_array(trace, E'\n');
        FOR line IN REVERSE cardinality(lines)..1 LOOP
            CONTINUE WHEN lines[line] NOT LIKE '%File "%';
            frame := regexp_match(lines[line], '^\s*File "([^"]+)", line \d+, in (\S+)');
            IF frame[1] !~ '(site|dist)-packages|/lib/python|^<' THEN
                RETURN frame[1] || ' in ' || frame[2];
            END IF;
        END LOOP;
    END IF;
    IF trace LIKE '%at ./%' THEN
        RETURN substring(trace FROM '\n\s+at \./(\S+?):\d+(?::\d+)?(?:\n|$)');
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION celeriac.fingerprint(name text, state text, error_kind text, error_message text, error_trace text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(md5(concat_ws(E'\n', $1, $2, $3, celeriac.normalized($4), celeriac.own_frame($5))), 12)
$$;
COMMENT ON FUNCTION celeriac.fingerprint IS
    'Equal for failures of the same task with the same state, kind of error, normalized message and place.';

CREATE FUNCTION celeriac.set_fingerprint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.fingerprint := celeriac.fingerprint(NEW.name, NEW.state, NEW.error_kind, NEW.error_message, NEW.error_trace);
    RETURN NEW;
END
$$;

-- Triggers, because workers of earlier versions write failures too.
CREATE TRIGGER set_fingerprint_inserted BEFORE INSERT ON celeriac.tasks FOR EACH ROW
    WHEN (NEW.state IN ('FAILURE', 'REVOKED', 'REJECTED'))
    EXECUTE FUNCTION celeriac.set_fingerprint();
CREATE TRIGGER set_fingerprint_updated BEFORE UPDATE ON celeriac.tasks FOR EACH ROW
    WHEN (NEW.state IN ('FAILURE', 'REVOKED', 'REJECTED')
        AND (NEW.name, NEW.state, NEW.error_kind, NEW.error_message, NEW.error_trace)
            IS DISTINCT FROM (OLD.name, OLD.state, OLD.error_kind, OLD.error_message, OLD.error_trace))
    EXECUTE FUNCTION celeriac.set_fingerprint();

-- Everything that counting failures needs, so that it reads no row. It replaces tasks_failed. Writers
-- wait while the two are made, which reads the table twice.
CREATE INDEX tasks_failed_by_error ON celeriac.tasks (finished_at) INCLUDE (fingerprint, id)
    WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED');
-- Empty once the rows of before are deleted. Its size tells the planner so.
CREATE INDEX tasks_failed_unmarked ON celeriac.tasks (finished_at)
    WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED') AND fingerprint IS NULL;
DROP INDEX celeriac.tasks_failed;

CREATE VIEW celeriac.fingerprints AS
SELECT id, finished_at, fingerprint
FROM celeriac.tasks
WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED') AND fingerprint IS NOT NULL
UNION ALL
SELECT id, finished_at, celeriac.fingerprint(name, state, error_kind, error_message, error_trace)
FROM celeriac.tasks
WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED') AND fingerprint IS NULL;
COMMENT ON VIEW celeriac.fingerprints IS 'Fingerprints of tasks that ended without success, from an index: to count failures.';

CREATE OR REPLACE VIEW celeriac.failed_tasks AS
SELECT id, name, state, error_kind, error_message, worker, queue, attempts, finished_at, trace_id,
       celeriac.normalized(error_message) AS normalized_message,
       celeriac.own_frame(error_trace) AS own_frame,
       coalesce(fingerprint, celeriac.fingerprint(name, state, error_kind, error_message, error_trace)) AS fingerprint
FROM celeriac.tasks
WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED');

CREATE OR REPLACE VIEW celeriac.failure_groups AS
SELECT counted.fingerprint, name, state, error_kind, normalized_message, own_frame, tasks, first_at, last_at, last_id
FROM (
    SELECT fingerprint, count(*) AS tasks, min(finished_at) AS first_at, max(finished_at) AS last_at,
           (array_agg(id ORDER BY finished_at DESC NULLS LAST))[1] AS last_id
    FROM celeriac.fingerprints
    GROUP BY fingerprint
) AS counted
JOIN celeriac.failed_tasks AS last ON last.id = last_id
ORDER BY tasks DESC;
