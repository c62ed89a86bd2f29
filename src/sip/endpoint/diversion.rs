//! Diversion (RFC 5806) and History-Info (RFC 7044) read and written, and each from the other (RFC 7544).
//!
//! ```text
//!   A calls B, B sends on to C (busy), C to D (always)
//!   Diversion: <C>;reason=unconditional      the last one first
//!   Diversion: <B>;reason=user-busy
//!   History-Info: <B>;index=1                the first one first, and where it goes now last
//!   History-Info: <C;cause=486>;index=1.1;mp=1
//!   History-Info: <D;cause=302>;index=1.1.1;mp=1.1
//! ```
//! Of History-Info what is kept is who sent the call on and why: entries of proxies that only routed it (`rc`, `np`) say nothing to
//! who is called, and a B2BUA writes its own. Where both headers came the longer story counts (RFC 7544 §5).

use tandem_actors::model::diversion::{Diversion, DiversionReason};

use super::super::message::tel;
use super::super::message::uri::unescape;
use super::super::message::view::NameAddr;
use super::*;

/// Most that are read of one request.
const MOST: usize = 20;

/// Who sent a call on before it came, the first one first.
pub(super) fn diverted_of(request: &Message) -> Vec<Diversion> {
    let mut diversion = each(request, HeaderName::Diversion, said_by_diversion);
    diversion.reverse();
    let history = said_by_history(&each(request, HeaderName::HistoryInfo, entry));
    if history.len() > diversion.len() { history } else { diversion }
}

fn each<T>(request: &Message, name: HeaderName, read: impl Fn(&NameAddr<'_>) -> Option<T>) -> Vec<T> {
    let mut all = Vec::new();
    for header in request.all(name) {
        let value = request.value(header);
        all.extend(view::split(&value, b',').filter_map(|item| read(&NameAddr::parse(item)?)));
    }
    all.truncate(MOST);
    all
}

fn number_of(value: &NameAddr<'_>) -> Option<String> {
    let uri = tandem_actors::model::address::SipUri(tel::canonical(&value.uri_string()));
    uri.user().map(str::to_owned)
}

fn said_by_diversion(value: &NameAddr<'_>) -> Option<Diversion> {
    let word = |name: &str| {
        let value = value.parameter(name).map(view::unquote)?;
        Some(String::from_utf8_lossy(&value).into_owned())
    };
    Some(Diversion {
        display: value.display(),
        number: number_of(value)?,
        reason: DiversionReason::of_word(&word("reason").unwrap_or_default()),
        times: word("counter").and_then(|times| times.parse().ok()).unwrap_or(1),
        private: word("privacy").is_some_and(|how| !how.eq_ignore_ascii_case("off")),
    })
}

/// An entry of History-Info.
struct Entry {
    display: String,
    number: Option<String>,
    /// Why the call goes here (RFC 4458).
    cause: Option<u16>,
    /// What came of it (RFC 7044 §5.2).
    outcome: Option<u16>,
    private: bool,
    index: Vec<u8>,
    /// The entry it was mapped from.
    mapped_from: Option<Vec<u8>>,
}

fn entry(value: &NameAddr<'_>) -> Option<Entry> {
    let headers = unescape(value.uri.headers);
    let headers = String::from_utf8_lossy(&headers).to_ascii_lowercase();
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let reason = headers.split_once("reason=").and_then(|(_, reason)| reason.split_once("sip;cause="));
    Some(Entry {
        display: value.display(),
        number: number_of(value),
        cause: value.uri.parameter("cause").and_then(|cause| digits(&String::from_utf8_lossy(cause))),
        outcome: reason.and_then(|(_, cause)| digits(cause)),
        private: headers.contains("privacy=history") || headers.contains("privacy=id"),
        index: value.parameter("index")?.to_vec(),
        mapped_from: value.parameter("mp").map(<[u8]>::to_vec),
    })
}

/// RFC 7544 §7: whoever an entry with a cause, or with `mp`, was reached from has sent the call on.
fn said_by_history(entries: &[Entry]) -> Vec<Diversion> {
    let pairs = entries.iter().enumerate().skip(1);
    pairs
        .filter_map(|(at, entry)| {
            let named = entry.mapped_from.as_ref().and_then(|from| entries.iter().find(|other| other.index == *from));
            let by = named.or_else(|| entries.get(at.checked_sub(1)?))?;
            let cause = entry.cause.or(by.outcome);
            if cause.is_none() && entry.mapped_from.is_none() {
                return None;
            }
            Some(Diversion {
                display: by.display.clone(),
                number: by.number.clone()?,
                reason: cause.map_or(DiversionReason::Unknown, DiversionReason::of_cause),
                times: 1,
                private: by.private,
            })
        })
        .collect()
}

/// Who sent a call on, as Diversion says it; hosts are ours.
pub(super) fn as_diversion(diverted: &[Diversion], host: &str) -> Vec<(HeaderName, String)> {
    let line = |diversion: &Diversion| {
        let Diversion { reason, times, private, .. } = diversion;
        let privacy = if *private { ";privacy=full" } else { "" };
        let by = trust::name_addr(&diversion.display, &diversion.number, host, "");
        (HeaderName::Diversion, format!("{by};reason={};counter={times}{privacy}", reason.word()))
    };
    diverted.iter().rev().map(line).collect()
}

/// The same as History-Info says it, with where the call goes now.
pub(super) fn as_history(diverted: &[Diversion], host: &str, target: &str) -> Vec<(HeaderName, String)> {
    let mut lines = Vec::new();
    let (mut index, mut cause, mut mapped) = ("1".to_owned(), String::new(), String::new());
    for diversion in diverted {
        let hidden = if diversion.private { "?Privacy=history" } else { "" };
        let by = trust::name_addr(&diversion.display, &diversion.number, host, &format!("{cause}{hidden}"));
        lines.push((HeaderName::HistoryInfo, format!("{by};index={index}{mapped}")));
        mapped = format!(";mp={index}");
        cause = format!(";cause={}", diversion.reason.cause());
        index.push_str(".1");
    }
    if !lines.is_empty() {
        lines.push((HeaderName::HistoryInfo, format!("<{target}{cause}>;index={index}{mapped}")));
    }
    lines
}

#[cfg(test)]
mod unit_tests {
    use super::super::super::message::Carried;
    use super::*;

    fn request(headers: &str) -> Message {
        let text = format!("INVITE sip:d@h SIP/2.0\r\n{}\r\n", headers.replace('\n', "\r\n"));
        Message::parse(Bytes::from(text), Carried::Datagram).expect("a message").0
    }

    fn lines(lines: Vec<(HeaderName, String)>) -> Vec<String> {
        lines.into_iter().map(|(name, value)| format!("{}: {value}", name.as_str())).collect()
    }

    const BOTH: [&str; 2] = [
        "Diversion: <sip:+492@x>;reason=unconditional;counter=1, \"B\" <sip:+491@x>;reason=\"user-busy\";counter=3;privacy=full\n",
        "History-Info: <sip:+491@x?Privacy=history>;index=1, <sip:+492@x;cause=486>;index=1.1;mp=1\n\
         History-Info: <sip:+493@x;cause=302>;index=1.1.1;mp=1.1\n",
    ];

    #[test]
    fn the_last_diversion_comes_first_and_the_first_history_entry_too() {
        for headers in BOTH {
            let diverted = diverted_of(&request(headers));
            let short: Vec<_> = diverted.iter().map(|by| (by.number.as_str(), by.reason, by.private)).collect();
            let expected = [("+491", DiversionReason::UserBusy, true), ("+492", DiversionReason::Unconditional, false)];
            assert_eq!(short, expected, "{headers}");
        }
        assert_eq!(diverted_of(&request(BOTH[0]))[0].times, 3);
    }

    #[test]
    fn diversion_becomes_history_info_and_back_as_rfc_7544_says() {
        let diverted = diverted_of(&request(BOTH[0]));
        let history = lines(as_history(&diverted, "us", "sip:+494@them"));
        assert_eq!(
            history,
            [
                "History-Info: \"B\" <sip:+491@us?Privacy=history>;index=1",
                "History-Info: <sip:+492@us;cause=486>;index=1.1;mp=1",
                "History-Info: <sip:+494@them;cause=302>;index=1.1.1;mp=1.1",
            ]
        );
        let again = diverted_of(&request(&(history.join("\n") + "\n")));
        let words =
            |all: &[Diversion]| all.iter().map(|by| (by.number.clone(), by.reason, by.private)).collect::<Vec<_>>();
        assert_eq!(words(&again), words(&diverted));
        assert_eq!(
            lines(as_diversion(&diverted, "us")),
            [
                "Diversion: <sip:+492@us>;reason=unconditional;counter=1",
                "Diversion: \"B\" <sip:+491@us>;reason=user-busy;counter=3;privacy=full",
            ]
        );
    }

    #[test]
    fn an_entry_that_only_routed_the_call_has_diverted_nothing() {
        let routed = "History-Info: <sip:+491@x>;index=1, <sip:+491@gw>;index=1.1;rc=1\n";
        assert_eq!(diverted_of(&request(routed)), []);
        assert_eq!(as_history(&[], "us", "sip:x@y"), []);
    }

    #[test]
    fn an_old_history_says_its_reason_at_who_was_called() {
        let old =
            "History-Info: <sip:+491@x?Reason=SIP%3Bcause%3D486%3Btext%3D%22Busy%22>;index=1, <sip:+492@x>;index=2\n";
        let diverted = diverted_of(&request(old));
        assert_eq!(diverted, [Diversion::new("+491", DiversionReason::UserBusy)]);
    }

    #[test]
    fn the_longer_story_counts() {
        let diverted = diverted_of(&request(&format!("Diversion: <sip:+492@x>;reason=unconditional\n{}", BOTH[1])));
        assert_eq!(diverted.len(), 2);
    }
}
