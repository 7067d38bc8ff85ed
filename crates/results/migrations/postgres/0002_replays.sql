-- The number distinguishes a replay from a redelivery. A new column with a constant default rewrites
-- no rows.
ALTER TABLE celeriac.tasks ADD COLUMN replays bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN celeriac.tasks.attempts IS 'Number of attempts started. A replay restarts the count.';
COMMENT ON COLUMN celeriac.tasks.replays IS 'Number of replays from a dead-letter queue.';
