//! The adapter's metrics, by name.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const MESSAGES: &str = "tandem_sip_messages_total";
const DROPPED: &str = "tandem_sip_dropped_total";
const RETRANSMISSIONS: &str = "tandem_sip_retransmissions_total";
const AUTH: &str = "tandem_sip_auth_total";
const FENCED: &str = "tandem_sip_orders_ignored_total";
const TRANSACTIONS: &str = "tandem_sip_transactions";
const DIALOGS: &str = "tandem_sip_dialogs";
const CONNECTIONS: &str = "tandem_sip_connections";

const GIVEN_UP: &str = "tandem_sip_requests_given_up_total";

/// Describes them to the recorder.
pub fn describe() {
    describe_counter!(MESSAGES, "SIP messages by direction and method or status class");
    describe_counter!(DROPPED, "SIP messages that were dropped, by reason");
    describe_counter!(RETRANSMISSIONS, "SIP messages sent again by a timer or for a repeated request");
    describe_counter!(
        AUTH,
        "Digest outcomes: proved, absent, stale, wrong, mismatch (another request's), forbidden (another's registration), withheld \
         (a trunk's challenge in a call, not from its address)"
    );
    describe_counter!(FENCED, "Orders not carried out, by reason: fenced, repeated, impossible");
    describe_counter!(GIVEN_UP, "Requests answered 500 since the brain crashed over them twice, by method");
    describe_gauge!(TRANSACTIONS, "SIP transactions under way");
    describe_gauge!(DIALOGS, "SIP dialogs in the table, ended ones not yet forgotten included");
    describe_gauge!(CONNECTIONS, "SIP stream connections");
}

/// A message came (`in`) or went (`out`).
pub(super) fn message(direction: &'static str, kind: &'static str) {
    counter!(MESSAGES, "direction" => direction, "kind" => kind).increment(1);
}

/// A message was dropped.
pub(super) fn dropped(reason: &'static str) {
    counter!(DROPPED, "reason" => reason).increment(1);
}

/// A message was sent again.
pub(super) fn retransmission() {
    counter!(RETRANSMISSIONS).increment(1);
}

/// A digest outcome.
pub(super) fn auth(outcome: &'static str) {
    counter!(AUTH, "outcome" => outcome).increment(1);
}

/// An order was not carried out.
pub(super) fn ignored(reason: &'static str) {
    counter!(FENCED, "reason" => reason).increment(1);
}

/// The brain crashed twice over a request.
pub(super) fn given_up(method: &'static str) {
    counter!(GIVEN_UP, "method" => method).increment(1);
}

/// Table sizes.
pub(super) fn tables(transactions: usize, dialogs: usize) {
    gauge!(TRANSACTIONS).set(transactions as f64);
    gauge!(DIALOGS).set(dialogs as f64);
}

/// A stream connection opened (1) or closed (-1).
pub(super) fn connections(change: f64) {
    gauge!(CONNECTIONS).increment(change);
}
