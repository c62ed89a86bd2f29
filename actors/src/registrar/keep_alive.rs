//! Whom to keep a NAT open for, and when (RFC 5626 §3.5 leaves that to the phone; most do not). Pure.
//!
//! A contact that answered OPTIONS once and then leaves three unanswered in a row is gone: it is not rung any more. One that
//! never answered any may be of those that drop them: it stays until it runs out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::agenda::Agenda;
use crate::model::address::{Contact, SipUri};
use crate::model::ids::SubscriberId;
use crate::ports::store::SavedBinding;

/// Unanswered in a row before a contact is gone.
const PATIENCE: u8 = 3;

/// A contact, as far as keeping it alive is concerned: one that moved is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contacted {
    /// Whose.
    pub subscriber: SubscriberId,
    /// Where it says it is.
    pub uri: SipUri,
    /// Where it is.
    pub source: SocketAddr,
}

#[derive(Debug)]
struct Probe {
    contact: Contact,
    /// The OPTIONS under way.
    pending: Option<u64>,
    answered_ever: bool,
    unanswered: u8,
}

/// All of them. Lost in a crash of the registrar, and made anew of the bindings.
#[derive(Debug, Default)]
pub struct KeepAlives {
    probes: HashMap<Contacted, Probe>,
    of: HashMap<SubscriberId, Vec<Contacted>>,
    agenda: Agenda<Contacted>,
    pending: HashMap<u64, Contacted>,
    last_id: u64,
}

impl KeepAlives {
    /// A subscriber's bindings changed to these. New ones are first due after `first`, which spreads them.
    pub fn set(&mut self, subscriber: &SubscriberId, bindings: &[SavedBinding], now: SystemTime, first: Duration) {
        let key = |binding: &SavedBinding| Contacted {
            subscriber: subscriber.clone(),
            uri: binding.contact.uri.clone(),
            source: binding.contact.source,
        };
        let wanted: Vec<(Contacted, &Contact)> =
            bindings.iter().filter(|b| needs(&b.contact)).map(|b| (key(b), &b.contact)).collect();
        let before = match wanted.is_empty() {
            true => self.of.remove(subscriber),
            false => self.of.insert(subscriber.clone(), wanted.iter().map(|(known, _)| known.clone()).collect()),
        };
        for gone in before.into_iter().flatten().filter(|old| wanted.iter().all(|(known, _)| known != old)) {
            self.probes.remove(&gone);
            self.agenda.set(&gone, None);
        }
        for (known, contact) in wanted {
            if !self.probes.contains_key(&known) {
                self.agenda.set(&known, Some(now + first));
                let contact = contact.clone();
                self.probes.insert(known, Probe { contact, pending: None, answered_ever: false, unanswered: 0 });
            }
        }
    }

    /// What is due now, with the id of its question.
    pub fn due(&mut self, interval: Duration, now: SystemTime) -> Vec<(u64, Contact)> {
        let mut due = Vec::new();
        while let Some(known) = self.agenda.take_due(now) {
            let Some(probe) = self.probes.get_mut(&known) else { continue };
            // Not at once again, whatever the interval.
            self.agenda.set(&known, Some(now + interval.max(Duration::from_secs(1))));
            self.last_id += 1;
            // An answer that still comes to an earlier one counts for nothing.
            if let Some(earlier) = probe.pending.replace(self.last_id) {
                self.pending.remove(&earlier);
                probe.unanswered = probe.unanswered.saturating_add(1);
            }
            due.push((self.last_id, probe.contact.clone()));
            self.pending.insert(self.last_id, known);
        }
        due
    }

    /// What became of a question; the contact where it is gone.
    pub fn heard(&mut self, id: u64, answered: bool) -> Option<Contacted> {
        let known = self.pending.remove(&id)?;
        let probe = self.probes.get_mut(&known)?;
        probe.pending = None;
        if answered {
            probe.answered_ever = true;
            probe.unanswered = 0;
            return None;
        }
        probe.unanswered = probe.unanswered.saturating_add(1);
        (probe.answered_ever && probe.unanswered >= PATIENCE).then_some(known)
    }

    /// When something is due next.
    pub fn next_at(&self) -> Option<SystemTime> {
        self.agenda.next_at()
    }
}

/// A NAT forgets datagrams; streams have keep-alives of their own, and behind a proxy it is the proxy's to keep.
fn needs(contact: &Contact) -> bool {
    contact.behind_nat && !contact.transport.is_stream() && contact.path.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::Transport;
    use crate::model::ids::ListenerId;

    const EVERY: Duration = Duration::from_secs(25);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn phone() -> SubscriberId {
        SubscriberId::new("1001").expect("an id")
    }

    fn binding(behind_nat: bool) -> SavedBinding {
        SavedBinding {
            subscriber: phone(),
            contact: Contact {
                uri: SipUri("sip:1001@10.0.0.7".into()),
                source: "192.0.2.7:41000".parse().expect("an address"),
                transport: Transport::Udp,
                listener: ListenerId::new("udp").expect("an id"),
                path: Vec::new(),
                behind_nat,
                heard_at: None,
            },
            expires_at: at(10_000),
            q: 1000,
            call_id: "a".into(),
            cseq: 1,
            user_agent: None,
            instance: None,
            reg_id: None,
            temp_gruus: Vec::new(),
        }
    }

    fn ask(all: &mut KeepAlives, seconds: u64) -> u64 {
        let due = all.due(EVERY, at(seconds));
        assert_eq!(due.len(), 1, "at {seconds}");
        due[0].0
    }

    #[test]
    fn only_datagram_contacts_behind_a_nat_are_asked_every_interval() {
        let mut all = KeepAlives::default();
        all.set(&phone(), &[binding(false)], at(0), EVERY);
        assert_eq!(all.next_at(), None);
        all.set(&phone(), &[binding(true)], at(0), EVERY);
        assert!(all.due(EVERY, at(24)).is_empty());
        ask(&mut all, 25);
        assert_eq!(all.next_at(), Some(at(50)));
        all.set(&phone(), &[binding(true)], at(30), EVERY);
        assert_eq!(all.next_at(), Some(at(50)), "a refresh changes nothing");
        all.set(&phone(), &[], at(30), EVERY);
        assert!(all.next_at().is_none());
    }

    #[test]
    fn one_that_used_to_answer_is_gone_after_three_unanswered() {
        let mut all = KeepAlives::default();
        all.set(&phone(), &[binding(true)], at(0), EVERY);
        let first = ask(&mut all, 25);
        assert!(all.heard(first, true).is_none());
        for n in 1..=3 {
            let id = ask(&mut all, 25 + n * 25);
            assert_eq!(all.heard(id, false).is_some(), n == 3);
        }
    }

    #[test]
    fn one_that_never_answered_stays() {
        let mut all = KeepAlives::default();
        all.set(&phone(), &[binding(true)], at(0), EVERY);
        for n in 1..9 {
            let id = ask(&mut all, n * 25);
            assert!(all.heard(id, false).is_none());
        }
    }

    #[test]
    fn a_question_outlived_by_the_next_counts_as_unanswered() {
        let mut all = KeepAlives::default();
        all.set(&phone(), &[binding(true)], at(0), EVERY);
        let first = ask(&mut all, 25);
        all.heard(first, true);
        for n in 2..5 {
            ask(&mut all, n * 25);
        }
        let last = ask(&mut all, 125);
        assert!(all.heard(last, false).is_some());
    }
}
