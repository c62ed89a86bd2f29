//! A trunk's keys about callers and numbers: what it is believed and told, which number it is shown, how it writes numbers.

use tandem_actors::model::plan::{CallerIdPolicy, NumberPlan, TrunkNumbers};
use tandem_actors::model::settings::NumberRules;

use super::check::Checker;
use crate::config::raw::{self, NumberFormat};
use crate::sip::message::passed::may_pass;
use crate::sip::message::view::is_token;

/// What the SIP adapter is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// What it says of its callers is believed.
    pub believed: bool,
    /// It is told of callers who hide, and of what else stays inside the trust domain.
    pub trusted: bool,
    /// Where it looks for the caller's number.
    pub headers: Vec<raw::IdentityHeader>,
    /// How it is told who sent a call on.
    pub forwarding: raw::ForwardingHeaders,
    /// How numbers are written as URIs.
    pub number_uri: raw::NumberUri,
    /// The context of local numbers; `None`: its domain.
    pub phone_context: Option<String>,
    /// Headers of its that go on.
    pub pass_headers_in: Vec<String>,
    /// Headers that it is sent.
    pub pass_headers_out: Vec<String>,
}

pub(super) fn telling(check: &mut Checker<'_>, n: usize, trunk: &raw::Trunk) -> Telling {
    let key = |name: &str| format!("trunks[{n}].{name}");
    check.no_repeat(&key("identity_headers"), trunk.identity_headers.iter());
    let country = &trunk.country_code;
    Telling {
        believed: trunk.trust_id_inbound,
        trusted: trunk.trust_id_outbound,
        headers: trunk.identity_headers.clone(),
        forwarding: trunk.forwarding_headers,
        number_uri: trunk.number_uri,
        phone_context: (!country.is_empty()).then(|| format!("+{country}")),
        pass_headers_in: passed(check, &key("pass_headers_in"), &trunk.pass_headers_in),
        pass_headers_out: passed(check, &key("pass_headers_out"), &trunk.pass_headers_out),
    }
}

/// Headers that may pass by name.
pub(super) fn passed(check: &mut Checker<'_>, key: &str, list: &[String]) -> Vec<String> {
    for (n, name) in list.iter().enumerate() {
        let key = format!("{key}[{n}]");
        match name.strip_suffix('*') {
            Some(start) if start.is_empty() || is_token(start.as_bytes()) => {}
            None if may_pass(name) => {}
            None if is_token(name.as_bytes()) => {
                check.wrong(key, format!("\"{name}\" is the switch's own to write"), "take it out");
            }
            Some(_) | None => {
                check.wrong(key, format!("\"{name}\" is no header"), "write a name, or its beginning with a *");
            }
        }
    }
    list.to_vec()
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
}

/// Which number trunk number `n` is shown.
pub(super) fn caller_id(check: &mut Checker<'_>, n: usize, trunk: &raw::Trunk) -> CallerIdPolicy {
    let key = |name: &str| format!("trunks[{n}].{name}");
    let allowed = NumberRules::parse(&trunk.caller_id_allowed).unwrap_or_else(|error| {
        let remedy = "write numbers as \"+493012345;+4930123[00-99]\"";
        check.wrong(key("caller_id_allowed"), error.to_string(), remedy);
        NumberRules::default()
    });
    match (trunk.caller_id.as_str(), allowed.0.is_empty()) {
        ("pass", true) => CallerIdPolicy::Pass,
        ("pass", false) => {
            let what = "nothing says what is shown of callers who are not in the list";
            check.wrong(key("caller_id_allowed"), what, "write a number in caller_id, too");
            CallerIdPolicy::Pass
        }
        (number, true) => CallerIdPolicy::Fixed(number.into()),
        (number, false) => CallerIdPolicy::OneOf { allowed, default: number.into() },
    }
}

/// How trunk number `n` writes numbers.
pub(super) fn numbers(check: &mut Checker<'_>, n: usize, trunk: &raw::Trunk) -> TrunkNumbers {
    use tandem_actors::model::plan::NumberFormat as Meant;
    let key = |name: &str| format!("trunks[{n}].{name}");
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(&trunk.country_code) || trunk.country_code.len() > 3 || trunk.country_code.starts_with('0') {
        let what = format!("\"{}\" is no country code", trunk.country_code);
        check.wrong(key("country_code"), what, "write it without + and zeroes, as \"49\", or \"\"");
    }
    for (name, prefix) in
        [("national_prefix", &trunk.national_prefix), ("international_prefix", &trunk.international_prefix)]
    {
        if !digits(prefix) {
            check.wrong(key(name), format!("\"{prefix}\" cannot be dialled"), "write digits, or \"\"");
        }
    }
    let needs_country = |format: NumberFormat| match format {
        NumberFormat::National => true,
        NumberFormat::AsIs | NumberFormat::E164 | NumberFormat::E164Bare => false,
    };
    let caller = trunk.caller_id_format.unwrap_or(trunk.number_format);
    for (name, format) in [("number_format", trunk.number_format), ("caller_id_format", caller)] {
        if needs_country(format) && trunk.country_code.is_empty() {
            check.wrong(key(name), "nothing says which nation's", "write country_code, too");
        }
    }
    let asserted = trunk.asserted_id.as_str();
    if !(asserted.is_empty() || asserted == "pass" || is_number(asserted)) {
        let what = format!("\"{asserted}\" is no number");
        check.wrong(key("asserted_id"), what, "write a number, \"pass\", or \"\" for what From shows");
    }
    let meant = |format: NumberFormat| match format {
        NumberFormat::AsIs => Meant::AsIs,
        NumberFormat::E164 => Meant::E164,
        NumberFormat::E164Bare => Meant::E164Bare,
        NumberFormat::National => Meant::National,
    };
    TrunkNumbers {
        plan: NumberPlan {
            country: trunk.country_code.clone(),
            national: trunk.national_prefix.clone(),
            international: trunk.international_prefix.clone(),
            bare: trunk.number_format == NumberFormat::E164Bare,
        },
        called: meant(trunk.number_format),
        caller: meant(caller),
        asserted: (!asserted.is_empty()).then(|| asserted.to_owned()),
    }
}
