//! Notifications of ended tasks.
//!
//! A payload has the ids of many tasks, one in each line. Its last line begins with a tab and has
//! the outcomes of those tasks that have a small one, sealed. Programs of earlier versions write no
//! such line, and read it as an id that nobody awaits.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::pool::PostgresPool;
use crate::error::Result;
use crate::task_end::{EndOutcome, TaskEnd};
use crate::waiters::{Waiters, announced};

/// Most bytes of a payload, below the 8,000 of Postgres.
const LONGEST_PAYLOAD: usize = 7_900;

/// Begins the sealed outcomes, after the last id.
const SEALED: &str = "\n\t";

const SALT: usize = 16;
const COUNT: usize = 8;

/// Seals and opens the outcomes in notifications.
///
/// Every role of a database may listen and notify on every channel. Only those who may read
/// `celeriac.tasks` can read the key, so nobody else can read an outcome or make one up.
#[derive(Debug)]
pub(super) struct OutcomeSeal {
    /// `None` if this user may not read the table.
    keys: Option<SealKeys>,
}

#[derive(Debug)]
struct SealKeys {
    database: hmac::Key,
    /// The key of this process, derived from that of the database with the salt. So the count of
    /// this process alone makes each nonce unique.
    own: LessSafeKey,
    salt: [u8; SALT],
    count: AtomicU64,
}

impl OutcomeSeal {
    /// Reads the key of the database.
    ///
    /// # Errors
    /// Returns an error if the connection is lost.
    pub(super) async fn read(connections: &PostgresPool) -> Result<Self> {
        let mut lease = connections.lease().await?;
        let query = sqlx::query_scalar::<_, Vec<u8>>("SELECT key FROM celeriac.notification_key");
        let answer = connections.within(query.fetch_optional(&mut lease.connection)).await;
        match lease.conclude(answer) {
            Ok(key) => Ok(Self { keys: key.as_deref().and_then(SealKeys::new) }),
            // Without a right to the schema nothing else works either.
            Err(sqlx::Error::Database(_)) => Ok(Self { keys: None }),
            Err(cause) => Err(connections.error("reading the key of notifications", cause)),
        }
    }

    fn seal(&self, ids: &str, outcomes: &str) -> Option<String> {
        let keys = self.keys.as_ref()?;
        let count = keys.count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut sealed = outcomes.as_bytes().to_vec();
        keys.own.seal_in_place_append_tag(nonce(count), Aad::from(ids), &mut sealed).ok()?;
        Some(STANDARD_NO_PAD.encode([&keys.salt[..], &count, &sealed].concat()))
    }

    fn open(&self, ids: &str, text: &str) -> Option<Vec<u8>> {
        let keys = self.keys.as_ref()?;
        let mut sealed = STANDARD_NO_PAD.decode(text).ok()?;
        let (salt, rest) = sealed.split_first_chunk_mut::<SALT>()?;
        let (count, rest) = rest.split_first_chunk_mut::<COUNT>()?;
        let key = derive(&keys.database, salt)?;
        key.open_in_place(nonce(*count), Aad::from(ids), rest).ok().map(|outcomes| outcomes.to_vec())
    }
}

impl SealKeys {
    fn new(key: &[u8]) -> Option<Self> {
        let database = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).ok()?;
        Some(Self { own: derive(&database, &salt)?, database, salt, count: AtomicU64::new(0) })
    }
}

fn derive(database: &hmac::Key, salt: &[u8]) -> Option<LessSafeKey> {
    let key = hmac::sign(database, salt);
    UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).ok().map(LessSafeKey::new)
}

fn nonce(count: [u8; COUNT]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - COUNT..].copy_from_slice(&count);
    Nonce::assume_unique_for_key(nonce)
}

/// Returns these ends in the smallest number of notifications.
pub(super) fn payloads(seal: &OutcomeSeal, ends: impl Iterator<Item = TaskEnd>) -> Vec<String> {
    let mut payloads = Vec::new();
    let mut open = OpenPayload::default();
    for end in ends {
        let id = announced(&end.id);
        let outcome = end.outcome.as_deref().unwrap_or("null");
        if !open.ids.is_empty() && open.length_with(id, outcome) > LONGEST_PAYLOAD {
            payloads.push(std::mem::take(&mut open).close(seal));
        }
        open.add(id, outcome, end.outcome.is_some());
    }
    if !open.ids.is_empty() {
        payloads.push(open.close(seal));
    }
    payloads
}

/// A payload that more ends may fit in.
#[derive(Debug, Default)]
struct OpenPayload {
    ids: String,
    /// A JSON array with an outcome or `null` for each id, without its last bracket.
    outcomes: String,
    has_outcome: bool,
}

impl OpenPayload {
    fn length_with(&self, id: &str, outcome: &str) -> usize {
        let sealed = SALT + COUNT + self.outcomes.len() + 1 + outcome.len() + 1 + CHACHA20_POLY1305.tag_len();
        self.ids.len() + 1 + id.len() + SEALED.len() + sealed.div_ceil(3) * 4
    }

    fn add(&mut self, id: &str, outcome: &str, is_outcome: bool) {
        if self.outcomes.is_empty() {
            self.outcomes.push('[');
        } else {
            self.ids.push('\n');
            self.outcomes.push(',');
        }
        self.ids.push_str(id);
        self.outcomes.push_str(outcome);
        self.has_outcome |= is_outcome;
    }

    fn close(mut self, seal: &OutcomeSeal) -> String {
        self.outcomes.push(']');
        let sealed = self.has_outcome.then(|| seal.seal(&self.ids, &self.outcomes)).flatten();
        match sealed {
            Some(sealed) => self.ids + SEALED + &sealed,
            None => self.ids,
        }
    }
}

/// Delivers the outcomes in a payload. Adds to `ids` the awaited tasks whose rows have to be read.
pub(super) fn deliver(seal: &OutcomeSeal, waiting: &Waiters, payload: &str, ids: &mut Vec<String>) {
    if let Some((lines, sealed)) = payload.rsplit_once(SEALED)
        && waiting.awaits_any(lines.split('\n'))
        && let Some(outcomes) = seal.open(lines, sealed)
        && let Ok(outcomes) = serde_json::from_slice::<Vec<Option<EndOutcome<'_>>>>(&outcomes)
    {
        for (id, outcome) in lines.split('\n').zip(outcomes) {
            if let Some(outcome) = outcome {
                waiting.deliver_outcome(&outcome.into_record(id));
            }
        }
    }
    for announced in payload.split('\n') {
        waiting.awaited_of(announced, ids);
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::TaskState;

    use super::*;
    use crate::record::TaskRecord;

    fn seal(key: u8) -> OutcomeSeal {
        OutcomeSeal { keys: SealKeys::new(&[key; 32]) }
    }

    fn ends(count: usize, result: &str) -> impl Iterator<Item = TaskEnd> {
        (0..count).map(move |number| {
            let record = TaskRecord::new(format!("task-{number}"), "", TaskState::Success);
            TaskEnd::of(&TaskRecord { result: Some(result.to_owned()), ..record })
        })
    }

    fn opened(seal: &OutcomeSeal, payload: &str) -> Option<String> {
        let (ids, sealed) = payload.rsplit_once(SEALED)?;
        seal.open(ids, sealed).map(|outcomes| String::from_utf8(outcomes).unwrap())
    }

    #[test]
    fn only_a_holder_of_the_key_reads_an_outcome_or_makes_one_up() {
        let [payload] = &payloads(&seal(1), ends(1, "\"secret\""))[..] else { panic!("one payload") };
        assert!(payload.starts_with("task-0\n\t") && !payload.contains("secret"), "{payload}");
        // Another process of the same database.
        assert_eq!(opened(&seal(1), payload).unwrap(), r#"[{"state":"SUCCESS","result":"secret"}]"#);
        assert_eq!(opened(&seal(2), payload), None);
        assert_eq!(opened(&OutcomeSeal { keys: None }, payload), None);
        assert_eq!(opened(&seal(1), &payload.replace("task-0", "task-1")), None, "an outcome belongs to its ids");
        assert_eq!(payloads(&OutcomeSeal { keys: None }, ends(1, "1")), ["task-0"]);
    }

    #[test]
    fn no_nonce_is_used_twice_by_one_key() {
        let seal = seal(1);
        let prefix =
            |payload: &String| STANDARD_NO_PAD.decode(payload.split(SEALED).nth(1).unwrap()).unwrap()[..24].to_vec();
        let used: std::collections::HashSet<_> =
            (0..100).flat_map(|_| payloads(&seal, ends(1, "1"))).map(|payload| prefix(&payload)).collect();
        assert_eq!(used.len(), 100);
        let other = OutcomeSeal { keys: SealKeys::new(&[1; 32]) };
        assert_ne!(other.keys.unwrap().salt, seal.keys.unwrap().salt);
    }

    #[test]
    fn payloads_are_as_long_as_postgres_takes_and_hold_every_end() {
        for (result, most) in [("1".to_owned(), 4), ("1".repeat(900), 70)] {
            let result = if result.len() > 1 { format!("\"{result}\"") } else { result };
            let payloads = payloads(&seal(1), ends(256, &result));
            assert!(payloads.iter().all(|payload| payload.len() < 8_000), "a payload is too long");
            assert!(payloads.len() <= most, "{} payloads", payloads.len());
            let ids: Vec<_> =
                payloads.iter().flat_map(|payload| payload.split(SEALED).next().unwrap().split('\n')).collect();
            assert_eq!(ids, (0..256).map(|number| format!("task-{number}")).collect::<Vec<_>>());
        }
    }
}
