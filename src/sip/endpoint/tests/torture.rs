//! What is answered on the wire to the messages of RFC 4475 and RFC 5118.

use super::super::super::message::torture::cases;
use super::requests::Bench;
use super::*;

#[tokio::test(start_paused = true)]
async fn every_torture_message_is_answered_as_its_rfc_says() {
    let mut wrong = Vec::new();
    for case in cases() {
        // Each its own core: they share Call-IDs and branches.
        let bench = Bench::new(Manner::Answers, open());
        let answers = Bench::codes(&bench.octets(&case.octets));
        if answers != case.answers {
            wrong.push(format!("{} ({}): {answers:?}, not {:?}", case.name, case.section, case.answers));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn requests_whose_branch_is_only_the_cookie_are_told_apart() {
    let bench = Bench::new(Manner::Answers, open());
    for call_id in ["c1", "c2"] {
        let answers = bench.ask("OPTIONS", &[("Via", "SIP/2.0/UDP h;branch=z9hG4bK"), ("Call-ID", call_id)]);
        assert_eq!(Bench::codes(&answers), [200]);
        assert!(answers[0].contains(&format!("Call-ID: {call_id}\r\n")), "{answers:?}");
    }
}
