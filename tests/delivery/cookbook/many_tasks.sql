-- 200,000 tasks of the week before 2026-11-30 12:00 UTC: one of a hundred fails, one of fifty belongs to a workflow.
INSERT INTO celeriac.tasks (id, name, state, args, kwargs, result, error_kind, error_message, queue, exchange, routing_key,
                            worker, attempts, replays, root_id, parent_id, group_id, eta, sent_at, received_at, started_at,
                            finished_at, runtime)
SELECT id, 'app.task-' || number % 40, state, '[]', jsonb_build_object('order', number),
       CASE state WHEN 'SUCCESS' THEN jsonb_build_object('cents', number) END,
       CASE WHEN state <> 'SUCCESS' THEN 'ValueError' END, CASE WHEN state <> 'SUCCESS' THEN 'no order ' || number END,
       'queue-' || number % 8, '', 'queue-' || number % 8, 'worker-' || number % 10, 1, 0,
       CASE WHEN number % 50 < 5 THEN 'task-' || number / 50 * 50 ELSE id END,
       CASE WHEN number % 50 BETWEEN 1 AND 4 THEN 'task-' || number / 50 * 50 END,
       CASE WHEN number % 1000 = 7 THEN 'group-' || number / 10000 END, NULL,
       ended - interval '3 seconds', ended - interval '2 seconds', ended - interval '1 second',
       CASE WHEN state <> 'RETRY' THEN ended END, 1
FROM (
    SELECT number, 'task-' || number AS id,
           CASE WHEN number % 100 = 3 THEN 'FAILURE' WHEN number % 5000 = 11 THEN 'RETRY' ELSE 'SUCCESS' END AS state,
           timestamptz '2026-11-30 12:00:00+00' - (200000 - number) * interval '3024 milliseconds' AS ended
    FROM generate_series(1, 200000) AS number
) AS tasks;
INSERT INTO celeriac.attempts (id, replays, attempt, state, worker, started_at, finished_at, runtime, error_kind, error_message)
SELECT id, 0, attempts, state, worker, started_at, started_at + interval '1 second', 1, error_kind, error_message
FROM celeriac.tasks WHERE state IN ('FAILURE', 'RETRY') AND id LIKE 'task-%';
-- 20,000 messages in the outbox, of which ten cannot be sent.
INSERT INTO celeriac.outbox (id, task, exchange, routing_key, headers, properties, body, attempts, error, next_at)
SELECT 'message-' || number, 'app.task', '', 'queue', '{}', '{}', '', (number % 2000 = 1)::int,
       CASE number % 2000 WHEN 1 THEN 'no queue' END, CASE number % 2000 WHEN 1 THEN now() END
FROM generate_series(1, 20000) AS number;
ANALYZE celeriac.tasks, celeriac.attempts, celeriac.outbox;
