//! A call with an idempotency key is sent once, however often it is submitted.

use std::convert::Infallible;
use std::time::Duration;

use celeriac_broker::Error as BrokerError;
use celeriac_protocol::Codec;
use celeriac_results::PostgresBackend;
use celeriac_results::idempotency::{CLAIM_LEASE, Claim, Idempotency, KeyState, PreviousSubmission};
use celeriac_telemetry::events::client::IdempotencyKeyNotUpdated;
use celeriac_telemetry::{ErrorChain, Event};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::prepare::new_id;
use super::resolve::unwritable;
use super::resolve::{DynamicCall, ResolvedCall};
use super::send::Repeated;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::{Origin, TaskHandle};

/// UUID namespace of fingerprints of arguments.
const FINGERPRINTS: Uuid = Uuid::from_u128(0x6365_6c65_7269_6163_8000_6669_6e67_6572);

/// Longest key, in bytes. AMQP limits names to the same length.
const LONGEST_KEY: usize = 255;

/// Longest wait for a concurrent submission under the same key, and the pause between two queries.
/// The claim of a sender that died is taken over before.
const PATIENCE: Duration = CLAIM_LEASE.saturating_mul(2);
const LOOK: Duration = Duration::from_millis(100);

impl Client {
    /// Returns the claim of a request that has an idempotency key, and sets the task id.
    pub(super) fn claim_for(&self, request: &mut DynamicCall) -> Result<Option<(&Idempotency, Claim)>> {
        let Some(key) = request.options.idempotency_key.take() else { return Ok(None) };
        let task = request.task.clone();
        if key.is_empty() || key.len() > LONGEST_KEY || key.contains('\0') {
            let reason = "an idempotency key has 1 to 255 bytes, and no U+0000".to_owned();
            return Err(Error::Call { task, reason });
        }
        let Some(keys) = self.results().and_then(|results| results.postgres()).map(PostgresBackend::idempotency) else {
            return Err(Error::NoKeys { task });
        };
        let written = Codec::Json.encode(&request.body).map_err(|source| unwritable(&task, source))?;
        let fingerprint = Uuid::new_v5(&FINGERPRINTS, &written).to_string();
        let id = request.options.id.get_or_insert_with(new_id).clone();
        Ok(Some((keys, Claim { task, key, id, fingerprint })))
    }

    /// Sends a call unless one was sent before under its key.
    ///
    /// The message is always marked as repeated: if the claim is taken over from a sender that was
    /// only slow, two messages with one id are on the queue, and neither may run without reading
    /// the result store.
    pub(super) async fn send_once<T>(&self, mut call: ResolvedCall, awaited: Option<String>) -> Result<TaskHandle<T>> {
        let Some((keys, mut claim)) = self.claim_for(&mut call.request)? else {
            return self.send_anew(call, awaited, Repeated::No).await;
        };
        let began = Instant::now();
        let failed = |source| Error::Key { task: claim.task.clone(), source };
        let first = loop {
            match keys.claim(&claim).await.map_err(failed)? {
                KeyState::First => break true,
                KeyState::Unsent(previous) => {
                    claim.id = previous.same_as(&claim)?.id;
                    call.request.options.id = Some(claim.id.clone());
                    break false;
                }
                KeyState::Sent(previous) => return Ok(self.handle_of(previous.same_as(&claim)?, awaited)),
                // A concurrent sender records its result soon, unless it died.
                KeyState::Sending(previous) => {
                    let id = previous.same_as(&claim)?.id;
                    let waited = began.elapsed();
                    if waited > PATIENCE {
                        let Claim { task, key, .. } = claim;
                        let source = Box::new(BrokerError::Unconfirmed { waited });
                        return Err(Error::KeyClaimed { task, key, id, source });
                    }
                    sleep(LOOK).await;
                }
            }
        };
        let sent = tokio::select! {
            sent = self.send_anew(call, awaited, Repeated::Yes) => sent,
            never = keep_claim(keys, &claim) => match never {},
        };
        let noted = match &sent {
            Ok(_) => keys.sent(&claim).await,
            // The message may be on a queue. The next submission sends it again, with the same id.
            Err(error) if error.may_have_been_sent() || !first => keys.abandon(&claim).await,
            Err(_) => keys.release(&claim).await,
        };
        if let Err(error) = noted {
            IdempotencyKeyNotUpdated { task: &claim.task, error: &ErrorChain(&error).to_string() }.emit();
        }
        sent
    }

    fn handle_of<T>(&self, previous: PreviousSubmission, awaited: Option<String>) -> TaskHandle<T> {
        let handle = self.handle(awaited.unwrap_or(previous.id));
        handle.with_origin(Origin { is_sent: true, ..Origin::default() })
    }
}

/// Renews a claim until the caller drops this future.
async fn keep_claim(keys: &Idempotency, claim: &Claim) -> Infallible {
    loop {
        sleep(CLAIM_LEASE / 4).await;
        if let Err(error) = keys.renew(claim).await {
            IdempotencyKeyNotUpdated { task: &claim.task, error: &ErrorChain(&error).to_string() }.emit();
        }
    }
}

/// Comparison of an earlier submission with a new one under the same key.
pub(super) trait SameAs: Sized {
    /// # Errors
    /// Returns an error if the arguments differ.
    fn same_as(self, claim: &Claim) -> Result<Self>;
}

impl SameAs for PreviousSubmission {
    fn same_as(self, claim: &Claim) -> Result<Self> {
        if self.fingerprint == claim.fingerprint {
            return Ok(self);
        }
        let reason = format!("idempotency key `{}` was used with other arguments, by task {}", claim.key, self.id);
        Err(Error::Call { task: claim.task.clone(), reason })
    }
}
