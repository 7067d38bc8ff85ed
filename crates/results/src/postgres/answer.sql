-- Announces ended tasks. Returns the ids that were written, or null if all of them were. If another
-- outcome stays for one of them, only the ids are announced, without the outcomes of this batch.
SELECT CASE WHEN count(*) < cardinality($1::text[]) THEN coalesce(array_agg(id), '{}') END,
       (SELECT count(pg_notify('celeriac_finished', CASE
            WHEN (SELECT count(*) FROM stored) = cardinality($1::text[]) THEN payload
            ELSE split_part(payload, E'\n\t', 1)
        END)) FROM unnest($30::text[]) AS ended (payload)),
       -- Only the commit remains. A worker that stops before it must not keep its locks for long.
       CASE WHEN $31 <> '' THEN set_config('idle_in_transaction_session_timeout', '5s', true) END
FROM stored
