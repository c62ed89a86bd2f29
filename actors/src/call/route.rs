//! Where a call goes: pure decisions from the settings, who calls, and what was dialled. Each rule is one of `domain/modes`; a
//! refusal says in plain words which switch or list would have to change.

use crate::model::address::{AppHeaders, SipOrigin, SipUri, Target};
use crate::model::cause::Cause;
use crate::model::ids::{ServiceId, SubscriberId, TrunkId, UserId};
use crate::model::settings::{InboundRoute, Settings};

/// What a SIP caller dialled, as far as routing looks.
#[derive(Debug, Clone, Copy)]
pub struct SipDialled<'a> {
    /// Who it is.
    pub origin: &'a SipOrigin,
    /// Request-URI.
    pub request_uri: &'a SipUri,
    /// To: some gateways put the number dialled only there.
    pub to: &'a SipUri,
    /// X-Number names an app user.
    pub headers: &'a AppHeaders,
}

/// What an app user asked for.
#[derive(Debug, Clone, Copy)]
pub struct AppDialled<'a> {
    /// User id, service id or number.
    pub to: &'a str,
    /// Through the PSTN trunk.
    pub pstn: bool,
    /// SipNumber: past the flow, to this number.
    pub sip_number: Option<&'a str>,
}

/// Where a SIP call goes. `registered` tells whether a desk phone of this name has a current binding.
///
/// # Errors
/// The [`Cause`] to refuse with: 403 where a mode or the allow list says no, 404 where nobody is named.
pub fn from_sip(
    settings: &Settings,
    dialled: SipDialled<'_>,
    registered: impl Fn(&SubscriberId) -> bool,
) -> Result<Target, Cause> {
    if let Some(user) = dialled.headers.number.as_deref().and_then(x_number) {
        return app_user(settings, user);
    }
    if let SipOrigin::Trunk(trunk) = dialled.origin
        && let Some(route) = trunk_route(settings, trunk, dialled)
    {
        return inbound(settings, route);
    }
    let number = dialled.request_uri.user().or_else(|| dialled.to.user());
    let Some(number) = number else { return Err(Cause::not_found("nobody is named in the Request-URI")) };
    if let Some(service) = service(settings, number) {
        return ivr(settings, service);
    }
    if let Some(user) = prefixed(settings, number) {
        return app_user(settings, user);
    }
    if let Ok(subscriber) = SubscriberId::new(number)
        && (registered(&subscriber) || settings.rtc_to_sip.numbers.contains(number))
    {
        return Ok(Target::Subscriber(subscriber));
    }
    if is_phone_number(number) && allowed(settings, number) {
        if denied(settings, number) {
            return Err(Cause::forbidden(DENIED));
        }
        return match dialled.origin {
            SipOrigin::Subscriber(_) if settings.modes.sip_to_rtc => pstn(settings, number),
            SipOrigin::Subscriber(_) => Err(Cause::forbidden("modes.sip_to_rtc is off")),
            // Toll fraud: only who proved a password dials out.
            SipOrigin::Trunk(_) | SipOrigin::Anonymous => {
                Err(Cause::forbidden("only an authenticated subscriber may dial out through a trunk"))
            }
        };
    }
    if settings.sip_to_rtc.by_request_uri {
        return app_user(settings, number);
    }
    match dialled.origin {
        SipOrigin::Subscriber(_) if is_phone_number(number) && settings.rtc_to_sip.pstn_trunk.is_some() => {
            Err(Cause::forbidden("the number is outside rtc_to_sip.allow"))
        }
        SipOrigin::Subscriber(_) | SipOrigin::Trunk(_) | SipOrigin::Anonymous => {
            Err(Cause::not_found("no user, number or service of that name"))
        }
    }
}

/// Where a transfer leads that a phone or trunk asks for: whatever it may dial itself, and nothing else (toll fraud). What a
/// trunk's `"*"` catches is for calls that come from it.
///
/// # Errors
/// As [`from_sip`].
pub fn from_referral(
    settings: &Settings,
    origin: &SipOrigin,
    to: &SipUri,
    registered: impl Fn(&SubscriberId) -> bool,
) -> Result<Target, Cause> {
    let headers = AppHeaders::default();
    let star = |trunk: &TrunkId| {
        let routes = settings.trunks.get(trunk).map(|trunk| &trunk.routes);
        !routes.is_some_and(|routes| to.user().is_some_and(|number| routes.contains_key(number)))
    };
    let origin = match origin {
        SipOrigin::Trunk(trunk) if star(trunk) => &SipOrigin::Anonymous,
        SipOrigin::Trunk(_) | SipOrigin::Subscriber(_) | SipOrigin::Anonymous => origin,
    };
    from_sip(settings, SipDialled { origin, request_uri: to, to, headers: &headers }, registered)
}

/// Where an app user's call or invitation goes.
///
/// # Errors
/// As [`from_sip`].
pub fn from_app(
    settings: &Settings,
    dialled: AppDialled<'_>,
    registered: impl Fn(&SubscriberId) -> bool,
) -> Result<Target, Cause> {
    let service = service(settings, dialled.to);
    if let Some(number) = dialled.sip_number.filter(|number| !number.is_empty()) {
        return match service {
            Some(_) if !settings.modes.ivr => Err(Cause::forbidden("modes.ivr is off")),
            Some(_) => number_target(settings, number, &registered),
            None => app_to_number(settings, number, &registered),
        };
    }
    if dialled.pstn {
        return if settings.modes.rtc_to_sip { pstn_checked(settings, dialled.to) } else { Err(rtc_to_sip_off()) };
    }
    if let Some(service) = service {
        return ivr(settings, service);
    }
    if settings.rtc_to_sip.numbers.contains(dialled.to) || (dialled.to.starts_with('+') && is_phone_number(dialled.to))
    {
        return app_to_number(settings, dialled.to, &registered);
    }
    UserId::new(dialled.to).map(Target::User).map_err(|e| Cause::not_found(e.to_string()))
}

/// Where the connector API's number leads: a desk phone of ours, or the PSTN trunk.
///
/// # Errors
/// As [`from_sip`].
pub fn from_connector(
    settings: &Settings,
    number: &str,
    registered: impl Fn(&SubscriberId) -> bool,
) -> Result<Target, Cause> {
    app_to_number(settings, number, &registered)
}

fn app_to_number(
    settings: &Settings,
    number: &str,
    registered: &impl Fn(&SubscriberId) -> bool,
) -> Result<Target, Cause> {
    if !settings.modes.rtc_to_sip {
        return Err(rtc_to_sip_off());
    }
    number_target(settings, number, registered)
}

fn number_target(
    settings: &Settings,
    number: &str,
    registered: &impl Fn(&SubscriberId) -> bool,
) -> Result<Target, Cause> {
    if let Ok(subscriber) = SubscriberId::new(number)
        && (settings.rtc_to_sip.numbers.contains(number) || registered(&subscriber))
    {
        return Ok(Target::Subscriber(subscriber));
    }
    pstn_checked(settings, number)
}

fn rtc_to_sip_off() -> Cause {
    Cause::forbidden("modes.rtc_to_sip is off")
}

/// `<sip:USER@domain>`, `sip:USER@domain`, or bare.
fn x_number(header: &str) -> Option<&str> {
    let text = header.trim();
    let text = text.split_once('<').map_or(text, |(_, rest)| rest.split('>').next().unwrap_or(rest));
    let text = text.trim();
    let rest = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"));
    let user = rest.map_or(text, |rest| rest.split(['@', ';']).next().unwrap_or(rest));
    (!user.is_empty()).then_some(user)
}

fn trunk_route<'a>(settings: &'a Settings, trunk: &TrunkId, dialled: SipDialled<'_>) -> Option<&'a InboundRoute> {
    let routes = &settings.trunks.get(trunk)?.routes;
    // The number dialled is in the Request-URI; where that names our registration, it is in To.
    [dialled.request_uri.user(), dialled.to.user(), Some("*")].into_iter().flatten().find_map(|did| routes.get(did))
}

fn inbound(settings: &Settings, route: &InboundRoute) -> Result<Target, Cause> {
    match route {
        InboundRoute::User(user) => app_user(settings, user.as_str()),
        InboundRoute::Service(service) => ivr(settings, service.clone()),
        InboundRoute::Subscriber(subscriber) => Ok(Target::Subscriber(subscriber.clone())),
        InboundRoute::Room(room) => Ok(Target::Room(room.clone())),
    }
}

fn service(settings: &Settings, number: &str) -> Option<ServiceId> {
    settings
        .services
        .values()
        .find(|service| service.id.as_str() == number || service.numbers.iter().any(|n| n == number))
        .map(|service| service.id.clone())
}

fn ivr(settings: &Settings, service: ServiceId) -> Result<Target, Cause> {
    if settings.modes.ivr { Ok(Target::Service(service)) } else { Err(Cause::forbidden("modes.ivr is off")) }
}

fn prefixed<'a>(settings: &Settings, number: &'a str) -> Option<&'a str> {
    let prefix = settings.sip_to_rtc.user_prefix.as_deref().filter(|prefix| !prefix.is_empty())?;
    number.strip_prefix(prefix).filter(|user| !user.is_empty())
}

fn app_user(settings: &Settings, user: &str) -> Result<Target, Cause> {
    if !settings.modes.sip_to_rtc {
        return Err(Cause::forbidden("modes.sip_to_rtc is off"));
    }
    UserId::new(user).map(Target::User).map_err(|e| Cause::not_found(e.to_string()))
}

fn pstn_checked(settings: &Settings, number: &str) -> Result<Target, Cause> {
    if !is_phone_number(number) {
        return Err(Cause::not_found("not a phone number"));
    }
    if !allowed(settings, number) {
        return Err(Cause::forbidden("the number is outside rtc_to_sip.allow"));
    }
    if denied(settings, number) {
        return Err(Cause::forbidden(DENIED));
    }
    pstn(settings, number)
}

fn pstn(settings: &Settings, number: &str) -> Result<Target, Cause> {
    let rules = &settings.rtc_to_sip;
    let trunks = rules.pstn_trunk.iter().chain(&rules.pstn_fallback).filter_map(|id| settings.trunks.get(id));
    let mut lines = trunks.map(|trunk| (trunk.id.clone(), format!("{}{number}", trunk.prefix)));
    match lines.next() {
        Some((trunk, number)) => Ok(Target::Trunk { trunk, number, then: lines.collect() }),
        None => Err(Cause::not_found("no trunk is configured for phone numbers (rtc_to_sip.pstn_trunk)")),
    }
}

fn allowed(settings: &Settings, number: &str) -> bool {
    settings.rtc_to_sip.allow.iter().any(|prefix| !prefix.is_empty() && number.starts_with(prefix.as_str()))
}

/// Why a number that is allowed is refused all the same.
pub(super) const DENIED: &str = "the number is in rtc_to_sip.deny";

/// Whether the deny list has this number, in whichever of the two international forms either is written.
fn denied(settings: &Settings, number: &str) -> bool {
    fn international(number: &str) -> Option<&str> {
        number.strip_prefix('+').or_else(|| number.strip_prefix("00"))
    }
    settings.rtc_to_sip.deny.iter().filter(|prefix| !prefix.is_empty()).any(|prefix| {
        let (plain, abroad) = (number.starts_with(prefix.as_str()), international(number).zip(international(prefix)));
        plain || abroad.is_some_and(|(number, prefix)| number.starts_with(prefix))
    })
}

/// Digits, `*`, `#`, with an optional leading `+`, at most 32: longer is no number plan's.
pub fn is_phone_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::flow::script::{Script, Step};
    use crate::model::ids::RoomId;
    use crate::model::settings::{CallerIdPolicy, Lines, Modes, NumberRules, Service, SipToRtc, Trunk};
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
            services: BTreeMap::from([(
                service.clone(),
                Service { id: service, numbers: vec!["9000".into()], script },
            )]),
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
}
