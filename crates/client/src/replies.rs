//! Replies to the tasks that this process submitted. Each goes to the handles that await it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use celeriac_broker::{Broker, Consumer};
use celeriac_protocol::{Codec, DecodeLimits, Message, ResultMeta, TaskState, Value};
use celeriac_results::TaskRecord;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::client::{ReplyUnawaited, ReplyUnreadable};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::error::{Error, Result};

/// The reply queue of this process, and the registry of pending replies. The first task that
/// requests a reply creates the queue.
#[derive(Debug)]
pub(crate) struct Replies {
    broker: Arc<dyn Broker>,
    registry: Arc<ReplyRegistry>,
    limits: DecodeLimits,
    queue: OnceCell<String>,
    service: TaskTracker,
}

/// The pending replies of this process, by task id.
#[derive(Debug, Default)]
struct ReplyRegistry {
    /// The handles of a task own its pending reply: an outcome is kept as long as a handle exists.
    pending: Mutex<HashMap<String, Weak<PendingReply>>>,
    /// Cancelled when no more replies are read.
    closed: CancellationToken,
}

/// The last known outcome of one task, updated by its replies. Dropping it removes it from the
/// registry.
pub(crate) struct PendingReply {
    id: String,
    registry: Arc<ReplyRegistry>,
    known: watch::Sender<Option<TaskRecord>>,
    sent_here: AtomicBool,
}

impl Replies {
    pub(crate) fn new(broker: Arc<dyn Broker>, limits: DecodeLimits) -> Self {
        Self { broker, registry: Arc::default(), limits, queue: OnceCell::new(), service: TaskTracker::new() }
    }

    /// Returns the reply queue. The first call creates it.
    pub(crate) async fn queue(&self) -> Result<&str, celeriac_broker::Error> {
        let start = || async {
            let queue = Uuid::now_v7().to_string();
            let consumer = self.broker.replies(&queue).await?;
            self.service.spawn(Arc::clone(&self.registry).serve(consumer, self.limits));
            Ok(queue)
        };
        self.queue.get_or_try_init(start).await.map(String::as_str)
    }

    /// Returns the pending reply of a task that was sent here or elsewhere.
    pub(crate) fn pending_reply(&self, id: &str) -> Arc<PendingReply> {
        self.registry.pending_reply(id)
    }

    /// Returns the pending reply of a task that is not sent yet, so that no reply comes earlier.
    pub(crate) fn expect_reply(&self, id: &str) -> Arc<PendingReply> {
        let reply = self.registry.pending_reply(id);
        reply.sent_here.store(true, Ordering::Relaxed);
        reply
    }

    /// Stops reading replies, and deletes the queue. Open waits end with an error.
    pub(crate) async fn close(&self) {
        self.registry.closed.cancel();
        self.service.close();
        self.service.wait().await;
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.registry.closed.cancel();
    }
}

impl ReplyRegistry {
    /// Dispatches replies until the client is closed.
    async fn serve(self: Arc<Self>, mut consumer: Consumer, limits: DecodeLimits) {
        // A panic ends the waits too.
        let _closed = self.closed.clone().drop_guard();
        while let Some(Some(delivery)) = self.closed.run_until_cancelled(consumer.next()).await {
            self.dispatch(&delivery.message, &limits);
            // Acknowledged after the dispatch. If the connection is lost before, the reply is
            // redelivered.
            delivery.settlement.ack();
        }
        self.closed.cancel();
        consumer.close().await;
    }

    fn dispatch(&self, message: &Message, limits: &DecodeLimits) {
        match read(message, limits) {
            Ok(meta) => match self.find(&meta.task_id) {
                Some(reply) => reply.update(to_record(meta)),
                None => ReplyUnawaited { id: &meta.task_id, state: &meta.status }.emit(),
            },
            // Acknowledged too, because a redelivery would be just as unreadable.
            Err(error) => {
                let id = message.properties.correlation_id.as_deref();
                ReplyUnreadable { id, error: &error }.emit();
            }
        }
    }

    fn pending_reply(self: &Arc<Self>, id: &str) -> Arc<PendingReply> {
        let mut pending = self.lock();
        if let Some(reply) = pending.get(id).and_then(Weak::upgrade) {
            return reply;
        }
        let reply = Arc::new(PendingReply {
            id: id.to_owned(),
            registry: Arc::clone(self),
            known: watch::Sender::new(None),
            sent_here: AtomicBool::new(false),
        });
        pending.insert(id.to_owned(), Arc::downgrade(&reply));
        reply
    }

    fn find(&self, id: &str) -> Option<Arc<PendingReply>> {
        self.lock().get(id).and_then(Weak::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<PendingReply>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingReply {
    /// Returns the outcome according to the replies so far.
    pub(crate) fn record(&self) -> Option<TaskRecord> {
        self.known.borrow().clone()
    }

    /// Waits for a reply with a final state.
    pub(crate) async fn finished(&self) -> Result<TaskRecord> {
        let mut known = self.known.subscribe();
        let ended = known.wait_for(|known| known.as_ref().is_some_and(|record| record.state.is_final()));
        match self.registry.closed.run_until_cancelled(ended).await {
            Some(Ok(record)) => record.clone().ok_or(Error::Closed),
            _ => Err(Error::Closed),
        }
    }

    /// Ignores further replies. Returns true if there was a reply.
    pub(crate) fn forget(&self) -> bool {
        let mut pending = self.registry.lock();
        if pending.get(&self.id).is_some_and(|reply| std::ptr::eq(reply.as_ptr(), self)) {
            pending.remove(&self.id);
        }
        drop(pending);
        self.known.send_replace(None).is_some()
    }

    /// Returns true if this process sent the task, so that its replies arrive here.
    pub(crate) fn is_sent_here(&self) -> bool {
        self.sent_here.load(Ordering::Relaxed)
    }

    fn update(&self, record: TaskRecord) {
        self.known.send_if_modified(|known| {
            let news = known.as_ref().is_none_or(|known| gives_way(known.state, record.state));
            if news {
                *known = Some(record);
            }
            news
        });
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        let mut pending = self.registry.lock();
        // The same id may have been sent again meanwhile, with a new pending reply.
        if pending.get(&self.id).is_some_and(|reply| reply.strong_count() == 0) {
            pending.remove(&self.id);
        }
    }
}

impl fmt::Debug for PendingReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PendingReply").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Returns true if the state `told` replaces the state `known`. As in a store, only a success
/// replaces a final state. A repeated reply changes nothing.
fn gives_way(known: TaskState, told: TaskState) -> bool {
    match known {
        TaskState::Success | TaskState::Ignored => false,
        known if known.is_final() => told == TaskState::Success,
        _ => true,
    }
}

fn read(message: &Message, limits: &DecodeLimits) -> Result<ResultMeta, String> {
    let codec = Codec::from_properties(&message.properties);
    let body = codec.and_then(|codec| codec.decode_value(&message.body, limits));
    let mut body = body.map_err(|error| error.to_string())?;
    if let (Value::Map(meta), Some(id)) = (&mut body, &message.properties.correlation_id) {
        meta.entry("task_id".to_owned()).or_insert_with(|| id.as_str().into());
    }
    ResultMeta::read(body).map_err(|error| error.to_string())
}

/// Turns a reply into a row. Fields that a reply lacks stay empty.
fn to_record(meta: ResultMeta) -> TaskRecord {
    let state = meta.state();
    // A worker's STARTED has the name of the worker in place of a result.
    let told = meta.failure.is_none() && meta.status != TaskState::Started.as_str();
    TaskRecord {
        custom_state: meta.is_custom().then(|| meta.status.clone()),
        // A decoded value can be encoded.
        result: if told { written(&meta.result) } else { None },
        failure: meta.failure,
        parent_id: meta.parent_id,
        group_id: meta.group_id,
        finished_at: meta.date_done,
        ..TaskRecord::new(meta.task_id, "", state)
    }
}

fn written(result: &Value) -> Option<String> {
    String::from_utf8(Codec::Json.encode(result).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use celeriac_broker::BrokerOptions;
    use celeriac_config::Secret;
    use celeriac_protocol::{Failure, Properties};

    use super::*;

    fn replies() -> Replies {
        let options = BrokerOptions { url: Secret::new("memory://replies-unit"), ..BrokerOptions::default() };
        Replies::new(celeriac_broker::connect(&options, "test").unwrap(), DecodeLimits::default())
    }

    fn reply(body: &str, correlation_id: Option<&str>) -> Message {
        let properties = Properties {
            content_type: Some("application/json".to_owned()),
            correlation_id: correlation_id.map(str::to_owned),
            ..Properties::default()
        };
        Message { properties, body: body.to_owned().into(), ..Message::default() }
    }

    fn tell(replies: &Replies, id: &str, status: &str, result: &str) {
        let body = format!(r#"{{"task_id": "{id}", "status": "{status}", "result": {result}}}"#);
        replies.registry.dispatch(&reply(&body, None), &replies.limits);
    }

    #[tokio::test]
    async fn a_pending_reply_lives_as_long_as_its_handles() {
        let replies = replies();
        let (one, again, other) = (replies.expect_reply("a"), replies.pending_reply("a"), replies.pending_reply("b"));
        assert!(Arc::ptr_eq(&one, &again));
        assert!(one.is_sent_here() && !other.is_sent_here());
        drop((one, other));
        assert_eq!(replies.registry.lock().len(), 1);
        drop(again);
        assert_eq!(replies.registry.lock().len(), 0);
        tell(&replies, "a", "SUCCESS", "1");
        assert_eq!(replies.pending_reply("a").record(), None);
    }

    #[tokio::test]
    async fn a_forgotten_reply_does_not_affect_a_new_one() {
        let replies = replies();
        let old = replies.expect_reply("a");
        tell(&replies, "a", "SUCCESS", "1");
        assert!(old.forget());
        let new = replies.expect_reply("a");
        assert!(!old.forget());
        drop(old);
        tell(&replies, "a", "SUCCESS", "2");
        assert_eq!(new.finished().await.unwrap().result.as_deref(), Some("2"));
    }

    #[tokio::test]
    async fn only_a_success_replaces_a_final_state() {
        let replies = replies();
        let reply = replies.expect_reply("a");
        let error = r#"{"exc_type": "E", "exc_message": ["x"], "exc_module": "m"}"#;
        let state = || reply.record().map(|record| record.state);
        for (status, result, expected) in [
            ("PENDING", "null", TaskState::Pending),
            ("PROGRESS", "5", TaskState::Started),
            ("RETRY", error, TaskState::Retry),
            ("STARTED", r#"{"pid": 1}"#, TaskState::Started),
            ("FAILURE", error, TaskState::Failure),
            ("RETRY", error, TaskState::Failure),
            ("REVOKED", error, TaskState::Failure),
            ("SUCCESS", "1", TaskState::Success),
            ("FAILURE", error, TaskState::Success),
            ("SUCCESS", "2", TaskState::Success),
        ] {
            tell(&replies, "a", status, result);
            assert_eq!(state(), Some(expected), "after {status}");
        }
        assert_eq!(reply.record().unwrap().result.as_deref(), Some("1"));
    }

    #[test]
    fn a_record_has_the_fields_of_the_reply() {
        let meta = |body: &str| read(&reply(body, Some("from-the-properties")), &DecodeLimits::default()).unwrap();
        let record = to_record(meta(r#"{"status": "STARTED", "result": {"pid": 7, "hostname": "w"}}"#));
        assert_eq!((record.id.as_str(), record.result), ("from-the-properties", None));
        let record = to_record(meta(
            r#"{"status": "REVOKED", "task_id": "t", "parent_id": "p", "group_id": "g", "traceback": "line",
                "date_done": "2026-11-20T09:29:25.651459+00:00",
                "result": {"exc_type": "TaskRevokedError", "exc_message": ["expired"], "exc_module": "celery.exceptions"}}"#,
        ));
        assert_eq!((record.id.as_str(), record.state, &record.result), ("t", TaskState::Revoked, &None));
        assert_eq!((record.parent_id.as_deref(), record.group_id.as_deref()), (Some("p"), Some("g")));
        assert_eq!(record.finished_at, Some("2026-11-20T09:29:25.651459Z".parse().unwrap()));
        let failure = Failure {
            module: Some("celery.exceptions".to_owned()),
            trace: Some("line".to_owned()),
            ..Failure::new("TaskRevokedError", "expired")
        };
        assert_eq!(record.failure, Some(failure));
    }

    #[test]
    fn an_unreadable_reply_has_a_reason() {
        let limits = DecodeLimits { size: 40, ..DecodeLimits::default() };
        let pickle = Message {
            properties: Properties {
                content_type: Some("application/x-python-serialize".to_owned()),
                ..Properties::default()
            },
            ..Message::default()
        };
        for (message, part) in [
            (pickle, "pickle"),
            (reply("{", None), "EOF"),
            (reply("[]", Some("t")), "should be an object, got a list"),
            (reply("{}", None), "lacks `task_id`"),
            (reply(&"[".repeat(41), None), "41"),
        ] {
            let error = read(&message, &limits).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
