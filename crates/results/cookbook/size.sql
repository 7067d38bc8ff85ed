SELECT relation, index_name, estimated_rows, pg_size_pretty(bytes) AS size, bytes,
       round(bytes / nullif(max(estimated_rows) FILTER (WHERE relation = 'tasks') OVER (), 0)::numeric, 1) AS bytes_a_task
FROM (
    SELECT relname::text AS relation, NULL AS index_name, greatest(reltuples, 0)::bigint AS estimated_rows,
           pg_table_size(oid) AS bytes
    FROM pg_class
    WHERE relnamespace = 'celeriac'::regnamespace AND relkind = 'r'
    UNION ALL
    SELECT relname, indexrelname, NULL, pg_relation_size(indexrelid)
    FROM pg_stat_user_indexes
    WHERE schemaname = 'celeriac'
) AS sizes
ORDER BY bytes DESC, relation, index_name;
