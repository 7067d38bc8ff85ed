-- Groups and chords whose handles were saved, so that another program can make them again.
CREATE TABLE celeriac.groups (
    id       text PRIMARY KEY,
    members  text[] NOT NULL,
    body     text,
    saved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE celeriac.groups IS 'Groups and chords whose handles were saved.';
COMMENT ON COLUMN celeriac.groups.members IS 'Ids of the tasks of the group, in order.';
COMMENT ON COLUMN celeriac.groups.body IS 'Id of the last task of the body, if it is a chord.';
CREATE INDEX groups_saved_at ON celeriac.groups (saved_at);

CREATE FUNCTION celeriac.save_group(id text, members text[], body text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO celeriac.groups (id, members, body) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET saved_at = clock_timestamp()
$$;
COMMENT ON FUNCTION celeriac.save_group IS 'Saves the handle of a group or a chord.';
REVOKE ALL ON FUNCTION celeriac.save_group FROM PUBLIC;
