//! Checkpoints that leave and come: what is read of one for a peer, a snapshot that is received into the other slot, and the
//! slots that take each other's place.

use super::meta::{META_KEY, damaged, is_damage_of_group, row_key, seal, unseal_row};
use super::{CATALOG, CheckpointMeta, Checkpointer, Cursor, Pinned, Receiving, Slot, namespace, no_room};
use crate::seams::StoredChanges;
use std::io;
use std::sync::Arc;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{GroupId, Row};

impl Checkpointer {
    pub(super) async fn begin_read(&mut self, group: GroupId) -> io::Result<Pinned> {
        // What is handed out must be durable, so that the log may be purged up to it.
        let slot = self.slot(group).await?;
        if slot.meta != slot.durable {
            self.store.flush().await?;
            self.note_durable(group);
        }
        self.pin(group)
    }

    pub(super) async fn read_page(&mut self, group: GroupId, mut cursor: Cursor) -> io::Result<(Vec<Row>, Cursor)> {
        let current = self.slot(group).await?;
        let (slot, written) = (current.number, current.durable.clone());
        if !Arc::ptr_eq(&current.pin, &cursor.pin) {
            return Err(io::Error::other(format!(
                "the checkpoint of {group} was replaced, or had to change, while it was read"
            )));
        }
        let page = self.store.scan(&namespace(group, slot), Some(&cursor.after), self.page_bytes()).await?;
        match page.last() {
            Some((last, _)) => cursor.after = last.clone(),
            None if cursor.found == written || planted::is(Bug::IgnoreChecksums) => {}
            None => return Err(damaged(group, &cursor.found.other_rows_than(&written))),
        }
        let mut rows = Vec::with_capacity(page.len());
        for (key, sealed) in page {
            cursor.found.add(&key, &sealed);
            rows.push(unseal_row(group, key, sealed)?);
        }
        Ok((rows, cursor))
    }

    pub(super) async fn begin_receive(&mut self, group: GroupId) -> io::Result<Receiving> {
        let slot = self.slot(group).await?;
        if Arc::strong_count(&slot.turn) > 1 {
            return Err(io::Error::other(format!("another snapshot of {group} is being received")));
        }
        let (number, turn) = (1 - slot.number, slot.turn.clone());
        self.store.clear(&namespace(group, number)).await?;
        if !self.has_room(group, 0).await? {
            return Err(no_room(group));
        }
        Ok(Receiving { group, slot: number, meta: CheckpointMeta::default(), turn })
    }

    /// Fails when the slot that a snapshot is received into has been given to other uses.
    async fn check_turn(&mut self, receiving: &Receiving) -> io::Result<()> {
        let group = receiving.group;
        if Arc::ptr_eq(&self.slot(group).await?.turn, &receiving.turn) {
            return Ok(());
        }
        Err(io::Error::other(format!("the checkpoint of {group} was replaced while a snapshot was received")))
    }

    pub(super) async fn put_page(&mut self, mut receiving: Receiving, rows: Vec<Row>) -> io::Result<Receiving> {
        self.check_turn(&receiving).await?;
        // What is in memory may still go to the disk, so there has to be room for more than this page.
        let bytes: usize = rows.iter().map(|row| row.key.len() + row.value.len()).sum();
        if !self.has_room(receiving.group, 2 * bytes as u64).await? {
            self.store.clear(&namespace(receiving.group, receiving.slot)).await?;
            self.store.flush().await?;
            return Err(no_room(receiving.group));
        }
        let mut changes: StoredChanges = Vec::with_capacity(rows.len());
        for row in rows {
            let key = row_key(&row.key);
            let sealed = seal(&key, &row.value);
            receiving.meta.add(&key, &sealed);
            changes.push((key, Some(sealed)));
        }
        // The last page of a snapshot may have no rows.
        if !changes.is_empty() {
            self.store.write(&namespace(receiving.group, receiving.slot), changes).await?;
        }
        Ok(receiving)
    }

    pub(super) async fn finish_receive(&mut self, receiving: Receiving) -> io::Result<Receiving> {
        self.check_turn(&receiving).await?;
        self.store.flush().await?;
        Ok(receiving)
    }

    pub(super) async fn has_room(&self, group: GroupId, bytes: u64) -> io::Result<bool> {
        match self.attached.get(&group) {
            Some(attached) => attached.log.has_room_for_checkpoint(bytes).await,
            None => Ok(true),
        }
    }

    #[tracing::instrument(level = "debug", skip_all, fields(group = %receiving.group))]
    pub(super) async fn install(&mut self, receiving: Receiving, meta: CheckpointMeta) -> io::Result<()> {
        self.check_turn(&receiving).await?;
        let Receiving { group, slot: number, .. } = receiving;
        let before = self.slot(group).await?.number;
        // A snapshot that does not load must not replace anything. It is the sender's that is wrong.
        let applied = self
            .load_slot(group, number, meta.clone())
            .await
            .map_err(|error| if is_damage_of_group(&error) { io::Error::other(error.to_string()) } else { error })?;
        self.store.write(&namespace(group, number), vec![(META_KEY.to_vec(), Some(meta.encode(self.owner)))]).await?;
        self.store.flush().await?;
        let key = group.to_string().into_bytes();
        let sealed = seal(&key, &[number]);
        self.store.write(CATALOG, vec![(key, Some(sealed))]).await?;
        self.store.flush().await?;
        self.note_saved(group, &meta);
        self.slots.insert(group, Slot::new(number, meta));
        // Here and not in the caller: between the two, changes of the old state would be written into the new slot.
        if let Some(attached) = self.attached.get_mut(&group) {
            attached.begin_at(applied.next_index());
            if !planted::is(Bug::KeepState) {
                attached.state.replace(applied);
            }
        }
        self.store.clear(&namespace(group, before)).await
    }

    /// The empty slot takes the place of the full one before that is cleared: at no time is half a checkpoint in place.
    pub(super) async fn forget(&mut self, group: GroupId) -> io::Result<()> {
        self.attached.remove(&group);
        let full = self.slot(group).await?.number;
        let empty = 1 - full;
        self.store.clear(&namespace(group, empty)).await?;
        self.store.flush().await?;
        let key = group.to_string().into_bytes();
        let sealed = seal(&key, &[empty]);
        self.store.write(CATALOG, vec![(key, Some(sealed))]).await?;
        self.store.flush().await?;
        self.slots.remove(&group);
        self.save.send_modify(|saved| {
            saved.remove(&group);
        });
        self.store.clear(&namespace(group, full)).await?;
        self.store.flush().await
    }

    /// The other slot, made empty, takes the place of the damaged one. What is in that stays if it is kept: until a peer sends
    /// its checkpoint of the group, which goes there.
    pub(super) async fn set_aside(&mut self, group: GroupId, is_kept: bool) -> io::Result<()> {
        let damaged = self.slot_in_catalog(group).await?;
        self.store.clear(&namespace(group, 1 - damaged)).await?;
        self.store.flush().await?;
        let key = group.to_string().into_bytes();
        let sealed = seal(&key, &[1 - damaged]);
        self.store.write(CATALOG, vec![(key, Some(sealed))]).await?;
        self.store.flush().await?;
        self.slots.remove(&group);
        if is_kept {
            return Ok(());
        }
        self.store.clear(&namespace(group, damaged)).await?;
        self.store.flush().await
    }
}
