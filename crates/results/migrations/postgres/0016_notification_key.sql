-- The key that seals the outcomes inside notifications. Every role of the database may listen and
-- notify on every channel, whatever it may read.
CREATE TABLE celeriac.notification_keys (
    is_current boolean PRIMARY KEY DEFAULT true CHECK (is_current),
    key        bytea NOT NULL CHECK (length(key) = 32)
);
COMMENT ON TABLE celeriac.notification_keys IS 'The key that seals the outcomes inside notifications.';

INSERT INTO celeriac.notification_keys (key)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- Its only readers are those who may read every row and column of the table. Both functions judge
-- the user of the query.
CREATE VIEW celeriac.notification_key WITH (security_barrier) AS
SELECT key FROM celeriac.notification_keys
WHERE has_table_privilege('celeriac.tasks', 'SELECT') AND NOT row_security_active('celeriac.tasks');
COMMENT ON VIEW celeriac.notification_key IS
    'The key that seals the outcomes inside notifications, for those who may read celeriac.tasks.';
GRANT SELECT ON celeriac.notification_key TO PUBLIC;
