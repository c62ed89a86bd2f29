//! The operator's hand and eye: [`Control`] over the ledger and the directory. Listing reads checkpoints and never waits for
//! an actor; the orders there are wait for one, and not for ever.

use std::time::Duration;

use crate::call::{self, CallMsg, CallSupervisorMsg};
use crate::control::{
    CallView, ClientView, Control, NoSuchCall, PhoneCall, PhoneCallHistory, Reply, RoomView, StartError, TransferError,
    TransferOrder, TrunkView,
};
use crate::ctx::Ctx;
use crate::model::address::SipUri;
use crate::model::cause::Cause;
use crate::model::ids::{CallId, SubscriberId};
use crate::ports::store::SavedBinding;
use crate::registrar;
use crate::supervision::Kind;
use crate::trunk::{self, TrunkCheckpoint};

/// How long an order waits for its actor: longer than any restart of a subsystem takes.
const PATIENCE: Duration = Duration::from_secs(5);

impl Control for Ctx {
    fn calls(&self) -> Vec<CallView> {
        let rows = self.ledger.calls.rows();
        let mut calls: Vec<_> = rows.into_iter().map(|(_, _, call)| call.view(self)).collect();
        calls.sort_by(|a, b| a.started_at.cmp(&b.started_at).then(a.call.cmp(&b.call)));
        calls
    }

    fn registrations(&self) -> Vec<SavedBinding> {
        let now = self.wall();
        let mut bindings: Vec<_> = self.ledger.bindings.rows().into_iter().flat_map(|(_, _, rows)| rows).collect();
        bindings.retain(|binding| binding.expires_at > now);
        bindings.sort_by(|a, b| a.subscriber.cmp(&b.subscriber).then(a.contact.uri.0.cmp(&b.contact.uri.0)));
        bindings
    }

    fn unregister(&self, subscriber: SubscriberId, contact: Option<SipUri>) -> Reply<Option<usize>> {
        let ctx = self.clone();
        Box::pin(async move { registrar::remove(&ctx, subscriber, contact).await })
    }

    fn trunks(&self) -> Vec<TrunkView> {
        let now = self.wall();
        let rows = self.ledger.trunks.rows();
        let view = |row: &TrunkCheckpoint| {
            row.view(self.ports.sip.trunk_targets(&row.trunk), trunk::views(self, &row.trunk), now)
        };
        let mut trunks: Vec<_> = rows.iter().map(|(_, _, row)| view(row)).collect();
        trunks.sort_by(|a, b| a.trunk.cmp(&b.trunk));
        trunks
    }

    fn rooms(&self) -> Vec<RoomView> {
        let mut rooms: Vec<_> = self.ledger.rooms.rows().iter().map(|(_, _, room)| room.view()).collect();
        rooms.sort_by(|a, b| a.room.cmp(&b.room));
        rooms
    }

    fn clients(&self) -> Vec<ClientView> {
        let now = self.wall();
        let mut clients: Vec<_> = self.ledger.clients.rows().iter().map(|(_, _, client)| client.view(now)).collect();
        clients.sort_by(|a, b| a.user.cmp(&b.user).then(a.device.cmp(&b.device)));
        clients
    }

    fn start_phone_call(&self, order: PhoneCall) -> Reply<Result<CallId, StartError>> {
        let ctx = self.clone();
        Box::pin(async move {
            let busy = |why: &str| Err(StartError::Unavailable(why.to_owned()));
            if ctx.draining() {
                return busy("the switch is about to stop");
            }
            let (reply, answer) = ractor::concurrency::oneshot();
            let ask = CallSupervisorMsg::StartPhoneCall { order, reply: reply.into() };
            ctx.directory.call_supervisor.post(ask);
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => busy("the order was lost in a crash: try again"),
                Err(_) => busy("no answer in time"),
            }
        })
    }

    fn hang_up(&self, call: CallId) -> Reply<Result<(), NoSuchCall>> {
        let lives = self.ledger.calls.contains(&call);
        if lives {
            call::order(self, call, CallMsg::HangUp { cause: Cause::hangup() });
        }
        Box::pin(std::future::ready(if lives { Ok(()) } else { Err(NoSuchCall) }))
    }

    fn transfer(&self, call: CallId, order: TransferOrder) -> Reply<Result<(), TransferError>> {
        Box::pin(std::future::ready(call::transfer::order(self, call, order)))
    }

    fn phone_call_state(&self, call: CallId) -> Option<PhoneCallHistory> {
        self.ledger.phone_calls.get(&call)
    }

    fn ready(&self) -> Result<(), String> {
        if self.draining() {
            return Err("draining: no new calls are taken".into());
        }
        if let Some(kind) = self.missing_subsystem() {
            return Err(format!("{kind} is not up"));
        }
        if let Some(trouble) = self.troubles.iter().next() {
            return Err(trouble.value().clone());
        }
        if !self.ports.store.healthy() {
            return Err("the store is not being written".into());
        }
        Ok(())
    }

    fn drain(&self) {
        Ctx::drain(self);
    }
}

impl Ctx {
    /// A subsystem that is not up at the moment.
    pub(crate) fn missing_subsystem(&self) -> Option<Kind> {
        let all = &self.directory;
        [
            (Kind::MediaSupervisor, all.media_supervisor.is_up()),
            (Kind::RtcSupervisor, all.rtc_supervisor.is_up()),
            (Kind::SipSupervisor, all.sip_supervisor.is_up()),
            (Kind::Registrar, all.registrar.is_up()),
            (Kind::TrunkSupervisor, all.trunk_supervisor.is_up()),
            (Kind::ClientSupervisor, all.client_supervisor.is_up()),
            (Kind::InvitationSupervisor, all.invitation_supervisor.is_up()),
            (Kind::RoomSupervisor, all.room_supervisor.is_up()),
            (Kind::CallSupervisor, all.call_supervisor.is_up()),
        ]
        .into_iter()
        .find_map(|(kind, up)| (!up).then_some(kind))
    }
}
