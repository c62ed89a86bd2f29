//! What this package counts: names, units and meaning. Labels are kinds of actors, never ids.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Describes every metric of this package to the recorder.
pub fn describe() {
    crate::call::metrics::describe();
    crate::client::describe();
    crate::invitation::describe();
    crate::registrar::describe();
    crate::trunk::describe();
    describe_counter!("tandem_actor_restarts_total", "Restarts of actors, by kind");
    describe_counter!(
        "tandem_actor_give_ups_total",
        "Actors that failed too often, by kind: the supervisor's last act"
    );
    describe_gauge!("tandem_ledger_rows", "Checkpoints kept, by table of the ledger");
    describe_counter!("tandem_fenced_total", "Commits refused because a later incarnation had taken over, by kind");
    describe_counter!("tandem_messages_undeliverable_total", "Messages for actors that were not there, by kind");
    describe_counter!("tandem_events_before_start_total", "Events of the world that came before the tree was up");
    describe_counter!("tandem_media_backlog_overflows_total", "Times a media thread's commands were planned anew");
    describe_counter!("tandem_media_commands_without_session_total", "Commands for media sessions that were not open");
    describe_counter!("tandem_media_thread_replacements_total", "Dead or stuck media threads that were replaced");
    describe_counter!("tandem_rtc_thread_replacements_total", "Dead rtc-ctl threads that were replaced");
    describe_counter!("tandem_sip_listener_reopens_total", "SIP listeners that were gone and opened again");
    describe_histogram!(
        "tandem_actor_message_age_seconds",
        Unit::Seconds,
        "How long messages waited in mailboxes, by kind of actor"
    );
}
