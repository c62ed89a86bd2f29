//! What an INVITE says of its caller, and what of it goes on (RFC 3323, RFC 3325, RFC 5806, RFC 7044, RFC 8224, RFC 4694).
//!
//! | header | in | out |
//! |---|---|---|
//! | P-Asserted-Identity, else Remote-Party-ID | from trunks that are believed (`trust_id_inbound`) | to trunks, as `identity_headers` says; of a caller who hides only to those that are trusted (`trust_id_outbound`) |
//! | P-Preferred-Identity | from phones: a wish, see the brain's `call::presented` | to trunks that take the caller's word |
//! | Privacy | from anybody | to trusted trunks; everybody else sees an anonymous From and nothing more |
//! | Diversion, History-Info | from believed trunks | to trusted trunks, as `forwarding_headers` says (see `diversion`) |
//! | Identity (STIR) | from believed trunks | to trusted trunks, untouched: it stands and falls with the numbers it signs |
//! | `npdi`, `rn`, `cic` of the Request-URI (RFC 4694) | from believed trunks | to trusted trunks, with the number they are of |
//!
//! The trust domain (Spec(T) of RFC 3325) is ourselves and the trunks that are trusted. Phones, app users and other SIP targets are
//! outside it. Privacy `header`, `session` and `user` are what a B2BUA does anyway (our own Via, Contact and Call-ID, our own media
//! address, From anonymous); that they were done is not said again. Deliberately not: signing or verifying Identity (RFC 8224 §6.1,
//! §6.2 want certificates of number holders), identity of the answering side (RFC 3325 in responses, RFC 4916).

use tandem_actors::model::address::{CallerId, Carried, NameAddr as Named, SipUri};
use tandem_actors::model::plan::digits;
use tandem_actors::ports::sip::OutgoingInvite;

use super::super::config::{ForwardingHeaders, IdentityHeader, NumberUri, TrunkConfig};
use super::super::message::tel;
use super::super::message::uri::escape_user;
use super::super::message::view::NameAddr;
use super::super::message::write::quoted;
use super::diversion::{as_diversion, as_history, diverted_of};
use super::*;

/// The From of a caller who wants to be nobody (RFC 3323 §4.1.1.3).
pub(super) const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// The words of Privacy that we know (RFC 3323 §4.2, RFC 3325 §9.3, RFC 7044 §10.1).
const WORDS: [&str; 7] = ["none", "user", "header", "session", "id", "history", "critical"];

/// Most signatures that go on.
const MOST: usize = 10;

fn words(privacy: &str) -> impl Iterator<Item = &str> {
    privacy.split([';', ',']).map(str::trim).filter(|word| !word.is_empty())
}

fn says(privacy: &str, wanted: &str) -> bool {
    words(privacy).any(|word| word.eq_ignore_ascii_case(wanted))
}

/// Whether a Privacy is `critical` and asks for something that is not ours to do: such a request fails (RFC 3323 §5).
pub(super) fn beyond_us(request: &Message) -> bool {
    let privacy = request.text(HeaderName::Privacy).unwrap_or_default();
    let known = |word: &str| WORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
    says(&privacy, "critical") && !words(&privacy).all(known)
}

/// What is to be hidden, in the words that concern others. That of a neighbour's Remote-Party-ID counts, and so does a From that
/// hides its sender without a word.
fn privacy_of(request: &Message, believed: bool) -> Option<String> {
    let said = request.text(HeaderName::Privacy).unwrap_or_default();
    if says(&said, "none") {
        return Some("none".into());
    }
    let rpid = || {
        let value = request.get(HeaderName::RemotePartyId).filter(|_| believed)?;
        let value = NameAddr::parse(view::split(&value, b',').next()?)?;
        Some(value.parameter("privacy").is_some_and(|how| !how.eq_ignore_ascii_case(b"off")))
    };
    let nobody = || {
        let from = request.get(HeaderName::From)?;
        let from = NameAddr::parse(&from)?.uri;
        Some(from.user == Some(b"anonymous".as_slice()) || from.host.eq_ignore_ascii_case(b"anonymous.invalid"))
    };
    let hidden = ["id", "user", "header"].into_iter().any(|word| says(&said, word))
        || rpid() == Some(true)
        || nobody() == Some(true);
    let kept = [("id", hidden), ("history", says(&said, "history")), ("critical", says(&said, "critical"))];
    let kept: Vec<_> = kept.into_iter().filter_map(|(word, kept)| kept.then_some(word)).collect();
    (!kept.is_empty()).then(|| kept.join(";"))
}

/// A name-addr as the brain sees it.
pub(super) fn named(value: &NameAddr<'_>) -> Named {
    Named { display: value.display(), uri: SipUri(tel::canonical(&value.uri_string())) }
}

/// The caller as a neighbour asserts (RFC 3325 §9.1: one `sip:` and one `tel:` URI at most): the first that is a number, else the
/// first at all, with the name of whichever has one; else the calling party of Remote-Party-ID.
pub(super) fn asserted(request: &Message) -> Option<Named> {
    let calling =
        |value: &NameAddr<'_>| value.parameter("party").is_none_or(|party| party.eq_ignore_ascii_case(b"calling"));
    let mut all = identities(request, HeaderName::PAssertedIdentity, |_| true);
    if all.is_empty() {
        all = identities(request, HeaderName::RemotePartyId, calling);
    }
    let display = all.iter().map(|one| one.display.clone()).find(|display| !display.is_empty()).unwrap_or_default();
    let number = |one: &Named| one.uri.user().and_then(digits).is_some();
    let at = all.iter().position(number).unwrap_or(0);
    let chosen = all.into_iter().nth(at)?;
    Some(Named { display, ..chosen })
}

fn identities(request: &Message, name: HeaderName, wanted: impl Fn(&NameAddr<'_>) -> bool) -> Vec<Named> {
    let mut all = Vec::new();
    for header in request.all(name).take(MOST) {
        let value = request.value(header);
        let values = view::split(&value, b',').filter_map(NameAddr::parse);
        all.extend(values.filter(|value| wanted(value)).map(|value| named(&value)));
    }
    all
}

/// What goes on to the other side.
pub(super) fn carried_of(request: &Message, believed: bool) -> Carried {
    let preferred = identities(request, HeaderName::PPreferredIdentity, |_| true).into_iter().next();
    let breadth = request.get(HeaderName::MaxBreadth).and_then(|value| view::number(trim(&value), u8::MAX.into()));
    let identity = request.all(HeaderName::Identity).filter(|_| believed).take(MOST);
    Carried {
        referred_by: request.text(HeaderName::ReferredBy),
        replaces: None,
        max_breadth: breadth.and_then(|breadth| u8::try_from(breadth).ok()),
        privacy: privacy_of(request, believed),
        preferred: preferred.and_then(|who| who.uri.user().map(str::to_owned)),
        asserted: None,
        diverted: if believed { diverted_of(request) } else { Vec::new() },
        identity: identity.map(|header| String::from_utf8_lossy(&request.value(header)).into_owned()).collect(),
        portability: tel::portability(&super::super::dialog::request_uri(request)).filter(|_| believed),
    }
}

/// How an INVITE of ours shows its caller.
pub(super) struct Shown {
    /// From, without a tag.
    pub from: String,
    /// User part of the Contact; escaped.
    pub contact: String,
    /// What else it says.
    pub headers: Vec<(HeaderName, String)>,
}

/// How an INVITE to `called` shows its caller to this trunk, or to who is none.
pub(super) fn shown(invite: &OutgoingInvite, trunk: Option<&TrunkConfig>, domain: &str, called: &str) -> Shown {
    let host = trunk.and_then(|trunk| trunk.domain.as_deref()).unwrap_or(domain);
    let private = invite.carried.hides_caller();
    let numbered = trunk.map_or(NumberUri::Sip, |trunk| trunk.identity.number_uri);
    let name_addr = |who: &CallerId| name_addr(&who.display, &who.number, host, phone_parameter(numbered, &who.number));
    let mut headers = Vec::new();
    if let Some(trunk) = trunk {
        let policy = &trunk.identity;
        let known = invite.carried.asserted.as_ref().unwrap_or(&invite.caller);
        // RFC 3325 §7: who hides is known within the trust domain only.
        for header in policy.headers.iter().filter(|_| policy.trusted || !private) {
            let who = name_addr(known);
            headers.push(match header {
                IdentityHeader::Asserted => (HeaderName::PAssertedIdentity, who),
                IdentityHeader::Preferred => (HeaderName::PPreferredIdentity, who),
                IdentityHeader::RemoteParty => {
                    let how = if private { "full" } else { "off" };
                    (HeaderName::RemotePartyId, format!("{who};party=calling;screen=yes;privacy={how}"))
                }
            });
            let tel = tel::tel(&known.number, "").filter(|_| known.number.starts_with('+'));
            if let (IdentityHeader::Asserted, NumberUri::Tel, Some(tel)) = (header, numbered, tel) {
                headers.push((HeaderName::PAssertedIdentity, format!("<{tel}>")));
            }
        }
        if policy.trusted {
            headers.extend(invite.carried.privacy.iter().map(|value| (HeaderName::Privacy, value.clone())));
            headers.extend(forwarded(trunk, &invite.carried.diverted, host, called));
            headers.extend(invite.carried.identity.iter().map(|value| (HeaderName::Identity, value.clone())));
        }
    }
    let contact = match trunk {
        // A trunk that we register with knows us by our user part.
        Some(trunk) if !trunk.username.is_empty() => escape_user(&trunk.username),
        Some(_) | None if private => "anonymous".to_owned(),
        Some(_) | None => escape_user(&invite.caller.number),
    };
    Shown { from: if private { ANONYMOUS.to_owned() } else { name_addr(&invite.caller) }, contact, headers }
}

/// Somebody at this host.
pub(super) fn name_addr(display: &str, number: &str, host: &str, parameters: &str) -> String {
    let display = if display.is_empty() { String::new() } else { quoted(display) + " " };
    let user = escape_user(number);
    let at = if user.is_empty() { "" } else { "@" };
    format!("{display}<sip:{user}{at}{host}{parameters}>")
}

fn phone_parameter(numbered: NumberUri, number: &str) -> &'static str {
    match numbered {
        NumberUri::Sip => "",
        NumberUri::Phone | NumberUri::Tel if digits(number).is_some() => ";user=phone",
        NumberUri::Phone | NumberUri::Tel => "",
    }
}

/// Who sent the call on, as this trunk takes it.
pub(super) fn forwarded(
    trunk: &TrunkConfig,
    diverted: &[tandem_actors::model::diversion::Diversion],
    host: &str,
    target: &str,
) -> Vec<(HeaderName, String)> {
    match (trunk.identity.trusted, trunk.identity.forwarding) {
        (false, _) | (true, ForwardingHeaders::None) => Vec::new(),
        (true, ForwardingHeaders::Diversion) => as_diversion(diverted, host),
        (true, ForwardingHeaders::HistoryInfo) => as_history(diverted, host, target),
        (true, ForwardingHeaders::Both) => {
            let mut lines = as_diversion(diverted, host);
            lines.extend(as_history(diverted, host, target));
            lines
        }
    }
}

impl TrunkState {
    /// Request-URI and To of a call by it, and the same as History-Info names it.
    pub(super) fn called(&self, number: &str, carried: &Carried) -> (String, String, String) {
        let ported = carried.portability.as_ref().filter(|_| self.config.identity.trusted);
        let user = format!("{number}{}", ported.map_or("", |ported| ported.parameters.as_str()));
        let numbered = self.config.identity.number_uri;
        let plain = format!("sip:{}@{}", escape_user(number), self.domain());
        let context = self.config.identity.phone_context.as_deref().unwrap_or(self.domain());
        if let (NumberUri::Tel, Some(tel)) = (numbered, tel::tel(number, context)) {
            let ported = ported.map_or("", |ported| ported.parameters.as_str());
            return (format!("{tel}{ported}"), format!("<{tel}>"), plain);
        }
        let phone = phone_parameter(numbered, number);
        (format!("{}{phone}", self.uri(&user)), format!("<{plain}{phone}>"), plain)
    }
}
