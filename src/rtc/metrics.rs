//! What the RTC adapter counts.

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// Describes every metric of this adapter. Called once, after the recorder is installed.
pub fn describe() {
    describe_gauge!("tandem_rtc_peers", "WebRTC peers that are connecting or connected.");
    describe_counter!(
        "tandem_rtc_handshakes_total",
        "ICE and DTLS handshakes by outcome: completed, failed, timeout, interrupted (the control thread was replaced)."
    );
    describe_counter!(
        "tandem_rtc_stun_total",
        "STUN datagrams by outcome: answered, role_conflict, not_understood, malformed, anonymous, unknown_peer, unauthenticated, \
         limited, ignored."
    );
    describe_counter!(
        "tandem_rtc_datagrams_dropped_total",
        "Datagrams that were neither STUN nor a known peer's DTLS, by reason: unknown_source, limited, unknown_kind, too_long, no_worker."
    );
    describe_counter!("tandem_rtc_offers_total", "Offers by outcome: accepted, repeated, refused.");
    describe_counter!("tandem_rtc_fenced_total", "Orders refused because their sender was an older incarnation.");
    describe_counter!("tandem_rtc_panics_total", "Steps of a peer that panicked; that peer failed.");
    describe_counter!("tandem_rtc_restarts_total", "Times the RTC control thread was replaced.");
    describe_counter!(
        "tandem_link_dropped_total",
        "Datagrams dropped between the media threads and the RTC control thread."
    );
}

/// Sets `tandem_rtc_peers`.
pub fn peers(count: usize) {
    gauge!("tandem_rtc_peers").set(count as f64);
}

/// Counts a handshake.
pub fn handshake(outcome: &'static str) {
    counter!("tandem_rtc_handshakes_total", "outcome" => outcome).increment(1);
}

/// Counts a STUN datagram.
pub fn stun(outcome: &'static str) {
    counter!("tandem_rtc_stun_total", "outcome" => outcome).increment(1);
}

/// Counts a datagram that went nowhere.
pub fn dropped(reason: &'static str) {
    counter!("tandem_rtc_datagrams_dropped_total", "reason" => reason).increment(1);
}

/// Counts an offer.
pub fn offer(outcome: &'static str) {
    counter!("tandem_rtc_offers_total", "outcome" => outcome).increment(1);
}

/// Counts an order of an older incarnation.
pub fn fenced() {
    counter!("tandem_rtc_fenced_total").increment(1);
}

/// Counts a panic.
pub fn panicked() {
    counter!("tandem_rtc_panics_total").increment(1);
}

/// Counts a replaced control thread.
pub fn restarted() {
    counter!("tandem_rtc_restarts_total").increment(1);
}

/// Counts what the rings dropped.
pub fn link_dropped(count: u64) {
    if count > 0 {
        counter!("tandem_link_dropped_total").increment(count);
    }
}
