SELECT id, starts, waits, worker, seen_at FROM celeriac.suspects ORDER BY starts DESC, seen_at DESC LIMIT 100;
