//! Several calls of one user, headers, video, the flow's by-pass: what naive switches mix up.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::capture::Capture;
use crate::peers::baresip::Baresip;
use crate::peers::browser::Browser;
use crate::peers::sdkapp::SdkApp;
use crate::peers::until;
use crate::peers::webphone::WebPhone;
use crate::peers::wsclient::OFFER;
use crate::rig::Rig;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_browser_that_offers_video_too_gets_video_0_and_audio() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    let capture = Capture::start();
    // The web phone as it is, on a browser that puts video behind every audio.
    alice.page.eval(
        "{ const Real = window.RTCPeerConnection;
           window.RTCPeerConnection = class extends Real {
             addTransceiver(what, options) {
               const audio = super.addTransceiver(what, options);
               super.addTransceiver('video', { direction: 'sendrecv' });
               return audio;
             }
           };
           phone.client.on('event', ({ event }) => { if (event.type === 'media.answer') window.answer = event.sdp; });
           null }",
    );
    alice.dial("1001");
    alice.talks();
    phone.event("CALL_ESTABLISHED", SOON);
    let offer = alice.page.eval("__peers.at(-1).localDescription.sdp");
    assert!(offer.as_str().is_some_and(|sdp| sdp.contains("\r\nm=video ")), "{offer}");
    assert_video_0_and_audio(alice.page.eval("answer").as_str().expect("an answer"));
    let talking = Instant::now();
    let heard = alice.listen(2.0).tone(700.0, 0.5);
    assert!(heard.heard > Duration::from_secs(1), "the browser: {heard:?}");
    let sent = || phone.sent_to(&capture).between(talking, Instant::now()).g711().tone(1100.0, 0.5);
    until("the browser at the phone", SOON, || (sent().heard > Duration::from_secs(1)).then_some(()));
    alice.hang_up();
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

/// As older browsers offer it: with a port, where Chromium's is `bundle-only`.
#[test]
fn an_offer_of_video_on_a_port_of_its_own_gets_video_0_too() {
    let rig = Rig::start();
    let mut bob = rig.client("bob");
    let reply = bob.request(json!({ "type": "call", "to": "9000", "sdp": OFFER }));
    assert_eq!(reply["type"], "ok.call", "{reply}");
    let answer = bob.event("media.answer", SOON);
    assert_video_0_and_audio(answer["sdp"].as_str().expect("an answer"));
    bob.request(json!({ "type": "hangup", "call": reply["call"] }));
    bob.event("call.ended", SOON);
    rig.quiet();
}

#[track_caller]
fn assert_video_0_and_audio(sdp: &str) {
    let sections: Vec<&str> = sdp.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(sections.len(), 2, "{sdp}");
    assert!(sections[0].starts_with("m=audio") && !sections[0].starts_with("m=audio 0 "), "{sdp}");
    assert!(sections[1].starts_with("m=video 0 "), "{sdp}");
    assert!(sdp.contains("a=group:BUNDLE 0\r\n"), "{sdp}");
}

#[test]
fn two_calls_to_and_two_from_one_user_ring_at_once_and_end_one_by_one() {
    let rig = Rig::start();
    let mut bob = rig.client("bob");
    let phone = rig.phone("1001", 700.0, false);
    // Two to bob.
    let mut first = rig.pstn("uac_603", &["-s", "bob", "-m", "1"]);
    let one = bob.event("invitation.received", SOON)["invitation"].clone();
    let mut second = rig.pstn("uac_cancel", &["-s", "bob", "-m", "1"]);
    let two = bob.event("invitation.received", SOON)["invitation"].clone();
    for invitation in [&one, &two] {
        bob.request(json!({ "type": "invite.ack", "invitation": invitation }));
    }
    second.done(SOON);
    assert_eq!(bob.event("invitation.canceled", SOON)["invitation"], two);
    let state = bob.request(json!({ "type": "invite.state", "invitation": one }));
    assert_eq!(state["remote"], 1, "the other call was touched: {state}");
    bob.request(json!({ "type": "invite.refuse", "invitation": one, "response": "" }));
    first.done(SOON);
    // Two from bob: one to the IVR, one to the desk.
    let ivr = bob.request(json!({ "type": "call", "to": "9000", "sdp": OFFER }))["call"].clone();
    let desk = bob.request(json!({ "type": "call", "to": "1001", "sdp": OFFER }))["call"].clone();
    phone.event("CALL_INCOMING", SOON);
    bob.request(json!({ "type": "hangup", "call": ivr }));
    assert_eq!(bob.event("call.ended", SOON)["call"], ivr);
    // The other rings on: it can be answered.
    phone.order("accept", "");
    phone.event("CALL_ESTABLISHED", SOON);
    bob.request(json!({ "type": "hangup", "call": desk }));
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

/// Proven by sound after each end: every call that is left is heard at both of its ends, each phone by a tone of its own.
#[test]
fn two_calls_to_and_two_from_one_user_talk_at_once_and_end_one_by_one() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = SdkApp::open(&browser, &rig, "alice", 1100.0);
    let [first, second] = [("1001", 500.0), ("1002", 600.0)].map(|(user, hz)| (user, rig.phone(user, hz, false), hz));
    let [third, fourth] = [("1003", 700.0), ("1004", 800.0)].map(|(user, hz)| (user, rig.phone(user, hz, true), hz));
    let capture = Capture::start();
    for (user, phone, _) in [&first, &second] {
        phone.order("dial", &rig.uri("alice"));
        alice.accept(user);
    }
    for (user, ..) in [&third, &fourth] {
        alice.call(user);
    }
    let mut up = vec![&first, &second, &third, &fourth];
    for (_, phone, _) in &up {
        phone.event("CALL_ESTABLISHED", SOON);
    }
    let talk = |up: &[&(&str, Baresip, f64)]| {
        let since = Instant::now();
        for (user, phone, hz) in up {
            let sent = || phone.sent_to(&capture).between(since, Instant::now()).g711().tone(1100.0, 0.5);
            until(&format!("alice at {user}"), SOON, || (sent().heard > Duration::from_secs(1)).then_some(()));
            alice.hears(user, *hz);
            assert!(!phone.has_event("CALL_CLOSED"), "{user} was ended too");
        }
        assert_eq!(rig.list("/api/v1/calls").len(), up.len());
    };
    talk(&up);
    // One of either kind by the phone, one of either kind by the app.
    for (ending, by_phone) in [(&first, true), (&third, false), (&second, false), (&fourth, true)] {
        let (user, phone, _) = ending;
        if by_phone {
            phone.order("hangup", "");
        } else {
            alice.hang_up(user);
        }
        alice.ended(user);
        phone.event("CALL_CLOSED", SOON);
        up.retain(|other| other.0 != *user);
        talk(&up);
    }
    rig.quiet();
    assert_eq!(rig.cdrs().len(), 4);
}

#[test]
fn a_cancel_before_the_sip_leg_exists_leaves_nothing() {
    const ROUNDS: usize = 10;
    let rig = Rig::start();
    let phone = rig.phone("1001", 700.0, false);
    let call = json!({ "v": 1, "id": "c", "type": "call", "to": "1001", "sdp": OFFER });
    // A hang-up names its call, whose id only the reply tells. A good-bye ends it all the same, and is in the socket before the
    // switch has read the call.
    for round in 0..ROUNDS {
        let mut app = rig.client(&format!("bob{round}"));
        app.send_together([call.to_string(), json!({ "v": 1, "id": "l", "type": "logout" }).to_string()]);
        app.closed(SOON);
    }
    // The same a little later: on the heels of the reply, which does not wait for the leg.
    let mut bob = rig.client("bob");
    for _ in 0..ROUNDS {
        let call = bob.request(call.clone())["call"].clone();
        bob.request(json!({ "type": "hangup", "call": call }));
        assert_eq!(bob.event("call.ended", SOON)["call"], call);
    }
    until("every call's record", SOON, || (rig.cdrs().len() == 2 * ROUNDS).then_some(()));
    rig.quiet();
    let (mut rang, mut closed) = (HashSet::new(), HashSet::new());
    let mut stopped = || {
        rang.extend(phone.calls_with_event("CALL_INCOMING"));
        closed.extend(phone.calls_with_event("CALL_CLOSED"));
        (rang == closed).then_some(rang.len())
    };
    let rings = until("every ring to have stopped", SOON, &mut stopped);
    // What was still on its way to the phone would ring before this, and be one too many.
    let last = bob.request(call)["call"].clone();
    bob.event("call.progress", SOON);
    bob.request(json!({ "type": "hangup", "call": last }));
    until("the last ring to have stopped", SOON, || stopped().filter(|&now| now > rings));
    rig.quiet();
    assert_eq!(stopped(), Some(rings + 1), "another rang on");
}

#[test]
fn a_sip_number_by_passes_the_flow() {
    let rig = Rig::start();
    let mut bob = rig.client("bob");
    let phone = rig.phone("1001", 700.0, false);
    let call = bob.request(json!({ "type": "call", "to": "9000", "sip_number": "1001", "sdp": OFFER }))["call"].clone();
    phone.event("CALL_INCOMING", SOON);
    bob.request(json!({ "type": "hangup", "call": call }));
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}

#[test]
fn application_headers_travel_both_ways() {
    let rig = Rig::start();
    let browser = Browser::start(rig.folder());
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    // To the app, in the invitation's content. X-Number names alice, whatever is dialled.
    let mut caller = rig.pstn("uac_headers", &["-s", "5550000", "-m", "1"]);
    alice.rings();
    let content = alice.page.eval("phone.client.incoming.get(rang[0]).data");
    assert_eq!((&content["Mode"], &content["Conference"]), (&json!(1), &json!(0)), "{content}");
    assert!(content["ChanId"].as_str().is_some_and(|chan| !chan.is_empty()), "{content}");
    assert!(content["XNumber"].as_str().is_some_and(|number| number.contains("alice")), "{content}");
    let fields = [("DisplayName", "Pat"), ("SipData", "account 4711"), ("UserData", "region 7"), ("XApp", "shop")];
    for (field, value) in fields {
        assert_eq!(content[field], value, "{field} in {content}");
    }
    // What the app says in its acceptance is in our 200, which SIPp checks.
    let response =
        json!({ "Mode": 1, "SipData": "back 42", "UserData": "region 8", "XNumber": "1016", "XApp": "desk" });
    alice.page.eval(&format!("phone.client.incoming.get(rang[0]).accept(JSON.stringify({response})).then(() => null)"));
    alice.talks();
    until("the ACK of that 200", SOON, || caller.messages().contains("ACK sip:").then_some(()));
    alice.hang_up();
    alice.ended();
    caller.done(SOON);
    // To SIP, on the INVITE that SIPp checks, and what its 200 says.
    let mut desk = rig.pstn_answers("uas_headers");
    let headers = "{ number: '1016', cus_data: 'account 4711', ar_info: 'region 7', app: 'shop' }";
    alice.page.eval(&format!("phone.client.call('+8613800000000', {{ headers: {headers} }}).then(() => null)"));
    alice.talks();
    let back = json!({ "number": "1017", "cus_data": "back 42", "ar_info": "region 8", "app": "desk" });
    assert_eq!(alice.page.eval("phone.active.headers"), back);
    alice.hang_up();
    alice.ended();
    desk.done(SOON);
    // An inviting app says the same in its content.
    let mut desk = rig.pstn_answers("uas");
    let content = json!({
        "Mode": 1, "ChanId": "headers", "Pstn": true, "UserData": "region 7", "XNumber": "1016", "XApp": "shop",
    });
    alice.page.eval(&format!(
        "phone.client.invite('+8613800000000', {{ content: JSON.stringify({content}) }}).then((sent) => {{
           sent.on('accepted', ({{ media }}) => {{ window.accepted = media; }});
         }})"
    ));
    alice.page.wait("window.accepted?.state === 'talking'");
    let invite = desk.messages();
    for header in ["X-ArInfo: region 7", "X-Number: 1016", "X-App: shop"] {
        assert!(invite.contains(header), "no {header} in {invite}");
    }
    alice.page.eval("accepted.hangup().then(() => null)");
    desk.done(SOON);
    rig.quiet();
}
