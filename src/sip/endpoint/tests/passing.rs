//! Headers that pass by name, and Session-IDs, on both legs.

use super::super::super::config::TrunkConfig;
use super::super::super::message::passed::HeaderList;
use super::super::passing::further;
use super::outbound::{header, response};
use super::requests::Bench;
use super::trust::{sends, to_phone, to_trunk};
use super::*;

const A: &str = "ab30317f1a784dc48ff824d0d3715d86";
const B: &str = "47755a9de7794ba387653f2099600ef2";
const NIL: &str = "00000000000000000000000000000000";

fn list(names: &[&str]) -> HeaderList {
    HeaderList(names.iter().map(|name| (*name).to_owned()).collect())
}

/// A core whose trunk asks, at 192.0.2.7, and phones are anywhere else.
fn bench(manner: Manner) -> Bench {
    let mut trunk = TrunkConfig::new(TrunkId::new("acme").expect("a name"), "192.0.2.7");
    trunk.port = Some(5060);
    trunk.pass_headers_in = list(&["X-Acme-*", "Via", "Contact"]);
    trunk.pass_headers_out = list(&["X-Ticket"]);
    Bench::new(manner, SipConfig { trunks: vec![trunk], pass_headers: list(&["*"]), ..open() })
}

fn leaves(bench: &Bench, to: Destination, headers: AppHeaders) -> String {
    sends(bench, OutgoingInvite { headers, ..plain_invite(vec![to]) })
}

#[tokio::test(start_paused = true)]
async fn what_a_trunks_list_names_goes_on_and_nothing_else() {
    let bench = bench(Manner::Rings);
    bench.ask("INVITE", &[("X-Acme-Id", "7"), ("X-Other", "8"), ("x-acme-more", "9")]);
    let came = bench.brain.incoming();
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(came.headers.passed(), [own("X-Acme-Id", "7"), own("x-acme-more", "9")]);
    let phone = leaves(&bench, to_phone(), came.headers);
    assert!(phone.contains("X-Acme-Id: 7\r\n") && phone.contains("x-acme-more: 9\r\n"), "{phone}");
}

#[tokio::test(start_paused = true)]
async fn a_trunk_is_sent_what_its_own_list_names_and_never_a_header_of_the_dialog() {
    let bench = bench(Manner::Rings);
    let passed = [("X-Ticket", "42"), ("X-Acme-Id", "7"), ("Route", "<sip:evil;lr>"), ("Authorization", "x")];
    let passed = passed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers = AppHeaders { further: further(passed.to_vec(), None), ..AppHeaders::default() };
    let trunk = leaves(&bench, to_trunk(), headers.clone());
    assert!(trunk.contains("X-Ticket: 42\r\n") && !trunk.contains("X-Acme-Id"), "{trunk}");
    let phone = leaves(&bench, to_phone(), headers);
    assert!(phone.contains("X-Acme-Id: 7\r\n"), "{phone}");
    assert!(!phone.contains("evil") && !phone.contains("Authorization"), "{phone}");
}

#[tokio::test(start_paused = true)]
async fn the_callees_headers_pass_back_in_its_answers() {
    let bench = bench(Manner::Sleeps);
    bench.ask("INVITE", &[]);
    let dialog = bench.brain.incoming().dialog;
    bench.brain.order(dialog, SipCommand::Adopt(LegId(1)));
    let passed = vec![("X-Ticket".to_owned(), "42".to_owned()), ("X-Acme-Id".to_owned(), "7".to_owned())];
    let headers = AppHeaders { further: further(passed, None), ..AppHeaders::default() };
    bench.brain.order(dialog, SipCommand::Progress { status: 180, answer: None, headers: headers.clone() });
    bench.brain.order(dialog, SipCommand::Answer { description: Box::new(offer(2)), headers });
    let sent = bench.heard().concat();
    assert_eq!(sent.matches("X-Ticket: 42\r\n").count(), 2, "in 180 and 200:\n{sent}");
    assert!(!sent.contains("X-Acme-Id"));
}

#[tokio::test(start_paused = true)]
async fn a_session_has_one_id_on_both_legs_in_every_message() {
    let bench = bench(Manner::Sleeps);
    let asked = format!("{A};remote={NIL}");
    bench.ask("INVITE", &[("Session-ID", &asked)]);
    let came = bench.brain.incoming();
    assert_eq!(came.headers.session_id(), Some(A));
    let invite = leaves(&bench, to_phone(), came.headers);
    assert_eq!(header(&invite, "Session-ID"), format!("{A};remote={NIL}"));
    let answer = response(&invite, "180 Ringing");
    let answer = answer.replace("Content-Length", &format!("Session-ID: {B};remote={A}\r\nContent-Length"));
    bench.raw_from([192, 0, 2, 44].into(), answer);
    let events = bench.brain.events.lock().expect("the events").clone();
    let heard = events.iter().find_map(|event| {
        let SipEvent::Dialog { event: DialogEvent::Progress { headers, .. }, .. } = event else { return None };
        Some(headers.clone())
    });
    let heard = heard.expect("progress");
    assert_eq!(heard.session_id(), Some(B));
    bench.brain.order(came.dialog, SipCommand::Adopt(LegId(1)));
    bench.heard();
    bench.brain.order(came.dialog, SipCommand::Progress { status: 180, answer: None, headers: heard.clone() });
    bench.brain.order(came.dialog, SipCommand::Answer { description: Box::new(offer(2)), headers: heard });
    let sent = bench.heard();
    for text in &sent {
        assert_eq!(header(text, "Session-ID"), format!("{B};remote={A}"), "{text}");
    }
    let to = header(sent.last().expect("a 200"), "To");
    bench.ask("ACK", &[("To", &to), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKack")]);
    bench.brain.order(came.dialog, SipCommand::Hangup(Cause::hangup()));
    let bye = bench.heard().concat();
    assert!(bye.starts_with("BYE ") && header(&bye, "Session-ID") == format!("{B};remote={A}"), "{bye}");
}

#[tokio::test(start_paused = true)]
async fn who_knows_no_session_id_is_given_one_for_the_other_leg() {
    let bench = bench(Manner::Rings);
    let rings = bench.ask("INVITE", &[]).concat();
    assert!(rings.contains(&format!(";remote={NIL}\r\n")), "{rings}");
    let given = bench.brain.incoming().headers.session_id().expect("an id").to_owned();
    let invite = leaves(
        &bench,
        to_phone(),
        AppHeaders { further: further(Vec::new(), Some(given.clone())), ..AppHeaders::default() },
    );
    assert_eq!(header(&invite, "Session-ID"), format!("{given};remote={NIL}"));
}
