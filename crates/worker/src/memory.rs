//! The memory that decoded bodies may take, over all slots.

use std::sync::Arc;

use celeriac_config::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit.
const UNIT: usize = 1 << 10;

/// Estimated size up to which a body needs no reservation.
const SMALL: usize = 64 << 10;

/// The memory for decoded bodies. A body that is larger than all of it takes all of it, so every
/// body has its turn.
#[derive(Debug)]
pub(crate) struct DecodeMemory {
    free: Arc<Semaphore>,
    all: u32,
}

/// Reserved memory. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct ReservedMemory {
    _permit: Option<OwnedSemaphorePermit>,
}

impl DecodeMemory {
    pub(crate) fn new(size: ByteSize) -> Self {
        let units = usize::try_from(size.bytes()).unwrap_or(usize::MAX) / UNIT;
        let all = u32::try_from(units.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Reserves memory for a body of this estimated size, if there is enough and nobody waits.
    pub(crate) fn try_reserve(&self, size: usize) -> Option<ReservedMemory> {
        match self.units(size) {
            None => Some(ReservedMemory { _permit: None }),
            Some(units) => {
                let permit = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
                Some(ReservedMemory { _permit: Some(permit) })
            }
        }
    }

    /// Waits for memory. Bodies have their turn in the order in which they came.
    pub(crate) async fn reserve(&self, size: usize) -> ReservedMemory {
        let permit = match self.units(size) {
            None => None,
            // It is never closed.
            Some(units) => Arc::clone(&self.free).acquire_many_owned(units).await.ok(),
        };
        ReservedMemory { _permit: permit }
    }

    /// Returns the number of permits for a body, or `None` for a small one.
    fn units(&self, size: usize) -> Option<u32> {
        (size > SMALL).then(|| u32::try_from(size / UNIT).unwrap_or(u32::MAX).min(self.all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_share_the_memory_and_one_larger_than_all_of_it_has_its_turn() {
        let memory = DecodeMemory::new(ByteSize::mib(1));
        let half = memory.try_reserve(512 << 10).unwrap();
        assert!(memory.try_reserve(600 << 10).is_none());
        assert!(memory.try_reserve(8 << 30).is_none());
        let small = memory.try_reserve(SMALL);
        assert!(small.is_some(), "a small one needs none");
        drop(half);
        let large = memory.reserve(8 << 30).await;
        assert!(memory.try_reserve(SMALL + UNIT).is_none());
        drop(large);
        assert!(memory.try_reserve(SMALL + UNIT).is_some());
    }
}
