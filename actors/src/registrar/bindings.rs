//! RFC 3261 §10.3, steps 6 to 8: what a REGISTER whose digest was right does to the bindings of one address of record. Pure and
//! all-or-nothing: either every contact of the request takes effect, or none and the answer says why.
//!
//! Beside it: Path (RFC 3327 §5.3), outbound (RFC 5626 §6: a flow's binding replaces what its instance had under the same
//! reg-id, whatever its Contact), GRUUs (RFC 5627 §5).
//!
//! Not here: digest, To and Request-URI checks (the SIP core's). Nowhere: Service-Route (RFC 3608; phones send everything to us,
//! there is no other proxy to send them by); several reg-ids in one REGISTER (RFC 5626 §4.2.1 forbids it to the phone: each is
//! bound for itself).

use std::time::{Duration, SystemTime};

use super::same_uri::same_uri;
use crate::model::address::{Contact, InstanceId};
use crate::model::settings::Registrar;
use crate::ports::sip::{AskedContact, ListedBinding, Outbound, RegisterAnswer, RegisterChange, RegisterRequest};
use crate::ports::store::SavedBinding;

/// Temporary GRUUs an instance keeps: at a refresh each half hour, those of a day.
const MAX_TEMP_GRUUS: usize = 48;

/// What a registrar is told once.
#[derive(Debug, Clone, Copy)]
pub struct House<'a> {
    /// What it grants.
    pub grants: &'a Registrar,
    /// Host of GRUUs.
    pub domain: &'a str,
}

/// What became of a REGISTER.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Every binding there is afterwards, the new ones last. Equal to what was given where nothing changed.
    pub bindings: Vec<SavedBinding>,
    /// What the phone is told.
    pub answer: RegisterAnswer,
    /// For the metric: `query`, `registered`, `removed`, `too_brief`, `out_of_order`, `too_many`, `no_outbound`.
    pub label: &'static str,
}

/// Carries out one REGISTER on the bindings of its subscriber. `secret` is random: new temporary GRUUs are made of it.
pub fn register(
    current: &[SavedBinding],
    request: &RegisterRequest,
    house: House<'_>,
    secret: u128,
    now: SystemTime,
) -> Outcome {
    let live = self::live(current, now);
    let changed = match &request.change {
        RegisterChange::Query => Ok((live.clone(), "query")),
        RegisterChange::RemoveAll => remove_all(&live, request).map(|left| (left, "removed")),
        RegisterChange::Update(contacts) => update(live.clone(), contacts, request, house.grants, secret, now),
    };
    match changed {
        Ok((bindings, label)) => {
            let flows = bindings.iter().any(|binding| binding.reg_id.is_some());
            let answer = RegisterAnswer::Bindings {
                bindings: bindings.iter().map(|binding| listed(binding, request, house.domain, now)).collect(),
                flow_timer: (flows && request.supports.outbound == Outbound::Possible)
                    .then_some(house.grants.flow_timer),
                date: now,
            };
            Outcome { bindings, answer, label }
        }
        Err(refusal) => Outcome { bindings: live, answer: refusal.answer(house.grants), label: refusal.label() },
    }
}

/// The bindings that have not run out.
pub fn live(current: &[SavedBinding], now: SystemTime) -> Vec<SavedBinding> {
    current.iter().filter(|binding| binding.expires_at > now).cloned().collect()
}

/// Where a call for them goes, best `q` first: one flow an instance (RFC 5626 §5.3), the one registered last.
pub fn to_ring(mut live: Vec<SavedBinding>) -> Vec<Contact> {
    let mut ringing: Vec<SavedBinding> = Vec::with_capacity(live.len());
    while let Some(binding) = live.pop() {
        let other_flow = binding.reg_id.is_some()
            && ringing.iter().any(|other| other.reg_id.is_some() && other.instance == binding.instance);
        if !other_flow {
            ringing.push(binding);
        }
    }
    ringing.reverse();
    ringing.sort_by_key(|binding| std::cmp::Reverse(binding.q));
    ringing.into_iter().map(|binding| binding.contact).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    TooBrief,
    OutOfOrder,
    TooMany,
    /// RFC 5626 §6: it counts on a flow that its proxy will not keep.
    NoOutbound,
}

impl Refusal {
    fn answer(self, grants: &Registrar) -> RegisterAnswer {
        match self {
            Self::TooBrief => RegisterAnswer::TooBrief(seconds(grants.min_expires)),
            Self::OutOfOrder => RegisterAnswer::Refused(500),
            Self::TooMany => RegisterAnswer::Refused(403),
            Self::NoOutbound => RegisterAnswer::Refused(439),
        }
    }
    fn label(self) -> &'static str {
        match self {
            Self::TooBrief => "too_brief",
            Self::OutOfOrder => "out_of_order",
            Self::TooMany => "too_many",
            Self::NoOutbound => "no_outbound",
        }
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Step 6: `Contact: *`. The ordering rule holds for each binding, and one that fails it fails the request.
fn remove_all(live: &[SavedBinding], request: &RegisterRequest) -> Result<Vec<SavedBinding>, Refusal> {
    if live.iter().all(|binding| in_order(binding, request)) { Ok(Vec::new()) } else { Err(Refusal::OutOfOrder) }
}

/// Step 7, contact by contact, on a copy.
fn update(
    mut bindings: Vec<SavedBinding>,
    contacts: &[AskedContact],
    request: &RegisterRequest,
    grants: &Registrar,
    secret: u128,
    now: SystemTime,
) -> Result<(Vec<SavedBinding>, &'static str), Refusal> {
    let before = bindings.clone();
    let mut label = "removed";
    for (asked, nth) in contacts.iter().zip(0_u128..) {
        let lifetime = asked.expires.unwrap_or(seconds(grants.default_expires)).min(seconds(grants.max_expires));
        if (1..seconds(grants.min_expires)).contains(&lifetime) {
            return Err(Refusal::TooBrief);
        }
        let flow = flow_of(asked, request)?;
        // Compared with what was there before this request: the same contact twice in one request is not out of order.
        let replaces = |binding: &SavedBinding| is_of(binding, asked, flow);
        let earlier = before.iter().find(|binding| replaces(binding));
        if earlier.is_some_and(|binding| !in_order(binding, request)) {
            return Err(Refusal::OutOfOrder);
        }
        bindings.retain(|binding| !replaces(binding));
        if lifetime > 0 {
            label = "registered";
            let temp_gruus = temp_gruus(&before, asked, request, secret.wrapping_add(nth));
            bindings.push(SavedBinding {
                subscriber: request.subscriber.clone(),
                contact: Contact {
                    uri: asked.uri.clone(),
                    source: request.source,
                    transport: request.transport,
                    listener: request.listener.clone(),
                    path: request.path.clone(),
                    behind_nat: asked.behind_nat,
                    heard_at: request.heard_at,
                },
                expires_at: now + Duration::from_secs(lifetime.into()),
                q: asked.q.min(1000),
                call_id: request.call_id.clone(),
                cseq: request.cseq,
                user_agent: request.user_agent.clone(),
                instance: asked.instance.clone(),
                reg_id: flow.map(|(_, reg_id)| reg_id),
                temp_gruus,
            });
        }
    }
    if bindings.len() > grants.max_contacts { Err(Refusal::TooMany) } else { Ok((bindings, label)) }
}

/// The flow a contact names: a reg-id without an instance, or from a phone that does not know outbound, means nothing
/// (RFC 5626 §6).
fn flow_of<'a>(asked: &'a AskedContact, request: &RegisterRequest) -> Result<Option<(&'a InstanceId, u32)>, Refusal> {
    let flow = asked.instance.as_ref().zip(asked.reg_id);
    match request.supports.outbound {
        Outbound::NotWanted => Ok(None),
        Outbound::Possible => Ok(flow),
        Outbound::FirstHopLacks if flow.is_some() => Err(Refusal::NoOutbound),
        Outbound::FirstHopLacks => Ok(None),
    }
}

/// Whether a binding is the one that a contact means: by its flow where both have one, else by its URI.
fn is_of(binding: &SavedBinding, asked: &AskedContact, flow: Option<(&InstanceId, u32)>) -> bool {
    match (binding.instance.as_ref().zip(binding.reg_id), flow) {
        (Some((instance, reg_id)), Some((wanted, flow))) => instance.is(&wanted.0) && reg_id == flow,
        (Some(_) | None, _) => same_uri(&binding.contact.uri, &asked.uri),
    }
}

/// A request of the same Call-ID must have a higher CSeq; one of another Call-ID (a phone that was restarted) always counts.
fn in_order(binding: &SavedBinding, request: &RegisterRequest) -> bool {
    binding.call_id != request.call_id || request.cseq > binding.cseq
}

/// The instance's temporary GRUUs with a new one: the earlier ones are good as long as it registers with the same Call-ID
/// (RFC 5627 §5.1).
fn temp_gruus(before: &[SavedBinding], asked: &AskedContact, request: &RegisterRequest, secret: u128) -> Vec<String> {
    let Some(instance) = asked.instance.as_ref().filter(|_| request.supports.gruu) else { return Vec::new() };
    let of_it = |binding: &&SavedBinding| {
        binding.call_id == request.call_id && binding.instance.as_ref().is_some_and(|other| other.is(&instance.0))
    };
    let mut all = before.iter().rfind(of_it).map(|binding| binding.temp_gruus.clone()).unwrap_or_default();
    all.drain(..all.len().saturating_sub(MAX_TEMP_GRUUS - 1));
    all.push(format!("tgruu.{secret:032x}"));
    all
}

fn listed(binding: &SavedBinding, request: &RegisterRequest, domain: &str, now: SystemTime) -> ListedBinding {
    // An instance that would need escapes in a URI gets none: there is no phone whose URN does.
    let plain = |instance: &&InstanceId| instance.0.bytes().all(|c| c.is_ascii_alphanumeric() || b":-._".contains(&c));
    let gruus = binding.instance.as_ref().filter(|_| request.supports.gruu).filter(plain).and_then(|instance| {
        let temporary = binding.temp_gruus.last()?;
        let user = request.aor_user.as_str();
        Some((format!("sip:{user}@{domain};gr={instance}"), format!("sip:{temporary}@{domain};gr")))
    });
    ListedBinding {
        uri: binding.contact.uri.clone(),
        seconds: seconds_left(binding, now),
        q: binding.q,
        instance: binding.instance.clone(),
        reg_id: binding.reg_id,
        gruus,
    }
}

/// Rounded up: a binding that lives is never listed with 0, which would say that it was removed.
fn seconds_left(binding: &SavedBinding, now: SystemTime) -> u32 {
    let left = binding.expires_at.duration_since(now).unwrap_or_default();
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::Transport;
    use crate::model::ids::{ListenerId, SubscriberId};
    use crate::ports::sip::RegisterSupport;

    const PHONE: &str = "sip:1001@192.0.2.7:5060";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn request(call_id: &str, cseq: u32, change: RegisterChange) -> RegisterRequest {
        RegisterRequest {
            request: 1,
            subscriber: SubscriberId::new("1001").expect("an id"),
            aor_user: "1001".into(),
            call_id: call_id.into(),
            cseq,
            source: "192.0.2.7:5060".parse().expect("an address"),
            transport: Transport::Udp,
            listener: ListenerId::new("udp").expect("an id"),
            heard_at: None,
            change,
            path: Vec::new(),
            supports: RegisterSupport::default(),
            user_agent: None,
        }
    }

    fn contact(uri: &str, seconds: Option<u32>) -> AskedContact {
        AskedContact::plain(uri, seconds)
    }

    fn put(contacts: &[AskedContact]) -> RegisterChange {
        RegisterChange::Update(contacts.to_vec())
    }

    fn register(current: &[SavedBinding], request: &RegisterRequest, now: SystemTime) -> Outcome {
        let grants = Registrar::default();
        super::register(current, request, House { grants: &grants, domain: "example.com" }, request.cseq.into(), now)
    }

    fn registered(seconds: Option<u32>) -> Vec<SavedBinding> {
        register(&[], &request("a", 1, put(&[contact(PHONE, seconds)])), at(0)).bindings
    }

    fn full_list(outcome: &Outcome) -> &[ListedBinding] {
        match &outcome.answer {
            RegisterAnswer::Bindings { bindings, .. } => bindings,
            other @ (RegisterAnswer::TooBrief(_) | RegisterAnswer::Refused(_)) => panic!("refused: {other:?}"),
        }
    }

    fn listed(outcome: &Outcome) -> Vec<(&str, u32)> {
        full_list(outcome).iter().map(|binding| (binding.uri.0.as_str(), binding.seconds)).collect()
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
        assert_eq!(live(&bindings, at(59)), bindings);
        assert_eq!(live(&bindings, at(60)), vec![]);
        let again = register(&bindings, &request("a", 1, put(&[contact(PHONE, None)])), at(60));
        assert_eq!(listed(&again), [(PHONE, 3600)]);
    }

    const URN: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";

    /// A phone that knows GRUUs and outbound, at this URI, on this flow.
    fn modern(call_id: &str, cseq: u32, uri: &str, reg_id: Option<u32>, outbound: Outbound) -> RegisterRequest {
        let asked = AskedContact { instance: Some(InstanceId(URN.into())), reg_id, ..contact(uri, None) };
        RegisterRequest { supports: RegisterSupport { gruu: true, outbound }, ..request(call_id, cseq, put(&[asked])) }
    }

    #[test]
    fn a_flow_replaces_its_instances_binding_of_the_same_reg_id_whatever_its_contact() {
        let first = register(&[], &modern("a", 1, "sip:1001@192.0.2.7:40001", Some(1), Outbound::Possible), at(0));
        let again =
            register(&first.bindings, &modern("b", 1, "sip:1001@192.0.2.9:5", Some(1), Outbound::Possible), at(9));
        assert_eq!(listed(&again), [("sip:1001@192.0.2.9:5", 3600)]);
        let second =
            register(&again.bindings, &modern("c", 1, "sip:1001@192.0.2.9:6", Some(2), Outbound::Possible), at(9));
        assert_eq!(second.bindings.len(), 2);
        let RegisterAnswer::Bindings { flow_timer, .. } = second.answer else { panic!("refused") };
        assert_eq!(flow_timer, Some(Duration::from_secs(120)));
        let ringing = to_ring(second.bindings);
        assert_eq!(ringing.len(), 1, "one flow an instance is rung");
        assert_eq!(ringing[0].uri.0, "sip:1001@192.0.2.9:6", "the one registered last");
    }

    #[test]
    fn a_reg_id_through_a_proxy_without_outbound_is_439_and_without_an_instance_means_nothing() {
        let lacks = register(&[], &modern("a", 1, PHONE, Some(1), Outbound::FirstHopLacks), at(0));
        assert_eq!((lacks.answer, lacks.label), (RegisterAnswer::Refused(439), "no_outbound"));
        let unused = register(&[], &modern("a", 1, PHONE, None, Outbound::FirstHopLacks), at(0));
        assert_eq!(unused.bindings.len(), 1);
        let not_known = register(&[], &modern("a", 1, PHONE, Some(1), Outbound::NotWanted), at(0));
        assert_eq!(not_known.bindings[0].reg_id, None);
        let mut nobody = modern("a", 1, PHONE, Some(1), Outbound::Possible);
        let nameless = AskedContact { reg_id: Some(1), ..contact(PHONE, None) };
        nobody.change = put(&[nameless]);
        let ignored = register(&[], &nobody, at(0));
        assert_eq!(ignored.bindings[0].reg_id, None);
        assert!(matches!(ignored.answer, RegisterAnswer::Bindings { flow_timer: None, .. }));
    }

    #[test]
    fn an_instance_gets_a_public_gruu_and_with_each_register_a_new_temporary_one() {
        let first = register(&[], &modern("a", 1, PHONE, None, Outbound::NotWanted), at(0));
        let (public, temporary) = full_list(&first)[0].gruus.clone().expect("GRUUs");
        assert_eq!(public, format!("sip:1001@example.com;gr={URN}"));
        assert!(temporary.starts_with("sip:tgruu.") && temporary.ends_with("@example.com;gr"));
        let refresh = register(&first.bindings, &modern("a", 2, PHONE, None, Outbound::NotWanted), at(9));
        assert_eq!(refresh.bindings[0].temp_gruus.len(), 2, "the earlier one is good as well");
        let restarted = register(&refresh.bindings, &modern("b", 1, PHONE, None, Outbound::NotWanted), at(9));
        assert_eq!(restarted.bindings[0].temp_gruus.len(), 1, "another Call-ID ends the earlier ones");
        let mut old = modern("b", 2, PHONE, None, Outbound::NotWanted);
        old.supports.gruu = false;
        assert_eq!(full_list(&register(&restarted.bindings, &old, at(9)))[0].gruus, None);
    }

    #[test]
    fn temporary_gruus_are_bounded() {
        let mut bindings = Vec::new();
        for cseq in 1..200 {
            bindings = register(&bindings, &modern("a", cseq, PHONE, None, Outbound::NotWanted), at(0)).bindings;
        }
        assert_eq!(bindings[0].temp_gruus.len(), MAX_TEMP_GRUUS);
    }

    #[test]
    fn the_path_of_a_register_is_kept_with_its_binding() {
        let mut through = request("a", 1, put(&[contact(PHONE, None)]));
        through.path = vec!["<sip:p2.example.com;lr>".into(), "<sip:p1.example.com;lr>".into()];
        assert_eq!(register(&[], &through, at(0)).bindings[0].contact.path, through.path);
    }
}
