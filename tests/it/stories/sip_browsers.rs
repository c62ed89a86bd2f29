//! Browsers that speak SIP themselves: JsSIP and SIP.js over WebSockets, with DTLS-SRTP and ICE on a SIP leg.

use std::time::Duration;

use super::transports::{sees, with_streams};
use crate::peers::browser::{Browser, Page};
use crate::peers::sippage::SipPage;
use crate::peers::webphone::WebPhone;
use crate::rig::{Rig, sound};
use crate::tone::Pcm;

const SOON: Duration = Duration::from_secs(20);

fn hears(page: &Page<'_>, seconds: f64) -> Pcm {
    // Chromium hands a remote track's sound on only while an element plays it.
    page.eval(
        "void __tracks.forEach((track) => {
            const audio = new Audio();
            audio.srcObject = new MediaStream([track]);
            audio.play();
            (window.__audio ??= []).push(audio);
        })",
    );
    page.record();
    let start = std::time::Instant::now();
    crate::peers::until("sound in the page", SOON, || (start.elapsed().as_secs_f64() > seconds).then_some(()));
    page.heard()
}

/// A page with JsSIP registered as `user`, which answers calls when `seen.accept` is set.
fn jssip<'a>(browser: &'a Browser, rig: &Rig, origin: &SipPage, user: &str, hz: f64) -> Page<'a> {
    let password = rig.subscriber(user);
    let page = browser.open(user, &origin.origin(), hz);
    page.wait("!!window.JsSIP");
    page.eval(&format!(
        "void (() => {{
            const socket = new JsSIP.WebSocketInterface('wss://127.0.0.1:{}');
            const ua = new JsSIP.UA({{ sockets: [socket], uri: 'sip:{user}@127.0.0.1', password: '{password}', session_timers: false }});
            ua.on('registered', () => {{ seen.registered = true; }});
            ua.on('registrationFailed', (e) => {{ seen.failed = 'register ' + e.cause; }});
            ua.on('newRTCSession', ({{ session, originator }}) => {{
                window.call = session;
                session.on('confirmed', () => {{ seen.talks = true; }});
                session.on('failed', (e) => {{ seen.failed = 'call ' + e.cause; }});
                session.on('ended', () => {{ seen.ended = true; }});
                if (originator === 'remote') {{
                    seen.rings = true;
                    session.answer({{ mediaConstraints: {{ audio: true, video: false }}, pcConfig: {{ iceServers: [] }} }});
                }}
            }});
            ua.start();
            window.ua = ua;
            window.dial = (to) => void ua.call(to, {{
                mediaConstraints: {{ audio: true, video: false }}, pcConfig: {{ iceServers: [] }} }});
        }})()",
        rig.ports().wss()
    ));
    sees(&page, "registered");
    page
}

#[test]
fn jssip_calls_a_desk_phone_and_is_called_by_it_with_sound_both_ways() {
    let _sound = sound();
    let scratch = tempfile::tempdir().expect("a folder");
    let origin = SipPage::serve(scratch.path());
    let rig = Rig::with(&with_streams(&origin.origin()));
    let browser = Browser::start(rig.folder());
    let page = jssip(&browser, &rig, &origin, "1002", 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    let capture = crate::capture::Capture::start();

    page.eval("dial('sip:1001@127.0.0.1')");
    sees(&page, "talks");
    hears(&page, 3.0).assert_tone("JsSIP's recording", 700.0, 2.0, 150);
    phone.sent_to(&capture).g711().assert_tone("RTP to the phone", 1100.0, 2.0, 250);
    // Hold and resume are re-INVITEs on the same peer.
    // JsSIP does nothing when it is asked for the second while the first waits for its answer.
    page.eval("void call.hold({}, () => { seen.held = true; })");
    page.wait("seen.held && call.isOnHold().local");
    page.eval("void call.unhold({}, () => { seen.resumed = true; })");
    page.wait("seen.resumed && !call.isOnHold().local");
    hears(&page, 2.0).assert_tone("after the hold", 700.0, 1.0, 150);
    page.eval("void call.terminate()");
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();

    page.eval("void (seen.talks = seen.ended = false)");
    phone.order("dial", &rig.uri("1002"));
    sees(&page, "talks");
    hears(&page, 3.0).assert_tone("JsSIP called", 700.0, 2.0, 150);
    phone.order("hangup", "");
    sees(&page, "ended");
    rig.quiet();
}

#[test]
fn jssip_and_an_app_of_ours_hear_each_other() {
    let _sound = sound();
    let scratch = tempfile::tempdir().expect("a folder");
    let origin = SipPage::serve(scratch.path());
    let rig = Rig::with(&with_streams(&origin.origin()));
    let browser = Browser::start(rig.folder());
    let page = jssip(&browser, &rig, &origin, "1002", 700.0);
    let alice = WebPhone::open(&browser, &rig, "alice", 1100.0);
    page.eval("dial('sip:alice@127.0.0.1')");
    alice.rings();
    alice.accept();
    alice.talks();
    sees(&page, "talks");
    alice.listen(3.0).assert_tone("the app", 700.0, 2.0, 150);
    hears(&page, 3.0).assert_tone("JsSIP", 1100.0, 2.0, 150);
    alice.hang_up();
    sees(&page, "ended");
    rig.quiet();
}

#[test]
fn sip_js_calls_a_desk_phone_and_each_hears_the_other() {
    let _sound = sound();
    let scratch = tempfile::tempdir().expect("a folder");
    let origin = SipPage::serve(scratch.path());
    let rig = Rig::with(&with_streams(&origin.origin()));
    let password = rig.subscriber("1003");
    let browser = Browser::start(rig.folder());
    let page = browser.open("sipjs", &origin.origin(), 1100.0);
    let phone = rig.phone("1001", 700.0, true);
    let capture = crate::capture::Capture::start();
    page.wait("!!window.SIP");
    page.eval(&format!(
        "void (async () => {{
            const agent = new SIP.UserAgent({{
                uri: SIP.UserAgent.makeURI('sip:1003@127.0.0.1'), transportOptions: {{ server: 'ws://127.0.0.1:{}' }},
                authorizationUsername: '1003', authorizationPassword: '{password}',
            }});
            await agent.start();
            await new SIP.Registerer(agent).register();
            const call = new SIP.Inviter(agent, SIP.UserAgent.makeURI('sip:1001@127.0.0.1'),
                {{ sessionDescriptionHandlerOptions: {{ constraints: {{ audio: true, video: false }} }} }});
            call.stateChange.addListener((state) => {{ seen[String(state).toLowerCase()] = true; }});
            window.call = call;
            await call.invite();
        }})().catch((e) => {{ seen.failed = String(e); }})",
        rig.ports().ws()
    ));
    sees(&page, "established");
    hears(&page, 3.0).assert_tone("SIP.js", 700.0, 2.0, 150);
    phone.sent_to(&capture).g711().assert_tone("RTP to the phone", 1100.0, 2.0, 250);
    page.eval("void call.bye()");
    phone.event("CALL_CLOSED", SOON);
    rig.quiet();
}
