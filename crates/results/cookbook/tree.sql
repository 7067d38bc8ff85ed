SELECT repeat('  ', depth::int) || name AS task, state, runtime, error_message, id
FROM celeriac.tree('0198b2a4-5c3e-7000-8000-000000000001')
ORDER BY path;
