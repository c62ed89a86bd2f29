//! RFC 3261 §10.3, steps 6 to 8: what a REGISTER whose digest was right does to the bindings of one address of record. Pure and
//! all-or-nothing: either every contact of the request takes effect, or none and the answer says why.
//!
//! Not here: digest, To and Request-URI checks (the SIP core's), Path, GRUU and outbound (not spoken yet).

use std::time::{Duration, SystemTime};

use crate::model::address::{Contact, SipUri};
use crate::ports::sip::{RegisterAnswer, RegisterChange, RegisterRequest};
use crate::ports::store::SavedBinding;

/// Lifetime where the request names none (RFC 3261 §10.2.1.1).
pub const DEFAULT_EXPIRES_S: u32 = 3600;
/// A shorter lifetime is answered 423 with this as Min-Expires.
pub const MIN_EXPIRES_S: u32 = 60;
/// A longer lifetime is shortened to this.
pub const MAX_EXPIRES_S: u32 = 7200;
/// Contacts of one address of record; more are answered 403.
pub const MAX_CONTACTS: usize = 10;

/// What became of a REGISTER.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Every binding there is afterwards, the new ones last. Equal to what was given where nothing changed.
    pub bindings: Vec<SavedBinding>,
    /// What the phone is told.
    pub answer: RegisterAnswer,
    /// For the metric: `query`, `registered`, `removed`, `too_brief`, `out_of_order`, `too_many`.
    pub label: &'static str,
}

/// Carries out one REGISTER on the bindings of its subscriber.
pub fn register(current: &[SavedBinding], request: &RegisterRequest, now: SystemTime) -> Outcome {
    let live: Vec<SavedBinding> = current.iter().filter(|binding| binding.expires_at > now).cloned().collect();
    let changed = match &request.change {
        RegisterChange::Query => Ok((live.clone(), "query")),
        RegisterChange::RemoveAll => remove_all(&live, request).map(|left| (left, "removed")),
        RegisterChange::Update(contacts) => update(live.clone(), contacts, request, now),
    };
    match changed {
        Ok((bindings, label)) => {
            let answer = RegisterAnswer::Bindings(
                bindings.iter().map(|binding| (binding.contact.uri.clone(), seconds_left(binding, now))).collect(),
            );
            Outcome { bindings, answer, label }
        }
        Err(refusal) => Outcome { bindings: live, answer: refusal.answer(), label: refusal.label() },
    }
}

/// The bindings that have not run out, and when the next one does.
pub fn expire(current: &[SavedBinding], now: SystemTime) -> (Vec<SavedBinding>, Option<SystemTime>) {
    let live: Vec<SavedBinding> = current.iter().filter(|binding| binding.expires_at > now).cloned().collect();
    let next = live.iter().map(|binding| binding.expires_at).min();
    (live, next)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    TooBrief,
    OutOfOrder,
    TooMany,
}

impl Refusal {
    fn answer(self) -> RegisterAnswer {
        match self {
            Self::TooBrief => RegisterAnswer::TooBrief(MIN_EXPIRES_S),
            Self::OutOfOrder => RegisterAnswer::Refused(500),
            Self::TooMany => RegisterAnswer::Refused(403),
        }
    }
    fn label(self) -> &'static str {
        match self {
            Self::TooBrief => "too_brief",
            Self::OutOfOrder => "out_of_order",
            Self::TooMany => "too_many",
        }
    }
}

/// Step 6: `Contact: *`. The ordering rule holds for each binding, and one that fails it fails the request.
fn remove_all(live: &[SavedBinding], request: &RegisterRequest) -> Result<Vec<SavedBinding>, Refusal> {
    if live.iter().all(|binding| in_order(binding, request)) { Ok(Vec::new()) } else { Err(Refusal::OutOfOrder) }
}

/// Step 7, contact by contact, on a copy.
fn update(
    mut bindings: Vec<SavedBinding>,
    contacts: &[(SipUri, Option<u32>, u16)],
    request: &RegisterRequest,
    now: SystemTime,
) -> Result<(Vec<SavedBinding>, &'static str), Refusal> {
    let before = bindings.clone();
    let mut label = "removed";
    for (uri, asked, q) in contacts {
        let seconds = asked.unwrap_or(DEFAULT_EXPIRES_S).min(MAX_EXPIRES_S);
        if (1..MIN_EXPIRES_S).contains(&seconds) {
            return Err(Refusal::TooBrief);
        }
        // Compared with what was there before this request: the same contact twice in one request is not out of order.
        let earlier = before.iter().find(|binding| same_uri(&binding.contact.uri, uri));
        if earlier.is_some_and(|binding| !in_order(binding, request)) {
            return Err(Refusal::OutOfOrder);
        }
        bindings.retain(|binding| !same_uri(&binding.contact.uri, uri));
        if seconds > 0 {
            label = "registered";
            bindings.push(binding(uri, seconds, *q, request, now));
        }
    }
    if bindings.len() > MAX_CONTACTS { Err(Refusal::TooMany) } else { Ok((bindings, label)) }
}

/// A request of the same Call-ID must have a higher CSeq; one of another Call-ID (a phone that was restarted) always counts.
fn in_order(binding: &SavedBinding, request: &RegisterRequest) -> bool {
    binding.call_id != request.call_id || request.cseq > binding.cseq
}

fn binding(uri: &SipUri, seconds: u32, q: u16, request: &RegisterRequest, now: SystemTime) -> SavedBinding {
    SavedBinding {
        subscriber: request.subscriber.clone(),
        contact: Contact {
            uri: uri.clone(),
            source: request.source,
            transport: request.transport,
            listener: request.listener.clone(),
        },
        expires_at: now + Duration::from_secs(seconds.into()),
        q: q.min(1000),
        call_id: request.call_id.clone(),
        cseq: request.cseq,
        user_agent: request.user_agent.clone(),
    }
}

/// Rounded up: a binding that lives is never listed with 0, which would say that it was removed.
fn seconds_left(binding: &SavedBinding, now: SystemTime) -> u32 {
    let left = binding.expires_at.duration_since(now).unwrap_or_default();
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

/// RFC 3261 §19.1.4 as far as contacts need it: scheme, host and parameters without regard to case, user as written, and the
/// parameters that name another place (`user ttl method maddr transport`) on both sides or neither.
fn same_uri(a: &SipUri, b: &SipUri) -> bool {
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (UriParts::of(&a.0), UriParts::of(&b.0)) else { return false };
    let agree = |name: &str| a.parameter(name) == b.parameter(name);
    let shared = a.parameters.iter().all(|(name, value)| b.parameter(name).is_none_or(|other| other == value));
    a.scheme == b.scheme
        && a.user == b.user
        && a.host_port == b.host_port
        && shared
        && ["user", "ttl", "method", "maddr", "transport"].into_iter().all(agree)
}

struct UriParts<'a> {
    scheme: String,
    user: Option<&'a str>,
    host_port: String,
    parameters: Vec<(String, String)>,
}

impl<'a> UriParts<'a> {
    fn of(uri: &'a str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let rest = rest.split_once('?').map_or(rest, |(rest, _headers)| rest);
        // A user part may have parameters of its own; those after the host are the URI's.
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let mut parts = rest.split(';');
        let host_port = parts.next()?.to_ascii_lowercase();
        let parameters = parts
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_ascii_lowercase()))
            .collect();
        Some(Self { scheme: scheme.to_ascii_lowercase(), user, host_port, parameters })
    }

    fn parameter(&self, name: &str) -> Option<&String> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::Transport;
    use crate::model::ids::{ListenerId, SubscriberId};

    const PHONE: &str = "sip:1001@192.0.2.7:5060";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn request(call_id: &str, cseq: u32, change: RegisterChange) -> RegisterRequest {
        RegisterRequest {
            request: 1,
            subscriber: SubscriberId::new("1001").expect("an id"),
            call_id: call_id.into(),
            cseq,
            source: "192.0.2.7:5060".parse().expect("an address"),
            transport: Transport::Udp,
            listener: ListenerId::new("udp").expect("an id"),
            change,
            user_agent: None,
        }
    }

    fn contact(uri: &str, seconds: Option<u32>) -> (SipUri, Option<u32>, u16) {
        (SipUri(uri.into()), seconds, 1000)
    }

    fn put(contacts: &[(SipUri, Option<u32>, u16)]) -> RegisterChange {
        RegisterChange::Update(contacts.to_vec())
    }

    fn registered(seconds: Option<u32>) -> Vec<SavedBinding> {
        register(&[], &request("a", 1, put(&[contact(PHONE, seconds)])), at(0)).bindings
    }

    fn listed(outcome: &Outcome) -> Vec<(&str, u32)> {
        match &outcome.answer {
            RegisterAnswer::Bindings(list) => list.iter().map(|(uri, left)| (uri.0.as_str(), *left)).collect(),
            other @ (RegisterAnswer::TooBrief(_) | RegisterAnswer::Refused(_)) => panic!("refused: {other:?}"),
        }
    }

    #[test]
    fn a_contact_without_expires_lives_an_hour_and_is_listed_with_what_is_left() {
        let bindings = registered(None);
        let outcome = register(&bindings, &request("b", 1, RegisterChange::Query), at(600));
        assert_eq!(listed(&outcome), [(PHONE, 3000)]);
        assert_eq!(outcome.bindings, bindings);
    }

    #[test]
    fn below_60_s_is_423_and_above_7200_is_shortened() {
        let brief = register(&[], &request("a", 1, put(&[contact(PHONE, Some(59))])), at(0));
        assert_eq!((brief.answer, brief.bindings.len()), (RegisterAnswer::TooBrief(60), 0));
        let long = register(&[], &request("a", 1, put(&[contact(PHONE, Some(u32::MAX))])), at(0));
        assert_eq!(listed(&long), [(PHONE, 7200)]);
    }

    #[test]
    fn a_cseq_out_of_order_is_500_and_changes_nothing() {
        let bindings = registered(None);
        for cseq in [0, 1] {
            let late = register(&bindings, &request("a", cseq, put(&[contact(PHONE, Some(0))])), at(1));
            assert_eq!((late.answer, &late.bindings), (RegisterAnswer::Refused(500), &bindings));
            let late = register(&bindings, &request("a", cseq, RegisterChange::RemoveAll), at(1));
            assert_eq!((late.answer, &late.bindings), (RegisterAnswer::Refused(500), &bindings));
        }
        assert!(register(&bindings, &request("a", 2, RegisterChange::RemoveAll), at(1)).bindings.is_empty());
        assert!(register(&bindings, &request("other", 1, RegisterChange::RemoveAll), at(1)).bindings.is_empty());
    }

    #[test]
    fn an_update_is_all_or_nothing() {
        let second = "sip:1001@192.0.2.8:5060";
        let outcome = register(&[], &request("a", 1, put(&[contact(PHONE, None), contact(second, Some(1))])), at(0));
        assert_eq!((outcome.answer, outcome.bindings.len()), (RegisterAnswer::TooBrief(60), 0));
        let outcome = register(
            &registered(None),
            &request("a", 2, put(&[contact(PHONE, Some(0)), contact(second, Some(120))])),
            at(0),
        );
        assert_eq!(listed(&outcome), [(second, 120)]);
    }

    #[test]
    fn a_refresh_replaces_its_binding_whatever_the_case_of_host_and_parameters() {
        let bindings = register(&[], &request("a", 1, put(&[contact("sip:1001@Host;transport=UDP", None)])), at(0));
        let again =
            register(&bindings.bindings, &request("a", 2, put(&[contact("sip:1001@host;transport=udp", None)])), at(9));
        assert_eq!(again.bindings.len(), 1);
        let other_user =
            register(&again.bindings, &request("a", 3, put(&[contact("sip:1002@host;transport=udp", None)])), at(9));
        assert_eq!(other_user.bindings.len(), 2);
        let other_transport =
            register(&again.bindings, &request("a", 3, put(&[contact("sip:1001@host", None)])), at(9));
        assert_eq!(other_transport.bindings.len(), 2);
    }

    #[test]
    fn the_eleventh_contact_is_403() {
        let contacts: Vec<_> = (0..11).map(|n| contact(&format!("sip:1001@192.0.2.7:{}", 5060 + n), None)).collect();
        assert_eq!(register(&[], &request("a", 1, put(&contacts)), at(0)).answer, RegisterAnswer::Refused(403));
        assert_eq!(register(&[], &request("a", 1, put(contacts.get(..10).expect("ten"))), at(0)).bindings.len(), 10);
    }

    #[test]
    fn a_binding_runs_out_and_can_be_registered_again_by_any_cseq() {
        let bindings = registered(Some(60));
        let (live, next) = expire(&bindings, at(59));
        assert_eq!((live.len(), next), (1, Some(at(60))));
        assert_eq!(expire(&bindings, at(60)), (vec![], None));
        let again = register(&bindings, &request("a", 1, put(&[contact(PHONE, None)])), at(60));
        assert_eq!(listed(&again), [(PHONE, 3600)]);
    }
}
