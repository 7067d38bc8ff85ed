-- The name of the state that a running task has given itself. The column result has what it says
-- about it.
ALTER TABLE tasks ADD COLUMN custom_state TEXT;
