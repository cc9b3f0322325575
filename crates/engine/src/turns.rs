//! One after another: a lock in this process for each thing that somebody works on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// One lock for each thing that is being worked on.
#[derive(Debug)]
pub(crate) struct Turns<K> {
    locks: Mutex<BTreeMap<K, Weak<tokio::sync::Mutex<()>>>>,
}

impl<K> Default for Turns<K> {
    fn default() -> Turns<K> {
        Turns { locks: Mutex::default() }
    }
}

impl<K: Ord> Turns<K> {
    /// Waits until nobody else here works on it.
    pub(crate) async fn lock(&self, thing: K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(&thing).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(thing, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}
