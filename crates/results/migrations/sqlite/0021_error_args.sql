-- The exception of a task as Python has it. The message alone does not make it again.
ALTER TABLE tasks ADD COLUMN error_module TEXT;
ALTER TABLE tasks ADD COLUMN error_args TEXT;
