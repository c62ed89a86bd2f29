//! Requests that are too large for a datagram (RFC 3261 §18.1.1).
//!
//! One above 1300 octets goes by TCP, since a path drops what it would have to cut into fragments, and by UDP after all where
//! TCP cannot be had; that is remembered as of every target that fails, so that the next one need not find it out. The limit is
//! that for paths whose MTU is not known: the MTU of our own interface says nothing about the rest of the path.
//!
//! Deliberately not: to a trunk whose `transport` is `"udp"`, for then its operator knows better, as where a firewall drops TCP in
//! silence and each attempt costs its caller five seconds; to where a phone's datagrams come from, since behind NAT it is reached by nothing
//! else; and ACKs of a 2xx, which have no transaction that could notice a failure: they go as their INVITE did.

use tandem_actors::model::address::Transport;
use tokio::time::Instant;

use super::failover::Trail;
use super::health::Standing;
use super::*;

/// RFC 3261 §18.1.1, for paths whose MTU is not known.
pub(super) const LARGEST_DATAGRAM: usize = 1300;

impl Core {
    /// The way of a request that is too large for its own; `None` where there is none.
    pub(super) fn way_for_large(&self, flow: Flow, owner: &Owner, trail: &Trail, now: Instant) -> Option<Flow> {
        let way = Flow { transport: Transport::Tcp, local: None, ..flow };
        let trunk = self.trunk_of(owner).and_then(|at| self.trunks.get(at));
        let named = trunk.is_some_and(|trunk| trunk.config.transport == Some(Transport::Udp));
        // What the peer has to say to us later comes to the port that we tell it.
        let heard = |listener: &Listener| listener.transports.contains(&Transport::Tcp);
        let possible = flow.transport == Transport::Udp
            && !named
            && trail.may_grow(way)
            && self.listeners.get(flow.listener).is_some_and(heard)
            && self.targets.standing(way.peer(), now) == Standing::Up;
        possible.then_some(way)
    }
}
