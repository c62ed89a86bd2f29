//! Fifty calls at once to the IVR, and nothing left behind.

use std::collections::HashMap;
use std::time::Duration;

use crate::capture::{Capture, Stream};
use crate::peers::until;
use crate::rig::{Rig, sound};

#[test]
fn fifty_calls_at_once_hear_the_greeting_and_leave_nothing() {
    let sound = sound();
    let rig = Rig::start();
    // One call first, so that what is made once (clips, buffers) is not counted as left behind.
    rig.pstn("uac", &["-s", "9000", "-m", "1", "-d", "500"]).done(Duration::from_secs(20));
    rig.quiet();
    let (before, rows) = (rig.footprint(), rig.rows());
    let capture = Capture::start();
    let mut callers = rig.pstn("uac", &["-s", "9000", "-m", "50", "-l", "50", "-r", "25", "-d", "5000"]);
    until("fifty calls at once", Duration::from_secs(20), || (rig.list("/api/v1/calls").len() == 50).then_some(()));
    callers.done(Duration::from_secs(60));
    assert!(callers.errors().is_empty(), "{}", callers.errors());
    let mut streams: HashMap<u16, usize> = HashMap::new();
    let sent = rig.sent_to_pstn(&capture).0;
    for packet in &sent {
        *streams.entry(packet.from.port()).or_default() += 1;
    }
    assert_eq!(streams.len(), 50, "streams that carried the greeting");
    for port in streams.keys() {
        let tone = Stream(sent.iter().filter(|p| p.from.port() == *port).cloned().collect()).g711().tone(440.0, 0.5);
        assert!(tone.heard > Duration::from_millis(800), "port {port}: the greeting was {tone:?}");
        assert!(tone.longest_gap <= Duration::from_millis(rig.gap_ms()), "port {port}: {tone:?}");
    }
    rig.quiet();
    until("every packet sent is counted", Duration::from_secs(5), || {
        (rig.metric_sum("tandem_rtp_packets_total{direction=\"out\"}") >= sent.len() as f64).then_some(())
    });
    // A connection that our own last question closed may still be on its way out.
    let after = until("no descriptor or thread left behind", Duration::from_secs(10), || {
        Some(rig.footprint()).filter(|now| now.is_as(&before))
    });
    assert!(after.rss_kb < before.rss_kb + 24 * 1024, "memory left behind: {before:?} -> {after:?}");
    assert_eq!(rig.cdrs().len(), 51);
    assert_eq!(rig.rows(), rows, "actors left behind");
    // Others may measure sound meanwhile: RFC 6026's Timer L and RFC 3261's Timer J keep answered requests for 32 s.
    drop(sound);
    until("no transaction left behind", Duration::from_secs(45), || {
        (rig.metric_sum("tandem_sip_transactions") == 0.0).then_some(())
    });
}
