//! Celery on one side and Celeriac on the other, over a real RabbitMQ.

mod harness;
