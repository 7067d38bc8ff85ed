-- Joins: sets of tasks, and what follows from the end of the last one. A chord is a join: its
-- members are the tasks of its header, and its body follows.
CREATE TABLE celeriac.joins (
    id         text PRIMARY KEY,
    size       bigint NOT NULL CHECK (size > 0),
    body       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fired_at   timestamptz,
    fired_by   bigint,
    error      text
);

COMMENT ON TABLE celeriac.joins IS 'Chords, one row each: what follows from the end of the last member.';
COMMENT ON COLUMN celeriac.joins.id IS 'Id of the group of its members.';
COMMENT ON COLUMN celeriac.joins.size IS 'Number of members.';
COMMENT ON COLUMN celeriac.joins.body IS 'The exact JSON of the signature that follows.';
COMMENT ON COLUMN celeriac.joins.fired_at IS 'Time at which all members had ended, or at which the sender gave up.';
COMMENT ON COLUMN celeriac.joins.fired_by IS 'The member whose delivery sends the body. Null if the sender gave up.';
COMMENT ON COLUMN celeriac.joins.error IS 'The reason why the sender gave up.';
CREATE INDEX joins_fired_at ON celeriac.joins (fired_at) WHERE fired_at IS NOT NULL;

-- Members that have ended. Rows are inserted once and never changed.
CREATE TABLE celeriac.arrivals (
    join_id       text NOT NULL,
    idx           bigint NOT NULL,
    task_id       text NOT NULL,
    ok            boolean NOT NULL,
    result        text,
    error_kind    text,
    error_message text,
    PRIMARY KEY (join_id, idx)
);

COMMENT ON TABLE celeriac.arrivals IS 'Members of joins that have ended, one row each.';
COMMENT ON COLUMN celeriac.arrivals.idx IS 'Position in the group.';
COMMENT ON COLUMN celeriac.arrivals.ok IS 'True if the member has succeeded.';
COMMENT ON COLUMN celeriac.arrivals.result IS 'The exact JSON.';

-- The number of arrivals by session of the database, so that no writer waits for another one.
CREATE TABLE celeriac.tallies (
    join_id text NOT NULL,
    session integer NOT NULL,
    ok      bigint NOT NULL,
    failed  bigint NOT NULL,
    PRIMARY KEY (join_id, session)
) WITH (fillfactor = 50);

COMMENT ON TABLE celeriac.tallies IS 'Number of ended members of each join, by the session that recorded them.';

CREATE VIEW celeriac.open_joins AS
SELECT joins.id, joins.size, coalesce(sum(ok + failed), 0)::bigint AS ended,
       coalesce(sum(failed), 0)::bigint AS failed, joins.created_at,
       extract(epoch FROM clock_timestamp() - joins.created_at)::double precision AS age_seconds
FROM celeriac.joins LEFT JOIN celeriac.tallies ON tallies.join_id = joins.id
WHERE joins.fired_at IS NULL
GROUP BY joins.id
ORDER BY joins.created_at;
COMMENT ON VIEW celeriac.open_joins IS 'Chords some of whose members have not ended, the oldest first.';

-- A sender adds joins, and gives up those whose members it could not send. It changes nothing else.
CREATE FUNCTION celeriac.add_join(id text, size bigint, body text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO celeriac.joins (id, size, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION celeriac.add_join IS 'Adds a chord before its members are sent.';
REVOKE ALL ON FUNCTION celeriac.add_join FROM PUBLIC;

CREATE FUNCTION celeriac.give_up_join(id text, error text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE celeriac.joins SET fired_at = clock_timestamp(), error = $2 WHERE joins.id = $1 AND fired_at IS NULL
$$;
COMMENT ON FUNCTION celeriac.give_up_join IS 'Ends a chord whose members could not all be sent. Its body does not run.';
REVOKE ALL ON FUNCTION celeriac.give_up_join FROM PUBLIC;
