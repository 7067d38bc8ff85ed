-- The rows that the answers of the cookbook are checked with. The time is 2026-11-30 12:00 UTC.
CREATE FUNCTION pg_temp.ago(minutes numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-11-30 12:00:00+00' - $1 * interval '1 minute' $$;
CREATE FUNCTION pg_temp.id(number int) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT '0198b2a4-5c3e-7000-8000-' || lpad(number::text, 12, '0') $$;

-- A workflow: an order that was retried twice, its charge, and two mails of which one fails.
INSERT INTO celeriac.tasks (id, name, state, args, kwargs, result, error_kind, error_message, error_trace, queue, exchange,
                            routing_key, worker, attempts, root_id, parent_id, sent_at, received_at, started_at,
                            finished_at, runtime, trace_id)
VALUES
    (pg_temp.id(1), 'orders.place', 'SUCCESS', '[]', '{"order": 1299, "user": "ada"}', '{"placed": true}', NULL, NULL, NULL,
     'orders', 'orders', 'orders', 'w1@a', 3, pg_temp.id(1), NULL, pg_temp.ago(50), pg_temp.ago(46), pg_temp.ago(46),
     pg_temp.ago(45), 60, 'trace-1'),
    (pg_temp.id(2), 'orders.charge', 'SUCCESS', '[]', '{"order": 1299}', '{"cents": 1299}', NULL, NULL, NULL,
     'orders', 'orders', 'orders', 'w2@b', 1, pg_temp.id(1), pg_temp.id(1), pg_temp.ago(45), pg_temp.ago(44),
     pg_temp.ago(44), pg_temp.ago(43.9), 6, NULL),
    (pg_temp.id(3), 'mail.receipt', 'FAILURE', '["ada@example.org"]', '{}', NULL, 'SMTPError',
     'connection to ''mx1'' refused after 31 ms',
     E'Traceback (most recent call last):\n  File "/srv/shop/mail.py", line 17, in receipt\n    send()\n  File "/usr/lib/python3.11/smtplib.py", line 341, in connect\n    raise\n',
     'mail', 'mail', 'mail', 'celery@c', 1, pg_temp.id(1), pg_temp.id(2), pg_temp.ago(44), pg_temp.ago(42),
     pg_temp.ago(42), pg_temp.ago(41.5), 30, NULL),
    (pg_temp.id(4), 'mail.invoice', 'SUCCESS', '["ada@example.org"]', '{}', 'null', NULL, NULL, NULL,
     'mail', 'mail', 'mail', 'celery@c', 1, pg_temp.id(1), pg_temp.id(2), pg_temp.ago(44), pg_temp.ago(41.5),
     pg_temp.ago(41.5), pg_temp.ago(41.4), 6, NULL);

-- Its failed attempts, each due half a minute after the last.
INSERT INTO celeriac.attempts
VALUES
    (pg_temp.id(1), 0, 1, 'RETRY', 'w1@a', pg_temp.ago(49), pg_temp.ago(48.5), 30, 'Busy', 'stock is locked', NULL, pg_temp.ago(48)),
    (pg_temp.id(1), 0, 2, 'RETRY', 'w2@b', pg_temp.ago(47.5), pg_temp.ago(47), 30, 'Busy', 'stock is locked', NULL, pg_temp.ago(46.5)),
    (pg_temp.id(3), 0, 1, 'FAILURE', 'celery@c', pg_temp.ago(42), pg_temp.ago(41.5), 30, 'SMTPError',
     'connection to ''mx1'' refused after 31 ms', NULL, NULL);

-- A group of pictures: two are done, one has failed.
INSERT INTO celeriac.tasks (id, name, state, args, kwargs, error_kind, error_message, queue, exchange, routing_key, worker,
                            attempts, group_id, sent_at, started_at, finished_at, runtime)
SELECT 'picture-' || number, 'pictures.resize', CASE number WHEN 3 THEN 'FAILURE' ELSE 'SUCCESS' END,
       jsonb_build_array(number), '{}', CASE number WHEN 3 THEN 'ValueError' END,
       CASE number WHEN 3 THEN 'no such picture: 3' END, 'pictures', '', 'pictures', 'w2@b', 1, pg_temp.id(1),
       pg_temp.ago(10), pg_temp.ago(10 - number), pg_temp.ago(9 - number), 60
FROM generate_series(1, 3) AS number;

-- Charges: ten before the deployment at 11:30, ten after it, of which three fail with one error.
INSERT INTO celeriac.tasks (id, name, state, args, kwargs, result, error_kind, error_message, error_trace, queue, exchange,
                            routing_key, worker, attempts, sent_at, started_at, finished_at, runtime)
SELECT 'charge-' || number, 'orders.charge', CASE WHEN failed THEN 'FAILURE' ELSE 'SUCCESS' END,
       '[]', jsonb_build_object('order', number), CASE WHEN NOT failed THEN jsonb_build_object('cents', 100 * number) END,
       CASE WHEN failed THEN 'Declined' END, CASE WHEN failed THEN 'card of order ' || number || ' declined' END,
       CASE WHEN failed THEN E'caused by: http 402\n   7: shop::charge\n             at ./src/charge.rs:40:9\n' END,
       'orders', 'orders', 'orders', CASE number % 2 WHEN 0 THEN 'w1@a' ELSE 'w2@b' END, 1,
       ended - interval '3 seconds', ended - interval '2 seconds', ended, 2
FROM (
    SELECT number, number > 17 AS failed,
           CASE WHEN number <= 10 THEN pg_temp.ago(31 + number) ELSE pg_temp.ago(30 - number) END AS ended
    FROM generate_series(1, 20) AS number
) AS charges;

-- A task that was sent and did not arrive, one that is not due, and one that was sent lately.
SELECT celeriac.add_sent(
    '{sent-1,sent-2,sent-3}', '{mail.send,mail.send,mail.send}', '{mail,mail,mail}', '{"","",""}', '{mail,mail,mail}',
    ARRAY[pg_temp.ago(90), pg_temp.ago(80), pg_temp.ago(5)], ARRAY[NULL, pg_temp.ago(-10), NULL],
    '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', '{NULL,NULL,NULL}'
);

-- Two retries that are due in the future, one that is overdue, and a replay that succeeded.
INSERT INTO celeriac.tasks (id, name, state, args, kwargs, error_kind, error_message, queue, exchange, routing_key, worker,
                            attempts, replays, eta, sent_at, started_at, finished_at, runtime)
VALUES
    ('import-1', 'stock.import', 'RETRY', '[]', '{}', 'Busy', 'later', 'stock', '', 'stock', 'w1@a', 1, 0, pg_temp.ago(-2),
     pg_temp.ago(4), pg_temp.ago(3), NULL, 10),
    ('import-2', 'stock.import', 'RETRY', '[]', '{}', 'Busy', 'later', 'stock', '', 'stock', 'w1@a', 2, 0, pg_temp.ago(-1),
     pg_temp.ago(9), pg_temp.ago(2), NULL, 10),
    ('import-3', 'stock.import', 'RETRY', '[]', '{}', 'Busy', 'later', 'stock', '', 'stock', 'w3@d', 4, 0, pg_temp.ago(90),
     pg_temp.ago(200), pg_temp.ago(120), NULL, 10),
    ('import-4', 'stock.import', 'SUCCESS', '[]', '{}', NULL, NULL, 'stock', '', 'stock', 'w1@a', 1, 1, NULL,
     pg_temp.ago(300), pg_temp.ago(20.5), pg_temp.ago(20), 30),
    -- Due at 11:50, started three minutes later.
    ('report-1', 'reports.daily', 'SUCCESS', '[]', '{}', NULL, NULL, 'reports', '', 'reports', 'w1@a', 1, 0, pg_temp.ago(10),
     pg_temp.ago(600), pg_temp.ago(7), pg_temp.ago(5), 120);
INSERT INTO celeriac.attempts
VALUES
    ('import-1', 0, 1, 'RETRY', 'w1@a', pg_temp.ago(3), pg_temp.ago(2.8), 10, 'Busy', 'later', NULL, pg_temp.ago(-2)),
    ('import-2', 0, 1, 'RETRY', 'w1@a', pg_temp.ago(8), pg_temp.ago(7.8), 10, 'Busy', 'later', NULL, pg_temp.ago(3)),
    ('import-2', 0, 2, 'RETRY', 'w1@a', pg_temp.ago(2), pg_temp.ago(1.8), 10, 'Busy', 'later', NULL, pg_temp.ago(-1)),
    ('import-3', 0, 4, 'RETRY', 'w3@d', pg_temp.ago(120), pg_temp.ago(119.8), 10, 'Busy', 'later', NULL, pg_temp.ago(90));

-- Tasks that never ran: two expired, one was revoked, one has no code.
INSERT INTO celeriac.tasks (id, name, state, args, kwargs, error_kind, error_message, queue, exchange, routing_key, worker,
                            attempts, finished_at)
VALUES
    ('old-1', 'mail.receipt', 'REVOKED', '[]', '{}', 'TaskRevokedError', 'expired', 'mail', '', 'mail', 'celery@c', 0, pg_temp.ago(15)),
    ('old-2', 'mail.receipt', 'REVOKED', '[]', '{}', 'TaskRevokedError', 'expired', 'mail', '', 'mail', 'celery@c', 0, pg_temp.ago(14)),
    ('stopped', 'pictures.resize', 'REVOKED', '[]', '{}', 'TaskRevokedError', 'revoked', 'pictures', '', 'pictures', 'w2@b', 0,
     pg_temp.ago(13)),
    ('strange', 'no.such', 'FAILURE', '[]', '{}', 'NotRegistered', 'no.such', 'orders', '', 'orders', 'w1@a', 0, pg_temp.ago(12));
INSERT INTO celeriac.revocations (id, terminate, revoked_at, until, revoked_by)
VALUES ('stopped', false, pg_temp.ago(16), pg_temp.ago(-1000), 'ada'), ('unseen', true, pg_temp.ago(11), pg_temp.ago(-1000), 'bob');

-- Two attempts that run, one of them under a lease, and one on a worker that is silent.
INSERT INTO celeriac.tasks (id, name, state, args, kwargs, queue, exchange, routing_key, worker, attempts, started_at)
VALUES
    ('runs', 'reports.daily', 'STARTED', '[]', '{"day": "monday"}', 'reports', '', 'reports', 'w1@a', 1, pg_temp.ago(30)),
    ('runs-long', 'reports.yearly', 'STARTED', '[]', '{}', 'reports', '', 'reports', 'w4@e', 1, pg_temp.ago(180)),
    ('lost', 'reports.daily', 'STARTED', '[]', '{}', 'reports', '', 'reports', 'w3@d', 2, pg_temp.ago(60));
INSERT INTO celeriac.runs (id, retries, replays, worker, expires_at) VALUES ('runs-long', 0, 0, 'w4@e', pg_temp.ago(-5));

INSERT INTO celeriac.suspects (id, retries, replays, starts, waits, worker, seen_at)
VALUES ('poison', 0, 0, 2, true, 'w1@a', pg_temp.ago(6));

INSERT INTO celeriac.outbox (id, task, exchange, routing_key, order_key, headers, properties, body, created_at, attempts, error,
                             next_at)
VALUES
    ('waits', 'orders.ship', '', 'orders', NULL, '{}', '{}', '', pg_temp.ago(1), 0, NULL, NULL),
    ('stays', 'orders.ship', '', 'ordres', 'order-17', '{}', '{}', '', pg_temp.ago(8), 3, 'no queue `ordres`', pg_temp.ago(-4));

INSERT INTO celeriac.audit (began_at, ended_at, action, target, count, os_user, host, program, database_user)
VALUES (pg_temp.ago(16), pg_temp.ago(16), 'revoke', '{"ids": ["stopped"]}', 1, 'ada', 'desk', 'celeriac 0', 'operator');
