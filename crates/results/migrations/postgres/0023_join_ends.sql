-- How a chord ends although members have not ended: by its deadline, or because its sender is gone
-- before it has sent all of them. And how many ends are enough.
ALTER TABLE celeriac.joins
    ADD COLUMN sent      bigint,
    ADD COLUMN sealed_at timestamptz,
    ADD COLUMN deadline  timestamptz,
    ADD COLUMN due_at    timestamptz,
    ADD COLUMN enough    bigint,
    ADD COLUMN tolerated bigint,
    ADD COLUMN settled   boolean NOT NULL DEFAULT false,
    ADD COLUMN swept_at  timestamptz;

COMMENT ON COLUMN celeriac.joins.fired_at IS 'Time at which the chord was decided.';
COMMENT ON COLUMN celeriac.joins.fired_by IS 'The member whose delivery sends the body, or -1 for no member. Null if the sender gave up.';
COMMENT ON COLUMN celeriac.joins.error IS 'The reason why the sender gave up, or why the chord ended before its members.';
COMMENT ON COLUMN celeriac.joins.sent IS 'Number of members that the sender had sent when it last said so. Null if a delivery sends them.';
COMMENT ON COLUMN celeriac.joins.sealed_at IS 'Time at which the sender had sent all members. Null before, and if a delivery sends them.';
COMMENT ON COLUMN celeriac.joins.deadline IS 'Time at which the chord fails if it is not decided.';
COMMENT ON COLUMN celeriac.joins.due_at IS 'The deadline, or the earlier time at which the sender is gone if it says nothing.';
COMMENT ON COLUMN celeriac.joins.enough IS 'Number of successes that decide the chord. Null: all members have to end.';
COMMENT ON COLUMN celeriac.joins.tolerated IS 'Number of failures, more than which decide the chord. Null: all members have to end.';
COMMENT ON COLUMN celeriac.joins.settled IS 'True if the body gets the error of a failed member in its place.';
COMMENT ON COLUMN celeriac.joins.swept_at IS 'Time from which no arrival is recorded, because the rows are about to be deleted.';
CREATE INDEX joins_due_at ON celeriac.joins (due_at) WHERE fired_at IS NULL AND due_at IS NOT NULL;
CREATE INDEX joins_swept_at ON celeriac.joins (swept_at) WHERE swept_at IS NOT NULL;

-- What a sender may do. Times are in seconds, by the clock of the database.
CREATE FUNCTION celeriac.open_join(
    id text, size bigint, body text, patience double precision, deadline double precision,
    enough bigint, tolerated bigint, settled boolean
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO celeriac.joins (id, size, body, sent, deadline, due_at, enough, tolerated, settled)
    SELECT $1, $2, $3, CASE WHEN $4 IS NOT NULL THEN 0 END, last,
           least(last, clock_timestamp() + make_interval(secs => $4)), $6, $7, $8
    FROM (SELECT clock_timestamp() + make_interval(secs => $5) AS last) AS own
    ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION celeriac.open_join IS 'Adds a chord before its members are sent. Without a word of its sender for so long as its patience, it fails.';
REVOKE ALL ON FUNCTION celeriac.open_join FROM PUBLIC;

CREATE FUNCTION celeriac.touch_join(id text, sent bigint, patience double precision) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE celeriac.joins SET sent = $2,
        sealed_at = CASE WHEN $3 IS NULL THEN clock_timestamp() END,
        due_at = least(deadline, clock_timestamp() + make_interval(secs => $3))
    WHERE joins.id = $1 AND fired_at IS NULL AND sealed_at IS NULL;
    SELECT NOT EXISTS (SELECT FROM celeriac.joins WHERE joins.id = $1 AND error IS NOT NULL)
$$;
COMMENT ON FUNCTION celeriac.touch_join IS 'Says how many members the sender has sent. Without a patience, these are all. Returns false if the chord has failed without them.';
REVOKE ALL ON FUNCTION celeriac.touch_join FROM PUBLIC;
