//! The port the brain commands (`tandem_actors::ports::sip::SipPort`): orders with their fencing, and snapshots.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tandem_actors::model::address::{AppHeaders, Contact, Transport};
use tandem_actors::model::ids::{CallId, DialogId, Epoch, ListenerId, TrunkId};
use tandem_actors::ports::Fenced;
use tandem_actors::ports::sip::{
    Destination, DialogPhase, DialogSnapshot, IncomingInvite, MediaAddress, MediaToward, MessageRelay, RegisterAnswer,
    SipCommand, SipPort, TrunkTarget,
};
use tokio::time::Instant;

use super::super::dialog::reoffer;
use super::super::dialog::session_id::SessionId;
use super::super::resolve::{Place, weights};
use super::dispatch::Places;
use super::established::Side;
use super::forks::Outgoing;
use super::health::Standing;
use super::reoffers::Offers;
use super::*;

impl SipPort for SipCore {
    fn order(&self, dialog: DialogId, epoch: Epoch, order: u64, command: SipCommand) -> Result<(), Fenced> {
        self.shared().with(|core, now| core.order(dialog, epoch, order, command, now))
    }
    fn snapshot(&self, dialog: DialogId) -> Option<DialogSnapshot> {
        self.shared().with(|core, now| {
            core.resumed(dialog, now);
            core.snapshot(dialog)
        })
    }
    fn unadopted(&self) -> Vec<DialogId> {
        self.shared().with(|core, _| core.unadopted())
    }
    fn deliver_again(&self, dialog: DialogId) -> Option<Box<IncomingInvite>> {
        self.shared().with(|core, now| core.deliver_again(dialog, now))
    }
    fn answer_message(&self, request: u64, answer: Result<MessageRelay, u16>) {
        self.shared().with(|core, now| core.message_answered(request, answer, now));
    }
    fn answer_register(&self, request: u64, answer: RegisterAnswer) {
        self.shared().with(|core, now| core.register_answered(request, &answer, now));
    }
    fn keep_alive(&self, contact: &Contact, id: Option<u64>) {
        self.shared().with(|core, now| core.keep_alive(contact, id, now));
    }
    fn register(&self, trunk: &TrunkId, epoch: Epoch, expires: Duration) {
        let expires = u32::try_from(expires.as_secs()).unwrap_or(u32::MAX);
        self.shared().with(|core, now| match core.trunk_named(trunk) {
            Some(at) => core.register_trunk(at, epoch, expires, now),
            None => metrics::ignored("impossible"),
        });
    }
    fn options(&self, trunk: &TrunkId, epoch: Epoch) {
        self.shared().with(|core, now| match core.trunk_named(trunk) {
            Some(at) => core.ask_trunk(at, epoch, now),
            None => metrics::ignored("impossible"),
        });
    }
    fn refer_outcome(&self, request: u64, status: u16) {
        self.shared().with(|core, now| core.refer_outcome(request, status, now));
    }
    fn trunk_targets(&self, trunk: &TrunkId) -> Vec<TrunkTarget> {
        self.shared().with(|core, now| {
            let targets =
                core.trunk_named(trunk).and_then(|at| core.trunks.get(at)).map(|state| state.targets.as_slice());
            let shown = |flow: &Flow| TrunkTarget {
                address: flow.remote,
                transport: flow.transport,
                up: core.targets.standing(flow.peer(), now) == Standing::Up,
            };
            targets.unwrap_or_default().iter().map(shown).collect()
        })
    }
    fn media_address(&self, toward: MediaToward) -> MediaAddress {
        self.shared().with(|core, now| core.media_address(&toward, now))
    }
    fn listeners(&self) -> Vec<ListenerId> {
        self.local_addrs().into_iter().map(|(listener, _)| listener).collect()
    }
    fn keep_listening(&self, listener: &ListenerId) -> Result<bool, String> {
        self.listen_again(listener)
    }
    fn belong(&self, dialog: DialogId, call: CallId) {
        self.shared().with(|core, _| core.belong(dialog, call));
    }
    fn set_draining(&self, draining: bool) {
        self.shared().with(|core, _| core.overload.draining = draining);
    }
    fn set_full(&self, full: bool) {
        self.shared().with(|core, _| core.overload.full = full);
    }
}

impl Core {
    fn order(
        &mut self,
        id: DialogId,
        epoch: Epoch,
        order: u64,
        command: SipCommand,
        now: Instant,
    ) -> Result<(), Fenced> {
        if let (SipCommand::Invite(invite), false) = (&command, self.dialogs.contains_key(&id)) {
            self.dialogs.insert(
                id,
                Dialog {
                    leg: Some(invite.leg),
                    epoch,
                    last_order: order,
                    side: Side::Uac(Outgoing::default()),
                    established: None,
                    ended: None,
                    forgotten: false,
                    remote: None,
                    local: None,
                    offers: Offers::default(),
                    session_id: SessionId::new(invite.headers.session_id()),
                    armed: None,
                },
            );
            self.outgoing_invite(id, invite, now);
            return Ok(());
        }
        let Some(dialog) = self.dialogs.get_mut(&id) else {
            metrics::ignored("unknown_dialog");
            return Ok(());
        };
        if epoch < dialog.epoch {
            metrics::ignored("fenced");
            return Err(Fenced);
        }
        dialog.epoch = epoch;
        if order <= dialog.last_order {
            metrics::ignored("repeated");
            return Ok(());
        }
        dialog.last_order = order;
        if !self.carry_out_order(id, command, now) {
            metrics::ignored("impossible");
        }
        self.sweep(id, now);
        self.arm_dialog(id);
        Ok(())
    }

    /// Carries an order out; `false` when the dialog's state does not allow it.
    fn carry_out_order(&mut self, id: DialogId, command: SipCommand, now: Instant) -> bool {
        let going = !self.is_over(id);
        let live = self.dialogs.get(&id).is_some_and(|dialog| dialog.established.is_some() && dialog.ended.is_none());
        match command {
            SipCommand::Adopt(leg) => {
                self.adopt(id, leg);
                true
            }
            SipCommand::Invite(_) => false,
            SipCommand::Progress { status, answer, headers } => {
                self.progress(id, status, answer.as_deref(), &headers, now)
            }
            SipCommand::Answer { description, headers } => self.answer(id, &description, &headers, now),
            SipCommand::Reject { cause, warning } => self.reject(id, &cause, warning, now),
            SipCommand::Reoffer(offer) if live => {
                self.reoffer(id, reoffer::Input::Want(offer), now);
                true
            }
            SipCommand::AnswerReoffer { request, description } if going => {
                self.answer_reoffer(id, request, &description, now);
                true
            }
            SipCommand::RejectReoffer { request, status, warning } if going => {
                self.reject_reoffer(id, request, status, warning, now);
                true
            }
            SipCommand::Info(digits) if live => {
                self.send_digits(id, &digits, now);
                true
            }
            SipCommand::Reoffer(_)
            | SipCommand::AnswerReoffer { .. }
            | SipCommand::RejectReoffer { .. }
            | SipCommand::Info(_) => false,
            SipCommand::Hangup(cause) => {
                let Some(dialog) = self.dialogs.get(&id) else { return false };
                match (&dialog.side, dialog.ended.is_some()) {
                    (_, true) => false,
                    _ if live => {
                        self.hang_up_established(id, cause, now);
                        true
                    }
                    (Side::Uas(_), false) => self.reject(id, &cause, None, now),
                    (Side::Uac(_), false) => {
                        self.cancel_forks(id, cause.q850, now);
                        self.end(id, cause, now);
                        true
                    }
                }
            }
            SipCommand::Forget => {
                if self.dialogs.get(&id).is_none_or(|dialog| dialog.ended.is_none()) {
                    return false;
                }
                if let Some(dialog) = self.dialogs.get_mut(&id) {
                    dialog.forgotten = true;
                }
                true
            }
        }
    }

    fn snapshot(&self, id: DialogId) -> Option<DialogSnapshot> {
        let dialog = self.dialogs.get(&id)?;
        let phase = match (&dialog.ended, &dialog.established, &dialog.side) {
            (Some((cause, _)), _, _) => DialogPhase::Ended(cause.clone()),
            (None, Some(established), _) if established.confirmed => DialogPhase::Confirmed,
            (None, Some(_), _) => DialogPhase::Answering,
            (None, None, Side::Uas(incoming)) => DialogPhase::Early { progress: incoming.progress },
            (None, None, Side::Uac(outgoing)) => DialogPhase::Early { progress: outgoing.progress },
        };
        Some(DialogSnapshot {
            leg: dialog.leg,
            phase,
            pending: dialog.offers.pending(),
            referral: self.open_referral(id),
            remote: dialog.remote.clone(),
            advertised: match &dialog.side {
                Side::Uas(_) => None,
                Side::Uac(outgoing) => outgoing.advertised(),
            },
            local: dialog.local.clone(),
            offering: dialog.offers.ours(),
            headers: match &dialog.side {
                Side::Uas(_) => AppHeaders::default(),
                Side::Uac(outgoing) => outgoing.headers.clone(),
            },
            last_order: dialog.last_order,
        })
    }

    fn media_address(&mut self, toward: &MediaToward, now: Instant) -> MediaAddress {
        let peers = match toward {
            MediaToward::Peer(source) => vec![Some((None, Transport::Udp, source.ip()))],
            MediaToward::Destinations(all) => all.iter().map(|destination| self.peer_at(destination, now)).collect(),
        };
        let listener = |peer: &Option<(Option<ListenerId>, Transport, IpAddr)>| {
            peer.as_ref()
                .and_then(|(named, transport, ip)| self.listener_for(named.as_ref(), *transport, *ip))
                // A peer over a transport or family of no listener of its own: the first one serves.
                .unwrap_or(0)
        };
        let listeners: Vec<usize> = peers.iter().map(listener).collect();
        let mut binds = listeners.iter().filter_map(|at| self.listeners.get(*at)).map(|listener| listener.local.ip());
        let bind = match binds.next() {
            Some(first) if binds.all(|other| other == first) => Some(first),
            // Each is told the address of its own listener: the socket must hear at all of them.
            Some(IpAddr::V4(_)) => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Some(IpAddr::V6(_)) => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            None => None,
        };
        // A name not resolved yet counts as outside: the external address is the one that is reachable from both sides.
        let toward = peers.into_iter().next().flatten().map_or(IpAddr::from([192, 0, 2, 1]), |(_, _, ip)| ip);
        let advertise =
            self.advertised(Flow::udp(listeners.first().copied().unwrap_or(0), SocketAddr::new(toward, 0))).ip();
        MediaAddress { bind: bind.unwrap_or(advertise), advertise }
    }

    /// Listener, transport and address of a destination, as far as they are known before it is sent to.
    fn peer_at(&self, destination: &Destination, now: Instant) -> Option<(Option<ListenerId>, Transport, IpAddr)> {
        let of = |flow: &Flow| {
            let listener = self.listeners.get(flow.listener).map(|listener| listener.id.clone());
            (listener, flow.transport, flow.remote.ip())
        };
        match destination {
            Destination::Contact(contact) => {
                Some((Some(contact.listener.clone()), contact.transport, contact.source.ip()))
            }
            Destination::Trunk { trunk, .. } => {
                self.trunk_named(trunk).and_then(|at| self.trunks.get(at))?.targets.first().map(of)
            }
            Destination::Uri(uri) => {
                let places = Places::one(Place::of_uri(&uri.0)?);
                self.flows_of(&places, &mut weights::fixed, now).ok()?.first().map(of)
            }
        }
    }
}
