-- Rows of sent tasks, where results.track is sent. SQLite has no statement that changes a
-- constraint: its documentation names this way. The view and the index make every connection read
-- the changed definition.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '(''PENDING'', ''STARTED''', '(''PENDING'', ''SENT'', ''STARTED''')
WHERE type = 'table' AND name = 'tasks';
PRAGMA writable_schema = RESET;

CREATE INDEX tasks_sent ON tasks (sent_at) WHERE state = 'SENT';

CREATE VIEW unstarted AS
SELECT id, name, queue, sent_at, eta, expires,
       (julianday('now') - julianday(max(sent_at, coalesce(eta, sent_at)))) * 86400.0 AS waiting_seconds
FROM tasks
WHERE state = 'SENT'
ORDER BY sent_at;
