-- COUNT batches of 256 rows, each committed, as workers write them.
DO $$
BEGIN
    FOR batch IN 1..COUNT LOOP
        INSERT INTO TABLE (id, name, state, args, kwargs, result, queue, exchange, routing_key, worker, attempts, root_id,
                           sent_at, received_at, started_at, finished_at, runtime, trace_id)
        SELECT id, 'shop.task_' || n % 10, 'SUCCESS', '["0198b2a4-5c3e-7000-8000-000000000001", 1299]',
               '{"order": 1299, "currency": "EUR"}', '{"cents": 1299, "receipt": "c4ca4238a0b923820dcc509a6f75849b"}',
               'orders', '', 'orders', 'w1@node-1', 1, id, clock_timestamp() - interval '1 s', clock_timestamp(),
               clock_timestamp(), clock_timestamp(), 0.01, md5(id)
        FROM (SELECT celeriac.new_id() AS id, n FROM generate_series(1, 256) AS n) AS new
        ON CONFLICT (id) DO UPDATE SET state = excluded.state;
        COMMIT;
    END LOOP;
END
$$;
