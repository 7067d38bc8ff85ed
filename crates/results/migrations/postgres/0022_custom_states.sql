-- The name of the state that a running task has given itself. The column result has what it says
-- about it.
ALTER TABLE celeriac.tasks ADD COLUMN custom_state text;

COMMENT ON COLUMN celeriac.tasks.custom_state IS
    'Name of the state that a running task has given itself. Null once the task has ended.';
