//! The ladder's memory: the messages of calls, by Call-ID, least recently used forgotten first. What no leg of ours has taken
//! (refused, malformed, a scanner's) has a part of its own, so that a flood of INVITEs cannot push live calls out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tandem_actors::model::address::Transport;
use tandem_actors::model::ids::CallId;
use tokio::time::Instant;

/// Most octets of calls' messages that are kept.
const CALLS: usize = 16 << 20;
/// The same of those that belong to no call.
const STRANGERS: usize = 4 << 20;
/// The first messages of a dialog that are always kept: how it came about.
const FIRST: usize = 24;
/// The latest messages of a dialog that are kept. // overflow: DROPS the oldest behind the first; the gap shows in the CSeq
const LAST: usize = 104;
/// Longest message that is kept whole.
const LONGEST: usize = 8192;
/// What a message costs beside its octets.
const EACH: usize = 128;

/// One message.
#[derive(Debug, Clone)]
pub struct Passage {
    /// When.
    pub at: Instant,
    /// Whether we sent it.
    pub sent: bool,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The message.
    pub octets: Bytes,
}

/// One message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How long ago it passed.
    pub ago: Duration,
    /// Whether we sent it.
    pub sent: bool,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// `udp`, `tcp`…
    pub transport: &'static str,
    /// Its Call-ID.
    pub call_id: String,
    /// The message, secrets masked.
    pub text: String,
}

#[derive(Debug, Default)]
struct Dialog {
    first: Vec<Passage>,
    last: VecDeque<Passage>,
    bytes: usize,
    touched: u64,
    call: Option<CallId>,
}

/// Dialogs by when they were used last, with the octets they keep.
#[derive(Debug, Default)]
struct Part {
    order: BTreeMap<u64, Arc<str>>,
    bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ladder {
    dialogs: HashMap<Arc<str>, Dialog>,
    calls: HashMap<CallId, Vec<Arc<str>>>,
    ours: Part,
    strangers: Part,
    clock: u64,
}

impl Ladder {
    /// A message with this Call-ID passed.
    pub fn push(&mut self, call_id: &str, mut passage: Passage) {
        // A copy of its own size: a slice would keep all of its buffer.
        if passage.octets.len() > LONGEST {
            passage.octets = Bytes::copy_from_slice(passage.octets.get(..LONGEST).unwrap_or_default());
        }
        let key = match self.dialogs.get_key_value(call_id) {
            Some((key, _)) => key.clone(),
            None => Arc::from(call_id),
        };
        let mut dialog = self.take(&key).unwrap_or_default();
        dialog.bytes += passage.octets.len() + EACH;
        if dialog.first.is_empty() {
            dialog.bytes += EACH + 2 * key.len();
        }
        if dialog.first.len() < FIRST {
            dialog.first.push(passage);
        } else {
            dialog.last.push_back(passage);
            if dialog.last.len() > LAST
                && let Some(dropped) = dialog.last.pop_front()
            {
                dialog.bytes -= dropped.octets.len() + EACH;
            }
        }
        self.put(key, dialog);
    }

    /// This Call-ID is a leg of that call.
    pub fn belongs(&mut self, call_id: &str, call: CallId) {
        let key = match self.dialogs.get_key_value(call_id) {
            Some((key, _)) => key.clone(),
            None => Arc::from(call_id),
        };
        let mut dialog = self.take(&key).unwrap_or_default();
        if dialog.call.is_none() {
            dialog.call = Some(call);
            self.calls.entry(call).or_default().push(key.clone());
        }
        self.put(key, dialog);
    }

    /// The call a Call-ID belongs to.
    pub fn call_of(&self, call_id: &str) -> Option<CallId> {
        self.dialogs.get(call_id)?.call
    }

    /// Everything with this Call-ID.
    pub fn of_call_id(&self, call_id: &str) -> Vec<(Arc<str>, Passage)> {
        let Some((key, dialog)) = self.dialogs.get_key_value(call_id) else { return Vec::new() };
        dialog.first.iter().chain(&dialog.last).map(|passage| (key.clone(), passage.clone())).collect()
    }

    /// Everything of a call's legs.
    pub fn of_call(&self, call: CallId) -> Vec<(Arc<str>, Passage)> {
        let keys = self.calls.get(&call).into_iter().flatten();
        keys.flat_map(|key| self.of_call_id(key)).collect()
    }

    fn part(&mut self, of_a_call: bool) -> &mut Part {
        if of_a_call { &mut self.ours } else { &mut self.strangers }
    }

    fn take(&mut self, key: &str) -> Option<Dialog> {
        let dialog = self.dialogs.remove(key)?;
        let part = self.part(dialog.call.is_some());
        part.order.remove(&dialog.touched);
        part.bytes -= dialog.bytes;
        Some(dialog)
    }

    fn put(&mut self, key: Arc<str>, mut dialog: Dialog) {
        self.clock += 1;
        dialog.touched = self.clock;
        let of_a_call = dialog.call.is_some();
        let part = self.part(of_a_call);
        part.order.insert(dialog.touched, key.clone());
        part.bytes += dialog.bytes;
        self.dialogs.insert(key, dialog);
        let most = if of_a_call { CALLS } else { STRANGERS };
        while self.part(of_a_call).bytes > most {
            let Some((_, oldest)) = self.part(of_a_call).order.pop_first() else { break };
            if let Some(gone) = self.dialogs.remove(&oldest) {
                self.part(of_a_call).bytes -= gone.bytes;
                if let Some(call) = gone.call
                    && let Some(keys) = self.calls.get_mut(&call)
                {
                    keys.retain(|key| *key != oldest);
                    if keys.is_empty() {
                        self.calls.remove(&call);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(octets: usize) -> Passage {
        let address = "192.0.2.1:5060".parse().expect("an address");
        let octets = Bytes::from(vec![b'x'; octets]);
        Passage { at: Instant::now(), sent: false, local: address, remote: address, transport: Transport::Udp, octets }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_strangers_does_not_push_a_call_out() {
        let mut ladder = Ladder::default();
        ladder.push("leg-a", passage(500));
        ladder.belongs("leg-a", CallId(1));
        ladder.push("leg-b", passage(500));
        ladder.belongs("leg-b", CallId(1));
        for n in 0..20_000 {
            ladder.push(&format!("scan-{n}"), passage(700));
        }
        assert_eq!(ladder.of_call(CallId(1)).len(), 2, "both legs are in one ladder");
        assert!(ladder.strangers.bytes <= STRANGERS && ladder.dialogs.len() < 20_000);
        assert_eq!(ladder.of_call_id("scan-0").len(), 0, "the oldest was forgotten");
        assert_eq!(ladder.of_call_id("scan-19999").len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_have_a_bound_of_their_own() {
        let mut ladder = Ladder::default();
        for n in 0..4000 {
            let call_id = format!("call-{n}");
            ladder.push(&call_id, passage(9000));
            ladder.belongs(&call_id, CallId(n));
        }
        assert!(ladder.ours.bytes <= CALLS);
        let kept: usize = ladder.dialogs.values().map(|dialog| dialog.bytes).sum();
        assert_eq!(kept, ladder.ours.bytes + ladder.strangers.bytes, "the books are right");
        assert_eq!(ladder.calls.len(), ladder.dialogs.len());
        assert_eq!((ladder.of_call(CallId(0)).len(), ladder.of_call(CallId(3999)).len()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_call_keeps_its_beginning_and_its_end() {
        let mut ladder = Ladder::default();
        for n in 0..1000 {
            ladder.push("c", Passage { octets: Bytes::from(n.to_string()), ..passage(1) });
        }
        let kept = ladder.of_call_id("c");
        assert_eq!(kept.len(), FIRST + LAST);
        let text = |n: usize| kept.get(n).map(|(_, passage)| String::from_utf8_lossy(&passage.octets).into_owned());
        assert_eq!((text(0).as_deref(), text(FIRST + LAST - 1).as_deref()), (Some("0"), Some("999")));
        assert_eq!(text(FIRST), Some((1000 - LAST).to_string()));
    }
}
