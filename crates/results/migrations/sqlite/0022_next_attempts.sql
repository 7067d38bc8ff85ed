-- The message of the next attempt, as long as the task waits for it: see migration 9 of Postgres.
ALTER TABLE tasks ADD COLUMN next_headers TEXT;
ALTER TABLE tasks ADD COLUMN next_properties TEXT;
ALTER TABLE tasks ADD COLUMN next_body BLOB;
