//! Who calls, by trust: what trunks assert is believed and goes on to trunks, and nobody else learns of it.

use tandem_actors::model::address::Carried;
use tandem_actors::model::diversion::{Diversion, DiversionReason};

use super::super::super::config::{ForwardingHeaders, IdentityHeader, NumberUri, TrunkConfig};
use super::requests::Bench;
use super::*;

const FROM_TRUNK: &[(&str, &str)] = &[
    ("P-Asserted-Identity", "\"Al\" <sip:al@carrier.example>, <tel:+86-139-0000-0000>"),
    ("Privacy", "id"),
    ("Diversion", "<sip:+86555@carrier.example>;reason=no-answer;counter=1"),
    ("Identity", "eyJhbGciOiJFUzI1NiJ9..sig;info=<https://cert.example/1>;alg=ES256;ppt=shaken"),
];

/// A core whose trunk is at 192.0.2.`which`, the address that a bench asks from being 7.
fn bench(which: u8, amend: impl FnOnce(&mut TrunkConfig)) -> Bench {
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), format!("192.0.2.{which}"));
    trunk.port = Some(5060);
    amend(&mut trunk);
    Bench::new(Manner::Rings, SipConfig { trunks: vec![trunk], ..open() })
}

fn untrusted(trunk: &mut TrunkConfig) {
    trunk.identity.trusted = false;
}

/// The INVITE that goes on to a destination.
fn goes_on(bench: &Bench, to: Destination) -> String {
    let came = bench.brain.incoming();
    let caller = came.asserted.as_ref().unwrap_or(&came.from);
    let number = caller.uri.user().expect("a number").into();
    let caller = CallerId { display: caller.display.clone(), number };
    leaves(bench, to, caller, came.carried)
}

fn leaves(bench: &Bench, to: Destination, caller: CallerId, carried: Carried) -> String {
    sends(bench, OutgoingInvite { caller, carried, ..plain_invite(vec![to]) })
}

/// What an INVITE is on the wire.
pub(super) fn sends(bench: &Bench, invite: OutgoingInvite) -> String {
    bench.heard();
    bench.brain.invite(invite);
    bench.heard().concat()
}

pub(super) fn to_trunk() -> Destination {
    Destination::Trunk { trunk: TrunkId::new("acme").expect("a name"), number: "+861".into(), more: false }
}

pub(super) fn to_phone() -> Destination {
    Destination::Uri(SipUri("sip:1001@192.0.2.44".into()))
}

fn pat() -> CallerId {
    CallerId { display: "Pat".into(), number: "+86138".into() }
}

#[tokio::test(start_paused = true)]
async fn a_trunks_assertion_is_believed_and_a_strangers_is_not() {
    let trusted = bench(7, |_| {});
    trusted.ask("INVITE", FROM_TRUNK);
    let came = trusted.brain.incoming();
    let asserted = came.asserted.expect("an identity");
    assert_eq!(
        (asserted.display.as_str(), asserted.uri.0.as_str()),
        ("Al", "tel:+8613900000000"),
        "the number of both"
    );
    assert_eq!(came.carried.diverted, [Diversion::new("+86555", DiversionReason::NoAnswer)]);
    assert_eq!(came.carried.identity.len(), 1);
    for stranger in [bench(9, |_| {}), bench(7, |trunk| trunk.identity.believed = false)] {
        stranger.ask("INVITE", FROM_TRUNK);
        let came = stranger.brain.incoming();
        assert_eq!(came.asserted, None);
        assert!(came.carried.diverted.is_empty() && came.carried.identity.is_empty());
        assert_eq!(came.carried.privacy.as_deref(), Some("id"), "anybody may ask to be hidden");
    }
}

#[tokio::test(start_paused = true)]
async fn remote_party_id_stands_in_where_a_trunk_asserts_nothing() {
    let bench = bench(7, |_| {});
    let value =
        "\"Al\" <sip:+8613900000000@carrier.example>;party=calling;privacy=full, <sip:99@carrier.example>;party=called";
    bench.ask("INVITE", &[("Remote-Party-ID", value)]);
    let came = bench.brain.incoming();
    assert_eq!(came.asserted.as_ref().and_then(|who| who.uri.user()), Some("+8613900000000"));
    assert!(came.carried.hides_caller());
}

#[tokio::test(start_paused = true)]
async fn a_private_caller_is_anonymous_in_from_and_known_to_trusted_trunks_alone() {
    let trusted = bench(7, |_| {});
    trusted.ask("INVITE", FROM_TRUNK);
    let to_neighbour = goes_on(&trusted, to_trunk());
    for line in [
        "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=",
        "P-Asserted-Identity: \"Al\" <sip:+8613900000000@example.com>\r\n",
        "Privacy: id\r\n",
        "Diversion: <sip:+86555@example.com>;reason=no-answer;counter=1\r\n",
        "Identity: eyJhbGciOiJFUzI1NiJ9..sig;info=<https://cert.example/1>;alg=ES256;ppt=shaken\r\n",
    ] {
        assert!(to_neighbour.contains(line), "{line} is not in\n{to_neighbour}");
    }
    let to_outside = goes_on(&trusted, to_phone());
    assert!(to_outside.contains("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="), "{to_outside}");
    assert!(!to_outside.contains("13900000000"), "the number leaks:\n{to_outside}");
    for name in ["P-Asserted-Identity", "Privacy", "Diversion", "History-Info", "\r\nIdentity: "] {
        assert!(!to_outside.contains(name), "{name} leaks:\n{to_outside}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trunk_outside_the_trust_domain_is_told_nothing_of_who_hides() {
    let bench = bench(7, untrusted);
    bench.ask("INVITE", FROM_TRUNK);
    let sent = goes_on(&bench, to_trunk());
    assert!(sent.contains("<sip:anonymous@anonymous.invalid>"), "{sent}");
    for leak in ["13900000000", "Diversion", "P-Asserted-Identity", "Privacy", "\r\nIdentity: "] {
        assert!(!sent.contains(leak), "{leak} leaks:\n{sent}");
    }
    // Who does not hide is named, as the trunk's headers say.
    assert!(
        leaves(&bench, to_trunk(), pat(), Carried::default()).contains("P-Asserted-Identity: \"Pat\" <sip:+86138@")
    );
}

#[tokio::test(start_paused = true)]
async fn privacy_none_overrides_every_other_word_and_an_anonymous_from_says_it_without() {
    for (headers, hides, said) in [
        (vec![("Privacy", "id;none")], false, Some("none")),
        (vec![("Privacy", "user;critical")], true, Some("id;critical")),
        (vec![("Privacy", "header; history")], true, Some("id;history")),
        (vec![("Privacy", "session")], false, None),
        (vec![("From", "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=f")], true, Some("id")),
        (vec![], false, None),
    ] {
        let bench = bench(9, |_| {});
        bench.ask("INVITE", &headers);
        let carried = bench.brain.incoming().carried;
        assert_eq!((carried.hides_caller(), carried.privacy.as_deref()), (hides, said), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_critical_privacy_beyond_us_is_refused_500() {
    let refused = bench(7, |_| {}).ask("INVITE", &[("Privacy", "id;critical;teleport")]);
    assert_eq!(Bench::codes(&refused).last(), Some(&500));
    for within in ["id;critical", "id;teleport"] {
        assert_eq!(
            Bench::codes(&bench(7, |_| {}).ask("INVITE", &[("Privacy", within)])).last(),
            Some(&180),
            "{within}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_trunk_is_told_the_caller_where_it_looks() {
    let bench = bench(7, |trunk| {
        trunk.identity.headers = vec![IdentityHeader::Preferred, IdentityHeader::RemoteParty];
        trunk.domain = Some("them.example".into());
    });
    let own = CallerId { number: "+8621".into(), ..pat() };
    let sent = leaves(&bench, to_trunk(), pat(), Carried { asserted: Some(own), ..Carried::default() });
    for line in [
        "From: \"Pat\" <sip:+86138@them.example>;tag=",
        "P-Preferred-Identity: \"Pat\" <sip:+8621@them.example>\r\n",
        "Remote-Party-ID: \"Pat\" <sip:+8621@them.example>;party=calling;screen=yes;privacy=off\r\n",
    ] {
        assert!(sent.contains(line), "{line} is not in\n{sent}");
    }
    assert!(!sent.contains("P-Asserted-Identity"));
}

#[tokio::test(start_paused = true)]
async fn a_tel_trunk_is_called_by_tel_uris_and_told_both_identities() {
    let tel = bench(7, |trunk| trunk.identity.number_uri = NumberUri::Tel);
    let sent = leaves(&tel, to_trunk(), pat(), Carried::default());
    assert!(sent.starts_with("INVITE tel:+861 SIP/2.0\r\n"), "{sent}");
    for line in [
        "To: <tel:+861>\r\n",
        "From: \"Pat\" <sip:+86138@example.com;user=phone>;tag=",
        "P-Asserted-Identity: \"Pat\" <sip:+86138@example.com;user=phone>\r\n",
        "P-Asserted-Identity: <tel:+86138>\r\n",
    ] {
        assert!(sent.contains(line), "{line} is not in\n{sent}");
    }
    let phone = bench(7, |trunk| trunk.identity.number_uri = NumberUri::Phone);
    let sent = leaves(&phone, to_trunk(), pat(), Carried::default());
    assert!(sent.starts_with("INVITE sip:+861@192.0.2.7:5060;user=phone SIP/2.0\r\n"), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_local_number_in_a_tel_uri_has_its_context() {
    let bench = bench(7, |trunk| {
        trunk.identity.number_uri = NumberUri::Tel;
        trunk.identity.phone_context = Some("+86".into());
    });
    let to = Destination::Trunk { trunk: TrunkId::new("acme").expect("a name"), number: "110".into(), more: false };
    let sent = leaves(&bench, to, pat(), Carried::default());
    assert!(sent.starts_with("INVITE tel:110;phone-context=+86 SIP/2.0\r\n"), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn who_sent_a_call_on_is_told_as_the_trunk_takes_it() {
    let diverted = vec![Diversion::new("+861390", DiversionReason::UserBusy)];
    for (forwarding, diversion, history) in [
        (ForwardingHeaders::Diversion, true, false),
        (ForwardingHeaders::HistoryInfo, false, true),
        (ForwardingHeaders::Both, true, true),
        (ForwardingHeaders::None, false, false),
    ] {
        let bench = bench(7, |trunk| trunk.identity.forwarding = forwarding);
        let sent = leaves(&bench, to_trunk(), pat(), Carried { diverted: diverted.clone(), ..Carried::default() });
        let lines = sent.contains("Diversion: <sip:+861390@example.com>;reason=user-busy;counter=1\r\n");
        assert_eq!(lines, diversion, "{sent}");
        let entries = "History-Info: <sip:+861390@example.com>;index=1\r\n\
                       History-Info: <sip:+861@192.0.2.7;cause=486>;index=1.1;mp=1\r\n";
        assert_eq!(sent.contains(entries), history, "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn number_portability_goes_on_to_a_trusted_trunk() {
    let ask = |bench: &Bench| {
        let uri = "sip:+861;npdi;rn=+8699;foo=1@192.0.2.1;user=phone";
        let request = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKn\r\nFrom: <sip:x@example.com>;tag=f\r\n\
             To: <{uri}>\r\nCall-ID: n1\r\nCSeq: 1 INVITE\r\nContact: <sip:x@192.0.2.7>\r\nContent-Length: 0\r\n\r\n"
        );
        bench.raw(request);
        assert_eq!(bench.brain.incoming().request_uri.user(), Some("+861"));
    };
    let trusted = bench(7, |_| {});
    ask(&trusted);
    let sent = goes_on(&trusted, to_trunk());
    assert!(sent.starts_with("INVITE sip:+861;npdi;rn=+8699@192.0.2.7:5060 SIP/2.0\r\n"), "{sent}");
    let other = bench(7, untrusted);
    ask(&other);
    assert!(goes_on(&other, to_trunk()).starts_with("INVITE sip:+861@192.0.2.7:5060 SIP/2.0\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_tel_uri_calls_its_number() {
    let bench = bench(7, |_| {});
    let request = "INVITE tel:7042;phone-context=+1-914-555 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKt\r\n\
         From: <tel:+1-201-555-0123>;tag=f\r\nTo: <tel:7042;phone-context=+1-914-555>\r\nCall-ID: t1\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:x@192.0.2.7>\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(Bench::codes(&bench.raw(request.into())), [100, 180]);
    let came = bench.brain.incoming();
    assert_eq!(came.request_uri.user(), Some("+19145557042"));
    assert_eq!(came.from.uri.user(), Some("+12015550123"));
}
