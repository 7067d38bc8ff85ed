-- The number distinguishes a replay from a redelivery.
ALTER TABLE tasks ADD COLUMN replays INTEGER NOT NULL DEFAULT 0;
