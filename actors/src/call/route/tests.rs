//! Where calls go.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::flow::script::{Script, Step};
use crate::model::ids::RoomId;
use crate::model::plan::{CallerIdPolicy, TrunkNumbers};
use crate::model::settings::{Lines, Modes, NumberRules, Service, SipToRtc, Trunk};
use crate::model::srtp::MediaEncryption;

fn settings() -> Settings {
    let service = ServiceId::new("welcome").expect("an id");
    let trunk = TrunkId::new("acme").expect("an id");
    let script = Script { start: "bye".into(), steps: BTreeMap::from([("bye".to_owned(), Step::Hangup {})]) };
    let routes = BTreeMap::from([
        ("5551".to_owned(), InboundRoute::Room(RoomId::new("lobby").expect("an id"))),
        ("*".to_owned(), InboundRoute::User(UserId::new("desk").expect("an id"))),
    ]);
    let mut settings = Settings {
        modes: Modes { ivr: true, sip_to_rtc: true, rtc_to_sip: true },
        services: BTreeMap::from([(service.clone(), Service { id: service, numbers: vec!["9000".into()], script })]),
        sip_to_rtc: SipToRtc { user_prefix: Some("0".into()), by_request_uri: true, ..SipToRtc::default() },
        trunks: BTreeMap::from([(
            trunk.clone(),
            Trunk {
                id: trunk.clone(),
                register: false,
                register_expires: Duration::from_secs(600),
                options_interval: None,
                codecs: Vec::new(),
                media_encryption: MediaEncryption::None,
                routes,
                prefix: "9".into(),
                caller_id: CallerIdPolicy::Pass,
                numbers: TrunkNumbers::default(),
                max_calls: None,
                calls_per_minute: None,
                max_cps: None,
                ring_timeout: Duration::from_secs(60),
                lines: Lines::default(),
            },
        )]),
        ..Settings::default()
    };
    settings.rtc_to_sip.numbers = NumberRules::parse("1016;20[01-05]").expect("rules");
    settings.rtc_to_sip.pstn_trunk = Some(trunk);
    settings.rtc_to_sip.allow = vec!["+86".into(), "138".into()];
    settings
}

fn sip(settings: &Settings, origin: &SipOrigin, user: &str, x_number: Option<&str>) -> Result<Target, u16> {
    let uri = SipUri(format!("sip:{user}@switch"));
    let headers = AppHeaders { number: x_number.map(str::to_owned), ..AppHeaders::default() };
    let dialled = SipDialled { origin, request_uri: &uri, to: &uri, headers: &headers };
    from_sip(settings, dialled, |subscriber| subscriber.as_str() == "1001").map_err(|cause| cause.status)
}

fn app(settings: &Settings, to: &str, pstn: bool, sip_number: Option<&str>) -> Result<Target, u16> {
    from_app(settings, AppDialled { to, pstn, sip_number }, |s| s.as_str() == "1001").map_err(|c| c.status)
}

fn user(id: &str) -> Target {
    Target::User(UserId::new(id).expect("an id"))
}

fn phone(id: &str) -> Target {
    Target::Subscriber(SubscriberId::new(id).expect("an id"))
}

fn subscriber() -> SipOrigin {
    SipOrigin::Subscriber(SubscriberId::new("1002").expect("an id"))
}

fn acme() -> TrunkId {
    TrunkId::new("acme").expect("an id")
}

#[test]
fn a_service_number_reaches_the_service() {
    let welcome = Target::Service(ServiceId::new("welcome").expect("an id"));
    assert_eq!(sip(&settings(), &subscriber(), "9000", None), Ok(welcome.clone()));
    assert_eq!(app(&settings(), "9000", false, None), Ok(welcome.clone()));
    assert_eq!(app(&settings(), "welcome", false, None), Ok(welcome));
}

#[test]
fn x_number_names_the_app_user_with_or_without_brackets() {
    for header in ["<sip:alice@app>", "sip:alice@app", "\"A\" <sip:alice@app;x=y>", " alice "] {
        assert_eq!(sip(&settings(), &subscriber(), "9000", Some(header)), Ok(user("alice")), "{header}");
    }
}

#[test]
fn the_prefix_rule_and_the_request_uri_name_app_users() {
    assert_eq!(sip(&settings(), &subscriber(), "042", None), Ok(user("42")));
    assert_eq!(sip(&settings(), &subscriber(), "bob", None), Ok(user("bob")));
    let mut strict = settings();
    strict.sip_to_rtc.by_request_uri = false;
    assert_eq!(sip(&strict, &subscriber(), "bob", None), Err(404));
}

#[test]
fn a_registered_or_ruled_number_rings_the_desk_phone() {
    assert_eq!(sip(&settings(), &SipOrigin::Anonymous, "1001", None), Ok(phone("1001")));
    assert_eq!(sip(&settings(), &subscriber(), "2003", None), Ok(phone("2003")));
    assert_eq!(app(&settings(), "1016", false, None), Ok(phone("1016")));
}

#[test]
fn a_trunk_call_goes_by_the_number_dialled_then_by_the_star() {
    let trunk = SipOrigin::Trunk(acme());
    assert_eq!(sip(&settings(), &trunk, "5551", None), Ok(Target::Room(RoomId::new("lobby").expect("an id"))));
    assert_eq!(sip(&settings(), &trunk, "+8613800000000", None), Ok(user("desk")));
}

#[test]
fn only_a_subscriber_dials_out_and_only_what_is_allowed() {
    let out = Target::Trunk { trunk: acme(), number: "9+8613800000000".into(), then: Vec::new() };
    assert_eq!(sip(&settings(), &subscriber(), "+8613800000000", None), Ok(out.clone()));
    assert_eq!(sip(&settings(), &SipOrigin::Anonymous, "+8613800000000", None), Err(403));
    let mut strict = settings();
    strict.sip_to_rtc.by_request_uri = false;
    assert_eq!(sip(&strict, &subscriber(), "+4419000000", None), Err(403));
    assert_eq!(app(&settings(), "+8613800000000", true, None), Ok(out.clone()));
    assert_eq!(app(&settings(), "+8613800000000", false, None), Ok(out));
    assert_eq!(app(&settings(), "+4419000000", true, None), Err(403));
    assert_eq!(app(&settings(), "alice", true, None), Err(404));
}

#[test]
fn what_is_denied_is_refused_whoever_dials_it_and_however_it_is_written() {
    let mut open = settings();
    open.rtc_to_sip.allow = vec!["+".into(), "0".into()];
    open.rtc_to_sip.deny = vec!["+881".into(), "0190".into()];
    open.sip_to_rtc.user_prefix = None;
    for number in ["+8816123", "008816123", "0190123"] {
        assert_eq!(sip(&open, &subscriber(), number, None), Err(403), "{number}");
        assert_eq!(app(&open, number, true, None), Err(403), "{number}");
        assert_eq!(app(&open, "welcome", false, Some(number)), Err(403), "{number}");
        assert_eq!(from_connector(&open, number, |_| false).map_err(|cause| cause.status), Err(403), "{number}");
    }
    assert_eq!(sip(&open, &subscriber(), "+8613800000000", None).map(|_| ()), Ok(()));
    assert_eq!(sip(&open, &subscriber(), "0881", None).map(|_| ()), Ok(()), "a number of the neighbourhood");
}

#[test]
fn further_trunks_stand_by_each_with_its_own_prefix() {
    let mut settings = settings();
    let other = TrunkId::new("other").expect("an id");
    let trunk = settings.trunks.get(&acme()).expect("a trunk").clone();
    settings.trunks.insert(other.clone(), Trunk { id: other.clone(), prefix: "00".into(), ..trunk });
    settings.rtc_to_sip.pstn_fallback = vec![other.clone()];
    let then = vec![(other, "00+8613800000000".to_owned())];
    let out = Target::Trunk { trunk: acme(), number: "9+8613800000000".into(), then };
    assert_eq!(app(&settings, "+8613800000000", true, None), Ok(out));
}

#[test]
fn a_sip_number_goes_past_the_flow() {
    assert_eq!(app(&settings(), "welcome", false, Some("1001")), Ok(phone("1001")));
    assert_eq!(app(&settings(), "9000", false, Some("13800000000")).map(|_| ()), Ok(()));
    assert_eq!(app(&settings(), "9000", false, Some("77")), Err(403));
}

#[test]
fn a_mode_that_is_off_refuses_with_403() {
    let mut off = settings();
    off.modes = Modes::default();
    assert_eq!(sip(&off, &subscriber(), "9000", None), Err(403));
    assert_eq!(sip(&off, &subscriber(), "alice", None), Err(403));
    assert_eq!(sip(&off, &subscriber(), "138000", None), Err(403));
    assert_eq!(app(&off, "1016", false, None), Err(403));
    assert_eq!(app(&off, "9000", false, None), Err(403));
    assert_eq!(app(&off, "alice", false, None), Ok(user("alice")));
}

#[test]
fn the_connector_calls_phones_only() {
    let connector = |number: &str| from_connector(&settings(), number, |_| false).map_err(|c| c.status);
    assert_eq!(connector("2001"), Ok(phone("2001")));
    assert_eq!(connector("13800000000").map(|_| ()), Ok(()));
    assert_eq!(connector("12"), Err(403));
    assert_eq!(connector("alice"), Err(404));
}

/// A trunk of a network that dials as Germany does.
fn national() -> Settings {
    let mut settings = settings();
    for trunk in settings.trunks.values_mut() {
        trunk.numbers.plan =
            NumberPlan { country: "49".into(), national: "0".into(), international: "00".into(), bare: false };
        let lobby = InboundRoute::Room(RoomId::new("lobby").expect("an id"));
        trunk.routes = BTreeMap::from([("+4930123456".to_owned(), lobby)]);
    }
    settings
}

#[test]
fn a_trunks_route_knows_its_number_however_the_network_dials_it() {
    let (settings, trunk) = (national(), SipOrigin::Trunk(TrunkId::new("acme").expect("an id")));
    for dialled in ["+4930123456", "030123456", "004930123456", "4930123456"] {
        let lobby = RoomId::new("lobby").expect("an id");
        assert_eq!(sip(&settings, &trunk, dialled, None), Ok(Target::Room(lobby)), "{dialled}");
    }
    let subscriber = SipOrigin::Subscriber(SubscriberId::new("1016").expect("an id"));
    assert!(!matches!(sip(&settings, &subscriber, "4930123456", None), Ok(Target::Room(_))));
}

#[test]
fn what_may_not_be_dialled_may_not_be_in_the_trunks_own_way_of_writing_either() {
    let (mut settings, phone) = (national(), SipOrigin::Subscriber(SubscriberId::new("1016").expect("an id")));
    settings.sip_to_rtc.user_prefix = None;
    settings.rtc_to_sip.allow = vec!["+49".into()];
    settings.rtc_to_sip.deny = vec!["+49900".into()];
    assert!(matches!(sip(&settings, &phone, "030123456", None), Ok(Target::Trunk { .. })));
    assert_eq!(sip(&settings, &phone, "0900123456", None), Err(403));
    assert_eq!(sip(&settings, &phone, "0049900123456", None), Err(403));
}
