//! Work that many hand to one worker.
//!
//! ```text
//!            finish: what is there is still taken          the worker got `None`, or closed
//!   open ──────────────────────────────────────▶ finishing ───────────────────────────────▶ closed
//!    └──────────────── close: what is there is given back ────────────────────────────────────▲
//! ```
//!
//! *Invariant:* what was accepted is either taken or given back by [`HandOff::close`], whenever the end comes: nobody waits
//! for an answer that nobody is left to give.

use crate::monitor::Monitor;
use std::collections::VecDeque;

/// Work that many hand to one worker. Its bound is its users' matter.
#[derive(Debug)]
pub struct HandOff<T> {
    desk: Monitor<Desk<T>>,
}

struct Desk<T> {
    items: VecDeque<T>,
    /// Nothing more is accepted.
    is_finishing: bool,
}

impl<T> Default for HandOff<T> {
    fn default() -> Self {
        Self { desk: Monitor::new(Desk { items: VecDeque::new(), is_finishing: false }) }
    }
}

impl<T> HandOff<T> {
    /// Hands `item` over and wakes the worker. Gives it back once the end has begun.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.desk.change(|desk| {
            if desk.is_finishing {
                return Err(item);
            }
            desk.items.push_back(item);
            Ok(())
        })
    }

    /// Changes what waits, without waking the worker. `None` once the end has begun.
    pub fn amend<R>(&self, amend: impl FnOnce(&mut VecDeque<T>) -> R) -> Option<R> {
        self.desk.look(|desk| (!desk.is_finishing).then(|| amend(&mut desk.items)))
    }

    /// For the worker: what `pick` takes, as soon as it takes something. `pick` is told whether the end has begun, and
    /// then has to take something as long as anything is there. `None` when the end has begun and it took nothing.
    pub async fn take<R>(&self, mut pick: impl FnMut(&mut VecDeque<T>, bool) -> Option<R>) -> Option<R> {
        self.desk
            .wait_for(|desk| match pick(&mut desk.items, desk.is_finishing) {
                Some(taken) => Some(Some(taken)),
                None => desk.is_finishing.then_some(None),
            })
            .await
    }

    /// Accepts nothing from now on; what was accepted is still to be taken.
    pub fn finish(&self) {
        self.desk.change(|desk| desk.is_finishing = true);
    }

    /// Accepts nothing from now on, and gives back what was not taken.
    pub fn close(&self) -> VecDeque<T> {
        self.desk.change(|desk| {
            desk.is_finishing = true;
            std::mem::take(&mut desk.items)
        })
    }
}
