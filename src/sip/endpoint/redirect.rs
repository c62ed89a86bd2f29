//! A trunk's redirection of a call of ours (RFC 3261 §8.1.3.4, §19.1.5): its contacts are tried in the order of their q, each
//! once, at most five redirections deep, and only as far as the trunk's policy and the allow list go. It is the same INVITE to
//! another Request-URI: Call-ID and tags stay, the CSeq goes on.
//!
//! Not here: what a phone of ours answers with 3xx. Where such a call may go depends on who called, which is the brain's to say;
//! until it does, the call ends. Nor 305 and 380, which ask for more than another URI.

use std::collections::VecDeque;

use tandem_actors::model::address::SipUri;
use tandem_actors::model::diversion::{Diversion, DiversionReason};
use tokio::time::Instant;

use super::super::config::Redirects;
use super::super::message::tel;
use super::super::message::uri::Uri;
use super::super::message::view::NameAddr;
use super::super::resolve::Place;
use super::dispatch::Places;
use super::*;

/// Redirections of redirections that are followed.
const DEEPEST: u8 = 5;
/// Contacts of one call that are tried.
const MOST: usize = 10;

/// Where a fork was sent on to.
#[derive(Debug)]
pub(super) struct Redirection {
    /// Who had sent the call on before it came to us.
    before: Vec<Diversion>,
    /// Who sent it on since: one a depth.
    by: Vec<String>,
    /// Contacts not tried yet, with the depth each was named at.
    left: VecDeque<(String, u8)>,
    /// Every URI it was sent to: none twice.
    tried: Vec<String>,
    /// Of the present one.
    depth: u8,
}

impl Redirection {
    pub fn of(before: Vec<Diversion>) -> Self {
        Self { before, by: Vec::new(), left: VecDeque::new(), tried: Vec::new(), depth: 0 }
    }

    /// Who sent the call on to where it goes at the present depth.
    fn diverted(&self) -> Vec<Diversion> {
        let number = |uri: &String| {
            let uri = SipUri(tel::canonical(uri));
            uri.user().unwrap_or(&uri.0).to_owned()
        };
        let ours = self.by.iter().take(self.depth.into()).map(number);
        let ours = ours.map(|number| Diversion::new(number, DiversionReason::Unconditional));
        self.before.iter().cloned().chain(ours).collect()
    }
}

impl Core {
    /// A trunk says that the callee is elsewhere: notes where. `false` where that leads nowhere.
    pub(super) fn redirected(&mut self, id: DialogId, at: usize, response: &Message) -> bool {
        let Some(trunk) = self.fork_trunk(id, at) else { return false };
        let wanted: Vec<String> = contacts(response).into_iter().filter(|uri| self.may_follow(trunk, uri)).collect();
        let Some(fork) = self.fork_mut(id, at) else { return false };
        let first = fork.draft.uri.clone();
        let redirection = &mut fork.redirection;
        if redirection.tried.is_empty() {
            redirection.tried.push(first.clone());
        }
        let depth = redirection.depth + 1;
        if depth > DEEPEST {
            return false;
        }
        redirection.by.truncate(redirection.depth.into());
        redirection.by.push(redirection.tried.last().cloned().unwrap_or(first));
        let new = wanted.into_iter().filter(|uri| !redirection.tried.contains(uri));
        // Before what was named earlier: those are what this branch of the search falls back to.
        let mut left: VecDeque<(String, u8)> = new.map(|uri| (uri, depth)).collect();
        let any = !left.is_empty();
        left.append(&mut redirection.left);
        left.truncate(MOST.saturating_sub(redirection.tried.len()));
        redirection.left = left;
        any
    }

    /// Sends a fork to its next contact; `false` where there is none.
    pub(super) fn follow(&mut self, id: DialogId, at: usize, draft: &Draft, now: Instant) -> bool {
        if self.fork_cancelled(id, at) {
            return false;
        }
        let Some(trunk) = self.fork_trunk(id, at) else { return false };
        let Some((uri, place, diverted)) = self.fork_mut(id, at).and_then(|fork| {
            loop {
                let (uri, depth) = fork.redirection.left.pop_front()?;
                if let (false, Some(place)) = (fork.redirection.tried.contains(&uri), Place::of_uri(&uri)) {
                    fork.redirection.depth = depth;
                    fork.redirection.tried.push(uri.clone());
                    fork.done = false;
                    return Some((uri, place, fork.redirection.diverted()));
                }
            }
        }) else {
            return false;
        };
        let Some(state) = self.trunks.get(trunk) else { return false };
        let (listener, by_proxy) = (state.config.listener.clone(), state.config.outbound_proxy.is_some());
        let host = state.config.domain.as_deref().unwrap_or(&self.config.domain);
        let forwarded = trust::forwarded(&state.config, &diverted, host, &uri);
        let (uri, routes) = state.through(&uri);
        let places = if by_proxy { state.places() } else { Places { listener, ..Places::one(place) } };
        let mut draft = Draft { uri, routes, cseq: draft.cseq + 1, ..draft.unproved() };
        draft.headers.retain(|(name, _)| !matches!(name, HeaderName::Diversion | HeaderName::HistoryInfo));
        draft.headers.extend(forwarded);
        tracing::info!(dialog = %id, call_id = %draft.call_id, "a call is redirected");
        self.dispatch(draft, NextHop::Places(places), Owner::Fork { dialog: id, fork: at }, now);
        true
    }

    /// Whether a call by this trunk may be sent on to a URI: the trunk's policy names the hosts, and no number outside the
    /// allow list is dialled because somebody else says so (toll fraud).
    fn may_follow(&self, trunk: usize, uri: &str) -> bool {
        let (Some(state), Some(parsed)) = (self.trunks.get(trunk), Uri::parse(uri.as_bytes())) else { return false };
        let host = String::from_utf8_lossy(parsed.host);
        let named = |name: &str| name.eq_ignore_ascii_case(&host);
        let hers = || {
            named(&state.config.host)
                || named(state.domain())
                || state.config.others.iter().any(|other| named(&other.host))
                || parsed.ip().is_some_and(|ip| state.targets.iter().any(|flow| flow.remote.ip() == ip))
        };
        let host_ok = match state.config.redirects {
            Redirects::Off => false,
            Redirects::Trunk => hers(),
            Redirects::Any => true,
        };
        let user = String::from_utf8_lossy(parsed.user.unwrap_or_default());
        let number = user.split(';').next().unwrap_or_default();
        let number = number.strip_prefix(state.config.prefix.as_str()).unwrap_or(number);
        let dials = number.bytes().any(|octet| octet.is_ascii_digit());
        let begins = |number: &str, list: &[String]| {
            list.iter().any(|prefix| !prefix.is_empty() && number.starts_with(prefix.as_str()))
        };
        let abroad = number.strip_prefix("00").map(|rest| format!("+{rest}"));
        let denied =
            begins(number, &self.config.deny) || abroad.is_some_and(|number| begins(&number, &self.config.deny));
        host_ok && (!dials || (begins(number, &self.config.allow) && !denied))
    }
}

/// The SIP URIs of a response's contacts, the most wanted first; what a URI would put into headers is not taken over.
fn contacts(response: &Message) -> Vec<String> {
    let mut found: Vec<(f32, String)> = Vec::new();
    for header in response.all(HeaderName::Contact) {
        let value = response.value(header);
        for item in view::split(&value, b',') {
            let Some(contact) = NameAddr::parse(trim(item)).filter(|contact| contact.uri.is_sip()) else { continue };
            let q = contact.parameter("q").and_then(|q| std::str::from_utf8(q).ok()?.parse::<f32>().ok());
            let q = q.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(1.0);
            let (uri, headers) = (contact.uri_string(), String::from_utf8_lossy(contact.uri.headers));
            let bare = uri.strip_suffix(headers.as_ref()).and_then(|uri| uri.strip_suffix('?')).unwrap_or(&uri);
            found.push((q, bare.to_owned()));
        }
    }
    // A stable sort: among equals the order of the response is kept.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, uri)| uri).collect()
}
