//! Sight: what passed the wire, for people. Every message that was read or written is shown here once, outside the core's lock:
//! the [`ladder`] keeps the last ones of each call in bounded memory, [`hep`] sends them to a collector where one is configured.
//!
//! ```text
//!   wire task --message--> Tap --> ladder (ring, by Call-ID) <-- API: by call id, by Call-ID
//!   core's effects --sent-->  '--> hep (queue, DROPS) --> task --> UDP to the collector
//! ```
//!
//! Secrets leave it masked ([`redact`]): digest responses, SDES keys, ICE passwords, digits. Deliberately not: what could not be read
//! as SIP (it is counted), keep-alives, and in the ladder REGISTER, OPTIONS, SUBSCRIBE and PUBLISH, which belong to no call.

pub mod hep;
pub mod ladder;
mod redact;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tandem_actors::model::ids::CallId;
use tokio::time::Instant;

pub use ladder::Step;

use self::hep::{Hep, Packet, Payload};
use self::ladder::{Ladder, Passage};
use super::message::{HeaderName, Kind, Message, view};
use super::transport::{Flow, SourceAddresses};

/// Who sees everything.
pub struct Tap {
    seen: Mutex<Seen>,
    /// Our address by listener.
    locals: Vec<SocketAddr>,
    hep: Option<Hep>,
}

struct Seen {
    ladder: Ladder,
    /// For listeners that are bound to every address.
    sources: SourceAddresses,
}

impl Tap {
    /// A tap that has seen nothing; `locals` by listener.
    pub fn new(locals: Vec<SocketAddr>, hep: Option<Hep>) -> Self {
        let seen = Seen { ladder: Ladder::default(), sources: SourceAddresses::default() };
        Self { seen: Mutex::new(seen), locals, hep }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message that was read.
    pub fn came(&self, flow: Flow, message: &Message, now: Instant) {
        let Some(call_id) = message.text(HeaderName::CallId) else { return };
        let cseq = message.get(HeaderName::CSeq).unwrap_or_default();
        let method = match message.kind() {
            Kind::Request { token, .. } => token,
            Kind::Response { .. } => view::cseq(&cseq).map(|(_, method)| method).unwrap_or_default(),
        };
        self.saw(flow, false, &call_id, method, message.octets(), now);
    }

    /// A message of ours that goes out.
    pub fn goes(&self, flow: Flow, octets: &Bytes, now: Instant) {
        // Our own writer spells these so.
        let value = |name: &[u8]| {
            let start = memchr::memmem::find(octets, name)? + name.len();
            let rest = octets.get(start..)?;
            rest.get(..memchr::memchr(b'\r', rest)?)
        };
        let Some(call_id) = value(b"\r\nCall-ID: ").map(String::from_utf8_lossy) else { return };
        let method = value(b"\r\nCSeq: ").and_then(view::cseq).map(|(_, method)| method).unwrap_or_default();
        self.saw(flow, true, &call_id, method, octets, now);
    }

    fn saw(&self, flow: Flow, sent: bool, call_id: &str, method: &[u8], octets: &Bytes, now: Instant) {
        let Some(&bound) = self.locals.get(flow.listener) else { return };
        let of_a_call = !matches!(method, b"REGISTER" | b"OPTIONS" | b"SUBSCRIBE" | b"PUBLISH");
        if !of_a_call && self.hep.is_none() {
            return;
        }
        let mut seen = self.seen();
        let local = match bound.ip().is_unspecified() {
            true => SocketAddr::new(flow.local.unwrap_or_else(|| seen.sources.toward(flow.remote.ip())), bound.port()),
            false => bound,
        };
        let transport = flow.transport;
        if of_a_call {
            // A stream's message is a slice of its connection's buffer, which must not be kept for it.
            let octets = if flow.reliable() { Bytes::copy_from_slice(octets) } else { octets.clone() };
            let passage = Passage { at: now, sent, local, remote: flow.remote, transport, octets };
            seen.ladder.push(call_id, passage);
        }
        let Some(hep) = &self.hep else { return };
        let call = seen.ladder.call_of(call_id);
        drop(seen);
        let (from, to) = if sent { (local, flow.remote) } else { (flow.remote, local) };
        let correlation = call.map_or_else(|| call_id.to_owned(), |call| call.to_string());
        hep.send(Packet {
            from,
            to,
            reliable: flow.reliable(),
            at: now,
            correlation,
            kind: Payload::Sip,
            payload: redact::masked(octets).to_vec(),
        });
    }

    /// A report of a call's media session with a peer, in JSON: exported, where somebody collects.
    pub fn report(&self, call: CallId, remote: SocketAddr, json: String, now: Instant) {
        let Some(hep) = &self.hep else { return };
        let local = SocketAddr::new(self.seen().sources.toward(remote.ip()), 0);
        hep.send(Packet {
            from: local,
            to: remote,
            reliable: false,
            at: now,
            correlation: call.to_string(),
            kind: Payload::Rtcp,
            payload: json.into_bytes(),
        });
    }

    /// Whether somebody collects.
    pub fn exports(&self) -> bool {
        self.hep.is_some()
    }

    /// These dialogs are legs of a call.
    pub fn belong(&self, call: CallId, call_ids: impl IntoIterator<Item = String>) {
        let mut seen = self.seen();
        for call_id in call_ids {
            seen.ladder.belongs(&call_id, call);
        }
    }

    /// What passed for a call, both legs in the order of time; empty when nothing is known of it.
    pub fn of_call(&self, call: CallId) -> Vec<Step> {
        let passages = self.seen().ladder.of_call(call);
        steps(passages)
    }

    /// What passed with a Call-ID, and with the other legs of its call.
    pub fn of_call_id(&self, call_id: &str) -> (Option<CallId>, Vec<Step>) {
        let (call, passages) = {
            let seen = self.seen();
            let call = seen.ladder.call_of(call_id);
            (call, call.map_or_else(|| seen.ladder.of_call_id(call_id), |call| seen.ladder.of_call(call)))
        };
        (call, steps(passages))
    }
}

/// Readable, and without secrets.
fn steps(mut passages: Vec<(std::sync::Arc<str>, Passage)>) -> Vec<Step> {
    passages.sort_by_key(|(_, passage)| passage.at);
    let now = Instant::now();
    passages
        .into_iter()
        .map(|(call_id, passage)| Step {
            ago: now.saturating_duration_since(passage.at),
            sent: passage.sent,
            local: passage.local,
            remote: passage.remote,
            transport: passage.transport.label(),
            call_id: call_id.to_string(),
            text: String::from_utf8_lossy(&redact::masked(&passage.octets)).into_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
