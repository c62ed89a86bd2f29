//! Requests that the core holds while the brain crashes over them: delivered again once, then answered 500.

use super::pair::confirmed;
use super::requests::Bench;
use super::*;

fn dialog(bench: &Bench) -> DialogId {
    bench.core.shared().with(|core, _| *core.dialogs.keys().next().expect("a dialog"))
}

#[tokio::test(start_paused = true)]
async fn an_invite_nobody_adopted_is_delivered_again_once_and_then_answered_500() {
    let bench = Bench::new(Manner::Sleeps, open());
    assert_eq!(Bench::codes(&bench.ask("INVITE", &[])), [100]);
    let id = dialog(&bench);
    assert_eq!(bench.core.unadopted(), [id]);
    let invite = bench.core.deliver_again(id).expect("once more");
    assert_eq!((invite.dialog, invite.call_id.as_str()), (id, "c1"));
    bench.heard();
    assert_eq!(bench.core.deliver_again(id), None);
    let answers = bench.heard();
    assert_eq!(Bench::codes(&answers), [500]);
    assert!(answers.concat().contains("Retry-After: "));
    assert!(bench.core.unadopted().is_empty());
    assert_eq!(bench.core.deliver_again(id), None);
    assert!(bench.heard().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_invite_whose_leg_crashes_twice_is_answered_500_and_the_leg_is_told_so() {
    let bench = Bench::new(Manner::Sleeps, open());
    bench.ask("INVITE", &[]);
    let id = dialog(&bench);
    bench.brain.order(id, SipCommand::Adopt(LegId(1)));
    assert!(bench.core.unadopted().is_empty());
    let phase = || bench.core.snapshot(id).map(|snapshot| snapshot.phase);
    assert_eq!(phase(), Some(DialogPhase::Early { progress: None }));
    bench.heard();
    assert!(matches!(phase(), Some(DialogPhase::Ended(cause)) if cause.status == 500));
    assert_eq!(Bench::codes(&bench.heard()), [500]);
    assert_eq!(bench.brain.ended().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn crashes_while_it_rings_are_not_held_against_the_invite() {
    let bench = Bench::new(Manner::Rings, open());
    bench.ask("INVITE", &[]);
    let id = dialog(&bench);
    for _ in 0..5 {
        let snapshot = bench.core.snapshot(id).expect("a dialog");
        assert_eq!(snapshot.phase, DialogPhase::Early { progress: Some(180) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_re_invite_or_update_whose_leg_crashes_twice_is_answered_500_and_the_dialog_goes_on() {
    let bench = Bench::new(Manner::Stalls, open());
    let answers = bench.ask("INVITE", &[]);
    let ok = answers.last().expect("a 200");
    let to = ok.split("\r\nTo: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a To").to_owned();
    bench.ask("ACK", &[("To", &to), ("Via", "SIP/2.0/UDP h;branch=z9hG4bKack")]);
    let id = dialog(&bench);
    let body = crate::sdp::write(&offer(7).0);
    let reoffer = |method: &str, cseq: u32| {
        let (via, cseq) = (format!("SIP/2.0/UDP h;branch=z9hG4bKr{cseq}"), format!("{cseq} {method}"));
        let sdp = ("Content-Type", "application/sdp");
        Bench::codes(&bench.ask(method, &[("To", &to), ("Via", &via), ("CSeq", &cseq), sdp, ("body", &body)]))
    };
    let pending = || bench.core.snapshot(id).expect("a dialog").pending;
    for (cseq, method) in [(2, "INVITE"), (3, "UPDATE"), (4, "INVITE")] {
        let provisional: &[u16] = if method == "INVITE" { &[100] } else { &[] };
        assert_eq!(reoffer(method, cseq), provisional, "it waits for the leg");
        bench.heard();
        assert!(pending().is_some_and(|(_, offer)| offer.is_some()), "the first crash");
        assert!(bench.heard().is_empty());
        assert_eq!(pending(), None, "the second");
        let answers = bench.heard();
        assert_eq!(Bench::codes(&answers), [500]);
        assert!(answers.concat().contains(&format!("CSeq: {cseq} {method}\r\n")));
        assert!(confirmed(&bench.core, id));
    }
    assert!(bench.brain.ended().is_empty());
}
