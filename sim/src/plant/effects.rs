//! What is wrong for a while: several effects may be at once, also of the same thing, which is what all of them together make of it.

use super::Plant;
use std::collections::BTreeSet;
use std::time::Duration;
use vestibule_raft::types::NodeId;

/// Something that is wrong for a while. Several may be at once, also of the same thing.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Nothing gets from one machine to another.
    Cut {
        /// From this one.
        from: String,
        /// To this one.
        to: String,
    },
    /// What two machines send each other waits.
    Held {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// Some packets between two machines are lost.
    Loss {
        /// One.
        one: String,
        /// The other.
        other: String,
        /// How many in a hundred.
        percent: u64,
    },
    /// Packets between two machines are late.
    Late {
        /// One.
        one: String,
        /// The other.
        other: String,
        /// By up to this.
        by: Duration,
    },
    /// A clock is off, by so many milliseconds more.
    Skew(NodeId, i64),
    /// Syncs take this long.
    SlowSync(NodeId, Duration),
    /// Writes and reads take this long.
    SlowDisk(NodeId, Duration),
    /// There is room for so many bytes of files; and perhaps for so many operations of the checkpoint store.
    Full(NodeId, u64, Option<u64>),
}

/// A clock that is off by so many milliseconds is off by far.
pub const FAR_CLOCK: u64 = 600;

/// The same two machines in the same order, however they are given.
fn pair(one: &str, other: &str) -> (String, String) {
    let (first, second) = if one < other { (one, other) } else { (other, one) };
    (first.to_owned(), second.to_owned())
}

impl Effect {
    /// The link that it is about.
    fn link(&self) -> Option<(String, String)> {
        match self {
            Self::Cut { from: one, to: other }
            | Self::Held { one, other }
            | Self::Loss { one, other, .. }
            | Self::Late { one, other, .. } => Some(pair(one, other)),
            Self::Skew(..) | Self::SlowSync(..) | Self::SlowDisk(..) | Self::Full(..) => None,
        }
    }
}

impl Plant {
    /// Something goes wrong; gives what ends it.
    pub fn begin(&mut self, effect: Effect) -> u64 {
        self.next_effect += 1;
        self.effects.insert(self.next_effect, effect.clone());
        self.apply(&effect);
        self.next_effect
    }

    /// What went wrong goes right again, as far as nothing else is wrong with it.
    pub fn end(&mut self, id: u64) {
        if let Some(effect) = self.effects.remove(&id) {
            self.apply(&effect);
        }
    }

    /// Makes the thing that an effect is about what all effects together make of it.
    fn apply(&mut self, changed: &Effect) {
        if let Some((one, other)) = changed.link() {
            return self.apply_link(&one, &other);
        }
        let effects = || self.effects.values();
        match changed {
            Effect::Skew(node, _) => self.machines[node].clock.set_skew(self.skew(*node)),
            Effect::SlowSync(node, _) => {
                let delays = effects().filter_map(|effect| match effect {
                    Effect::SlowSync(of, delay) if of == node => Some(*delay),
                    _ => None,
                });
                let delay = delays.max().unwrap_or_default();
                self.machines[node].disk.set_sync_delay(delay);
                self.machines[node].store.set_flush_delay(delay);
            }
            Effect::SlowDisk(node, _) => {
                let delays = effects().filter_map(|effect| match effect {
                    Effect::SlowDisk(of, delay) if of == node => Some(*delay),
                    _ => None,
                });
                let delay = delays.max().unwrap_or_default();
                self.machines[node].disk.set_delay(delay);
                self.machines[node].store.set_delay(delay);
            }
            Effect::Full(node, ..) => {
                let rooms: Vec<(u64, Option<u64>)> = effects()
                    .filter_map(|effect| match effect {
                        Effect::Full(of, capacity, room) if of == node => Some((*capacity, *room)),
                        _ => None,
                    })
                    .collect();
                let machine = &self.machines[node];
                machine.disk.set_capacity(rooms.iter().map(|(capacity, _)| *capacity).min().unwrap_or(u64::MAX));
                machine.store.fill_after(rooms.iter().filter_map(|(_, room)| *room).min());
            }
            _ => unreachable!("all others are about links"),
        }
    }

    /// Whether some clock is off by far.
    pub fn has_far_clock(&self) -> bool {
        let is_far = |effect: &Effect| matches!(effect, Effect::Skew(_, off) if off.unsigned_abs() >= FAR_CLOCK);
        self.effects.values().any(is_far)
    }

    pub(super) fn skew(&self, node: NodeId) -> i64 {
        let skews = self.effects.values().filter_map(|effect| match effect {
            Effect::Skew(of, off) if *of == node => Some(*off),
            _ => None,
        });
        self.base_skew.get(&node).copied().unwrap_or(0) + skews.sum::<i64>()
    }

    pub(super) fn apply_link(&mut self, one: &str, other: &str) {
        let link = pair(one, other);
        let (mut cuts, mut is_held, mut loss, mut late) = (BTreeSet::new(), false, 0, None);
        for effect in self.effects.values().filter(|effect| effect.link().as_ref() == Some(&link)) {
            match effect {
                Effect::Cut { from, to } => drop(cuts.insert((from.clone(), to.clone()))),
                Effect::Held { .. } => is_held = true,
                Effect::Loss { percent, .. } => loss = loss.max(*percent),
                Effect::Late { by, .. } => late = late.max(Some(*by)),
                _ => {}
            }
        }
        if self.held.remove(&link) && !is_held {
            // What waited arrives.
            self.sim.release(one, other);
        } else {
            self.sim.repair(one, other);
        }
        if is_held {
            self.sim.hold(one, other);
            self.held.insert(link);
        }
        for (from, to) in &cuts {
            self.sim.partition_oneway(from.as_str(), to.as_str());
        }
        self.sim.set_link_fail_rate(one, other, loss as f64 / 100.0);
        self.sim.set_link_max_message_latency(one, other, late.unwrap_or(self.latency_max));
    }
}
