//! Towards trunks: registration, credentials, trust.

use super::super::super::config::TrunkConfig;
use super::super::trunk::LOOK;
use super::pair::{FINE, both_empty, call, confirmed, pair};
use super::requests::Bench;
use super::*;

fn trunk(which: u8, password: &str) -> TrunkConfig {
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), format!("192.0.2.{which}"));
    trunk.username = "bob".into();
    trunk.password = password.into();
    trunk
}

#[tokio::test(start_paused = true)]
async fn a_trunk_registers_with_digest_and_is_told_a_wrong_password() {
    for (password, outcome) in [("zanzibar", Ok(Duration::from_secs(60))), ("sesame", Err(401))] {
        let mut config = open();
        let mut ours = trunk(2, password);
        ours.domain = Some("example.com".into());
        config.trunks = vec![ours];
        let pair = pair(3, FINE, Manner::Answers, config, open());
        let id = TrunkId::new("acme").expect("a name");
        pair.a.0.register(&id, Epoch(1), Duration::from_secs(300));
        let wanted = SipEvent::TrunkRegistration { trunk: id, epoch: Epoch(1), outcome };
        until("the outcome", || pair.a.1.events.lock().expect("the events").contains(&wanted)).await;
        both_empty(&pair).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_challenged_invite_is_sent_again_with_credentials() {
    let mut config = open();
    config.trunks = vec![trunk(2, "zanzibar")];
    let closed = SipConfig { anonymous: false, ..open() };
    let pair = pair(3, FINE, Manner::Answers, config, closed);
    let destination =
        Destination::Trunk { trunk: TrunkId::new("acme").expect("a name"), number: "13800#1".into(), more: false };
    let dialog = call(&pair, vec![destination]);
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let events = pair.b.1.events.lock().expect("the events").clone();
    let Some(SipEvent::Incoming(invite)) = events.first() else { panic!("an INVITE") };
    assert_eq!(invite.origin, SipOrigin::Subscriber("bob".parse().expect("a name")));
    assert_eq!(invite.request_uri.0, "sip:13800%231@192.0.2.2");
}

#[tokio::test(start_paused = true)]
async fn a_trunks_address_needs_no_password_and_its_asserted_identity_is_believed() {
    let mut config_a = open();
    config_a.trunks = vec![trunk(2, "")];
    let mut config_b = SipConfig { anonymous: false, ..open() };
    config_b.trunks = vec![trunk(1, "")];
    let pair = pair(3, FINE, Manner::Answers, config_a, config_b);
    let id = TrunkId::new("acme").expect("a name");
    let dialog = call(&pair, vec![Destination::Trunk { trunk: id.clone(), number: "555".into(), more: false }]);
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let events = pair.b.1.events.lock().expect("the events").clone();
    let Some(SipEvent::Incoming(invite)) = events.first() else { panic!("an INVITE") };
    assert_eq!(invite.origin, SipOrigin::Trunk(id.clone()));
    assert_eq!(invite.asserted.as_ref().map(|who| who.uri.0.as_str()), Some("sip:100@example.com"));
    pair.a.0.options(&id, Epoch(1));
    let alive = |event: &SipEvent| matches!(event, SipEvent::TrunkOptions { outcome: Ok(_), .. });
    until("the OPTIONS", || pair.a.1.events.lock().expect("the events").iter().any(alive)).await;
}

// Without an await, so that the resolver's own task never gets to run.
#[tokio::test(start_paused = true)]
async fn a_trunk_that_is_only_heard_is_known_by_its_name_from_the_start_and_by_its_new_address_after_a_move() {
    let mut ours = trunk(7, "");
    ours.host = "sip.acme.example".into();
    let bench = Bench::new(Manner::Rings, SipConfig { anonymous: false, trunks: vec![ours], ..open() });
    let shared = bench.core.shared();
    let asked = |core: &mut Core| core.asking.iter().any(|question| question.name == "sip.acme.example");
    let call = |n: u8| {
        let (via, call_id) = (format!("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKt{n}"), format!("t{n}"));
        Bench::codes(&bench.ask("INVITE", &[("Via", &via), ("Call-ID", &call_id)]))
    };
    shared.with(|core, now| core.tick(now));
    assert!(shared.with(|core, _| asked(core)));
    assert_eq!(call(1), [401]);
    shared.with(|core, now| known(core, "sip.acme.example", [192, 0, 2, 7], now));
    assert_eq!(call(2), [100, 180]);
    shared.with(|core, now| core.tick(now + Duration::from_secs(TTL) - LOOK - Duration::from_secs(1)));
    assert!(!shared.with(|core, _| asked(core)));
    shared.with(|core, now| core.tick(now + Duration::from_secs(TTL)));
    assert!(shared.with(|core, _| asked(core)));
    shared.with(|core, now| known(core, "sip.acme.example", [192, 0, 2, 8], now));
    assert_eq!(call(3), [401]);
}
