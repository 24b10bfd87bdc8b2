//! Doing without the store while the disk is full, or once a row of it was found damaged, and making it anew from memory.
//!
//! A store that has met a full disk cannot be used any more: nobody knows what it took, and sled waits for ever behind
//! a flush that failed. Memory has every group's whole state, so nothing is lost by that; only the log is not purged
//! beyond what was flushed before. What is flushed stays on the disk until the new store is complete, so a crash finds
//! one or the other.

use super::meta::{IDENTITY_KEY, META_KEY, damaged, identity, row_key, seal};
use super::{CATALOG, CheckpointMeta, Checkpointer, Condition, Pinned, Request, Saved, Slot, namespace};
use crate::node::is_damage;
use crate::seams::StoredChanges;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use vestibule_engine::GroupId;

/// How long to wait after the store was full before it is made anew, so that a disk that is just about full does not
/// cost a checkpoint of everything again and again.
const PAUSE: Duration = Duration::from_secs(5);

/// How many times within [`MENDS_SPAN`] the store may be found damaged. Behind that is a disk that is not to be relied on.
const MENDS_MAX: usize = 3;
const MENDS_SPAN: Duration = Duration::from_secs(3_600);

/// How long the store that is made waits for the log. Nothing else is done meanwhile.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// The store cannot be used until it has been made anew.
pub(super) struct Outage {
    not_before: Instant,
    /// Bytes that what was copied at the last attempt is known to need: with less room than that nothing is copied.
    needed: u64,
}

/// Whether a node can go on without its store after such an error, until the store has been made anew.
pub(super) fn can_be_survived(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull || is_damage(error)
}

fn without_store() -> io::Error {
    let reason = "the checkpoints cannot be used until they are made anew: the disk was full, or they are damaged";
    io::Error::new(io::ErrorKind::StorageFull, reason)
}

impl Checkpointer {
    /// Goes on without the store if the disk is full, or if what it holds is damaged and memory has all of it; any other error is
    /// final, and so is damage to what is just being made anew, or that comes again and again.
    pub(super) fn survive(&mut self, error: io::Error) -> io::Result<()> {
        let now = Instant::now();
        if is_damage(&error) {
            self.mends.retain(|mended| now < *mended + MENDS_SPAN);
            let is_whole = self.all_attached.load(Ordering::Relaxed);
            if self.outage.is_some() || !is_whole || self.mends.len() >= MENDS_MAX {
                self.fail.send_replace(Condition::Failed(error.to_string()));
                return Err(error);
            }
            tracing::error!(%error, "a checkpoint is damaged: all are made anew from memory");
            self.mends.push(now);
            self.begin_outage(Outage { not_before: now, needed: 0 });
            return Ok(());
        }
        if error.kind() != io::ErrorKind::StorageFull {
            return Err(error);
        }
        if self.outage.is_none() {
            tracing::error!(%error, "the disk is full: no checkpoint is written and no log purged until there is room");
        }
        let needed = self.outage.as_ref().map_or(0, |outage| outage.needed);
        self.begin_outage(Outage { not_before: now + PAUSE, needed });
        Ok(())
    }

    fn begin_outage(&mut self, outage: Outage) {
        self.outage = Some(outage);
        self.pulse.set_without_store(true);
        // What was not flushed counts for nothing, and whoever reads or receives has lost what it was about.
        for slot in self.slots.values_mut() {
            *slot = Slot::new(slot.number, slot.durable.clone());
        }
        for attached in self.attached.values_mut() {
            attached.begin_at(attached.taken);
        }
    }

    /// Passes an outcome on, having noted that the store cannot be used if that is what it says.
    pub(super) fn note_lost<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && can_be_survived(error)
        {
            self.survive(io::Error::new(error.kind(), error.to_string()))?;
        }
        done
    }

    /// What is durable of the group's checkpoint.
    pub(super) fn durable(&self, group: GroupId) -> io::Result<CheckpointMeta> {
        self.slots.get(&group).map(|slot| slot.durable.clone()).ok_or_else(without_store)
    }

    /// Pins what is durable of the group's checkpoint.
    pub(super) fn pin(&self, group: GroupId) -> io::Result<Pinned> {
        let slot = self.slots.get(&group).ok_or_else(without_store)?;
        Ok(Pinned { meta: slot.durable.clone(), pin: slot.pin.clone() })
    }

    /// Answers what can be answered without a store, during an outage; gives back what there is a store for.
    pub(super) fn answer_without_store(&mut self, request: Request) -> Option<Request> {
        if self.outage.is_none() {
            return Some(request);
        }
        match request {
            // Raft must not fail because of it: it goes by what is durable.
            Request::Save { group, answer } => {
                let saved = self.durable(group).map(|meta| Saved { meta, awaited: None });
                drop(answer.send(saved));
            }
            Request::BeginRead { group, answer } => drop(answer.send(self.pin(group))),
            Request::Load { answer, .. } => drop(answer.send(Err(without_store()))),
            Request::Attach { answer, .. } => drop(answer.send(Err(without_store()))),
            Request::ReadPage { answer, .. } => drop(answer.send(Err(without_store()))),
            Request::BeginReceive { answer, .. } => drop(answer.send(Err(without_store()))),
            Request::PutPage { answer, .. } => drop(answer.send(Err(without_store()))),
            Request::FinishReceive { answer, .. } => drop(answer.send(Err(without_store()))),
            Request::Install { answer, .. } => drop(answer.send(Err(without_store()))),
            Request::SetAside { answer, .. } => drop(answer.send(Err(without_store()))),
            // Nobody reads anything.
            Request::Unpin { answer, .. } => drop(answer.send(Ok(false))),
            Request::Forget { group, answer } => {
                // It is not in the store that will be made.
                self.attached.remove(&group);
                self.outage.iter_mut().for_each(|outage| outage.needed = 0);
                drop(answer.send(Err(without_store())));
            }
            Request::Close { .. } => unreachable!("handled where requests are received"),
        }
        None
    }

    /// Makes the store anew if there is room, and ends the outage.
    pub(super) async fn try_anew(&mut self) -> io::Result<()> {
        // The whole state will be written: what changes until then must not gather in memory.
        for attached in self.attached.values() {
            drop(attached.state.drain());
        }
        let now = Instant::now();
        // Of a group that is not attached yet, the old store has the only copy here.
        if !self.all_attached.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(Outage { needed, .. }) = self.outage.as_ref().filter(|outage| now >= outage.not_before) else {
            return Ok(());
        };
        // All groups share one disk.
        if let Some(attached) = self.attached.values().next()
            && (attached.log.is_disk_full() || !attached.log.has_room_for_checkpoint(*needed).await?)
        {
            return Ok(());
        }
        match self.make_anew().await {
            Ok(()) => {
                self.outage = None;
                self.pulse.set_without_store(false);
                tracing::warn!("the checkpoints have been made anew");
                Ok(())
            }
            Err(error) => {
                self.survive(error)?;
                self.store.abandon_anew().await
            }
        }
    }

    async fn make_anew(&mut self) -> io::Result<()> {
        let store = self.store.clone();
        store.begin_anew().await?;
        store.write(CATALOG, vec![(IDENTITY_KEY.to_vec(), Some(identity(self.owner)))]).await?;
        let mut slots = BTreeMap::new();
        let mut copied = 0;
        for group in self.attached.keys().copied().collect::<Vec<_>>() {
            let meta = self.write_whole(group, &mut copied).await?;
            slots.insert(group, Slot::new(0, meta));
        }
        store.flush().await?;
        store.commit_anew().await?;
        self.slots = slots;
        for (group, slot) in &self.slots {
            self.note_saved(*group, &slot.durable);
        }
        Ok(())
    }

    /// Writes the whole state of a group into slot 0 of a store that is empty. Memory holds the rows of one group at a
    /// time, and nothing is applied to it while they are copied. `copied` counts the bytes that all groups need.
    async fn write_whole(&mut self, group: GroupId, copied: &mut u64) -> io::Result<CheckpointMeta> {
        let store = self.store.clone();
        let attached = self.attached.get_mut(&group).ok_or_else(|| damaged(group, "it is not attached"))?;
        let whole = attached.state.drain_whole();
        attached.begin_at(whole.last.map_or(0, |last| last.index + 1));
        let bytes: usize = whole.rows.0.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        // The rows, and what a database makes of them.
        let needed = 2 * bytes as u64;
        *copied += needed;
        if !attached.log.has_room_for_checkpoint(needed).await? {
            if let Some(outage) = &mut self.outage {
                outage.needed = *copied;
            }
            return Err(without_store());
        }
        let deadline = Instant::now() + LOG_PATIENCE;
        while whole.last.is_some_and(|last| attached.log.is_pending(last.index)) {
            if Instant::now() > deadline {
                // The disk is slow beside being full. The outage goes on.
                let reason = format!("the log of {group} has not reached the disk in {LOG_PATIENCE:?}");
                return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let name = namespace(group, 0);
        let is_received =
            self.slots.get(&group).is_some_and(|slot| slot.meta.is_received && slot.meta.last == whole.last);
        let mut meta =
            CheckpointMeta { last: whole.last, membership: whole.membership, is_received, ..CheckpointMeta::default() };
        let mut page: StoredChanges = Vec::new();
        let mut page_bytes = 0;
        for (key, value) in whole.rows.0 {
            let Some(value) = value else { continue };
            let key = row_key(&key);
            let sealed = seal(&key, &value);
            meta.add(&key, &sealed);
            page_bytes += key.len() + sealed.len();
            page.push((key, Some(sealed)));
            if page_bytes >= self.page_bytes() {
                store.write(&name, std::mem::take(&mut page)).await?;
                self.pulse.beat();
                page_bytes = 0;
            }
        }
        page.push((META_KEY.to_vec(), Some(meta.encode(self.owner))));
        store.write(&name, page).await?;
        store.flush().await?;
        Ok(meta)
    }

    /// Writes everything that changed, as far as there is a store.
    pub(super) async fn save_last(&mut self) -> io::Result<()> {
        let saved = match self.outage {
            None => self.save_all().await.or_else(|error| self.survive(error)),
            Some(_) => Ok(()),
        };
        if self.outage.is_some() {
            tracing::warn!("the last changes are in the log only: the checkpoints could not be used");
        }
        self.fail.send_replace(Condition::Closed);
        saved
    }
}
