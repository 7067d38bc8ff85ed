//! The exchanges and queues that all brokers of one URL share.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use super::vhost::VirtualHost;

/// The exchanges and queues that all brokers of one URL share.
pub(super) struct MemoryHost {
    vhost: Mutex<VirtualHost>,
}

/// The hosts of this process, by URL.
static HOSTS: LazyLock<Mutex<HashMap<String, Weak<MemoryHost>>>> = LazyLock::new(Mutex::default);

impl MemoryHost {
    pub(super) fn at(url: &str) -> Arc<Self> {
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(url).and_then(Weak::upgrade) {
            return host;
        }
        hosts.retain(|_, host| host.strong_count() > 0);
        let host = Arc::new(Self { vhost: Mutex::new(VirtualHost::new()) });
        hosts.insert(url.to_owned(), Arc::downgrade(&host));
        host
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, VirtualHost> {
        self.vhost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
