-- Actions of operators. A row is written before its action, and completed after it.
CREATE TABLE celeriac.audit (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    began_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    action        text NOT NULL,
    target        jsonb NOT NULL,
    count         bigint,
    error         text,
    os_user       text NOT NULL,
    host          text NOT NULL,
    program       text NOT NULL,
    database_user text NOT NULL DEFAULT session_user,
    client_addr   inet DEFAULT inet_client_addr()
);

COMMENT ON TABLE celeriac.audit IS 'Actions of operators, such as a purge of dead letters.';
COMMENT ON COLUMN celeriac.audit.began_at IS 'Time before the action, by the clock of the database.';
COMMENT ON COLUMN celeriac.audit.ended_at IS 'Time after the action. Null: it runs, or its process died.';
COMMENT ON COLUMN celeriac.audit.target IS 'Queues, ids, filter and options.';
COMMENT ON COLUMN celeriac.audit.count IS 'Number of messages, tasks or objects that the action changed.';
COMMENT ON COLUMN celeriac.audit.error IS 'Reason why the action failed. Null: it succeeded.';
COMMENT ON COLUMN celeriac.audit.os_user IS 'User of the operating system, as the program states it.';
COMMENT ON COLUMN celeriac.audit.database_user IS 'User that was logged in, as the database knows it.';

CREATE INDEX audit_began_at ON celeriac.audit (began_at);

-- Nobody but the owner changes the table. Default privileges of the schema may have granted more.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT acl.grantee FROM pg_class, aclexplode(relacl) AS acl
        WHERE pg_class.oid = 'celeriac.audit'::regclass AND acl.grantee <> relowner
    LOOP
        EXECUTE format(
            'REVOKE ALL ON celeriac.audit FROM %s',
            CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END
        );
    END LOOP;
END
$$;

-- Operators add and complete rows through these functions alone, which run as the owner.
CREATE FUNCTION celeriac.audit_begin(os_user text, host text, program text, action text, target jsonb)
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO celeriac.audit (os_user, host, program, action, target)
    VALUES ($1, $2, $3, $4, $5) RETURNING number
$$;

CREATE FUNCTION celeriac.audit_end(number bigint, count bigint, error text)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH completed AS (
        UPDATE celeriac.audit AS begun SET ended_at = clock_timestamp(), count = $2, error = $3
        WHERE begun.number = $1 AND begun.ended_at IS NULL AND begun.database_user = session_user
        RETURNING begun.number
    ) SELECT count(*) > 0 FROM completed
$$;

-- Keeps rows for 30 days at least, whatever the caller asks for.
CREATE FUNCTION celeriac.audit_sweep(keep interval, at_most bigint)
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM celeriac.audit WHERE number IN (
            SELECT number FROM celeriac.audit
            WHERE began_at < clock_timestamp() - greatest($1, interval '30 days')
            ORDER BY began_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    ) SELECT count(*) FROM gone
$$;

REVOKE ALL ON FUNCTION
    celeriac.audit_begin(text, text, text, text, jsonb),
    celeriac.audit_end(bigint, bigint, text),
    celeriac.audit_sweep(interval, bigint)
FROM PUBLIC;

-- The author of a revocation by a program, which is no action of an operator.
ALTER TABLE celeriac.revocations ADD COLUMN revoked_by text;
ALTER TABLE celeriac.revocations ALTER COLUMN revoked_by SET DEFAULT session_user;
COMMENT ON COLUMN celeriac.revocations.revoked_by IS 'User of the database that revoked it last.';
