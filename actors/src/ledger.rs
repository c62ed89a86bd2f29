//! What survives an actor: its checkpoint and its epoch, one writer a key, epoch-fenced. Every checkpoint is serde, so that
//! the ledger can later be journaled and shared; today it lives as long as the process.
//!
//! The life of a row: whoever creates the thing (a supervisor, a parent) [`Table::insert`]s its first checkpoint and spawns the
//! actor; the actor's `pre_start` takes [`Table::next_epoch`], which fences off every earlier incarnation, and reads its
//! checkpoint; each step [`Table::commit`]s; the last one [`Table::remove`]s. A row that was removed is not brought back by a
//! straggler's commit.

use std::fmt::Display;
use std::hash::Hash;
use std::sync::atomic::AtomicBool;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::call::CallCheckpoint;
use crate::client::ClientCheckpoint;
use crate::control::PhoneCallHistory;
use crate::flow::FlowCheckpoint;
use crate::invitation::InvitationCheckpoint;
use crate::leg::LegCheckpoint;
use crate::model::ids::{
    CallId, ClientId, Epoch, InvitationId, LegId, MediaId, RoomId, SubscriberId, TrunkId, WorkerId,
};
use crate::ports::Fenced;
use crate::ports::media::MediaPlan;
use crate::ports::store::SavedBinding;
use crate::room::RoomCheckpoint;
use crate::supervision::Kind;
use crate::trunk::TrunkCheckpoint;

struct Row<C> {
    epoch: Epoch,
    checkpoint: C,
}

/// The rows of one kind of actor.
pub struct Table<K, C> {
    kind: Kind,
    name: &'static str,
    rows: DashMap<K, Row<C>>,
    /// A row was removed.
    removed: Notify,
}

impl<K, C> Table<K, C>
where
    K: Clone + Eq + Hash + Display,
    C: Clone + Serialize + DeserializeOwned,
{
    /// An empty table of this name, for metrics.
    pub fn new(kind: Kind, name: &'static str) -> Self {
        Self { kind, name, rows: DashMap::new(), removed: Notify::new() }
    }

    /// Creates a row at epoch 0, before its actor is spawned. `false`, and nothing changed, where there is one.
    pub fn insert(&self, key: K, checkpoint: C) -> bool {
        match self.rows.entry(key) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(free) => drop(free.insert(Row { epoch: Epoch(0), checkpoint })),
        }
        self.count();
        true
    }

    /// The epoch of a new incarnation, and the checkpoint it goes on from. From now on every older one is fenced off.
    /// `None` when the row is gone: there is nothing to resume.
    pub fn next_epoch(&self, key: &K) -> Option<(Epoch, C)> {
        let mut row = self.rows.get_mut(key)?;
        row.epoch = row.epoch.next();
        Some((row.epoch, row.checkpoint.clone()))
    }

    /// Replaces the checkpoint.
    ///
    /// # Errors
    /// [`Fenced`], counted, when a later incarnation has taken over or the row was removed.
    pub fn commit(&self, key: &K, epoch: Epoch, checkpoint: C) -> Result<(), Fenced> {
        match self.rows.get_mut(key) {
            Some(mut row) if row.epoch <= epoch => {
                *row = Row { epoch, checkpoint };
                Ok(())
            }
            Some(_) | None => Err(self.fenced(key)),
        }
    }

    /// As [`Table::commit`], but creates the row where there is none: for tables whose rows come and go under one actor (the
    /// registrar's bindings).
    ///
    /// # Errors
    /// [`Fenced`], counted, when a later incarnation has written the row.
    pub fn put(&self, key: K, epoch: Epoch, checkpoint: C) -> Result<(), Fenced> {
        match self.rows.entry(key) {
            Entry::Occupied(mut row) if row.get().epoch <= epoch => {
                row.insert(Row { epoch, checkpoint });
                Ok(())
            }
            Entry::Occupied(row) => Err(self.fenced(row.key())),
            Entry::Vacant(free) => {
                drop(free.insert(Row { epoch, checkpoint }));
                self.count();
                Ok(())
            }
        }
    }

    /// As [`Table::commit`], but changes a part of the row in place: for rows whose other part has other writers (a trunk's
    /// calls).
    ///
    /// # Errors
    /// [`Fenced`], counted, when a later incarnation has taken over or the row was removed.
    pub fn amend(&self, key: &K, epoch: Epoch, change: impl FnOnce(&mut C)) -> Result<(), Fenced> {
        match self.rows.get_mut(key) {
            Some(mut row) if row.epoch <= epoch => {
                row.epoch = epoch;
                change(&mut row.checkpoint);
                Ok(())
            }
            Some(_) | None => Err(self.fenced(key)),
        }
    }

    /// Changes a row in place, whoever asks: for rows with several writers (media plans). `None` where there is none.
    pub fn update<R>(&self, key: &K, change: impl FnOnce(&mut C) -> R) -> Option<R> {
        self.rows.get_mut(key).map(|mut row| change(&mut row.checkpoint))
    }

    /// The checkpoint.
    pub fn get(&self, key: &K) -> Option<C> {
        self.rows.get(key).map(|row| row.checkpoint.clone())
    }

    /// Reads the checkpoint without copying it. `look` must not touch the ledger.
    pub fn read<R>(&self, key: &K, look: impl FnOnce(&C) -> R) -> Option<R> {
        self.rows.get(key).map(|row| look(&row.checkpoint))
    }

    /// The epoch of the current incarnation.
    pub fn epoch(&self, key: &K) -> Option<Epoch> {
        self.rows.get(key).map(|row| row.epoch)
    }

    /// Whether there is a row.
    pub fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    /// Ends a row: what it described is over.
    pub fn remove(&self, key: &K) -> Option<C> {
        let removed = self.rows.remove(key).map(|(_, row)| row.checkpoint);
        if removed.is_some() {
            self.count();
            // An atomic or two while nobody waits.
            self.removed.notify_waiters();
        }
        removed
    }

    /// Every key, in no order.
    pub fn keys(&self) -> Vec<K> {
        self.rows.iter().map(|row| row.key().clone()).collect()
    }

    /// A copy of every row, in no order.
    pub fn rows(&self) -> Vec<(K, Epoch, C)> {
        self.rows.iter().map(|row| (row.key().clone(), row.epoch, row.checkpoint.clone())).collect()
    }

    /// Whether any checkpoint is so. `is` must not touch the ledger.
    pub fn any(&self, is: impl Fn(&C) -> bool) -> bool {
        self.rows.iter().any(|row| is(&row.checkpoint))
    }

    /// The keys of the checkpoints that are so. `is` must not touch the ledger.
    pub fn keys_where(&self, is: impl Fn(&C) -> bool) -> Vec<K> {
        self.rows.iter().filter(|row| is(&row.checkpoint)).map(|row| row.key().clone()).collect()
    }

    /// The first that `look` finds something in, with its key. `look` must not touch the ledger.
    pub fn find<R>(&self, look: impl Fn(&C) -> Option<R>) -> Option<(K, R)> {
        self.rows.iter().find_map(|row| Some((row.key().clone(), look(&row.checkpoint)?)))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Resolves once there is no row.
    pub async fn emptied(&self) {
        loop {
            // Asked for before looking: a removal in between is heard.
            let removed = self.removed.notified();
            if self.is_empty() {
                return;
            }
            removed.await;
        }
    }

    /// Must not be called while a row is held: a table is locked by parts.
    fn count(&self) {
        metrics::gauge!("tandem_ledger_rows", "table" => self.name).set(self.rows.len() as f64);
    }

    fn fenced(&self, key: &K) -> Fenced {
        metrics::counter!("tandem_fenced_total", "kind" => self.kind.label()).increment(1);
        tracing::warn!(kind = self.kind.label(), id = %key, "a commit of an older incarnation was refused");
        Fenced
    }
}

/// All tables.
pub struct Ledger {
    /// Live calls.
    pub calls: Table<CallId, CallCheckpoint>,
    /// Live legs, SIP and RTC alike.
    pub legs: Table<LegId, LegCheckpoint>,
    /// Flows of live calls.
    pub flows: Table<CallId, FlowCheckpoint>,
    /// Live invitations.
    pub invitations: Table<InvitationId, InvitationCheckpoint>,
    /// Live rooms.
    pub rooms: Table<RoomId, RoomCheckpoint>,
    /// Configured trunks.
    pub trunks: Table<TrunkId, TrunkCheckpoint>,
    /// Clients, those waiting for a resume included.
    pub clients: Table<ClientId, ClientCheckpoint>,
    /// Bindings of each subscriber that has some.
    pub bindings: Table<SubscriberId, Vec<SavedBinding>>,
    /// Whether the bindings of an earlier run were read: once a process, so that none that was removed comes back.
    pub bindings_loaded: AtomicBool,
    /// Media sessions as planned (see [`crate::media::plan`]).
    pub media: Table<MediaId, MediaPlan>,
    /// Media sessions whose closing the engine has not carried out yet.
    pub media_closing: DashMap<MediaId, WorkerId>,
    /// The latest media session of each subscriber: its next one is put near it, so that an attended transfer can join them.
    /// One that is closed by now is near to nothing.
    pub latest_media: DashMap<SubscriberId, MediaId>,
    /// Histories of phone calls begun by the API, kept a while after their end.
    pub phone_calls: Table<CallId, PhoneCallHistory>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            calls: Table::new(Kind::Call, "calls"),
            legs: Table::new(Kind::SipLeg, "legs"),
            flows: Table::new(Kind::Flow, "flows"),
            invitations: Table::new(Kind::Invitation, "invitations"),
            rooms: Table::new(Kind::Room, "rooms"),
            trunks: Table::new(Kind::Trunk, "trunks"),
            clients: Table::new(Kind::Client, "clients"),
            bindings: Table::new(Kind::Registrar, "bindings"),
            bindings_loaded: AtomicBool::new(false),
            media: Table::new(Kind::MediaWorker, "media"),
            media_closing: DashMap::new(),
            latest_media: DashMap::new(),
            phone_calls: Table::new(Kind::Call, "phone_calls"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<CallId, String> {
        Table::new(Kind::Call, "calls")
    }

    #[test]
    fn a_new_incarnation_fences_off_the_old_one_and_goes_on_from_its_checkpoint() {
        let table = table();
        assert!(table.insert(CallId(1), "ringing".into()));
        let (first, _) = table.next_epoch(&CallId(1)).unwrap();
        assert_eq!(table.commit(&CallId(1), first, "talking".into()), Ok(()));
        let (second, resumed) = table.next_epoch(&CallId(1)).unwrap();
        assert_eq!((second, resumed.as_str()), (first.next(), "talking"));
        assert_eq!(table.commit(&CallId(1), first, "stale".into()), Err(Fenced));
        assert_eq!(table.get(&CallId(1)).as_deref(), Some("talking"));
    }

    #[test]
    fn a_removed_row_is_not_brought_back_by_a_straggler() {
        let table = table();
        table.insert(CallId(1), "talking".into());
        let (epoch, _) = table.next_epoch(&CallId(1)).unwrap();
        table.remove(&CallId(1));
        assert_eq!(table.commit(&CallId(1), epoch, "stale".into()), Err(Fenced));
        assert!(table.is_empty() && table.next_epoch(&CallId(1)).is_none());
    }

    #[test]
    fn a_row_is_inserted_once() {
        let table = table();
        assert!(table.insert(CallId(1), "first".into()));
        assert!(!table.insert(CallId(1), "second".into()));
        assert_eq!(table.get(&CallId(1)).as_deref(), Some("first"));
    }

    #[test]
    fn put_creates_a_row_and_refuses_an_older_epoch() {
        let table = table();
        assert_eq!(table.put(CallId(1), Epoch(2), "new".into()), Ok(()));
        assert_eq!(table.put(CallId(1), Epoch(1), "old".into()), Err(Fenced));
        assert_eq!(table.put(CallId(1), Epoch(2), "newer".into()), Ok(()));
        assert_eq!(table.get(&CallId(1)).as_deref(), Some("newer"));
    }
}
