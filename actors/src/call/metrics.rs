//! What calls count.

use std::time::{Duration, SystemTime};

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::phase::CallCheckpoint;
use crate::model::cause::Blame;

/// Names and units of the metrics of calls, legs and rooms.
pub fn describe() {
    describe_counter!("tandem_calls_total", "Calls that ended, by mode and outcome");
    describe_gauge!("tandem_calls_active", "Calls that live");
    describe_histogram!("tandem_call_setup_seconds", Unit::Seconds, "From the first message to the answer, by mode");
    describe_counter!("tandem_calls_refused_total", "Calls refused before they began, by reason");
    describe_counter!(
        "tandem_toll_refused_total",
        "Calls by trunks refused by the toll guard, by reason: denied (rtc_to_sip.deny), at_once, rate"
    );
    describe_counter!("tandem_legs_total", "Legs that ended, by kind and outcome");
    describe_gauge!("tandem_rooms_active", "Rooms with somebody in them");
}

/// How many calls there are.
pub(super) fn active(calls: usize) {
    gauge!("tandem_calls_active").set(calls as f64);
}

/// A call was answered.
pub(super) fn answered(call: &CallCheckpoint) {
    let took = call.answered_at.and_then(|at: SystemTime| at.duration_since(call.started_at).ok());
    histogram!("tandem_call_setup_seconds", "mode" => call.kind.word()).record(took.unwrap_or(Duration::ZERO));
}

/// A call ended.
pub(super) fn ended(call: &CallCheckpoint) {
    let blame = call.cause.as_ref().map_or(Blame::Indeterminate, |cause| cause.blame);
    let outcome = match (call.answered_at, blame) {
        (Some(_), Blame::Success) => "answered",
        (None, Blame::Success) => "unanswered",
        (_, Blame::Client) => "refused",
        (_, Blame::Server) => "failed",
        (_, Blame::Upstream) => "upstream",
        (_, Blame::Indeterminate) => "unknown",
    };
    counter!("tandem_calls_total", "mode" => call.kind.word(), "outcome" => outcome).increment(1);
}

/// A leg ended.
pub(super) fn leg_ended(kind: &'static str, connected: bool) {
    let outcome = if connected { "connected" } else { "unconnected" };
    counter!("tandem_legs_total", "kind" => kind, "outcome" => outcome).increment(1);
}

/// A call was refused before it began.
pub(super) fn refused(reason: &'static str) {
    counter!("tandem_calls_refused_total", "reason" => reason).increment(1);
}
