//! What passed the SIP wire, as the REST API asks for it; and reports of media for the collector that sees the wire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tandem_actors::control::Control;
use tandem_actors::model::ids::CallId;
use tandem_actors::ports::media::MediaSnapshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::http::deps::{LadderStep, Ladders};
use crate::sip::SipCore;
use crate::sip::sight::Step;

/// How often a live media session is reported. Why: RTCP's own least interval is 5 s (RFC 3550 §6.2), a graph needs no more.
const EVERY: Duration = Duration::from_secs(10);

/// The SIP adapter's sight behind HTTP's own trait.
pub(super) struct Sight(pub SipCore);

impl Ladders for Sight {
    fn of_call(&self, call: CallId) -> Vec<LadderStep> {
        self.0.tap().of_call(call).into_iter().map(shown).collect()
    }
    fn of_call_id(&self, call_id: &str) -> (Option<CallId>, Vec<LadderStep>) {
        let (call, steps) = self.0.tap().of_call_id(call_id);
        (call, steps.into_iter().map(shown).collect())
    }
}

fn shown(step: Step) -> LadderStep {
    let Step { ago, sent, local, remote, transport, call_id, text } = step;
    LadderStep { ago, sent, local, remote, transport, call_id, text }
}

/// Reports every live media session to the collector again and again; ends when dropped.
pub(super) struct Reports(JoinHandle<()>);

impl Drop for Reports {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reports {
    /// Begins; `None` where nobody collects.
    pub(super) fn start(control: Arc<dyn Control>, sip: SipCore) -> Option<Self> {
        sip.tap().exports().then(|| Self(tokio::spawn(report(control, sip))))
    }
}

async fn report(control: Arc<dyn Control>, sip: SipCore) {
    // What each session had received and lost at its last report.
    let mut before: HashMap<(CallId, usize), (u64, u64)> = HashMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let mut now = HashMap::new();
        for call in control.calls() {
            for (at, leg) in call.legs.iter().enumerate() {
                let Some(media) = &leg.media else { continue };
                let Some(remote) = media.remote else { continue };
                let session = (call.call, at);
                let last = before.get(&session).copied().unwrap_or_default();
                sip.tap().report(call.call, remote, text(media, last), Instant::now());
                now.insert(session, (media.packets_received, media.packets_lost));
            }
        }
        before = now;
    }
}

/// A receiver report (RFC 3550 §6.4.2) as RTCP agents of HEP write it: jitter in units of the codec's clock, the fraction lost since
/// the last report in 256ths. The engine keeps no SSRC or sequence number for others to read: they are 0.
fn text(media: &MediaSnapshot, (received, lost): (u64, u64)) -> String {
    let (received, lost) = (media.packets_received.saturating_sub(received), media.packets_lost.saturating_sub(lost));
    let fraction = (lost * 256).checked_div(received + lost).unwrap_or_default().min(255);
    let clock = media.codec.map_or(8000, |codec| u64::from(codec.clock_rate()));
    json!({
        "type": 201,
        "ssrc": 0,
        "report_count": 1,
        "report_blocks": [{
            "source_ssrc": 0,
            "fraction_lost": fraction,
            "packets_lost": media.packets_lost,
            "highest_seq_no": 0,
            "ia_jitter": u64::from(media.jitter_us) * clock / 1_000_000,
            "lsr": 0,
            "dlsr": 0,
        }],
        "sender_information": { "packets": media.packets_sent },
        "packets_received": media.packets_received,
        "round_trip_us": media.round_trip_us,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use tandem_actors::model::media::Codec;

    use super::*;

    #[test]
    fn a_report_says_what_was_lost_since_the_last_and_jitter_by_the_codecs_clock() {
        let media = MediaSnapshot {
            packets_received: 290,
            packets_sent: 300,
            packets_lost: 20,
            packets_refused: 0,
            jitter_us: 2500,
            round_trip_us: 40_000,
            remote: None,
            codec: Some(Codec::Opus),
            direction: None,
        };
        let report: serde_json::Value = serde_json::from_str(&text(&media, (200, 10))).expect("JSON");
        let block = &report["report_blocks"][0];
        assert_eq!((block["fraction_lost"].as_u64(), block["packets_lost"].as_u64()), (Some(25), Some(20)));
        assert_eq!(block["ia_jitter"].as_u64(), Some(120));
        assert!(text(&media, (290, 20)).contains("\"fraction_lost\":0"), "nothing came since");
    }
}
