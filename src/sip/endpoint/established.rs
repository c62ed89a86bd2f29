//! Dialogs: their table entry, a confirmed one's life and end, and our requests inside it (RFC 3261 §12.2, §13.3.1.4, §15).
//! Offers inside it are in `reoffers`, its session timer in `session_timer`, the peer's requests in `in_dialog`.

use std::collections::VecDeque;

use tandem_actors::model::address::MaxForwards;
use tandem_actors::model::cause::{Blame, Cause};
use tandem_actors::model::ids::LegId;
use tandem_actors::model::media::Digit;
use tandem_actors::model::negotiate::{AudioOffer, is_private};
use tandem_actors::ports::sip::DialogEvent;
use tokio::time::Instant;

use super::super::dialog::Record;
use super::super::dialog::accepted::{Accepted, Due as AckDue};
use super::super::dialog::session_id::SessionId;
use super::super::dialog::session_timer::SessionTimer;
use super::super::resolve::Place;
use super::forks::Outgoing;
use super::inbound::Incoming;
use super::reoffers::Offers;
use super::*;

/// One entry of the dialog table: one leg's INVITE and what came of it.
#[derive(Debug)]
pub(super) struct Dialog {
    /// Who decides; `None` until adopted.
    pub leg: Option<LegId>,
    /// The latest incarnation heard.
    pub epoch: Epoch,
    /// The last order carried out.
    pub last_order: u64,
    /// Which side of the INVITE we are.
    pub side: Side,
    /// There was a 2xx.
    pub established: Option<Established>,
    /// It is over: why, and until when it is remembered.
    pub ended: Option<(Cause, Instant)>,
    /// The leg needs it no more.
    pub forgotten: bool,
    /// The last description the peer sent.
    pub remote: Option<Box<AudioOffer>>,
    /// The last description we sent.
    pub local: Option<Box<AudioOffer>>,
    /// Who may offer now, and what waits for the leg.
    pub offers: Offers,
    /// What it says of its session (RFC 7989).
    pub session_id: SessionId,
    /// The timer that is armed for it.
    pub armed: Option<Instant>,
}

/// Which side of the INVITE we are.
#[derive(Debug)]
pub(super) enum Side {
    /// It came.
    Uas(Box<Incoming>),
    /// We sent it.
    Uac(Outgoing),
}

/// A confirmed dialog, or one whose 2xx waits for its ACK.
#[derive(Debug)]
pub(super) struct Established {
    pub record: Record,
    /// User part of our Contact.
    pub contact: String,
    /// The trunk whose credentials answer challenges.
    pub trunk: Option<usize>,
    /// Our 2xx that waits for its ACK.
    pub accepted: Option<Accepted>,
    /// Whether that is the 2xx that made the dialog.
    pub initial: bool,
    /// Whether that 2xx carried an offer, so that the ACK brings the answer.
    pub expects_answer: bool,
    /// Hung up before the ACK: BYE follows it (RFC 3261 §15: the callee waits).
    pub bye_on_ack: Option<Cause>,
    pub session: Option<SessionTimer>,
    /// Min-SE that the peer raised our requests to.
    pub min_se: Option<u32>,
    /// The peer takes UPDATE.
    pub allows_update: bool,
    /// Our re-INVITE that is, or was last, under way.
    pub reinvite: Option<ClientKey>,
    /// The ACK of our last re-INVITE's 2xx, by CSeq.
    pub last_ack: Option<(u32, Flow, Bytes)>,
    pub digits: VecDeque<Digit>,
    pub info_out: bool,
    /// Confirmed once: the 2xx of the INVITE was acknowledged.
    pub confirmed: bool,
    /// When the 2xx of the INVITE passed.
    pub since: Instant,
}

impl Established {
    pub fn new(record: Record, contact: String, trunk: Option<usize>, now: Instant) -> Self {
        Self {
            record,
            contact,
            trunk,
            accepted: None,
            initial: false,
            expects_answer: false,
            bye_on_ack: None,
            session: None,
            min_se: None,
            allows_update: false,
            reinvite: None,
            last_ack: None,
            digits: VecDeque::new(),
            since: now,
            info_out: false,
            confirmed: false,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let accepted = self.accepted.as_ref().map(Accepted::deadline);
        [accepted, self.session.map(|timer| timer.deadline())].into_iter().flatten().min()
    }
}

impl Core {
    /// Tells a dialog's leg; an unadopted dialog tells nobody.
    pub(super) fn tell(&mut self, id: DialogId, event: DialogEvent) {
        if let Some(leg) = self.dialogs.get(&id).and_then(|dialog| dialog.leg) {
            self.event(SipEvent::Dialog { leg, dialog: id, event });
        }
    }

    /// Ends a dialog for its leg. What the wire still needs goes on behind it.
    pub(super) fn end(&mut self, id: DialogId, cause: Cause, now: Instant) {
        let until = now + remembered(&self.config.timers);
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        if dialog.ended.is_some() {
            return;
        }
        dialog.ended = Some((cause.clone(), until));
        if let Some(established) = &mut dialog.established {
            established.session = None;
            established.digits.clear();
        }
        let orphan = dialog.offers.close();
        // RFC 3261 §15.1.2: a request that waits when the dialog ends gets 487.
        if let Some(key) = orphan {
            self.refuse(key, 487, now);
        }
        self.count_trunk_call(id, cause.status, now);
        self.tell(id, DialogEvent::Ended(cause));
        self.arm_dialog(id);
    }

    fn count_trunk_call(&self, id: DialogId, status: u16, now: Instant) {
        let Some(dialog) = self.dialogs.get(&id) else { return };
        let (direction, trunk) = match &dialog.side {
            Side::Uas(incoming) => ("in", incoming.trunk()),
            Side::Uac(outgoing) => ("out", outgoing.trunk()),
        };
        let Some(trunk) = trunk.and_then(|at| self.trunks.get(at)) else { return };
        let talked = dialog.established.as_ref().map(|established| now.saturating_duration_since(established.since));
        metrics::trunk_call(&trunk.config.id, direction, talked, status);
    }

    /// Arms the dialog's next deadline, if it is sooner than what is armed.
    pub(super) fn arm_dialog(&mut self, id: DialogId) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let side = match &dialog.side {
            Side::Uas(incoming) => incoming.deadline(),
            Side::Uac(outgoing) => outgoing.deadline(),
        };
        let established = dialog.established.as_ref().and_then(Established::deadline);
        let offers = dialog.offers.deadline();
        let forget = dialog.ended.as_ref().map(|(_, until)| *until);
        let Some(at) = [side, established, offers, forget].into_iter().flatten().min() else { return };
        if dialog.armed.is_none_or(|armed| at < armed) {
            dialog.armed = Some(at);
            self.arm(at, Due::Dialog(id));
        }
    }

    pub(super) fn dialog_tick(&mut self, id: DialogId, now: Instant) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        dialog.armed = None;
        match dialog.side {
            Side::Uas(_) => self.incoming_tick(id, now),
            Side::Uac(_) => self.forks_tick(id, now),
        }
        self.offers_tick(id, now);
        self.established_tick(id, now);
        self.sweep(id, now);
        self.arm_dialog(id);
    }

    fn established_tick(&mut self, id: DialogId, now: Instant) {
        let Some(established) = self.established_mut(id) else { return };
        let flow = established.record.flow;
        if let Some(accepted) = established.accepted.take() {
            let (accepted, due) = accepted.tick(now);
            match due {
                AckDue::Nothing => established.accepted = Some(accepted),
                AckDue::Resend(octets) => {
                    established.accepted = Some(accepted);
                    metrics::retransmission("out");
                    self.send(flow, octets);
                }
                AckDue::GiveUp => {
                    let cause = established.bye_on_ack.take();
                    let never = Cause::new(408, Some(102), Blame::Upstream, "the 200 was never acknowledged");
                    self.bye(id, cause.as_ref().unwrap_or(&never), now);
                    self.end(id, never, now);
                }
            }
        }
        self.session_tick(id, now);
    }

    /// Removes a dialog that nobody and nothing needs any more.
    pub(super) fn sweep(&mut self, id: DialogId, now: Instant) {
        let Some(dialog) = self.dialogs.get(&id) else { return };
        let over = dialog.ended.as_ref().is_some_and(|(_, until)| dialog.forgotten || now >= *until);
        let waiting = dialog.established.as_ref().is_some_and(|established| established.accepted.is_some());
        let quiet = match &dialog.side {
            Side::Uas(_) => true,
            Side::Uac(outgoing) => outgoing.quiet(),
        };
        if over
            && !waiting
            && quiet
            && let Some(dialog) = self.dialogs.remove(&id)
        {
            if let Some(established) = &dialog.established {
                self.keep_for_notify(id, &established.record);
            }
            // RFC 3261 §17.1.1.2 has no timer after a 1xx, and a peer that heard our BYE repeats its 200 no more.
            if let Some(key) = dialog.established.and_then(|established| established.reinvite) {
                self.clients.remove(&key);
            }
            match dialog.side {
                Side::Uas(incoming) => {
                    self.names.remove(&(incoming.record.call_id, incoming.record.local_tag));
                }
                Side::Uac(outgoing) => {
                    for fork in outgoing.forks {
                        self.names.remove(&(fork.draft.call_id, fork.local_tag));
                    }
                }
            }
        }
    }

    pub(super) fn established_mut(&mut self, id: DialogId) -> Option<&mut Established> {
        self.dialogs.get_mut(&id)?.established.as_mut()
    }

    pub(super) fn established_record(&mut self, id: DialogId) -> Option<&mut Record> {
        self.established_mut(id).map(|established| &mut established.record)
    }

    /// The trunk that a dialog is with.
    pub(super) fn dialog_trunk(&self, id: DialogId) -> Option<usize> {
        let dialog = self.dialogs.get(&id)?;
        match (&dialog.established, &dialog.side) {
            (Some(established), _) => established.trunk,
            (None, Side::Uas(incoming)) => incoming.trunk(),
            (None, Side::Uac(outgoing)) => outgoing.trunk(),
        }
    }

    pub(super) fn is_over(&self, id: DialogId) -> bool {
        self.dialogs.get(&id).is_none_or(|dialog| dialog.ended.is_some())
    }

    // ---- our requests

    /// Where an in-dialog request goes: the first route's or the target's address; the peer's own flow where that is a
    /// name (who put it there is the neighbour we talk to), a private address behind a public one (NAT), or a connection that
    /// only the peer can open (RFC 7118 §5.2) or that is there.
    pub(super) fn dialog_flow(&self, record: &Record) -> Flow {
        let flow = record.flow;
        if flow.transport.is_websocket() {
            return flow;
        }
        let Some(place) = Place::of_uri(&record.next_hop()) else { return flow };
        let Some(ip) = place.ip() else { return flow };
        let transport = place.transport.unwrap_or(if place.secure { Transport::Tls } else { Transport::Udp });
        let port = place.port.unwrap_or(transport.default_port());
        let seen = flow.remote.ip().to_canonical();
        let there = !flow.is_callers() || self.open.contains(&flow.connection());
        let reuse = flow.reliable() && there && ip == seen && (transport == flow.transport || record.routes.is_empty());
        let listens =
            self.listeners.get(flow.listener).is_some_and(|listener| listener.transports.contains(&transport));
        if Self::behind_nat(ip, flow) || reuse || !listens {
            flow
        } else {
            self.reopened(Flow { transport, remote: SocketAddr::new(ip, port), ..flow })
        }
    }

    /// The Session-ID of our messages in a dialog.
    pub(super) fn session_id_of(&self, call_id: &str, local_tag: &str) -> Option<String> {
        let id = self.names.get(&(call_id.to_owned(), local_tag.to_owned()))?;
        self.dialogs.get(id).map(|dialog| dialog.session_id.value())
    }

    /// Whether an address that a peer names is not the one it is reached at: a private one behind a public one.
    pub(super) fn behind_nat(ip: IpAddr, flow: Flow) -> bool {
        let seen = flow.remote.ip().to_canonical();
        ip != seen && ((is_private(ip) && !is_private(seen)) || ip.is_loopback() || ip.is_unspecified())
    }

    /// A request within a dialog.
    pub(super) fn dialog_draft(record: &mut Record, method: rsip::Method, contact: Option<String>) -> Draft {
        let cseq = record.next_cseq();
        let (uri, routes) = record.path();
        Draft {
            method,
            uri,
            routes,
            from: record.local.clone(),
            to: record.remote.clone(),
            call_id: record.call_id.clone(),
            cseq,
            max_forwards: MaxForwards::default(),
            contact,
            headers: Vec::new(),
            passed: Vec::new(),
            session_id: None,
            content_type: "",
            body: String::new(),
        }
    }

    /// The ACK to a 2xx: a transaction of its own, sent once for each 2xx (RFC 3261 §13.2.2.4).
    pub(super) fn acknowledge(&mut self, record: &Record, invite: &Draft) -> (Flow, Bytes) {
        let (uri, routes) = record.path();
        let draft = Draft {
            method: rsip::Method::Ack,
            uri,
            routes,
            from: record.local.clone(),
            to: record.remote.clone(),
            call_id: record.call_id.clone(),
            cseq: invite.cseq,
            max_forwards: MaxForwards::default(),
            contact: None,
            headers: invite.credentials(),
            passed: Vec::new(),
            session_id: self.session_id_of(&record.call_id, &record.local_tag),
            content_type: "",
            body: String::new(),
        };
        let flow = self.dialog_flow(record);
        let via = self.via(flow, rand::random());
        let octets = draft.write(&via, "", &self.config.user_agent);
        metrics::request("out", "ACK");
        self.send(flow, octets.clone());
        (flow, octets)
    }

    /// Sends BYE for a confirmed dialog.
    pub(super) fn bye(&mut self, id: DialogId, cause: &Cause, now: Instant) {
        let Some(established) = self.established_mut(id) else { return };
        let trunk = established.trunk;
        let mut record = established.record.clone();
        self.bye_for(&mut record, trunk, cause, now);
        if let Some(kept) = self.established_record(id) {
            *kept = record;
        }
    }

    /// Sends BYE for any record: a fork that lost has no entry.
    pub(super) fn bye_for(&mut self, record: &mut Record, trunk: Option<usize>, cause: &Cause, now: Instant) {
        let mut draft = Self::dialog_draft(record, rsip::Method::Bye, None);
        draft.headers.extend(reason_value(cause.q850).map(|reason| (HeaderName::Reason, reason)));
        self.begin_in_dialog(draft, record, Owner::Bye { trunk }, now);
    }

    /// Ends whatever there is: BYE at once, or after the ACK where our 2xx still waits for it.
    pub(super) fn hang_up_established(&mut self, id: DialogId, cause: Cause, now: Instant) {
        let Some(established) = self.established_mut(id) else { return };
        if established.accepted.is_some() && established.initial {
            established.bye_on_ack = Some(cause.clone());
        } else {
            established.accepted = None;
            self.bye(id, &cause, now);
        }
        self.end(id, cause, now);
    }
}
