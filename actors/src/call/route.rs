//! Where a call goes: pure decisions from the settings, who calls, and what was dialled. Each rule is one of `domain/modes`; a
//! refusal says in plain words which switch or list would have to change.

use crate::model::address::{AppHeaders, SipOrigin, SipUri, Target};
use crate::model::cause::Cause;
use crate::model::ids::{ServiceId, SubscriberId, TrunkId, UserId};
use crate::model::plan::NumberPlan;
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
    // As dialled, and as the caller's network means it.
    let global = plan_of(settings, dialled.origin).and_then(|plan| plan.e164(number));
    let forms = || [Some(number), global.as_deref()].into_iter().flatten();
    if let Some(service) = forms().find_map(|number| service(settings, number)) {
        return ivr(settings, service);
    }
    if let Some(user) = prefixed(settings, number) {
        return app_user(settings, user);
    }
    for number in forms() {
        if let Ok(subscriber) = SubscriberId::new(number)
            && (registered(&subscriber) || settings.rtc_to_sip.numbers.contains(number))
        {
            return Ok(Target::Subscriber(subscriber));
        }
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
    let plan = plan_of(settings, dialled.origin)?;
    // As written, else whichever way both are written.
    let find = |did: &str| {
        let global = plan.e164(did);
        let same = |known: &str| global.is_some() && plan.e164(known) == global;
        routes.get(did).or_else(|| routes.iter().find(|(known, _)| same(known)).map(|(_, route)| route))
    };
    // The number dialled is in the Request-URI; where that names our registration, it is in To.
    let dialled = [dialled.request_uri.user(), dialled.to.user()];
    dialled.into_iter().flatten().find_map(find).or_else(|| routes.get("*"))
}

/// How the network of a trunk that calls dials.
fn plan_of<'a>(settings: &'a Settings, origin: &SipOrigin) -> Option<&'a NumberPlan> {
    match origin {
        SipOrigin::Trunk(trunk) => settings.trunks.get(trunk).map(|trunk| &trunk.numbers.plan),
        SipOrigin::Subscriber(_) | SipOrigin::Anonymous => None,
    }
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

/// A number as dialled, and as the trunks that it may leave by take it: a list of numbers knows either.
fn forms(settings: &Settings, number: &str) -> impl Iterator<Item = String> {
    let rules = &settings.rtc_to_sip;
    let trunks = rules.pstn_trunk.iter().chain(&rules.pstn_fallback).filter_map(|id| settings.trunks.get(id));
    let global: Vec<String> = trunks.filter_map(|trunk| trunk.numbers.plan.e164(number)).collect();
    std::iter::once(number.to_owned()).chain(global)
}

fn allowed(settings: &Settings, number: &str) -> bool {
    forms(settings, number).any(|number| {
        settings.rtc_to_sip.allow.iter().any(|prefix| !prefix.is_empty() && number.starts_with(prefix.as_str()))
    })
}

/// Why a number that is allowed is refused all the same.
pub(super) const DENIED: &str = "the number is in rtc_to_sip.deny";

/// Whether the deny list has this number, in whichever of the two international forms either is written.
fn denied(settings: &Settings, number: &str) -> bool {
    fn international(number: &str) -> Option<&str> {
        number.strip_prefix('+').or_else(|| number.strip_prefix("00"))
    }
    forms(settings, number).any(|number| {
        settings.rtc_to_sip.deny.iter().filter(|prefix| !prefix.is_empty()).any(|prefix| {
            let plain = number.starts_with(prefix.as_str());
            let abroad = international(&number).zip(international(prefix));
            plain || abroad.is_some_and(|(number, prefix)| number.starts_with(prefix))
        })
    })
}

/// Digits, `*`, `#`, with an optional leading `+`, at most 32: longer is no number plan's.
pub fn is_phone_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
}

#[cfg(test)]
mod tests;
