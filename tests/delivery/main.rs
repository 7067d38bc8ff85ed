//! From a typed call to a row in Postgres, over a real RabbitMQ.

mod outcomes;
