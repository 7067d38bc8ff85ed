//! Topology and routing as data: the objects on the broker, and the destinations of tasks. No I/O,
//! no clock.
//!
//! In reading order:
//!
//! - [`exchange`], [`queue`], [`topology`]: declarations of the configuration;
//! - [`prefetch`]: number of unacknowledged messages that a worker holds of a queue;
//! - `matching`: matching of messages with bindings;
//! - `validate`: validation without a broker;
//! - `version`: options that a version of RabbitMQ ignores;
//! - [`pattern`]: patterns for task names;
//! - [`route`]: the exchange, routing key and queue of a task;
//! - [`overrides`]: overrides of task options;
//! - [`delay`]: the ladder of queues for delayed messages;
//! - [`objects`]: the objects of a topology, one by one;
//! - [`existing`]: the objects on a broker;
//! - [`difference`]: the differences of a broker from the files;
//! - [`export`]: the objects for RabbitMQ's own tools.

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
    policy_object,
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
pub use pattern::{Pattern, PatternTable, read_regex};
pub use prefetch::Prefetch;
pub use queue::{DIRECT_EXCHANGE, Overflow, QueueKind, QueueOptions, dead_letter_queue, direct_queue};
pub use route::{
    CallRoute, Destination, Explanation, RouteDecision, RouteFunction, RouteFunctions, RouteRequest, RouteRule,
    RouteTarget, Router, RoutesOptions, SendOptions, TaskRoute,
};
pub use topology::Topology;
