//! A request on its way to a target: names asked for where they are not known, targets put in order (RFC 3263 §4). What happens
//! when a target fails is [`super::failover`]'s.

use tandem_actors::model::address::Transport;
use tokio::time::Instant;

use super::super::resolve::cache::Heard;
use super::super::resolve::plan::plan;
use super::super::resolve::weights::{self, Dice};
use super::super::resolve::{Place, Question};
use super::failover::Trail;
use super::health::Standing;
use super::*;

/// Where a request goes.
#[derive(Debug, Clone)]
pub(super) enum NextHop {
    /// To a peer whose address is known, as the binding of a phone.
    Flow(Flow),
    /// To the targets of these.
    Places(Places),
}

/// Places that serve the same, and the listener that requests to them leave by, where one is named.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// Each with its priority and weight, as an SRV record's.
    pub of: Vec<(Place, u16, u16)>,
    /// Who has to answer over TLS.
    pub party: Party,
    pub listener: Option<ListenerId>,
}

impl Places {
    pub fn one(place: Place) -> Self {
        Self { of: vec![(place, 0, 0)], party: Party::Anyone, listener: None }
    }
}

/// A request that waits for answers about names.
#[derive(Debug)]
pub(super) struct Unsent {
    draft: Draft,
    places: Places,
    missing: Vec<Question>,
    owner: Owner,
}

impl Core {
    /// Sends a request, once its targets are known.
    pub(super) fn dispatch(&mut self, draft: Draft, hop: NextHop, owner: Owner, now: Instant) {
        match hop {
            NextHop::Flow(flow) => {
                self.begin(draft, flow, owner, false, now);
            }
            NextHop::Places(places) => match self.flows_of(&places, &mut weights::random, now) {
                Ok(flows) => self.launch(draft, flows, owner, now),
                Err(missing) => {
                    self.ask(&missing);
                    self.unsent.push(Unsent { draft, places, missing, owner });
                }
            },
        }
    }

    /// Asks what is not being asked already.
    pub(super) fn ask(&mut self, questions: &[Question]) {
        for question in questions {
            if self.asking.insert(question.clone()) {
                self.effects.push(Effect::Resolve(question.clone()));
            }
        }
    }

    /// What came of a question.
    pub(super) fn resolved(&mut self, question: Question, heard: Heard, now: Instant) {
        metrics::resolved(&heard);
        self.asking.remove(&question);
        self.dns.put(question.clone(), heard, now);
        for at in 0..self.trunks.len() {
            // One answer leads to the next question: a trunk's names are known before anything is sent to it.
            if let Err(missing) = self.trunk_targets_known(at, now) {
                self.ask(&missing);
            }
        }
        let waiting = std::mem::take(&mut self.unsent);
        for mut unsent in waiting {
            unsent.missing.retain(|missing| *missing != question);
            if unsent.missing.is_empty() {
                let Unsent { draft, places, owner, .. } = unsent;
                self.dispatch(draft, NextHop::Places(places), owner, now);
            } else {
                self.unsent.push(unsent);
            }
        }
    }

    /// Sends to the first of these that is well, with the others at hand.
    fn launch(&mut self, draft: Draft, mut flows: Vec<Flow>, owner: Owner, now: Instant) {
        // Cancelled while its name was looked up: nothing was sent, so there is nothing to take back (RFC 3261 §9.1).
        if let Owner::Fork { dialog, fork } = &owner
            && self.fork_cancelled(*dialog, *fork)
        {
            return;
        }
        // RFC 3261 §21.5.4: a target that asked for rest hears nothing new.
        flows.retain(|flow| self.targets.standing(flow.peer(), now) != Standing::Resting);
        flows.sort_by_key(|flow| self.targets.standing(flow.peer(), now));
        let mut flows = flows.into_iter();
        match flows.next() {
            Some(flow) => {
                let trail = Trail::new(flow, flows).minding_size();
                self.begin_toward(draft, flow, trail, owner, false, now);
            }
            // RFC 3261 §8.1.3.1: as a 503.
            None => self.heard(owner, &draft, None, 503, None, now),
        }
    }

    /// The flows that places lead to, in order.
    ///
    /// # Errors
    /// What has to be asked first.
    pub(super) fn flows_of(
        &self,
        places: &Places,
        dice: &mut impl Dice,
        now: Instant,
    ) -> Result<Vec<Flow>, Vec<Question>> {
        let ours = self.transports();
        let known = |question: &Question| self.dns.get(question, now);
        let (mut flows, mut missing) = (Vec::new(), Vec::new());
        let shares = |(_, priority, weight): &&(Place, u16, u16)| (*priority, *weight);
        for (place, _, _) in weights::order(places.of.iter().collect(), shares, dice) {
            match plan(place, &ours, &known, dice) {
                Ok(targets) => {
                    for target in targets {
                        let (transport, remote) = (target.transport, target.address);
                        let listener = self.listener_for(places.listener.as_ref(), transport, remote.ip());
                        let Some(listener) = listener.filter(|at| self.speaks_to(*at, remote.ip())) else { continue };
                        // RFC 5922 §7.3: whose certificate it must be is the host that was asked for, before any look-up.
                        let party = match (places.party, transport) {
                            (Party::Anyone, Transport::Tls) => {
                                self.names_of_peers.party(&place.host).unwrap_or(Party::Anyone)
                            }
                            (party, _) => party,
                        };
                        let flow = Flow { listener, transport, remote, party, local: None };
                        if !flows.contains(&flow) {
                            flows.push(flow);
                        }
                    }
                }
                Err(questions) => missing.extend(questions),
            }
        }
        if missing.is_empty() { Ok(flows) } else { Err(missing) }
    }

    /// Whether a listener's socket is of the peer's address family.
    fn speaks_to(&self, listener: usize, peer: IpAddr) -> bool {
        self.listeners.get(listener).is_some_and(|listener| listener.local.is_ipv4() == peer.is_ipv4())
    }

    /// What our listeners speak, in their order.
    fn transports(&self) -> Vec<Transport> {
        let mut transports = Vec::new();
        for transport in self.listeners.iter().flat_map(|listener| &listener.transports) {
            if !transports.contains(transport) {
                transports.push(*transport);
            }
        }
        transports
    }
}
