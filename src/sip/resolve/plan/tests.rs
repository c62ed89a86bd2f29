//! RFC 3263's rules, one a test, on zones as they are published.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const BOTH: &[Transport] = &[Transport::Udp, Transport::Tcp];

#[derive(Default)]
struct Zone(HashMap<Question, Answer>);

impl Zone {
    fn addresses(mut self, name: &str, addresses: &[&str]) -> Self {
        let of = |v4: bool| {
            let all = addresses.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
            Answer::Addresses(all.filter(|ip| ip.is_ipv4() == v4).collect())
        };
        self.0.insert(Question::new(name, RecordKind::A), of(true));
        self.0.insert(Question::new(name, RecordKind::Aaaa), of(false));
        self
    }
    fn srv(mut self, name: &str, records: &[(u16, u16, u16, &str)]) -> Self {
        let record = |(priority, weight, port, host): &(u16, u16, u16, &str)| Srv {
            priority: *priority,
            weight: *weight,
            port: *port,
            host: (*host).to_owned(),
        };
        self.0.insert(Question::new(name, RecordKind::Srv), Answer::Srv(records.iter().map(record).collect()));
        self
    }
    fn naptr(mut self, name: &str, records: &[(u16, u16, &str, &str)]) -> Self {
        let record = |(order, preference, service, replacement): &(u16, u16, &str, &str)| Naptr {
            order: *order,
            preference: *preference,
            flags: "s".into(),
            service: (*service).to_owned(),
            replacement: (*replacement).to_owned(),
        };
        self.0.insert(Question::new(name, RecordKind::Naptr), Answer::Naptr(records.iter().map(record).collect()));
        self
    }
    /// The plan, where every other name has no records; and what was asked.
    fn plan(&self, uri: &str) -> (Vec<String>, Vec<Question>) {
        let (mut known, mut asked) = (HashMap::new(), Vec::new());
        let place = Place::of_uri(uri).expect("a place");
        loop {
            match plan(&place, BOTH, &|question| known.get(question), &mut weights::fixed) {
                Ok(targets) => {
                    let word = |target: &Target| format!("{:?} {}", target.transport, target.address).to_lowercase();
                    return (targets.iter().map(word).collect(), asked);
                }
                Err(missing) => {
                    assert!(!missing.is_empty());
                    for question in missing {
                        let answer = self.0.get(&question).cloned().unwrap_or(Answer::nothing(question.kind));
                        assert!(known.insert(question.clone(), answer).is_none(), "{question:?} was asked twice");
                        asked.push(question);
                    }
                }
            }
        }
    }
    fn targets(&self, uri: &str) -> Vec<String> {
        self.plan(uri).0
    }
}

/// The example of RFC 3263 §4.1, without the secure transport.
fn example() -> Zone {
    Zone::default()
        .naptr(
            "example.com",
            &[
                (50, 50, "SIPS+D2X", "_sips._x.example.com."),
                (90, 50, "SIP+D2T", "_sip._tcp.example.com."),
                (100, 50, "SIP+D2U", "_sip._udp.example.com."),
            ],
        )
        .srv("_sip._tcp.example.com", &[(0, 1, 5060, "server1.example.com"), (1, 2, 5070, "server2.example.com.")])
        .srv("_sip._udp.example.com", &[(0, 1, 5060, "server3.example.com")])
        .addresses("server1.example.com", &["192.0.2.1"])
        .addresses("server2.example.com", &["192.0.2.2"])
        .addresses("server3.example.com", &["192.0.2.3"])
        .addresses("example.com", &["192.0.2.80"])
}

#[test]
fn naptr_decides_the_transport_and_higher_orders_are_not_looked_at() {
    assert_eq!(example().targets("sip:user@example.com"), ["tcp 192.0.2.1:5060", "tcp 192.0.2.2:5070"]);
}

#[test]
fn a_named_transport_goes_past_naptr_to_its_srv() {
    let (targets, asked) = example().plan("sip:user@example.com;transport=UDP");
    assert_eq!(targets, ["udp 192.0.2.3:5060"]);
    assert!(asked.iter().all(|question| question.kind != RecordKind::Naptr));
}

#[test]
fn a_named_port_goes_past_srv_to_the_hosts_addresses() {
    let (targets, asked) = example().plan("sip:user@example.com:5090");
    assert_eq!(targets, ["udp 192.0.2.80:5090"]);
    assert!(asked.iter().all(|question| matches!(question.kind, RecordKind::A | RecordKind::Aaaa)));
    assert_eq!(example().targets("sip:user@example.com:5090;transport=tcp"), ["tcp 192.0.2.80:5090"]);
}

#[test]
fn a_numeric_host_is_asked_of_nobody() {
    for (uri, target) in [
        ("sip:192.0.2.9", "udp 192.0.2.9:5060"),
        ("sip:u@192.0.2.9:5070;transport=tcp", "tcp 192.0.2.9:5070"),
        ("sip:[2001:db8::9]", "udp [2001:db8::9]:5060"),
        ("sip:u@example.com;maddr=192.0.2.9", "udp 192.0.2.9:5060"),
    ] {
        assert_eq!(Zone::default().plan(uri), (vec![target.to_owned()], Vec::new()), "{uri}");
    }
}

#[test]
fn without_naptr_the_srv_of_every_transport_of_ours_is_looked_for() {
    let zone = Zone::default()
        .srv("_sip._tcp.example.com", &[(0, 0, 5061, "a.example.com")])
        .addresses("a.example.com", &["192.0.2.1"]);
    assert_eq!(zone.targets("sip:example.com"), ["tcp 192.0.2.1:5061"]);
}

#[test]
fn without_srv_the_hosts_addresses_are_used_by_udp_at_5060() {
    let zone = Zone::default().addresses("example.com", &["192.0.2.1", "2001:db8::1"]);
    assert_eq!(zone.targets("sip:example.com"), ["udp [2001:db8::1]:5060", "udp 192.0.2.1:5060"]);
    assert_eq!(zone.targets("sip:example.com;transport=tcp"), ["tcp [2001:db8::1]:5060", "tcp 192.0.2.1:5060"]);
}

#[test]
fn both_address_families_of_every_srv_host_are_targets() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com", &[(0, 0, 5060, "a.example.com"), (1, 0, 5062, "b.example.com")])
        .addresses("a.example.com", &["192.0.2.1", "2001:db8::1"])
        .addresses("b.example.com", &["192.0.2.2"]);
    let wanted = ["udp [2001:db8::1]:5060", "udp 192.0.2.1:5060", "udp 192.0.2.2:5062"];
    assert_eq!(zone.targets("sip:example.com"), wanted);
}

#[test]
fn a_srv_target_of_the_root_says_that_there_is_no_such_service() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com", &[(0, 0, 0, "")])
        .srv("_sip._tcp.example.com", &[(0, 0, 0, "")])
        .addresses("example.com", &["192.0.2.1"]);
    assert_eq!(zone.targets("sip:example.com"), Vec::<String>::new());
}

#[test]
fn sips_never_leaves_by_what_others_can_read() {
    assert_eq!(example().targets("sips:user@example.com"), Vec::<String>::new());
    assert_eq!(example().targets("sips:192.0.2.1"), Vec::<String>::new());
}

#[test]
fn tls_is_used_where_it_is_asked_for_and_nowhere_else() {
    let all = &[Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
    let none = HashMap::<Question, Answer>::new();
    for (uri, wanted) in [
        ("sips:192.0.2.1", Some((Transport::Tls, 5061))),
        ("sips:192.0.2.1;transport=tcp", Some((Transport::Tls, 5061))),
        ("sip:192.0.2.1;transport=tls", Some((Transport::Tls, 5061))),
        ("sip:192.0.2.1", Some((Transport::Udp, 5060))),
        ("sip:192.0.2.1;transport=ws", None),
    ] {
        let place = Place::of_uri(uri).expect("a place");
        let targets = plan(&place, all, &|question| none.get(question), &mut weights::fixed).expect("numeric");
        let found = targets.first().map(|target| (target.transport, target.address.port()));
        assert_eq!(found, wanted, "{uri}");
    }
}

#[test]
fn a_domain_without_naptr_and_srv_costs_one_round_trip() {
    let place = Place::of_uri("sip:example.com").expect("a place");
    let none = HashMap::<Question, Answer>::new();
    let missing = plan(&place, BOTH, &|question| none.get(question), &mut weights::fixed).expect_err("questions");
    let kinds: Vec<RecordKind> = missing.iter().map(|question| question.kind).collect();
    assert_eq!(kinds, [RecordKind::Naptr, RecordKind::A, RecordKind::Aaaa, RecordKind::Srv, RecordKind::Srv]);
}

#[test]
fn a_transport_that_we_have_no_socket_for_is_not_planned() {
    let place = Place::of_uri("sip:192.0.2.1;transport=tcp").expect("a place");
    let none = HashMap::<Question, Answer>::new();
    assert_eq!(plan(&place, &[Transport::Udp], &|question| none.get(question), &mut weights::fixed), Ok(Vec::new()));
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a.test".to_owned()),
        Just("b.test".to_owned()),
        Just(String::new()),
        Just("192.0.2.77".to_owned())
    ]
}

fn srv() -> impl Strategy<Value = Srv> {
    (0u16..3, 0u16..5, 1u16..4, host()).prop_map(|(priority, weight, port, host)| Srv { priority, weight, port, host })
}

fn naptr() -> impl Strategy<Value = Naptr> {
    let service = prop_oneof!["SIP\\+D2U", "SIP\\+D2T", "E2U\\+sip"];
    (0u16..2, 0u16..2, prop_oneof!["s", "u", ""], service, host()).prop_map(
        |(order, preference, flags, service, replacement)| Naptr { order, preference, flags, service, replacement },
    )
}

fn ip() -> impl Strategy<Value = IpAddr> {
    (1u8..9, any::<bool>()).prop_map(|(n, v4)| {
        if v4 { IpAddr::from([192, 0, 2, n]) } else { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]) }
    })
}

fn zone() -> impl Strategy<Value = HashMap<Question, Answer>> {
    let names = ["x.test", "_sip._udp.x.test", "_sip._tcp.x.test", "a.test", "b.test", ""];
    let answers = names.map(|name| {
        let answer = (
            proptest::collection::vec(naptr(), 0..4),
            proptest::collection::vec(srv(), 0..4),
            proptest::collection::vec(ip(), 0..4),
        );
        answer.prop_map(move |(naptr, srv, addresses)| {
            let (v4, v6) = addresses.into_iter().partition(IpAddr::is_ipv4);
            [
                (Question::new(name, RecordKind::Naptr), Answer::Naptr(naptr)),
                (Question::new(name, RecordKind::Srv), Answer::Srv(srv)),
                (Question::new(name, RecordKind::A), Answer::Addresses(v4)),
                (Question::new(name, RecordKind::Aaaa), Answer::Addresses(v6)),
            ]
        })
    });
    answers.prop_map(|all| all.into_iter().flatten().collect())
}

proptest! {
    /// Whatever is published, a plan ends within three rounds of questions, never names a target twice, and throws of the dice
    /// change the order of targets but not their set.
    #[test]
    fn every_zone_leads_to_a_plan(zone in zone(), seed in any::<u64>(), named in any::<bool>()) {
        let uri = if named { "sip:x.test;transport=tcp" } else { "sip:x.test" };
        let place = Place::of_uri(uri).expect("a place");
        let mut known = HashMap::new();
        let mut rounds = 0;
        let mut state = seed;
        let mut dice = move |highest: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from((state >> 33) % (u64::from(highest) + 1)).unwrap_or(highest)
        };
        let thrown = loop {
            match plan(&place, BOTH, &|question| known.get(question), &mut dice) {
                Ok(targets) => break targets,
                Err(missing) => {
                    prop_assert!(!missing.is_empty());
                    for question in missing {
                        let answer = zone.get(&question).cloned().unwrap_or(Answer::nothing(question.kind));
                        prop_assert!(known.insert(question, answer).is_none());
                    }
                }
            }
            rounds += 1;
            prop_assert!(rounds <= 3);
        };
        let listed = plan(&place, BOTH, &|question| known.get(question), &mut weights::fixed).expect("all is known");
        let sorted = |targets: &[Target]| {
            let mut words: Vec<String> = targets.iter().map(|target| format!("{target:?}")).collect();
            words.sort_unstable();
            words
        };
        let words = sorted(&thrown);
        let mut once = words.clone();
        once.dedup();
        prop_assert_eq!(&words, &once);
        prop_assert_eq!(words, sorted(&listed));
        prop_assert!(!named || thrown.iter().all(|target| target.transport == Transport::Tcp));
    }
}
