//! When a target fails, the request goes to the next one (RFC 3263 §4.3, RFC 3261 §8.1.3.1): after a 503, a transport error, or
//! silence. It is the same request (Call-ID, tags, CSeq) in a new transaction, so with a new branch.
//!
//! Silence of 64*T1 (timers B and F) is more than callers wait: where there is another target, one that has not said anything is
//! given up after `SipConfig::failover_after`. RFC 3261 does not know that shorter wait. What it costs: a target that is merely
//! slow may ring as well. So the INVITE that was given up stays in the table for 64*T1 more: a provisional response to it is
//! answered by CANCEL, a 2xx by ACK and BYE.

use std::collections::VecDeque;

use tandem_actors::model::cause::Cause;
use tokio::time::Instant;

use super::super::dialog::{Record, tag_of};
use super::super::resolve::{Place, weights};
use super::dispatch::Places;
use super::health::Standing;
use super::*;

/// What a request has tried and may still try.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail {
    /// Not tried yet, in order.
    left: VecDeque<Flow>,
    /// Tried, where it is now included; empty for a request that knows one way only.
    tried: Vec<Flow>,
    /// Whose targets are looked for once none is left.
    places: Option<Places>,
    /// Without any response it is given up then.
    limit: Option<Instant>,
    /// Whether it may go by a stream where it is too large for a datagram ([`super::large`]).
    minds_size: bool,
    /// It goes by a stream for its size: by these datagrams after all, where that cannot be had.
    instead_of: Option<Flow>,
}

impl Trail {
    /// Of a request that goes to `flow` first.
    pub fn new(flow: Flow, others: impl IntoIterator<Item = Flow>) -> Self {
        let left = others.into_iter().filter(|other: &Flow| other.peer() != flow.peer()).collect();
        Self { left, tried: vec![flow], ..Self::default() }
    }

    /// The same, by a stream where it is too large for a datagram.
    pub fn minding_size(self) -> Self {
        Self { minds_size: true, ..self }
    }

    /// Whether it may go this way for its size.
    pub fn may_grow(&self, way: Flow) -> bool {
        self.minds_size && !self.tried.contains(&way)
    }

    /// The same, by this way for its size.
    pub fn grown(mut self, way: Flow, instead_of: Flow) -> Self {
        self.tried.retain(|tried| *tried != instead_of);
        self.tried.push(way);
        self.instead_of = Some(instead_of);
        self
    }

    /// The same, from now on.
    pub fn began(self, more: bool, patience: Duration, now: Instant) -> Self {
        let limit = (more || !self.left.is_empty()).then(|| now + patience);
        Self { limit: self.limit.or(limit), ..self }
    }

    /// Given up at this time, whether or not there is another target.
    pub fn until(flow: Flow, limit: Instant) -> Self {
        Self { tried: vec![flow], limit: Some(limit), ..Self::default() }
    }

    pub fn limit(&self) -> Option<Instant> {
        self.limit
    }

    /// It has been heard: from here on the transaction's own timers rule.
    pub fn heard(&mut self) {
        self.limit = None;
    }

    /// Whether it is not where it went first.
    pub fn moved(&self) -> bool {
        self.tried.len() > 1
    }
}

/// Why a target is left for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Refused,
    Silent,
    Unreachable,
}

impl Left {
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Owner {
    /// Whether a request may go to another target than it went to first.
    fn has_targets(&self) -> bool {
        match self {
            Self::Fork { .. }
            | Self::Notify { .. }
            | Self::Prack { .. }
            | Self::Reinvite { .. }
            | Self::Info { .. }
            | Self::Refresh { .. }
            | Self::Bye { .. }
            | Self::Register { .. } => true,
            // Asked of one target, or wanted by nobody any more.
            Self::KeepAlive { .. }
            | Self::Message { .. }
            | Self::Options { .. }
            | Self::Probe
            | Self::Abandoned { .. }
            | Self::Nobody => false,
        }
    }
}

impl Core {
    /// Sends a request inside a dialog: to where its peer was heard last, and if that fails to where its next hop's URI leads.
    /// The peer's own timers are waited for: to a user that takes its time, the same CSeq by another way is a mistake of ours.
    pub(super) fn begin_in_dialog(&mut self, draft: Draft, record: &Record, owner: Owner, now: Instant) {
        let flow = self.dialog_flow(record);
        let mut trail = Trail::new(flow, None);
        // A private address behind NAT leads nowhere from here.
        if let Some(place) = Place::of_uri(&record.next_hop())
            && place.ip().is_none_or(|ip| !Self::behind_nat(ip, record.flow))
        {
            trail = trail.minding_size();
            let places = Places::one(place);
            // Known by the time it is needed.
            if let Err(missing) = self.flows_of(&places, &mut weights::random, now) {
                self.ask(&missing);
            }
            trail.places = Some(places);
        }
        self.begin_toward(draft, flow, trail, owner, false, now);
    }

    /// Whether a call has another trunk to go to.
    pub(super) fn has_more(&self, owner: &Owner) -> bool {
        matches!(owner, Owner::Fork { dialog, fork } if self.fork_has_more(*dialog, *fork))
    }

    /// The next target of a request whose target failed; `None` where there is none, or nobody wants it any more.
    fn next_target(&self, owner: &Owner, trail: &mut Trail, why: Left, now: Instant) -> Option<Flow> {
        if !owner.has_targets() || matches!(owner, Owner::Fork { dialog, fork } if self.fork_cancelled(*dialog, *fork))
        {
            return None;
        }
        // A 503 is the peer's own word, whatever it came by.
        if let Some(datagrams) = trail.instead_of.take().filter(|_| why != Left::Refused) {
            trail.tried.push(datagrams);
            trail.limit = None;
            return Some(datagrams);
        }
        if let Some(places) = trail.places.take() {
            let found = self.flows_of(&places, &mut weights::random, now).unwrap_or_default();
            trail
                .left
                .extend(found.into_iter().filter(|flow| trail.tried.iter().all(|tried| tried.peer() != flow.peer())));
        }
        // What has gone wrong meanwhile, for others, is passed over while something better is left.
        let best = trail.left.iter().map(|flow| self.targets.standing(flow.peer(), now)).min()?;
        let at = trail.left.iter().position(|flow| self.targets.standing(flow.peer(), now) == best)?;
        let next = trail.left.remove(at).filter(|_| best != Standing::Resting)?;
        trail.tried.push(next);
        trail.limit = None;
        Some(next)
    }

    /// Sends a request to its next target; `false` where it has none.
    pub(super) fn fail_over(
        &mut self,
        draft: &Draft,
        owner: &Owner,
        flow: Flow,
        mut trail: Trail,
        why: Left,
        now: Instant,
    ) -> bool {
        let Some(next) = self.next_target(owner, &mut trail, why, now) else { return false };
        tracing::info!(
            call_id = %draft.call_id, method = Method::Known(draft.method).label(), from = %flow.remote, to = %next.remote,
            over = next.transport.label(), why = why.label(), "a request goes to the next target"
        );
        metrics::failover(why.label());
        self.begin_toward(draft.unproved(), next, trail, owner.clone(), false, now);
        true
    }

    /// A request has not been heard for as long as we are ready to wait.
    pub(super) fn limit_passed(&mut self, key: ClientKey, mut client: Client, now: Instant) {
        client.trail.limit = None;
        if matches!(client.owner, Owner::Abandoned { .. }) {
            return;
        }
        self.target_failed(client.flow, now);
        if matches!(client.owner, Owner::Options { .. } | Owner::Probe) {
            self.heard(client.owner, &client.draft, Some(client.flow), 408, None, now);
            return;
        }
        let (draft, owner, flow, trail) =
            (client.draft.clone(), client.owner.clone(), client.flow, client.trail.clone());
        if !self.fail_over(&draft, &owner, flow, trail, Left::Silent, now) {
            if !self.has_more(&owner) {
                // It is all we have: the transaction's own timers go on.
                self.clients.insert(key, client);
                self.arm_client(key);
                return;
            }
            // As timer B, only sooner: the call goes on by another trunk.
            self.heard(owner.clone(), &draft, Some(flow), 408, None, now);
        }
        if let ClientMachine::Invite(machine) = client.machine {
            let until = now + self.config.timers.give_up();
            let trunk = self.trunk_of(&owner);
            self.clients.insert(
                key,
                Client {
                    machine: ClientMachine::Invite(machine.hushed()),
                    owner: Owner::Abandoned { trunk, cancelled: false, ended: Vec::new() },
                    trail: Trail::until(flow, until),
                    ..client
                },
            );
            self.arm_client(key);
        }
    }

    /// A late response to an INVITE that was given up: nothing may come of it.
    pub(super) fn abandoned_heard(&mut self, key: ClientKey, response: &Message, status: u16, now: Instant) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Owner::Abandoned { trunk, cancelled, ended } = &mut client.owner else { return };
        match status {
            100..=199 if !std::mem::replace(cancelled, true) => self.cancel_client(key, None, now),
            200..=299 => {
                let (trunk, draft, flow) = (*trunk, client.draft.clone(), client.flow);
                let tag = tag_of(draft.from.as_bytes());
                let Some(mut record) = Record::as_uac(response, &tag, &draft.uri, flow) else { return };
                let first = !ended.contains(&record.remote_tag);
                if first {
                    ended.push(record.remote_tag.clone());
                }
                // Every repeat is acknowledged (RFC 3261 §13.2.2.4); the BYE has timers of its own.
                self.acknowledge(&record, &draft);
                if first {
                    self.bye_for(&mut record, trunk, &Cause::cancelled(), now);
                }
            }
            _ => {}
        }
    }

    // ---- how targets fare

    pub(super) fn target_failed(&mut self, flow: Flow, now: Instant) {
        if !self.targets.failed(flow.peer(), now) {
            return;
        }
        // A phone that is gone is no news.
        if self.trunks.iter().any(|trunk| trunk.targets.iter().any(|target| target.peer() == flow.peer())) {
            tracing::warn!(address = %flow.remote, "a trunk's target does not answer: it is tried last until it does");
            self.show_targets(now);
        } else {
            tracing::debug!(address = %flow.remote, "a SIP target does not answer");
        }
    }

    /// A target said something.
    pub(super) fn target_answered(&mut self, flow: Flow, response: &Message, status: u16, now: Instant) {
        if self.targets.answered(flow.peer()) {
            tracing::info!(address = %flow.remote, "a SIP target answers again");
            self.show_targets(now);
        }
        let rest = response.get(HeaderName::RetryAfter).filter(|_| status == 503);
        if let Some(seconds) = rest.and_then(|value| view::retry_after(&value)) {
            self.targets.rests(flow.remote, Duration::from_secs(seconds.into()), now);
            self.show_targets(now);
        }
    }
}
