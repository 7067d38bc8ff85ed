//! Topology and routing as data: what has to exist on the broker, and where a task goes. No I/O, no clock.
//!
//! In reading order:
//!
//! - [`exchange`], [`queue`], [`topology`]: what the configuration declares;
//! - [`prefetch`]: how many messages a worker holds of a queue;
//! - `matching`: which bindings take a message;
//! - `validate`: mistakes that show before any broker has seen them;
//! - `version`: options that a broker takes and does not heed;
//! - [`pattern`]: patterns for task names;
//! - [`route`]: the exchange, routing key and queue of a task;
//! - [`overrides`]: overrides of the options that are declared with tasks;
//! - [`delay`]: the ladder of queues in which a message waits for its time;
//! - [`objects`]: the objects that a topology consists of, one by one;
//! - [`existing`]: the objects that a broker has;
//! - [`difference`]: the difference between both;
//! - [`export`]: the same for RabbitMQ's own tools.

pub mod exchange;

pub mod queue;

pub mod topology;

pub mod prefetch;

mod matching;

mod validate;

mod version;

pub mod pattern;

pub mod route;

pub mod overrides;

pub mod delay;

pub mod objects;

pub mod existing;

pub mod difference;

pub mod export;

mod error;

pub use delay::{Ladder, delivery_binding, strip_delay_prefix};
pub use difference::{
    Difference, DifferenceKind, Leftover, POLICY_PRIORITY, Remedy, differences, differing_policies, policies,
};
pub use error::{Error, Result};
pub use exchange::{Binding, ExchangeKind, ExchangeOptions, HeaderMatch};
pub use existing::{BindingFacts, ExchangeFacts, Existing, MessageRates, PolicyFacts, QueueFacts, as_json};
pub use export::{Cluster, definitions, manifests};
pub use objects::{
    Argument, Arguments, BindingObject, BindingTarget, ExchangeObject, QueueObject, SettingsLocation, TopologyObject,
    delay_ladder,
};
pub use overrides::{TaskOverride, TaskOverrides};
pub use pattern::{Pattern, PatternTable};
pub use prefetch::Prefetch;
pub use queue::{DIRECT_EXCHANGE, Overflow, QueueKind, QueueOptions, dead_letter_queue, direct_queue};
pub use route::{
    CallRoute, Destination, Explanation, RouteDecision, RouteFunction, RouteFunctions, RouteRequest, RouteRule, Router,
    RoutesOptions, SendOptions, Target, TaskRoute,
};
pub use topology::Topology;
