//! An INVITE of ours: its forks, each with a Call-ID of its own, up to the first 2xx or the last failure (RFC 3261 §13.2,
//! §9.1, §16.7 step 6 for the choice among failures).

use tandem_actors::model::address::Contact;
use tandem_actors::model::cause::{Blame, Cause};
use tandem_actors::model::negotiate::{AudioAnswer, Profile};
use tandem_actors::ports::sip::{Destination, DialogEvent, OutgoingInvite};
use tokio::time::Instant;

use super::super::config::Reliability;
use super::super::dialog::session_timer::{self, Said, SessionTimer};
use super::super::dialog::{Record, reliable, tag_of};
use super::super::message::view::NameAddr;
use super::super::resolve::Place;
use super::dispatch::Places;
use super::early::Branch;
use super::established::{Established, Side};
use super::forks::{Cancel, Fork, Outgoing};
use super::inbound::app_header_lines;
use super::offer::{allows_update, description_of};
use super::redirect::Redirection;
use super::*;

impl Core {
    /// Sends an INVITE to every destination.
    pub(super) fn outgoing_invite(&mut self, id: DialogId, invite: &OutgoingInvite, now: Instant) {
        let mut hops = Vec::new();
        let mut forks = Vec::new();
        let shares = breadth::shares(invite.carried.max_breadth, invite.to.len());
        let narrow = shares.is_empty() && !invite.to.is_empty();
        for (destination, share) in invite.to.iter().zip(shares) {
            let Some((mut draft, trunk, hop)) = self.invite_draft(invite, destination) else { continue };
            draft.headers.extend(share.map(|share| (HeaderName::MaxBreadth, share.to_string())));
            let local_tag = tag_of(draft.from.as_bytes());
            self.names.insert((draft.call_id.clone(), local_tag.clone()), id);
            hops.push((draft.clone(), hop));
            let more = matches!(destination, Destination::Trunk { more: true, .. });
            forks.push(Fork::new(draft, local_tag, trunk, more, Redirection::of(invite.carried.diverted.clone())));
        }
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            let offer = Some(Box::new(invite.offer.clone()));
            dialog.side = Side::Uac(Outgoing { forks, offer, ..Outgoing::default() });
        }
        if let Some(call) = self.awaited.remove(&id) {
            self.effects.push(Effect::Belong { call, call_ids: self.call_ids(id) });
        }
        if narrow {
            self.end(id, Cause::new(440, None, Blame::Client, "its Max-Breadth is spent"), now);
            return;
        }
        if hops.is_empty() {
            self.end(id, Cause::not_found("no destination that can be reached by SIP"), now);
            return;
        }
        for (fork, (draft, hop)) in hops.into_iter().enumerate() {
            let session_id = self.dialogs.get(&id).map(|dialog| dialog.session_id.value()).unwrap_or_default();
            tracing::info!(dialog = %id, call_id = %draft.call_id, session_id, "an INVITE leaves");
            self.dispatch(draft, hop, Owner::Fork { dialog: id, fork }, now);
        }
    }

    /// Where requests to a registered contact go.
    pub(super) fn contact_hop(&mut self, contact: &Contact) -> Option<NextHop> {
        let listener = self.listener_for(Some(&contact.listener), contact.transport, contact.source.ip())?;
        // RFC 3327 §5.2: through the proxies that it registered through, by their own names.
        Some(match contact.path.first().and_then(|first| Place::of_uri(&route_uri(first)?)) {
            Some(place) => {
                let same = place.transport.unwrap_or(Transport::Udp) == contact.transport;
                let listener = same.then(|| contact.listener.clone());
                NextHop::Places(Places { listener, ..Places::one(place) })
            }
            // RFC 5626 §5.3: a binding made over a connection is reached by it and by no other.
            None if contact.transport.is_stream() => {
                NextHop::Flow(Flow::accepted(listener, contact.transport, contact.source))
            }
            None => NextHop::Flow(self.datagrams_to(listener, contact)),
        })
    }

    fn invite_draft(
        &mut self,
        invite: &OutgoingInvite,
        destination: &Destination,
    ) -> Option<(Draft, Option<usize>, NextHop)> {
        let mut called = String::new();
        let (uri, routes, to, trunk, hop) = match destination {
            Destination::Contact(contact) => {
                let hop = self.contact_hop(contact)?;
                (contact.uri.0.clone(), contact.path.clone(), format!("<{}>", contact.uri.0), None, hop)
            }
            Destination::Trunk { trunk, number, more: _ } => {
                let at = self.trunk_named(trunk)?;
                let state = self.trunks.get(at)?;
                let (uri, to, plain) = state.called(number, &invite.carried);
                let (uri, routes) = state.through(&uri);
                called = plain;
                (uri, routes, to, Some(at), state.hop())
            }
            Destination::Uri(uri) => {
                let hop = NextHop::Places(Places::one(Place::of_uri(&uri.0)?));
                (uri.0.clone(), Vec::new(), format!("<{}>", uri.0), None, hop)
            }
        };
        let mut headers = vec![(HeaderName::Allow, ALLOW.to_owned()), (HeaderName::Supported, self.supported(trunk))];
        if self.reliability(trunk) == Reliability::Required {
            headers.push((HeaderName::Require, reliable::TAG.to_owned()));
        }
        let session = self.session_policy(trunk);
        if session.expires > 0 {
            headers.push((HeaderName::SessionExpires, session.expires.to_string()));
            headers.push((HeaderName::MinSe, session.min_se.max(session_timer::SHORTEST).to_string()));
        }
        let trunk_config = trunk.and_then(|at| self.trunks.get(at)).map(|state| &state.config);
        let shown = trust::shown(invite, trunk_config, &self.config.domain, &called);
        headers.extend(shown.headers);
        let carried =
            [(HeaderName::ReferredBy, &invite.carried.referred_by), (HeaderName::Replaces, &invite.carried.replaces)];
        headers.extend(carried.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        headers.extend(app_header_lines(&invite.headers).map(|(name, value)| (name, value.clone())));
        let draft = Draft {
            method: rsip::Method::Invite,
            uri,
            routes,
            from: format!("{};tag={}", shown.from, new_tag()),
            to,
            call_id: new_call_id(),
            cseq: u32::from(rand::random::<u16>()) + 1,
            max_forwards: invite.max_forwards,
            contact: Some(shown.contact),
            headers,
            passed: self.passed_out(trunk).from(&invite.headers).cloned().collect(),
            session_id: None,
            content_type: SDP,
            body: String::new(), // see `fork_offer`
        };
        Some((draft, trunk, hop))
    }

    pub(super) fn fork_mut(&mut self, id: DialogId, fork: usize) -> Option<&mut Fork> {
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
            fork.timer_c = None;
            // What another target said in a provisional response is not this one's answer.
            fork.branches.clear();
        }
    }

    /// Our offer as this fork's peer should see it: with the address it reaches us at, which is known once its own is.
    pub(super) fn fork_offer(&mut self, id: DialogId, fork: usize, flow: Flow) -> Option<String> {
        // Media leaves by the way that the kernel chooses, whichever of our addresses the peer registered at.
        let ip = self.advertised(flow.connection()).ip();
        let Some(Dialog { side: Side::Uac(outgoing), .. }) = self.dialogs.get_mut(&id) else { return None };
        let mut offer = outgoing.offer.as_ref()?.0.clone();
        // The media session's socket is of one family; a WebRTC peer's is one of everybody, and named in its candidate.
        if ip.is_ipv4() == offer.rtp.is_ipv4() && !matches!(offer.profile, Profile::Dtls(_)) {
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

    /// Whether a fork that says nothing is left for another trunk.
    pub(super) fn fork_has_more(&self, id: DialogId, fork: usize) -> bool {
        match self.dialogs.get(&id) {
            Some(Dialog { side: Side::Uac(outgoing), .. }) => outgoing.forks.get(fork).is_some_and(|fork| fork.more),
            Some(_) | None => false,
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
            (100..=199, Some(response), _) => self.fork_rings(id, at, draft, flow, status, response, now),
            (200..=299, Some(response), Some(flow)) => self.fork_answered(id, at, draft, flow, response, now),
            (300..=302, Some(response), _) if self.redirected(id, at, response) && self.follow(id, at, draft, now) => {}
            (_, response, _) => self.fork_failed(id, at, draft, flow, status, response, now),
        }
    }

    fn fork_answered(&mut self, id: DialogId, at: usize, draft: &Draft, flow: Flow, response: &Message, now: Instant) {
        let tag = response.get(HeaderName::To).map(|to| tag_of(&to)).unwrap_or_default();
        let local_tag = tag_of(draft.from.as_bytes());
        let Some(fresh) = Record::as_uac(response, &local_tag, &draft.uri, flow) else { return };
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
        // The branch that answers need not be the one that rang (RFC 3261 §13.2.2.4).
        let branch = self.fork_mut(id, at).and_then(|fork| {
            let known = fork.branches.iter().position(|branch| branch.record.remote_tag == tag)?;
            Some(fork.branches.remove(known))
        });
        let (mut record, agreed, early) = match branch {
            Some(Branch { mut record, answered, description, .. }) => {
                record.confirm(response);
                (record, answered, description)
            }
            None => (fresh, false, None),
        };
        let (ack_flow, octets) = self.acknowledge(&record, draft);
        let trunk = self.fork_trunk(id, at);
        let mut any = None;
        if let Some(fork) = self.fork_mut(id, at) {
            fork.acks.push((tag, ack_flow, octets));
            // Some gateways change their tag from the 183 to the 200 that relies on it.
            any = fork.branches.iter().rev().find_map(|branch| branch.description.clone());
        }
        let wanted = match self.dialogs.get(&id) {
            Some(Dialog { side: Side::Uac(outgoing), ended: None, established: None, .. }) => outgoing.winner.is_none(),
            Some(_) | None => false,
        };
        let answer = match description_of(response) {
            // RFC 6337 §2.1: agreed on in a reliable response, it is not agreed on again.
            _ if agreed => early,
            Some(answer) => answer.ok(),
            None => early.or(any),
        };
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
                let headers = self.headers_of(id, response);
                let contact = draft.contact.clone().unwrap_or_default();
                let mut established = Established::new(record, contact, trunk, now);
                established.confirmed = true;
                established.session = SessionTimer::as_uac(Said::of(response), now);
                established.allows_update = allows_update(response);
                established.min_se = self.fork_mut(id, at).and_then(|fork| fork.min_se);
                let mut advertised = None;
                if let Some(dialog) = self.dialogs.get_mut(&id) {
                    dialog.established = Some(established);
                    dialog.remote = Some(answer.clone());
                    if let Side::Uac(outgoing) = &mut dialog.side {
                        outgoing.winner = Some(at);
                        advertised = outgoing.advertised();
                        outgoing.headers = headers.clone();
                        if dialog.local.is_none() {
                            dialog.local = outgoing.offered();
                        }
                    }
                }
                self.tell(id, DialogEvent::Answered { answer: Box::new(AudioAnswer(answer.0)), headers, advertised });
                self.cancel_forks(id, Some(26), now);
            }
        }
        self.arm_dialog(id);
    }

    #[allow(clippy::too_many_arguments)]
    fn fork_failed(
        &mut self,
        id: DialogId,
        at: usize,
        draft: &Draft,
        flow: Option<Flow>,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) {
        if self.amend(id, at, draft, flow, status, response, now) {
            return;
        }
        // RFC 3261 §8.1.3.4: a contact that fails hands over to the next, unless nobody else can help either.
        if (300..=599).contains(&status) && self.follow(id, at, draft, now) {
            return;
        }
        let Some(fork) = self.fork_mut(id, at) else { return };
        fork.done = true;
        fork.branches.clear();
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

    pub(super) fn send_cancel(&mut self, id: DialogId, at: usize, now: Instant) {
        let until = now + self.config.timers.give_up();
        let Some(fork) = self.fork_mut(id, at) else { return };
        let (Cancel::Wanted(q850), Some((key, _))) = (fork.cancel.clone(), fork.sent) else { return };
        fork.cancel = Cancel::Sent(until);
        self.cancel_client(key, reason_value(q850), now);
        self.arm_dialog(id);
    }

    /// Sends CANCEL for an INVITE: to the same target, with the same branch (RFC 3261 §9.1).
    pub(super) fn cancel_client(&mut self, key: ClientKey, reason: Option<String>, now: Instant) {
        // The transaction's draft, not the fork's: with credentials its CSeq went on.
        let Some(client) = self.clients.get(&key) else { return };
        let (draft, via, flow) = (client.draft.cancel(reason), client.via.clone(), client.flow);
        let key = ClientKey { branch: key.branch, cancel: true };
        let octets = draft.write(&via, "", &self.config.user_agent);
        self.begin_with(key, via, octets, draft, flow, Trail::default(), Owner::Nobody, true, now);
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
        self.timer_c_tick(id, now);
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

/// The URI of a Route value.
fn route_uri(route: &str) -> Option<String> {
    Some(NameAddr::parse(route.as_bytes())?.uri_string())
}
