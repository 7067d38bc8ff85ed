SELECT id, name, pg_column_size(result) AS result_bytes, pg_column_size(args) + pg_column_size(kwargs) AS argument_bytes
FROM celeriac.tasks
WHERE finished_at > now() - interval '1 hour'
ORDER BY coalesce(pg_column_size(result), 0) + coalesce(pg_column_size(args), 0) + coalesce(pg_column_size(kwargs), 0) DESC, id
LIMIT 20;
