"""A fleet of Celery tasks, as it is before the move. `rust/src` has the same tasks in Rust."""
