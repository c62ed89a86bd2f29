//! An INVITE of ours: its forks, each with a Call-ID of its own, up to the first 2xx or the last failure (RFC 3261 §13.2,
//! §9.1, §16.7 step 6 for the choice among failures).

use tandem_actors::model::cause::Cause;
use tandem_actors::model::negotiate::{AudioAnswer, AudioOffer};
use tandem_actors::ports::sip::{Destination, DialogEvent, OutgoingInvite};
use tokio::time::Instant;

use super::super::dialog::Record;
use super::super::dialog::tag_of;
use super::super::message::uri::escape_user;
use super::super::message::write::quoted;
use super::established::{Established, Side};
use super::inbound::{app_header_lines, app_headers};
use super::offer::description_of;
use super::*;

/// An INVITE of ours.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub forks: Vec<Fork>,
    /// As ordered; each fork is written its own address into it.
    offer: Option<Box<AudioOffer>>,
    /// The last provisional status above 100.
    pub progress: Option<u16>,
    winner: Option<usize>,
    failures: Vec<Cause>,
}

/// One destination.
#[derive(Debug)]
pub(super) struct Fork {
    pub draft: Draft,
    pub local_tag: String,
    trunk: Option<usize>,
    sent: Option<(ClientKey, Flow)>,
    heard: bool,
    cancel: Cancel,
    /// Our media address as this fork was offered it.
    advertised: Option<IpAddr>,
    /// A description in a provisional response: the answer, if the 2xx has none.
    early: Option<Box<AudioOffer>>,
    /// To tags whose 2xx was acknowledged, with the ACK.
    acks: Vec<(String, Flow, Bytes)>,
    done: bool,
}

/// Where the cancelling of a fork stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cancel {
    /// Not wanted.
    No,
    /// Wanted: sent once a provisional response came (RFC 3261 §9.1).
    Wanted(Option<u8>),
    /// Sent; without a final response it is over at this time.
    Sent(Instant),
}

impl Outgoing {
    /// The trunk of who answered, else of the first destination.
    pub fn trunk(&self) -> Option<usize> {
        self.forks.get(self.winner.unwrap_or_default())?.trunk
    }

    /// Whether no fork can bring anything any more.
    pub fn quiet(&self) -> bool {
        self.forks.iter().all(|fork| fork.done)
    }

    /// Our media address as who answered was offered it.
    pub fn advertised(&self) -> Option<IpAddr> {
        self.forks.get(self.winner?)?.advertised
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.forks
            .iter()
            .filter(|fork| !fork.done)
            .filter_map(|fork| match fork.cancel {
                Cancel::Sent(until) => Some(until),
                Cancel::No | Cancel::Wanted(_) => None,
            })
            .min()
    }
}

impl Core {
    /// Sends an INVITE to every destination.
    pub(super) fn outgoing_invite(&mut self, id: DialogId, invite: &OutgoingInvite, now: Instant) {
        let mut hops = Vec::new();
        let mut forks = Vec::new();
        for destination in &invite.to {
            let Some((draft, trunk, hop)) = self.invite_draft(invite, destination) else { continue };
            let local_tag = tag_of(draft.from.as_bytes());
            self.names.insert((draft.call_id.clone(), local_tag.clone()), id);
            hops.push((draft.clone(), hop));
            forks.push(Fork {
                draft,
                local_tag,
                trunk,
                sent: None,
                heard: false,
                cancel: Cancel::No,
                advertised: None,
                early: None,
                acks: Vec::new(),
                done: false,
            });
        }
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            let offer = Some(Box::new(invite.offer.clone()));
            dialog.side = Side::Uac(Outgoing { forks, offer, ..Outgoing::default() });
        }
        if let Some(call) = self.awaited.remove(&id) {
            self.effects.push(Effect::Belong { call, call_ids: self.call_ids(id) });
        }
        if hops.is_empty() {
            self.end(id, Cause::not_found("no destination that can be reached by SIP"), now);
            return;
        }
        for (fork, (draft, hop)) in hops.into_iter().enumerate() {
            tracing::info!(dialog = %id, call_id = %draft.call_id, "an INVITE leaves");
            self.dispatch(draft, hop, Owner::Fork { dialog: id, fork }, now);
        }
    }

    fn invite_draft(
        &self,
        invite: &OutgoingInvite,
        destination: &Destination,
    ) -> Option<(Draft, Option<usize>, NextHop)> {
        let (uri, to, trunk, hop) = match destination {
            Destination::Contact(contact) => {
                let listener = self.listener_for(Some(&contact.listener), contact.transport, contact.source.ip())?;
                // RFC 5626 §5.3: a binding made over a connection is reached by it and by no other.
                let flow = match contact.transport.is_stream() {
                    true => Flow::accepted(listener, contact.transport, contact.source),
                    false => Flow::udp(listener, contact.source),
                };
                (contact.uri.0.clone(), format!("<{}>", contact.uri.0), None, NextHop::Flow(flow))
            }
            Destination::Trunk { trunk, number } => {
                let at = self.trunk_named(trunk)?;
                let state = self.trunks.get(at)?;
                let to = format!("<sip:{}@{}>", escape_user(number), state.domain());
                (state.uri(number), to, Some(at), state.hop())
            }
            Destination::Uri(uri) => {
                let (host, port, transport) = hop_of(&uri.0)?;
                let hop = NextHop::Host { host, port, transport, party: Party::Anyone, listener: None };
                (uri.0.clone(), format!("<{}>", uri.0), None, hop)
            }
        };
        let caller = &invite.caller;
        let display = if caller.display.is_empty() { String::new() } else { quoted(&caller.display) + " " };
        let user = escape_user(&caller.number);
        let at = if user.is_empty() { "" } else { "@" };
        let identity = format!("<sip:{user}{at}{}>", self.config.domain);
        let mut headers = vec![(HeaderName::Allow, ALLOW.to_owned())];
        let trunk_config = trunk.and_then(|at| self.trunks.get(at)).map(|state| &state.config);
        if trunk_config.is_some_and(|config| config.assert_identity) {
            headers.push((HeaderName::PAssertedIdentity, format!("{display}{identity}")));
        }
        headers.extend(app_header_lines(&invite.headers).map(|(name, value)| (name, value.clone())));
        // A trunk that we register with knows us by our user part.
        let contact = match trunk_config {
            Some(config) if !config.username.is_empty() => escape_user(&config.username),
            Some(_) | None => user,
        };
        let draft = Draft {
            method: rsip::Method::Invite,
            uri,
            routes: Vec::new(),
            from: format!("{display}{identity};tag={}", new_tag()),
            to,
            call_id: new_call_id(),
            cseq: u32::from(rand::random::<u16>()) + 1,
            max_forwards: invite.max_forwards,
            contact: Some(contact),
            headers,
            content_type: SDP,
            body: String::new(), // see `fork_offer`
        };
        Some((draft, trunk, hop))
    }

    fn fork_mut(&mut self, id: DialogId, fork: usize) -> Option<&mut Fork> {
        match self.dialogs.get_mut(&id) {
            Some(Dialog { side: Side::Uac(outgoing), .. }) => outgoing.forks.get_mut(fork),
            Some(_) | None => None,
        }
    }

    /// The fork's INVITE (or its repetition with credentials) is on its way.
    pub(super) fn fork_sent(&mut self, id: DialogId, fork: usize, key: ClientKey, flow: Flow) {
        if let Some(fork) = self.fork_mut(id, fork) {
            fork.sent = Some((key, flow));
            fork.heard = false;
        }
    }

    /// Our offer as this fork's peer should see it: with the address it reaches us at, which is known once its own is.
    pub(super) fn fork_offer(&mut self, id: DialogId, fork: usize, flow: Flow) -> Option<String> {
        let ip = self.advertised(flow).ip();
        let Some(Dialog { side: Side::Uac(outgoing), .. }) = self.dialogs.get_mut(&id) else { return None };
        let mut offer = outgoing.offer.as_ref()?.0.clone();
        // The media session's socket is of one family.
        if ip.is_ipv4() == offer.rtp.is_ipv4() {
            offer.rtp.set_ip(ip);
        }
        outgoing.forks.get_mut(fork)?.advertised = Some(offer.rtp.ip());
        Some(crate::sdp::write(&offer))
    }

    pub(super) fn fork_trunk(&self, id: DialogId, fork: usize) -> Option<usize> {
        match self.dialogs.get(&id) {
            Some(Dialog { side: Side::Uac(outgoing), .. }) => outgoing.forks.get(fork)?.trunk,
            Some(_) | None => None,
        }
    }

    /// Whether nobody wants this fork any more: it is not tried again with credentials.
    pub(super) fn fork_cancelled(&self, id: DialogId, fork: usize) -> bool {
        match self.dialogs.get(&id) {
            Some(Dialog { side: Side::Uac(outgoing), ended: None, .. }) => {
                outgoing.forks.get(fork).is_none_or(|fork| fork.cancel != Cancel::No)
            }
            Some(_) | None => true,
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn fork_heard(
        &mut self,
        id: DialogId,
        at: usize,
        draft: &Draft,
        flow: Option<Flow>,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) {
        match (status, response, flow) {
            (100..=199, Some(response), _) => self.fork_rings(id, at, status, response, now),
            (200..=299, Some(response), Some(flow)) => self.fork_answered(id, at, draft, flow, response, now),
            (_, response, _) => self.fork_failed(id, at, status, response, now),
        }
    }

    fn fork_rings(&mut self, id: DialogId, at: usize, status: u16, response: &Message, now: Instant) {
        let Some(fork) = self.fork_mut(id, at) else { return };
        fork.heard = true;
        if fork.cancel != Cancel::No {
            self.send_cancel(id, at, now);
            return;
        }
        if status == 100 {
            return;
        }
        let early = description_of(response).and_then(Result::ok);
        if early.is_some() {
            fork.early = early.clone();
        }
        let headers = app_headers(response);
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let answered = dialog.established.is_some() || dialog.ended.is_some();
        if let Side::Uac(outgoing) = &mut dialog.side
            && !answered
        {
            outgoing.progress = Some(status);
            let answer = early.map(|early| Box::new(AudioAnswer(early.0)));
            self.tell(id, DialogEvent::Progress { status, answer, headers });
        }
    }

    fn fork_answered(&mut self, id: DialogId, at: usize, draft: &Draft, flow: Flow, response: &Message, now: Instant) {
        let tag = response.get(HeaderName::To).map(|to| tag_of(&to)).unwrap_or_default();
        let local_tag = tag_of(draft.from.as_bytes());
        let Some(record) = Record::as_uac(response, &local_tag, &draft.uri, flow) else { return };
        if let Some(fork) = self.fork_mut(id, at) {
            fork.done = true;
            if let Some((_, flow, octets)) = fork.acks.iter().find(|(known, _, _)| *known == tag) {
                // RFC 3261 §13.2.2.4: every repeat of the 2xx gets its ACK.
                let (flow, octets) = (*flow, octets.clone());
                metrics::retransmission("out");
                self.send(flow, octets);
                return;
            }
        }
        let (ack_flow, octets) = self.acknowledge(&record, draft);
        let trunk = self.fork_trunk(id, at);
        let early = match self.fork_mut(id, at) {
            Some(fork) => {
                fork.acks.push((tag, ack_flow, octets));
                fork.early.take()
            }
            None => None,
        };
        let wanted = match self.dialogs.get(&id) {
            Some(Dialog { side: Side::Uac(outgoing), ended: None, established: None, .. }) => outgoing.winner.is_none(),
            Some(_) | None => false,
        };
        let answer = match description_of(response) {
            Some(answer) => answer.ok(),
            None => early,
        };
        let mut record = record;
        match answer {
            // Too late, a second branch, or cancelled meanwhile (RFC 3261 §9.1, §13.2.2.4): up and down again.
            _ if !wanted => {
                self.bye_for(&mut record, trunk, &Cause::cancelled(), now);
                self.sweep(id, now);
            }
            None => {
                let cause = Cause::from_sip(488, "the peer answered without a usable session description");
                self.bye_for(&mut record, trunk, &cause, now);
                self.cancel_forks(id, cause.q850, now);
                self.end(id, cause, now);
            }
            Some(answer) => {
                let headers = app_headers(response);
                let contact = draft.contact.clone().unwrap_or_default();
                let mut established = Established::new(record, contact, trunk, now);
                established.confirmed = true;
                let mut advertised = None;
                if let Some(dialog) = self.dialogs.get_mut(&id) {
                    dialog.established = Some(established);
                    dialog.remote = Some(answer.clone());
                    if let Side::Uac(outgoing) = &mut dialog.side {
                        outgoing.winner = Some(at);
                        advertised = outgoing.advertised();
                    }
                }
                self.tell(id, DialogEvent::Answered { answer: Box::new(AudioAnswer(answer.0)), headers, advertised });
                self.cancel_forks(id, Some(26), now);
            }
        }
        self.arm_dialog(id);
    }

    fn fork_failed(&mut self, id: DialogId, at: usize, status: u16, response: Option<&Message>, now: Instant) {
        let Some(fork) = self.fork_mut(id, at) else { return };
        fork.done = true;
        let mut cause = Cause::from_sip(status, status::reason_phrase(status));
        cause.q850 = response.and_then(q850_of).or(cause.q850);
        let Some(Dialog { side: Side::Uac(outgoing), established: None, ended: None, .. }) = self.dialogs.get_mut(&id)
        else {
            self.sweep(id, now);
            return;
        };
        outgoing.failures.push(cause);
        if !outgoing.quiet() {
            // RFC 3261 §16.7 step 5: 6xx is meant for every branch.
            if status >= 600 {
                self.cancel_forks(id, None, now);
            }
            return;
        }
        let best = std::mem::take(&mut outgoing.failures).into_iter().min_by_key(|cause| rank(cause.status));
        self.end(id, best.unwrap_or_else(Cause::offline), now);
    }

    /// Cancels every fork that is not over.
    pub(super) fn cancel_forks(&mut self, id: DialogId, q850: Option<u8>, now: Instant) {
        let Some(Dialog { side: Side::Uac(outgoing), .. }) = self.dialogs.get_mut(&id) else { return };
        let mut ready = Vec::new();
        for (at, fork) in outgoing.forks.iter_mut().enumerate() {
            if fork.done || fork.cancel != Cancel::No {
                continue;
            }
            fork.cancel = Cancel::Wanted(q850);
            if fork.sent.is_none() {
                // Its host's address is still asked for; the request will find nobody waiting.
                fork.done = true;
            } else if fork.heard {
                ready.push(at);
            }
        }
        for at in ready {
            self.send_cancel(id, at, now);
        }
        self.arm_dialog(id);
    }

    fn send_cancel(&mut self, id: DialogId, at: usize, now: Instant) {
        let until = now + self.config.timers.give_up();
        let Some(fork) = self.fork_mut(id, at) else { return };
        let (Cancel::Wanted(q850), Some((key, flow))) = (fork.cancel.clone(), fork.sent) else { return };
        fork.cancel = Cancel::Sent(until);
        // The transaction's draft, not the fork's: with credentials its CSeq went on.
        let Some(client) = self.clients.get(&key) else { return };
        let (draft, via) = (client.draft.cancel(reason_value(q850)), client.via.clone());
        let key = ClientKey { branch: key.branch, cancel: true };
        self.begin_with(key, via, draft, flow, Owner::Nobody, true, now);
        self.arm_dialog(id);
    }

    /// RFC 3261 §9.1: a cancelled INVITE without a final response within 64*T1 is over.
    pub(super) fn forks_tick(&mut self, id: DialogId, now: Instant) {
        let Some(Dialog { side: Side::Uac(outgoing), .. }) = self.dialogs.get_mut(&id) else { return };
        let mut given_up = Vec::new();
        for fork in &mut outgoing.forks {
            if matches!(fork.cancel, Cancel::Sent(until) if now >= until) && !fork.done {
                fork.done = true;
                given_up.extend(fork.sent);
            }
        }
        for (key, _) in given_up {
            self.clients.remove(&key);
        }
    }
}

/// Which of several failures tells most: 6xx, then what a person did, then the lowest class (RFC 3261 §16.7 step 6).
fn rank(status: u16) -> u16 {
    match status {
        600..=699 => 0,
        486 => 1,
        480 => 2,
        408 | 487 => 900,
        503 => 800,
        other => other,
    }
}
