//! Towards trunks: REGISTER and OPTIONS of ours (RFC 3261 §10.2, §11.1). When to send them is the Trunk actor's.

use tandem_actors::model::address::MaxForwards;
use tandem_actors::ports::sip::SipEvent;
use tokio::time::Instant;

use super::super::config::TrunkConfig;
use super::super::message::uri::{escape_user, host_ip};
use super::super::message::view::NameAddr;
use super::*;

/// One trunk and what its registration is made of: Call-ID and CSeq go on for the life of the process
/// (RFC 3261 §10.2.4).
#[derive(Debug)]
pub(super) struct TrunkState {
    at: usize,
    pub config: TrunkConfig,
    call_id: String,
    cseq: u32,
    tag: String,
}

impl TrunkState {
    pub fn new(at: usize, config: TrunkConfig) -> Self {
        Self { at, config, call_id: new_call_id(), cseq: 0, tag: new_tag() }
    }
    pub fn next_cseq(&mut self) -> u32 {
        self.cseq += 1;
        self.cseq
    }
    /// The host of its URIs.
    pub fn domain(&self) -> &str {
        self.config.domain.as_deref().unwrap_or(&self.config.host)
    }
    /// Whether its host is a name.
    pub fn is_named(&self) -> bool {
        host_ip(self.config.host.as_bytes()).is_none()
    }
    pub fn hop(&self) -> NextHop {
        NextHop::Host {
            host: self.config.host.clone(),
            port: self.config.port.unwrap_or(self.config.transport.default_port()),
            transport: self.config.transport,
            party: Party::Trunk(self.at),
            listener: self.config.listener.clone(),
        }
    }
    /// Its Request-URI for a number (empty: for itself).
    pub fn uri(&self, number: &str) -> String {
        let port = self.config.port.map(|port| format!(":{port}")).unwrap_or_default();
        let transport = transport_parameter(self.config.transport);
        let at = if number.is_empty() { "" } else { "@" };
        format!("sip:{}{at}{}{port}{transport}", escape_user(number), self.domain())
    }
}

/// How often it is looked whether a trunk's addresses have to be asked for again: soon after what is remembered runs out.
const LOOK: Duration = Duration::from_secs(5);

impl Core {
    /// Asks for the addresses of every trunk whose name was not resolved lately, though nothing may ever be sent to it: they
    /// say whose calls those from there are.
    pub(super) fn look_up_trunks(&mut self, now: Instant) {
        let stale = |state: &&TrunkState| {
            state.is_named() && self.hosts.get(&state.config.host).is_none_or(|(_, until)| *until <= now)
        };
        let hosts: Vec<String> = self.trunks.iter().filter(stale).map(|state| state.config.host.clone()).collect();
        for host in hosts {
            self.look_up(host);
        }
        self.arm(now + LOOK, Due::TrunkHosts);
    }

    /// Sends REGISTER.
    pub(super) fn register_trunk(&mut self, trunk: usize, epoch: Epoch, expires: u32, now: Instant) {
        let Some(state) = self.trunks.get_mut(trunk) else { return };
        let cseq = state.next_cseq();
        let user = escape_user(&state.config.username);
        let aor = format!("<sip:{user}@{}>", state.domain());
        let draft = Draft {
            method: rsip::Method::Register,
            uri: state.uri(""),
            routes: Vec::new(),
            from: format!("{aor};tag={}", state.tag),
            to: aor,
            call_id: state.call_id.clone(),
            cseq,
            max_forwards: MaxForwards::default(),
            contact: Some(user),
            headers: vec![(HeaderName::Expires, expires.to_string())],
            content_type: "",
            body: String::new(),
        };
        let hop = state.hop();
        self.dispatch(draft, hop, Owner::Register { trunk, epoch, expires }, now);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn register_heard(
        &mut self,
        trunk: usize,
        epoch: Epoch,
        expires: u32,
        draft: &Draft,
        flow: Option<Flow>,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) {
        let outcome = match status {
            100..=199 => return,
            200..=299 => {
                let user = draft.contact.as_deref().unwrap_or_default();
                Ok(granted(response, user).unwrap_or(expires))
            }
            423 => {
                let least = response.and_then(|response| response.get(HeaderName::MinExpires));
                let least = least.and_then(|value| view::seconds(&value)).filter(|least| *least > expires);
                // Asked once more with what it wants; a registrar that raises it again is refused by the bound.
                match least.filter(|least| *least <= 86_400) {
                    Some(least) => {
                        self.register_trunk(trunk, epoch, least, now);
                        return;
                    }
                    None => Err(423),
                }
            }
            other => Err(other),
        };
        let Some(state) = self.trunks.get(trunk) else { return };
        let id = state.config.id.clone();
        if let Err(status) = &outcome {
            tracing::warn!(trunk = %id, status, reached = flow.is_some(), "a trunk refused our registration");
        }
        let outcome = outcome.map(|seconds| Duration::from_secs(u64::from(seconds)));
        self.event(SipEvent::TrunkRegistration { trunk: id, epoch, outcome });
    }

    /// Sends OPTIONS.
    pub(super) fn ask_trunk(&mut self, trunk: usize, epoch: Epoch, now: Instant) {
        let domain = self.config.domain.clone();
        let Some(state) = self.trunks.get_mut(trunk) else { return };
        let user = escape_user(&state.config.username);
        let at = if user.is_empty() { "" } else { "@" };
        let uri = state.uri("");
        let draft = Draft {
            method: rsip::Method::Options,
            to: format!("<{uri}>"),
            uri,
            routes: Vec::new(),
            from: format!("<sip:{user}{at}{domain}>;tag={}", new_tag()),
            call_id: new_call_id(),
            cseq: 1,
            max_forwards: MaxForwards::default(),
            contact: Some(user),
            headers: vec![(HeaderName::Accept, SDP.into())],
            content_type: "",
            body: String::new(),
        };
        let hop = state.hop();
        self.dispatch(draft, hop, Owner::Options { trunk, epoch, began: now }, now);
    }

    pub(super) fn options_heard(&mut self, trunk: usize, epoch: Epoch, began: Instant, status: u16, now: Instant) {
        let outcome = match status {
            100..=199 => return,
            // Our own 408 (nobody answered) is the exception to "below 500 is alive".
            408 => Err(408),
            200..=499 | 501 => Ok(now - began),
            other => Err(other),
        };
        if let Some(id) = self.trunks.get(trunk).map(|state| state.config.id.clone()) {
            self.event(SipEvent::TrunkOptions { trunk: id, epoch, outcome });
        }
    }
}

/// The lifetime a 200 grants our binding: the contact with our user part, else the Expires header.
fn granted(response: Option<&Message>, user: &str) -> Option<u32> {
    let response = response?;
    let ours = response.all(HeaderName::Contact).find_map(|header| {
        let value = response.value(header);
        view::split(&value, b',').find_map(|item| {
            let contact = NameAddr::parse(trim(item))?;
            let mine = contact.uri.user.unwrap_or_default() == user.as_bytes();
            contact.parameter("expires").filter(|_| mine).and_then(view::seconds)
        })
    });
    ours.or_else(|| response.get(HeaderName::Expires).and_then(|value| view::seconds(&value)))
}
