//! Where calls go: services and their flows, trunks' routes, numbers that lead to one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tandem_actors::flow::script::{DialTarget, Script, Step};
use tandem_actors::model::address::Target;
use tandem_actors::model::ids::{RoomId, ServiceId, SubscriberId, TrunkId, UserId};
use tandem_actors::model::settings::{InboundRoute, NumberRules, RtcToSip, Service, Trunk};

use super::super::problem::nearest;
use super::super::raw::Raw;
use super::check::Checker;
use super::network::encryption;
use super::seconds;
use super::{identity, lines};

pub(super) fn services(
    check: &mut Checker<'_>,
    raw: &Raw,
    prompts: &BTreeMap<String, Duration>,
) -> BTreeMap<ServiceId, Service> {
    let mut services = BTreeMap::new();
    for (n, service) in raw.services.iter().enumerate() {
        let key = format!("services[{n}]");
        let script = Script { start: service.start.clone(), steps: service.steps.clone() };
        check_script(check, &key, &script, raw, prompts);
        let Some(id) = check.id(&format!("{key}.id"), &service.id, ServiceId::new) else { continue };
        if services.contains_key(&id) {
            check.wrong(format!("{key}.id"), format!("another service is named \"{id}\" too"), "choose another id");
        }
        services.insert(id.clone(), Service { id, numbers: service.numbers.clone(), script });
    }
    services
}

fn check_script(check: &mut Checker<'_>, key: &str, script: &Script, raw: &Raw, prompts: &BTreeMap<String, Duration>) {
    let names = || script.steps.keys().map(String::as_str);
    let leads = |check: &mut Checker<'_>, at: String, to: &str| {
        if !script.steps.contains_key(to) {
            let remedy = match nearest(to, names()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("write a [services.steps.{to}], or name another"),
            };
            check.wrong(at, format!("there is no step \"{to}\""), remedy);
        }
    };
    let has = |check: &mut Checker<'_>, at: String, prompt: &str| {
        if !prompts.contains_key(prompt) {
            let remedy = match nearest(prompt, prompts.keys().map(String::as_str)) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("put {prompt}.wav into prompts_dir"),
            };
            check.wrong(at, format!("there is no prompt \"{prompt}\""), remedy);
        }
    };
    leads(check, format!("{key}.start"), &script.start);
    for (name, step) in &script.steps {
        let at = |field: &str| format!("{key}.steps.{name}.{field}");
        match step {
            Step::Play { prompt, next } => {
                has(check, at("prompt"), prompt);
                next.iter().for_each(|next| leads(check, at("next"), next));
            }
            Step::Menu { prompt, timeout_s, retries: _, choices, invalid_prompt, on_timeout, on_invalid } => {
                has(check, at("prompt"), prompt);
                invalid_prompt.iter().for_each(|prompt| has(check, at("invalid_prompt"), prompt));
                choices.values().for_each(|next| leads(check, at("choices"), next));
                on_timeout.iter().for_each(|next| leads(check, at("on_timeout"), next));
                on_invalid.iter().for_each(|next| leads(check, at("on_invalid"), next));
                if choices.is_empty() {
                    check.wrong(at("choices"), "the menu has no choices", "write choices = { \"1\" = \"STEP\" }");
                }
                if *timeout_s == 0 || *timeout_s > 120 {
                    check.wrong(at("timeout_s"), format!("{timeout_s} s"), "write 1 to 120");
                }
            }
            Step::Dial { to: DialTarget(target), timeout_s, on_fail } => {
                timeout_s.iter().for_each(|timeout_s| check.seconds(at("timeout_s"), *timeout_s, 1));
                on_fail.iter().for_each(|next| leads(check, at("on_fail"), next));
                match target {
                    Target::Trunk { trunk, .. } => known_trunk(check, &at("to"), trunk.as_str(), raw),
                    Target::User(_)
                    | Target::Subscriber(_)
                    | Target::Instance { .. }
                    | Target::Uri(_)
                    | Target::Service(_)
                    | Target::Room(_) => {}
                }
            }
            Step::Room { room: _ } | Step::Hangup {} => {}
        }
    }
    nothing_spins(check, key, script, prompts);
}

/// The least time that a round of steps takes which go on by themselves: so many rounds a second are no work.
const LEAST_ROUND: Duration = Duration::from_secs(1);

/// A dial can fail at once and a prompt be short: a round of such steps alone would go on as fast as it can for as long as
/// the call may last. A menu waits for its caller, and `room` and `hangup` end the flow.
fn nothing_spins(check: &mut Checker<'_>, key: &str, script: &Script, prompts: &BTreeMap<String, Duration>) {
    let onward = |name: &str| match script.steps.get(name)? {
        // A prompt that is not there is told as such.
        Step::Play { prompt, next } => {
            Some(("next", next.as_deref()?, prompts.get(prompt).copied().unwrap_or(LEAST_ROUND)))
        }
        Step::Dial { on_fail, .. } => Some(("on_fail", on_fail.as_deref()?, Duration::ZERO)),
        Step::Menu { .. } | Step::Room { .. } | Step::Hangup {} => None,
    };
    let mut told = BTreeSet::new();
    for start in script.steps.keys() {
        let (mut round, mut at, mut takes) = (vec![start.as_str()], start.as_str(), Duration::ZERO);
        let field = loop {
            let Some((field, next, time)) = onward(at) else { break None };
            takes += time;
            if next == start {
                break Some(field);
            }
            if round.contains(&next) {
                // A round that `start` leads to but is not in.
                break None;
            }
            round.push(next);
            at = next;
        };
        let Some(field) = field.filter(|_| takes < LEAST_ROUND && !told.contains(start.as_str())) else { continue };
        check.wrong(
            format!("{key}.steps.{at}.{field}"),
            format!("the steps {} can follow each other without a pause and without end", round.join(", ")),
            "lead one of them to a menu, a longer prompt or hangup",
        );
        told.extend(round);
    }
}

fn known_trunk(check: &mut Checker<'_>, key: &str, name: &str, raw: &Raw) {
    if !raw.trunks.iter().any(|trunk| trunk.name == name) {
        let remedy = match nearest(name, raw.trunks.iter().map(|trunk| trunk.name.as_str())) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => "write a [[trunks]] of that name".to_owned(),
        };
        check.wrong(key, format!("there is no trunk \"{name}\""), remedy);
    }
}

pub(super) fn trunks(
    check: &mut Checker<'_>,
    raw: &Raw,
    services: &BTreeMap<ServiceId, Service>,
) -> (BTreeMap<TrunkId, Trunk>, RtcToSip) {
    let mut trunks = BTreeMap::new();
    for (n, trunk) in raw.trunks.iter().enumerate() {
        let key = |name: &str| format!("trunks[{n}].{name}");
        let mut routes = BTreeMap::new();
        for (number, to) in &trunk.routes {
            if let Some(route) = route(check, &key(&format!("routes.{number}")), to, services) {
                routes.insert(number.clone(), route);
            }
        }
        check.no_repeat(&key("codecs"), trunk.codecs.iter());
        if trunk.register && trunk.register_expires_s < 60 {
            check.wrong(key("register_expires_s"), "below 60 s providers answer 423", "write 60 or more");
        }
        check.seconds(key("register_expires_s"), trunk.register_expires_s, 0);
        check.seconds(key("options_interval_s"), trunk.options_interval_s, 0);
        check.seconds(key("ring_timeout_s"), trunk.ring_timeout_s, 1);
        // Its name's own problem is told by `access`.
        let Ok(id) = TrunkId::new(&trunk.name) else { continue };
        if trunks.contains_key(&id) {
            check.wrong(key("name"), format!("another trunk is named \"{id}\" too"), "choose another name");
        }
        let settings = Trunk {
            id: id.clone(),
            register: trunk.register,
            register_expires: Duration::from_secs(trunk.register_expires_s),
            // Lines that register are asked by the keep-alive of their registrations.
            options_interval: seconds(trunk.options_interval_s).filter(|_| !trunk.host.is_empty()),
            media_encryption: encryption(trunk.media_encryption.unwrap_or(raw.sip.media_encryption)),
            codecs: if trunk.codecs.is_empty() { raw.sip.codecs.clone() } else { trunk.codecs.clone() },
            routes,
            prefix: trunk.prefix.clone(),
            caller_id: identity::caller_id(check, n, trunk),
            numbers: identity::numbers(check, n, trunk),
            max_calls: (trunk.max_calls != 0).then_some(trunk.max_calls),
            calls_per_minute: (trunk.calls_per_minute != 0).then_some(trunk.calls_per_minute),
            max_cps: (trunk.max_cps != 0).then_some(trunk.max_cps),
            ring_timeout: Duration::from_secs(trunk.ring_timeout_s),
            lines: lines::lines(check, n, raw, trunk),
        };
        trunks.insert(id, settings);
    }
    let written = &raw.modes.rtc_to_sip;
    let numbers = NumberRules::parse(&written.numbers).unwrap_or_else(|error| {
        check.wrong("modes.rtc_to_sip.numbers", error.to_string(), "write a list as \"1016;1017;20[01-05]\"");
        NumberRules::default()
    });
    if !written.pstn_trunk.is_empty() {
        known_trunk(check, "modes.rtc_to_sip.pstn_trunk", &written.pstn_trunk, raw);
    }
    let mut fallback = Vec::new();
    for (n, name) in written.pstn_fallback.iter().enumerate() {
        let key = format!("modes.rtc_to_sip.pstn_fallback[{n}]");
        known_trunk(check, &key, name, raw);
        let Ok(id) = TrunkId::new(name) else { continue };
        if *name == written.pstn_trunk || fallback.contains(&id) {
            check.wrong(key, format!("\"{name}\" is tried already"), "take it out");
        } else if written.pstn_trunk.is_empty() {
            check.wrong(key, "there is no pstn_trunk to fall back from", "name the first one in pstn_trunk");
        }
        fallback.push(id);
    }
    for (list, prefixes) in [("allow", &written.allow), ("deny", &written.deny)] {
        for (n, prefix) in prefixes.iter().enumerate() {
            if prefix.is_empty() || !prefix.trim_start_matches('+').bytes().all(|b| b.is_ascii_digit()) {
                let key = format!("modes.rtc_to_sip.{list}[{n}]");
                check.wrong(key, format!("\"{prefix}\" is no prefix of a number"), "write digits, as \"+4930\"");
            }
        }
    }
    let rtc_to_sip = RtcToSip {
        numbers,
        pstn_trunk: TrunkId::new(&written.pstn_trunk).ok(),
        pstn_fallback: fallback,
        allow: written.allow.clone(),
        deny: written.deny.clone(),
        accept_on: written.accept_on.into(),
    };
    (trunks, rtc_to_sip)
}

fn route(
    check: &mut Checker<'_>,
    key: &str,
    to: &str,
    services: &BTreeMap<ServiceId, Service>,
) -> Option<InboundRoute> {
    let Some((kind, name)) = to.split_once(':') else {
        check.wrong(key, format!("\"{to}\" leads nowhere"), "write user:ID, service:ID, subscriber:ID or room:ID");
        return None;
    };
    match kind {
        "user" => check.id(key, name, UserId::new).map(InboundRoute::User),
        "subscriber" => check.id(key, name, SubscriberId::new).map(InboundRoute::Subscriber),
        "room" => check.id(key, name, RoomId::new).map(InboundRoute::Room),
        "service" => {
            let id = check.id(key, name, ServiceId::new)?;
            if !services.contains_key(&id) {
                let remedy = match nearest(name, services.keys().map(ServiceId::as_str)) {
                    Some(name) => format!("did you mean \"service:{name}\"?"),
                    None => "write a [[services]] of that id".to_owned(),
                };
                check.wrong(key, format!("there is no service \"{name}\""), remedy);
            }
            Some(InboundRoute::Service(id))
        }
        _ => {
            let what = format!("\"{kind}\" is nothing a call leads to");
            check.wrong(key, what, "write user:ID, service:ID, subscriber:ID or room:ID");
            None
        }
    }
}

/// A number that a service has, that is a phone's by the rules, or that is a user's id, leads to one of them only. The users
/// seen here are those that the file names; what the store knows is checked where it is added.
pub(super) fn numbers_lead_to_one_place(
    check: &mut Checker<'_>,
    raw: &Raw,
    services: &BTreeMap<ServiceId, Service>,
    phones: &NumberRules,
) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (n, service) in raw.services.iter().enumerate() {
        for (i, number) in service.numbers.iter().enumerate() {
            let key = format!("services[{n}].numbers[{i}]");
            if phones.contains(number) {
                let what = format!("{number} is also a phone's by modes.rtc_to_sip.numbers");
                check.wrong(key.clone(), what, "take it out of one of them");
            }
            if let Some(other) = owners.insert(number, &service.id) {
                check.wrong(
                    key.clone(),
                    format!("{number} is also that of the service \"{other}\""),
                    "choose another number",
                );
            }
            if number.is_empty() || number.chars().any(|c| c.is_whitespace() || c.is_control()) {
                check.wrong(key, format!("\"{number}\" is no number"), "write digits, without blanks");
            }
        }
        if phones.contains(&service.id) {
            let what = format!("\"{}\" is also a phone's by modes.rtc_to_sip.numbers", service.id);
            check.wrong(format!("services[{n}].id"), what, "choose another id, or take it out of the numbers");
        }
        for (name, step) in &service.steps {
            if let Step::Dial { to: DialTarget(Target::User(user)), .. } = step {
                user_is_no_number(check, &format!("services[{n}].steps.{name}.to"), user, services, phones);
            }
        }
    }
    for (n, trunk) in raw.trunks.iter().enumerate() {
        for (number, to) in &trunk.routes {
            if let Some(user) = to.strip_prefix("user:").and_then(|user| UserId::new(user).ok()) {
                user_is_no_number(check, &format!("trunks[{n}].routes.{number}"), &user, services, phones);
            }
        }
    }
}

fn user_is_no_number(
    check: &mut Checker<'_>,
    key: &str,
    user: &UserId,
    services: &BTreeMap<ServiceId, Service>,
    phones: &NumberRules,
) {
    if phones.contains(user.as_str()) {
        let what = format!("the user id \"{user}\" is also a phone's by modes.rtc_to_sip.numbers");
        check.wrong(key, what, "write subscriber:ID if the phone is meant, or take it out of the numbers");
    } else if services.contains_key(user.as_str()) {
        check.wrong(key, format!("the user id \"{user}\" is also a service's"), "choose another id for one of them");
    }
}
