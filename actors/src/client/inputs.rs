//! What sockets said and their Clients have not taken. Held beside the actors, since both a Client and its supervisor may crash
//! with it: the next incarnation hears it again, once ([`Deliveries`]).

use std::collections::VecDeque;
use std::time::Instant;

use dashmap::DashMap;

use crate::model::ids::ClientId;
use crate::ports::Deliveries;
use crate::ports::client::ClientInput;

/// What a socket said and its Client has not taken, to the Client; overflow: DROPS the socket's new ones, answered and counted.
const HELD_INPUTS: usize = 256;

/// By connection.
#[derive(Default)]
pub struct Inputs(DashMap<ClientId, Queue>);

#[derive(Default)]
struct Queue {
    last: u64,
    held: VecDeque<Held>,
}

struct Held {
    number: u64,
    input: ClientInput,
    deliveries: Deliveries,
}

/// What a new incarnation is to hear.
pub(super) struct Again {
    /// Inputs with their numbers, in order.
    pub inputs: Vec<(u64, ClientInput)>,
    /// One over which it crashed twice: it is not heard a third time.
    pub given_up: Option<ClientInput>,
}

impl Inputs {
    /// Numbers and holds an input until `handled` has reached its number; `None` where too many are held.
    pub(super) fn hold(&self, id: ClientId, handled: u64, input: ClientInput, now: Instant) -> Option<u64> {
        let mut queue = self.0.entry(id).or_default();
        queue.held.retain(|held| held.number > handled);
        if queue.held.len() >= HELD_INPUTS {
            return None;
        }
        queue.last += 1;
        let number = queue.last;
        queue.held.push_back(Held { number, input, deliveries: Deliveries::first(now) });
        Some(number)
    }

    /// What a new incarnation hears again.
    pub(super) fn again(&self, id: ClientId, handled: u64, now: Instant) -> Again {
        let Some(mut queue) = self.0.get_mut(&id) else { return Again { inputs: Vec::new(), given_up: None } };
        queue.held.retain(|held| held.number > handled);
        // Only the first can have caused the crash; the others wait behind it.
        let given_up = queue.held.pop_front_if(|first| !first.deliveries.again(now)).map(|held| held.input);
        Again { inputs: queue.held.iter().map(|held| (held.number, held.input.clone())).collect(), given_up }
    }

    /// The sockets that are about to carry connections, in the order in which they said so.
    pub(super) fn resuming(&self, id: ClientId, handled: u64) -> Vec<ClientId> {
        let Some(queue) = self.0.get(&id) else { return Vec::new() };
        let held = queue.held.iter().filter(|held| held.number > handled);
        held.filter_map(|held| match &held.input {
            ClientInput::Connected { client, .. } => Some(*client),
            ClientInput::Request { .. } | ClientInput::Alive(_) | ClientInput::Lost(_) => None,
        })
        .collect()
    }

    /// The connection is over.
    pub(super) fn forget(&self, id: ClientId) {
        self.0.remove(&id);
    }

    /// Forgets connections that ended while nobody kept them.
    pub(super) fn keep(&self, lives: impl Fn(&ClientId) -> bool) {
        self.0.retain(|id, _| lives(id));
    }

    /// Whether nothing is held for anybody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
