-- Ends a join that is overdue by the clock of the database. Nobody fires it, so a delivery for
-- nobody sends what follows.
UPDATE celeriac.joins SET fired_at = clock_timestamp(), fired_by = -1, error = CASE
    WHEN deadline <= clock_timestamp()
        THEN 'its deadline has passed: ' || to_char(ended, 'FM999,999,999,990') || ' of '
            || to_char(size, 'FM999,999,999,990') || ' members have ended'
    ELSE 'its sender is gone: ' || to_char(greatest(sent, ended), 'FM999,999,999,990') || ' of '
        || to_char(size, 'FM999,999,999,990') || ' sent'
END
FROM (SELECT coalesce(sum(ok + failed), 0)::bigint AS ended FROM celeriac.tallies WHERE join_id = $1) AS counted
WHERE id = $1 AND fired_at IS NULL AND due_at <= clock_timestamp() AND ended < size
