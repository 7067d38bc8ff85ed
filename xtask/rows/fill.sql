-- Rows FIRST to LAST, of tasks that ended in the last seven days, in the order of their end.
WITH numbered AS (
    SELECT n, scratch.ended(n) AS ended, random() AS r, random() AS s, -ln(random() + 1e-9) AS t
    FROM generate_series(FIRST, LAST) AS n
), tasks AS (
    SELECT n, ended, r, s,
           CASE WHEN r < 0.02 THEN 'FAILURE' WHEN r < 0.022 THEN 'REVOKED' ELSE 'SUCCESS' END AS state,
           -- A few tasks have most of the runs, as in a shop.
           (20 * s * s)::int AS kind,
           0.01 * (1 + (20 * s * s)::int % 7) * t AS runtime,
           scratch.id(n) AS id
    FROM numbered
)
INSERT INTO celeriac.tasks (
    id, name, state, args, kwargs, result, error_kind, error_message, error_trace, queue, exchange, routing_key, worker,
    attempts, root_id, parent_id, group_id, sent_at, received_at, started_at, finished_at, runtime, trace_id
)
SELECT id,
       'shop.task_' || kind,
       state,
       jsonb_build_array(n, md5(n::text)),
       jsonb_build_object('order', n % 100000, 'currency', 'EUR', 'user', left(md5((n % 5000)::text), 8)),
       CASE state WHEN 'SUCCESS' THEN jsonb_build_object('cents', n % 10000, 'receipt', md5(n::text)) END,
       CASE state WHEN 'FAILURE' THEN CASE WHEN s < 0.5 THEN 'Declined' ELSE 'TimeoutError' END END,
       CASE state WHEN 'FAILURE' THEN 'card of order ' || n || ' declined: status 402' END,
       CASE state WHEN 'FAILURE' THEN E'Traceback (most recent call last):\n'
           || repeat(E'  File "/srv/shop/charge.py", line 17, in charge\n    bank.charge(order, cents)\n', 6) END,
       (ARRAY['orders', 'mail', 'reports', 'stock'])[1 + kind % 4], '', (ARRAY['orders', 'mail', 'reports', 'stock'])[1 + kind % 4],
       'w' || n % 10 || '@node-' || n % 4,
       CASE WHEN state = 'REVOKED' THEN 0 WHEN r > 0.97 THEN 2 ELSE 1 END,
       CASE WHEN n % 5 = 0 THEN scratch.id(n - n % 50) ELSE id END,
       CASE WHEN n % 5 = 0 AND n % 50 <> 0 THEN scratch.id(n - n % 50) END,
       CASE WHEN n % 50 = 1 THEN 'group-' || n / 5000 END,
       ended - make_interval(secs => runtime + 0.1 * s), ended - make_interval(secs => runtime + 0.001),
       CASE WHEN state <> 'REVOKED' THEN ended - make_interval(secs => runtime) END, ended,
       CASE WHEN state <> 'REVOKED' THEN runtime END, md5(n::text)
FROM tasks;

INSERT INTO celeriac.attempts (id, replays, attempt, state, worker, started_at, finished_at, runtime, error_kind, error_message, next_at)
SELECT id, 0, 1, 'RETRY', worker, started_at - interval '1 s', started_at - interval '0.9 s', 0.1, 'Busy', 'later', started_at
FROM celeriac.tasks
WHERE attempts = 2 AND finished_at >= scratch.ended(FIRST)
ON CONFLICT DO NOTHING;
