SELECT relname::text AS relation, reltuples::bigint AS estimated_rows,
       pg_size_pretty(pg_table_size(oid)) AS rows_size, pg_size_pretty(pg_indexes_size(oid)) AS indexes_size
FROM pg_class
WHERE relnamespace = 'celeriac'::regnamespace AND relkind = 'r'
ORDER BY pg_total_relation_size(oid) DESC;
