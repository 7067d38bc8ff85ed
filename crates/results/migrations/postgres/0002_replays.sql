-- A replay from a dead-letter queue is told from a redelivery by its number. Adding a column with a constant rewrites nothing.
ALTER TABLE celeriac.tasks ADD COLUMN replays bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN celeriac.tasks.attempts IS 'Attempts begun, counted anew when the task is replayed.';
COMMENT ON COLUMN celeriac.tasks.replays IS 'How often it was replayed from a dead-letter queue.';
