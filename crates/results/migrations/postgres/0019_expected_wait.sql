-- Every attempt that ends takes a message from its queue, so the counts of the last minute are the
-- rate at which a queue drains. It runs as the owner, because the process that relays may not read
-- counts.
CREATE FUNCTION celeriac.expected_wait(queue text, ready bigint) RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN $2 = 0 THEN 0 ELSE ($2 * 60.0 / nullif(sum(tasks), 0))::double precision END
    FROM celeriac.rollups
    WHERE seconds = 10 AND rollups.queue = left($1, 255)
        AND at >= to_timestamp(10 * floor(date_part('epoch', now()) / 10) - 60)
        AND at < to_timestamp(10 * floor(date_part('epoch', now()) / 10))
$$;
COMMENT ON FUNCTION celeriac.expected_wait IS
    'Seconds that a queue with so many ready messages takes, at the rate of the last six counts of ten seconds. Null if nothing ended in them.';
