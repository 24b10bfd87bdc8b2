//! A value that threads change, and the one task that waits for it to become as it needs it.

use crate::primitives::{Mutex, MutexGuard};
use std::fmt;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A value behind a lock. Any thread may look at it and change it; one task at a time may wait.
///
/// The waiter looks at the value and leaves its waker under the same lock, so no change falls between the two.
pub struct Monitor<S> {
    inner: Mutex<Inner<S>>,
}

struct Inner<S> {
    value: S,
    waiter: Option<Waker>,
}

impl<S> Monitor<S> {
    /// Guards `value`.
    pub fn new(value: S) -> Self {
        Self { inner: Mutex::new(Inner { value, waiter: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// Looks at the value, or changes something that nobody waits for. `look` runs under the lock.
    pub fn look<R>(&self, look: impl FnOnce(&mut S) -> R) -> R {
        look(&mut self.lock().value)
    }

    /// Changes the value and wakes the waiter. `change` runs under the lock.
    pub fn change<R>(&self, change: impl FnOnce(&mut S) -> R) -> R {
        let mut inner = self.lock();
        let result = change(&mut inner.value);
        let waiter = inner.waiter.take();
        drop(inner);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        result
    }

    /// Waits until `pick` finds what it wants, and gives that. `pick` runs under the lock, at once and after every
    /// change. Dropping the future before it is done takes nothing.
    pub async fn wait_for<R>(&self, mut pick: impl FnMut(&mut S) -> Option<R>) -> R {
        poll_fn(|context| {
            let mut inner = self.lock();
            match pick(&mut inner.value) {
                Some(found) => Poll::Ready(found),
                None => {
                    inner.waiter = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<S> fmt::Debug for Monitor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}
