//! Offers inside a dialog, early or confirmed: the peer's by re-INVITE, UPDATE and PRACK, which wait for the leg; ours by
//! re-INVITE (RFC 3261 §14, RFC 3311 §5, RFC 3262 §5, RFC 6337). Who may offer when is [`super::super::dialog::reoffer`]'s.
//!
//! A re-INVITE that fails leaves the session as it was (RFC 6141 §3.1): the leg agrees on nothing before the answer.
//! Deliberately not: offers of ours by UPDATE. A re-INVITE is what RFC 3311 §5.1 recommends once the dialog is confirmed, and
//! before that we have nothing to change.

use tandem_actors::model::cause::Cause;
use tandem_actors::model::negotiate::{AudioAnswer, AudioOffer};
use tandem_actors::ports::Deliveries;
use tandem_actors::ports::sip::DialogEvent;
use tokio::time::Instant;

use super::super::dialog::accepted::Accepted;
use super::super::dialog::contact_of;
use super::super::dialog::reoffer::{self, Reoffer, back_off};
use super::super::dialog::session_timer::{Said, SessionTimer};
use super::established::Side;
use super::offer::description_of;
use super::*;

/// What carries an offer of the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// Its 200 is repeated until the ACK.
    Invite,
    Update,
    /// It acknowledged a reliable provisional response of ours.
    Prack,
}

impl Carrier {
    fn label(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
        }
    }
}

/// A request of the peer's with an offer that waits for the leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    request: u64,
    key: ServerKey,
    by: Carrier,
    cseq: u32,
    offered: bool,
    deliveries: Deliveries,
}

/// Whose turn it is to offer in a leg's dialog, and what waits for the leg. One for all early dialogs of an INVITE of ours: the
/// leg has one session.
#[derive(Debug, Default)]
pub(super) struct Offers {
    machine: Reoffer,
    held: Option<Held>,
    /// How often in a row ours met a 500 that asks for it again.
    overlaps: u8,
}

/// Most repetitions of an offer that meets 500 with Retry-After: a peer may answer every one so.
const MOST_OVERLAPS: u8 = 3;

impl Offers {
    /// The peer's offer that waits for the leg.
    pub fn pending(&self) -> Option<(u64, Option<Box<AudioOffer>>)> {
        match &self.machine {
            Reoffer::Theirs { request, offer, .. } => Some((*request, offer.clone())),
            Reoffer::Idle | Reoffer::Ours { .. } | Reoffer::BackOff { .. } | Reoffer::Settling { .. } => None,
        }
    }

    /// Whether an offer of ours is under way, or waits for its turn.
    pub fn ours(&self) -> bool {
        match &self.machine {
            Reoffer::Ours { .. } | Reoffer::BackOff { .. } => true,
            Reoffer::Theirs { wanted, .. } | Reoffer::Settling { wanted } => wanted.is_some(),
            Reoffer::Idle => false,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    /// The dialog is over: the request that waited.
    pub fn close(&mut self) -> Option<ServerKey> {
        self.machine = Reoffer::Idle;
        self.held.take().map(|held| held.key)
    }

    fn take(&mut self, request: u64) -> Option<Held> {
        self.held.take_if(|held| held.request == request)
    }
}

impl Core {
    pub(super) fn offers_tick(&mut self, id: DialogId, now: Instant) {
        let due = |dialog: &Dialog| dialog.offers.deadline().is_some_and(|at| now >= at);
        if self.dialogs.get(&id).is_some_and(due) {
            self.reoffer(id, reoffer::Input::Tick, now);
        }
    }

    /// Steps the re-offer machine and does what it says.
    pub(super) fn reoffer(&mut self, id: DialogId, input: reoffer::Input, now: Instant) -> reoffer::Output {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return reoffer::Output::Nothing };
        let (state, output) = std::mem::take(&mut dialog.offers.machine).step(input, now);
        dialog.offers.machine = state;
        match &output {
            reoffer::Output::Send(offer) => self.send_reinvite(id, offer, now),
            reoffer::Output::Overdue { request } => {
                metrics::dropped("undecided");
                self.reject_reoffer(id, *request, 500, None, now);
            }
            reoffer::Output::Nothing | reoffer::Output::Deliver | reoffer::Output::Refuse(_) => {}
        }
        self.arm_dialog(id);
        output
    }

    // ---- the peer's

    /// A request with an offer, or a re-INVITE that asks for ours: to the leg.
    pub(super) fn offer_asked(&mut self, id: DialogId, key: ServerKey, names: &Names, by: Carrier, now: Instant) {
        let Some(offer) = self.offer_of(key, self.dialog_trunk(id), now) else { return };
        let Some(server) = self.servers.get(&key) else { return };
        let target = contact_of(&server.request);
        let request = self.next_serial();
        match self.reoffer(id, reoffer::Input::Incoming { request, offer: offer.clone() }, now) {
            reoffer::Output::Deliver => {
                let Some(dialog) = self.dialogs.get_mut(&id) else { return };
                if offer.is_some() {
                    dialog.remote = offer.clone();
                    if let Side::Uac(outgoing) = &mut dialog.side
                        && let Some(branch) = outgoing.branch(&names.from_tag)
                    {
                        branch.description = offer.clone();
                    }
                }
                let (deliveries, offered) = (Deliveries::first(now.into_std()), offer.is_some());
                dialog.offers.held = Some(Held { request, key, by, cseq: names.cseq, offered, deliveries });
                // RFC 3262 §3: a PRACK refreshes no target.
                if let Some(target) = target.filter(|_| by != Carrier::Prack)
                    && let Some(record) = self.record_of(id, &names.from_tag)
                {
                    record.target = target;
                }
                self.tell(id, DialogEvent::Reoffered { request, offer });
                self.arm_dialog(id);
            }
            reoffer::Output::Refuse(status) => self.refuse(key, status, now),
            // The machine gives nothing else for this input.
            reoffer::Output::Nothing | reoffer::Output::Send(_) | reoffer::Output::Overdue { .. } => {
                self.refuse(key, 500, now);
            }
        }
    }

    /// The leg's answer to a held request.
    pub(super) fn answer_reoffer(&mut self, id: DialogId, request: u64, description: &AudioOffer, now: Instant) {
        let timers = self.config.timers;
        let Some(held) = self.dialogs.get_mut(&id).and_then(|dialog| dialog.offers.take(request)) else {
            metrics::ignored("impossible");
            return;
        };
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            dialog.local = Some(Box::new(description.clone()));
        }
        let octets = self.grant(id, held.key, held.by, Some(description), now);
        if let (Carrier::Invite, Some(octets), Some(established)) = (held.by, octets, self.established_mut(id)) {
            established.accepted = Some(Accepted::new(held.cseq, octets, &timers, now));
            established.initial = false;
            established.expects_answer = !held.offered;
        }
        self.reoffer(id, reoffer::Input::Answered { acknowledged: held.by != Carrier::Invite }, now);
        self.go_on(id, now);
    }

    /// 200 to a re-INVITE, UPDATE or PRACK, with what the session timer says.
    pub(super) fn grant(
        &mut self,
        id: DialogId,
        key: ServerKey,
        by: Carrier,
        description: Option<&AudioOffer>,
        now: Instant,
    ) -> Option<Bytes> {
        let policy = self.session_policy(self.dialog_trunk(id));
        let said = self.servers.get(&key).map(|server| Said::of(&server.request));
        let mut timer = None;
        if let (Some(said), true, Some(established)) = (said, by != Carrier::Prack, self.established_mut(id)) {
            timer = SessionTimer::as_uas(said, policy, established.session.as_ref(), now);
            established.session = timer;
        }
        let contact = if by == Carrier::Prack { None } else { self.contact_in(id) };
        let supported = self.supported(self.dialog_trunk(id));
        let fill = |writer: &mut Writer| {
            if let Some(contact) = contact {
                writer.header(HeaderName::Contact, contact);
                writer.header(HeaderName::Allow, ALLOW).header(HeaderName::Supported, supported);
            }
            if let Some(timer) = timer {
                timer.write(writer);
            }
        };
        let octets =
            self.respond(key, 200, now, fill, &description.map_or_else(String::new, |d| crate::sdp::write(&d.0)));
        self.arm_dialog(id);
        octets
    }

    /// The leg's refusal, or the core's own.
    pub(super) fn reject_reoffer(
        &mut self,
        id: DialogId,
        request: u64,
        status: u16,
        warning: Option<u16>,
        now: Instant,
    ) {
        let Some(held) = self.dialogs.get_mut(&id).and_then(|dialog| dialog.offers.take(request)) else {
            metrics::ignored("impossible");
            return;
        };
        match (if (300..700).contains(&status) { status } else { 488 }, warning) {
            (488, Some(code)) => self.refuse_media(held.key, code, now),
            (status, _) => self.refuse(held.key, status, now),
        }
        self.reoffer(id, reoffer::Input::Answered { acknowledged: true }, now);
        self.go_on(id, now);
    }

    /// The next incarnation of a leg has heard what waits for it; after the second crash over it, it is answered 500.
    pub(super) fn offer_again(&mut self, id: DialogId, now: Instant) {
        let Some(held) = self.dialogs.get_mut(&id).and_then(|dialog| dialog.offers.held.as_mut()) else { return };
        if !held.deliveries.again(now.into_std()) {
            let (request, method) = (held.request, held.by.label());
            metrics::given_up(method);
            tracing::error!(dialog = %id, method, "two crashes over one offer: it is answered 500");
            self.reject_reoffer(id, request, 500, None, now);
        }
    }

    // ---- ours

    fn send_reinvite(&mut self, id: DialogId, offer: &AudioOffer, now: Instant) {
        let timer = self.session_headers(id);
        let supported = self.supported(self.dialog_trunk(id));
        let Some(established) = self.established_mut(id) else { return };
        let contact = Some(established.contact.clone());
        let mut draft = Self::dialog_draft(&mut established.record, rsip::Method::Invite, contact);
        let record = established.record.clone();
        draft.headers = vec![(HeaderName::Allow, ALLOW.into()), (HeaderName::Supported, supported)];
        draft.headers.extend(timer);
        draft.content_type = SDP;
        draft.body = crate::sdp::write(&offer.0);
        self.begin_in_dialog(draft, &record, Owner::Reinvite { dialog: id }, now);
    }

    pub(super) fn reinvite_heard(
        &mut self,
        id: DialogId,
        draft: &Draft,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) {
        if status < 200 {
            return;
        }
        let over = self.is_over(id);
        if let (200..=299, Some(response)) = (status, response) {
            self.reinvite_answered(id, draft, response, now);
            return;
        }
        if over {
            return;
        }
        let raised = |response: &Message| Said::of(response).least();
        match (status, response.and_then(raised)) {
            (491, _) => {
                let owner = self.established_record(id).is_some_and(|record| record.owner);
                self.reoffer(id, reoffer::Input::Glare(back_off(owner)), now);
            }
            (422, Some(least)) if self.raise_session(id, least) => {
                self.reoffer(id, reoffer::Input::Glare(Duration::ZERO), now);
            }
            // RFC 3261 §14.2, RFC 3311 §5.2: it has an offer of its own under way. FreeSWITCH says so where others say 491.
            (500, _) if response.is_some_and(|response| self.overlaps(id, response)) => {
                let asked = response.and_then(overlap).unwrap_or_default();
                self.reoffer(id, reoffer::Input::Glare(asked + back_off(false)), now);
            }
            // RFC 3261 §14.1: these end the dialog; every other failure leaves it as it was.
            (408 | 481, _) => {
                self.tell(id, DialogEvent::ReofferFailed(status));
                let cause = Cause::from_sip(status, "the peer no longer knows the dialog");
                self.bye(id, &cause, now);
                self.end(id, cause, now);
            }
            _ => {
                self.tell(id, DialogEvent::ReofferFailed(status));
                self.refreshed(id, status, response, now);
                self.reoffer(id, reoffer::Input::Done, now);
            }
        }
    }

    /// Whether a 500 to an offer of ours asks for it once more, and may.
    fn overlaps(&mut self, id: DialogId, response: &Message) -> bool {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return false };
        let again = overlap(response).is_some() && dialog.offers.overlaps < MOST_OVERLAPS;
        dialog.offers.overlaps = if again { dialog.offers.overlaps + 1 } else { 0 };
        again
    }

    /// Raises the interval of the session to what a 422 wants; `false` where that is no more than was asked for.
    fn raise_session(&mut self, id: DialogId, least: u32) -> bool {
        let Some(established) = self.established_mut(id) else { return false };
        let raised = established.session.as_mut().filter(|timer| least > timer.interval);
        let Some(timer) = raised else { return false };
        timer.interval = least;
        established.min_se = Some(least);
        true
    }

    fn reinvite_answered(&mut self, id: DialogId, draft: &Draft, response: &Message, now: Instant) {
        let Some(established) = self.established_mut(id) else { return };
        if let Some((cseq, flow, octets)) = &established.last_ack
            && *cseq == draft.cseq
        {
            let (flow, octets) = (*flow, octets.clone());
            metrics::retransmission("out");
            self.send(flow, octets);
            return;
        }
        established.record.refresh(response);
        let record = established.record.clone();
        let (flow, octets) = self.acknowledge(&record, draft);
        if let Some(established) = self.established_mut(id) {
            established.last_ack = Some((draft.cseq, flow, octets));
        }
        if self.is_over(id) {
            return;
        }
        let offered = self.dialogs.get(&id).and_then(|dialog| match &dialog.offers.machine {
            Reoffer::Ours { offer, .. } => Some(offer.clone()),
            Reoffer::Idle | Reoffer::BackOff { .. } | Reoffer::Theirs { .. } | Reoffer::Settling { .. } => None,
        });
        match description_of(response) {
            Some(Ok(answer)) => {
                if let Some(dialog) = self.dialogs.get_mut(&id) {
                    dialog.offers.overlaps = 0;
                    dialog.remote = Some(answer.clone());
                    dialog.local = offered.or(dialog.local.take());
                }
                self.tell(id, DialogEvent::ReofferAnswered(Box::new(AudioAnswer(answer.0))));
            }
            Some(Err(_)) | None => self.tell(id, DialogEvent::ReofferFailed(488)),
        }
        self.refreshed(id, 200, Some(response), now);
        self.reoffer(id, reoffer::Input::Done, now);
    }

    // ---- what both need

    /// The record of the dialog with this remote tag: confirmed, or early on either side.
    pub(super) fn record_of(&mut self, id: DialogId, remote_tag: &str) -> Option<&mut super::super::dialog::Record> {
        let dialog = self.dialogs.get_mut(&id)?;
        match (&mut dialog.established, &mut dialog.side) {
            (Some(established), _) => Some(&mut established.record),
            (None, Side::Uas(incoming)) => Some(&mut incoming.record),
            (None, Side::Uac(outgoing)) => outgoing.early_record(remote_tag),
        }
    }

    /// Our Contact inside a dialog.
    fn contact_in(&mut self, id: DialogId) -> Option<String> {
        let dialog = self.dialogs.get(&id)?;
        let (user, record) = match (&dialog.established, &dialog.side) {
            (Some(established), _) => (established.contact.clone(), &established.record),
            (None, Side::Uas(incoming)) => (incoming.contact.clone(), &incoming.record),
            (None, Side::Uac(outgoing)) => outgoing.early_contact()?,
        };
        let (flow, sips) = (record.flow, record.sips);
        Some(self.contact(flow, &user, sips))
    }
}

/// How long a 500 asks an offer to wait: 0 to 10 s where two overlap (RFC 3261 §14.2); whoever asks for more is out of order.
pub(super) fn overlap(response: &Message) -> Option<Duration> {
    let asked = view::retry_after(&response.get(HeaderName::RetryAfter)?)?;
    (asked <= 10).then(|| Duration::from_secs(asked.into()))
}
