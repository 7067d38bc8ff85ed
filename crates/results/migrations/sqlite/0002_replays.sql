-- A replay from a dead-letter queue is told from a redelivery by its number.
ALTER TABLE tasks ADD COLUMN replays INTEGER NOT NULL DEFAULT 0;
