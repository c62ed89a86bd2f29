//! The adapter's metrics, by name.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tandem_actors::model::address::Transport;
use tandem_actors::model::ids::TrunkId;
use tokio::time::Instant;

use super::message::status;
use super::resolve::cache::Heard;

const MESSAGES: &str = "tandem_sip_messages_total";
const DROPPED: &str = "tandem_sip_dropped_total";
const RETRANSMISSIONS: &str = "tandem_sip_retransmissions_total";
const AUTH: &str = "tandem_sip_auth_total";
const FENCED: &str = "tandem_sip_orders_ignored_total";
const TRANSACTIONS: &str = "tandem_sip_transactions";
const DIALOGS: &str = "tandem_sip_dialogs";
const CONNECTIONS: &str = "tandem_sip_connections";
const CARRIED: &str = "tandem_sip_transport_messages_total";
const CLOSED: &str = "tandem_sip_connections_closed_total";
const HANDSHAKES_FAILED: &str = "tandem_sip_handshakes_failed_total";
const BLOCKED: &str = "tandem_sip_blocks_total";
const BLOCKS: &str = "tandem_sip_blocked_sources";
const SHED: &str = "tandem_sip_shed_total";
const LAG: &str = "tandem_sip_brain_lag_seconds";

const FAILOVERS: &str = "tandem_sip_failovers_total";
const QUESTIONS: &str = "tandem_dns_answers_total";
const TARGET_UP: &str = "tandem_trunk_target_up";
const GIVEN_UP: &str = "tandem_sip_requests_given_up_total";
const TRYING: &str = "tandem_sip_invite_trying_seconds";
const RINGING: &str = "tandem_sip_post_dial_delay_seconds";
const INVITE: &str = "tandem_sip_invite_seconds";
const OTHER: &str = "tandem_sip_transaction_seconds";
const TRUNK_CALLS: &str = "tandem_trunk_calls_ended_total";
const TRUNK_TALK: &str = "tandem_trunk_talk_seconds_total";

/// Describes them to the recorder.
pub fn describe() {
    describe_counter!(
        MESSAGES,
        "SIP messages by direction, method, and kind: `request`, or the status class of a response"
    );
    describe_counter!(DROPPED, "SIP messages that were dropped, by reason");
    describe_counter!(RETRANSMISSIONS, "SIP messages that were repeated: `out` by us, `in` by peers");
    describe_counter!(
        AUTH,
        "Digest outcomes: proved, absent, stale, wrong, distrusted (not looked at: wrong too often), mismatch (another request's), forbidden (another's registration), withheld \
         (a trunk's challenge in a call, not from its address)"
    );
    describe_counter!(FENCED, "Orders not carried out, by reason: fenced, repeated, impossible");
    describe_counter!(FAILOVERS, "Requests that went on to another target, by why: refused (503), silent, unreachable");
    describe_counter!(QUESTIONS, "Outcomes of DNS questions: found, nothing, failed");
    describe_gauge!(
        TARGET_UP,
        "Whether a trunk's target is not known to be down, by trunk and the target's place in its list"
    );
    describe_counter!(GIVEN_UP, "Requests answered 500 since the brain crashed over them twice, by method");
    describe_histogram!(TRYING, Unit::Seconds, "From an INVITE to its 100, by direction of the INVITE");
    describe_histogram!(
        RINGING,
        Unit::Seconds,
        "From an INVITE to its first 18x (post-dial delay), by direction of the INVITE"
    );
    describe_histogram!(INVITE, Unit::Seconds, "From an INVITE to its final response, by direction and status class");
    describe_histogram!(OTHER, Unit::Seconds, "From another request to its final response, by direction and method");
    describe_counter!(
        TRUNK_CALLS,
        "Calls of a trunk that ended, by direction and outcome: `answered`, else the status class; the share of `answered` is the answer-seizure ratio"
    );
    describe_counter!(
        TRUNK_TALK,
        "Seconds talked by a trunk, by direction; divided by its answered calls: the average call duration"
    );
    super::sight::hep::describe();
    describe_gauge!(TRANSACTIONS, "SIP transactions under way");
    describe_gauge!(DIALOGS, "SIP dialogs in the table, ended ones not yet forgotten included");
    describe_gauge!(CONNECTIONS, "SIP stream connections, by transport");
    describe_counter!(CARRIED, "SIP messages, by transport and direction");
    describe_counter!(
        CLOSED,
        "SIP stream connections that ended or could not be opened, by transport and reason (closed, broken, idle, silent, \
         slow_sender, slow_reader, no_pong, framing, forgotten, or why a handshake failed)"
    );
    describe_counter!(
        HANDSHAKES_FAILED,
        "SIP connections that came to nothing, by transport and reason (timeout, closed, protocol, alert, origin, subprotocol, \
         wrong_name, untrusted, expired, bad_certificate, no_certificate, unreachable, connect_timeout, no_name)"
    );
    describe_counter!(BLOCKED, "Times that a source was blocked, by reason: scanner, wrong_password");
    describe_gauge!(BLOCKS, "Sources that are blocked now");
    describe_counter!(SHED, "New requests answered 503, by reason: draining, full, rate, lag");
    describe_gauge!(LAG, Unit::Seconds, "Age of the oldest request that the brain has not taken, when one more came");
}

/// A request came (`in`) or went (`out`).
pub(super) fn request(direction: &'static str, method: &'static str) {
    counter!(MESSAGES, "direction" => direction, "method" => method, "kind" => "request").increment(1);
}

/// A response came (`in`) or went (`out`).
pub(super) fn response(direction: &'static str, method: &'static str, code: u16) {
    counter!(MESSAGES, "direction" => direction, "method" => method, "kind" => status::class(code)).increment(1);
}

/// How long a transaction took until what; each is measured once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    began: Instant,
    trying: bool,
    ringing: bool,
    answered: bool,
}

impl Watch {
    /// The request passed now.
    pub fn start(now: Instant) -> Self {
        Self { began: now, trying: false, ringing: false, answered: false }
    }

    /// A response to it passes.
    pub fn response(&mut self, direction: &'static str, method: &'static str, code: u16, now: Instant) {
        let took = now.saturating_duration_since(self.began);
        match (method, code) {
            ("INVITE", 100) if !self.trying => {
                self.trying = true;
                histogram!(TRYING, "direction" => direction).record(took);
            }
            ("INVITE", 180..=189) if !self.ringing => {
                self.ringing = true;
                histogram!(RINGING, "direction" => direction).record(took);
            }
            (_, 100..=199) => {}
            _ if self.answered => {}
            ("INVITE", _) => {
                self.answered = true;
                histogram!(INVITE, "direction" => direction, "class" => status::class(code)).record(took);
            }
            _ => {
                self.answered = true;
                histogram!(OTHER, "direction" => direction, "method" => method).record(took);
            }
        }
    }
}

/// A call of a trunk ended: answered for so long, or refused with a status.
pub(super) fn trunk_call(trunk: &TrunkId, direction: &'static str, talked: Option<std::time::Duration>, code: u16) {
    let outcome = if talked.is_some() { "answered" } else { status::class(code) };
    let trunk = trunk.to_string();
    let seconds = talked.unwrap_or_default().as_secs();
    counter!(TRUNK_TALK, "trunk" => trunk.clone(), "direction" => direction).increment(seconds);
    counter!(TRUNK_CALLS, "trunk" => trunk, "direction" => direction, "outcome" => outcome).increment(1);
}

/// A message was dropped.
pub(super) fn dropped(reason: &'static str) {
    counter!(DROPPED, "reason" => reason).increment(1);
}

/// A message was repeated by us (`out`) or by a peer (`in`).
pub(super) fn retransmission(direction: &'static str) {
    counter!(RETRANSMISSIONS, "direction" => direction).increment(1);
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

/// A request went on to another target.
pub(super) fn failover(why: &'static str) {
    counter!(FAILOVERS, "why" => why).increment(1);
}

/// What came of a question.
pub(super) fn resolved(heard: &Heard) {
    let outcome = match heard {
        Heard::Found(..) => "found",
        Heard::Nothing(_) => "nothing",
        Heard::Failed => "failed",
    };
    counter!(QUESTIONS, "outcome" => outcome).increment(1);
}

/// How a trunk's target stands.
pub(super) fn target_up(trunk: &TrunkId, target: usize, up: bool) {
    gauge!(TARGET_UP, "trunk" => trunk.to_string(), "target" => target.to_string()).set(f64::from(u8::from(up)));
}

/// Table sizes.
pub(super) fn tables(transactions: usize, dialogs: usize) {
    gauge!(TRANSACTIONS).set(transactions as f64);
    gauge!(DIALOGS).set(dialogs as f64);
}

/// A stream connection opened (1) or closed (-1).
pub(super) fn connections(transport: Transport, change: f64) {
    gauge!(CONNECTIONS, "transport" => transport.label()).increment(change);
}

/// A message came (`in`) or went (`out`) by a transport.
pub(super) fn carried(transport: Transport, direction: &'static str) {
    counter!(CARRIED, "transport" => transport.label(), "direction" => direction).increment(1);
}

/// Why a connection ended.
pub(super) fn connection_closed(transport: Transport, reason: &'static str) {
    counter!(CLOSED, "transport" => transport.label(), "reason" => reason).increment(1);
}

/// Why a connection did not come to be.
pub(super) fn handshake_failed(transport: Transport, reason: &'static str) {
    counter!(HANDSHAKES_FAILED, "transport" => transport.label(), "reason" => reason).increment(1);
}

/// A source was blocked.
pub(super) fn blocked(reason: &'static str) {
    counter!(BLOCKED, "reason" => reason).increment(1);
}

/// So many are.
pub(super) fn blocks(count: usize) {
    gauge!(BLOCKS).set(count as f64);
}

/// A new request was answered 503.
pub(super) fn shed(reason: &'static str) {
    counter!(SHED, "reason" => reason).increment(1);
}

/// How far the brain is behind.
pub(super) fn lag(lag: std::time::Duration) {
    gauge!(LAG).set(lag.as_secs_f64());
}
