-- The exception of a task as Python has it. The message alone does not make it again.
ALTER TABLE celeriac.tasks ADD COLUMN error_module text, ADD COLUMN error_args text;

COMMENT ON COLUMN celeriac.tasks.error_module IS 'Python module of the type of the error.';
COMMENT ON COLUMN celeriac.tasks.error_args IS
    'Arguments of the exception as a JSON list. Null if error_message is the only one.';
