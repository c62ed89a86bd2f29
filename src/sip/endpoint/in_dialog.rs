//! The peer's requests inside a dialog: BYE, re-INVITE, UPDATE, ACK, INFO (RFC 3261 §12.2.2, §14.2, §15.1.2, RFC 3311 §5.2,
//! RFC 6086's legacy digits), and our own digits by INFO.

use tandem_actors::model::cause::Cause;
use tandem_actors::model::media::Digit;
use tandem_actors::model::negotiate::AudioAnswer;
use tandem_actors::ports::sip::DialogEvent;
use tokio::time::Instant;

use super::super::dialog::session_timer::Said;
use super::super::dialog::{contact_of, reoffer};
use super::established::Side;
use super::offer::{description_of, is_type};
use super::reoffers::Carrier;
use super::transactions::ServerInput;
use super::*;

impl Core {
    /// A request with a To tag (RFC 3261 §12.2.2).
    pub(super) fn in_dialog(&mut self, key: ServerKey, method: Method, names: &Names, flow: Flow, now: Instant) {
        use rsip::Method as M;
        let id = self.names.get(&(names.call_id.clone(), names.to_tag.clone())).copied();
        let Some(id) = id.filter(|id| self.remote_tag(*id).is_none_or(|tag| tag == names.from_tag)) else {
            self.refuse(key, 481, now);
            return;
        };
        let fresh = match self.record_of(id, &names.from_tag) {
            Some(record) => record.take_cseq(names.cseq),
            // A callee's BYE ends our INVITE even from a branch that no response came of.
            None => method == Method::Known(M::Bye),
        };
        if !fresh {
            self.refuse(key, 500, now);
            return;
        }
        if let Some(server) = self.servers.get_mut(&key) {
            server.dialog = Some(id);
            if let Some(dialog) = self.dialogs.get_mut(&id) {
                dialog.session_id.hear(&server.request);
            }
        }
        let over = self.is_over(id);
        match method {
            Method::Known(M::Bye) => self.bye_heard(id, key, now),
            Method::Known(_) | Method::Other if over => self.refuse(key, 481, now),
            Method::Known(M::Invite) => self.reinvite_asked(id, key, names, flow, now),
            Method::Known(M::Update) => self.update_asked(id, key, names, now),
            Method::Known(M::PRack) => self.prack_asked(id, key, names, now),
            Method::Known(M::Info) => self.info_asked(id, key, now),
            // RFC 3261 §11.2: as outside a dialog; a call that is up is served while we drain.
            Method::Known(M::Options) => self.capabilities_asked(key, ALLOW, now),
            Method::Known(M::Refer) => self.refer_asked(id, key, names.cseq, now),
            Method::Known(M::Subscribe | M::Publish) => self.refuse(key, 489, now),
            // We have subscribed to nothing (RFC 6665 §4.1.3).
            Method::Known(M::Notify) => self.refuse(key, 481, now),
            Method::Known(M::Register | M::Message) => self.refuse(key, 405, now),
            Method::Known(M::Ack | M::Cancel) | Method::Other => {
                self.respond(
                    key,
                    501,
                    now,
                    |writer| {
                        writer.header(HeaderName::Allow, ALLOW);
                    },
                    "",
                );
            }
        }
    }

    /// The remote tag a dialog's requests must carry; `None` while a UAC has not learnt it.
    fn remote_tag(&self, id: DialogId) -> Option<String> {
        let dialog = self.dialogs.get(&id)?;
        match (&dialog.established, &dialog.side) {
            (Some(established), _) => Some(established.record.remote_tag.clone()),
            (None, Side::Uas(incoming)) => Some(incoming.record.remote_tag.clone()),
            (None, Side::Uac(_)) => None,
        }
    }

    fn bye_heard(&mut self, id: DialogId, key: ServerKey, now: Instant) {
        let q850 = self.servers.get(&key).and_then(|server| q850_of(&server.request));
        self.respond(key, 200, now, |_| {}, "");
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let early = match (&mut dialog.established, &dialog.side) {
            (Some(established), _) => {
                // Nobody will acknowledge now.
                established.accepted = None;
                established.bye_on_ack = None;
                None
            }
            (None, Side::Uas(incoming)) => Some(incoming.key),
            (None, Side::Uac(_)) => None,
        };
        if dialog.ended.is_some() {
            return;
        }
        match early {
            // RFC 3261 §15.1.2: a caller may end an early dialog so; the INVITE gets 487.
            Some(invite) => {
                self.refuse(invite, 487, now);
                self.end(id, Cause::cancelled(), now);
            }
            None => {
                let mut cause = Cause::hangup();
                cause.q850 = q850.or(cause.q850);
                // RFC 3261 §15 forbids a callee this BYE before its 2xx; one that sends it leaves our INVITE ringing.
                self.cancel_forks(id, cause.q850, now);
                self.end(id, cause, now);
            }
        }
    }

    fn reinvite_asked(&mut self, id: DialogId, key: ServerKey, names: &Names, flow: Flow, now: Instant) {
        self.respond(key, 100, now, |_| {}, "");
        let Some(Dialog { established: Some(established), .. }) = self.dialogs.get_mut(&id) else {
            // RFC 3261 §14.2: a second INVITE before the first is answered.
            self.refuse(key, 500, now);
            return;
        };
        if established.accepted.is_some() {
            // Our 200 waits for its ACK, which was lost or comes behind this.
            self.refuse(key, 491, now);
            return;
        }
        established.record.flow = flow;
        self.offer_asked(id, key, names, Carrier::Invite, now);
    }

    /// UPDATE (RFC 3311 §5.2): with an offer only where the last one was answered; without one it refreshes, and nothing else.
    fn update_asked(&mut self, id: DialogId, key: ServerKey, names: &Names, now: Instant) {
        let Some(server) = self.servers.get(&key) else { return };
        let target = contact_of(&server.request);
        if !server.request.body().is_empty() {
            match self.offer_open(id, &names.from_tag) {
                Some(status) => self.refuse(key, status, now),
                None => self.offer_asked(id, key, names, Carrier::Update, now),
            }
            return;
        }
        if Said::of(&server.request).too_small(self.session_policy(self.dialog_trunk(id))) {
            // It is refused there, with the interval that will do.
            self.offer_of(key, self.dialog_trunk(id), now);
            return;
        }
        if let Some(target) = target
            && let Some(record) = self.record_of(id, &names.from_tag)
        {
            record.target = target;
        }
        self.grant(id, key, Carrier::Update, None, now);
    }

    /// How an UPDATE's offer is refused while the INVITE's own is open: ours 491, theirs 500 (RFC 3311 §5.2).
    fn offer_open(&mut self, id: DialogId, remote_tag: &str) -> Option<u16> {
        let dialog = self.dialogs.get_mut(&id)?;
        match (&dialog.established, &mut dialog.side) {
            (Some(established), _) if established.expects_answer => Some(491),
            (Some(_), _) => None,
            (None, Side::Uas(incoming)) => match &incoming.reliable {
                Some(reliable) if reliable.holds_2xx() && !incoming.offered => Some(491),
                Some(reliable) if reliable.described => None,
                Some(_) | None => Some(500),
            },
            (None, Side::Uac(outgoing)) => {
                let agreed = outgoing.branch(remote_tag).is_some_and(|branch| branch.answered);
                (!agreed).then_some(491)
            }
        }
    }

    /// The value of a Warning header (RFC 3261 §20.43).
    pub(super) fn warning(&self, code: u16, text: &str) -> String {
        format!("{code} {} {}", self.config.domain, super::super::message::write::quoted(text))
    }

    /// An ACK: of a failure (to its transaction), or of a 2xx (to its dialog). Never answered.
    pub(super) fn ack(&mut self, message: &Message, now: Instant) {
        let key = self.server_key(message, b"INVITE");
        if let Some(key) = key
            && let Some(Server { machine: ServerMachine::Invite(machine), .. }) = self.servers.get(&key)
            && matches!(machine, ServerInvite::Completed { .. } | ServerInvite::Confirmed { .. })
        {
            self.server_step(key, ServerInput::Ack, now);
            return;
        }
        let Some(names) = Names::of(message) else { return };
        let Some(id) = self.names.get(&(names.call_id.clone(), names.to_tag.clone())).copied() else {
            metrics::dropped("stray_ack");
            return;
        };
        let Some(established) = self.established_mut(id) else { return };
        if established.record.remote_tag != names.from_tag
            || established.accepted.take_if(|accepted| accepted.cseq == names.cseq).is_none()
        {
            return;
        }
        let answer = match description_of(message) {
            Some(Ok(answer)) if established.expects_answer => Some(answer),
            Some(_) | None => None,
        };
        let (initial, expected) = (established.initial, std::mem::take(&mut established.expects_answer));
        established.initial = false;
        established.confirmed = true;
        let bye = established.bye_on_ack.take();
        if let (Some(answer), Some(dialog)) = (&answer, self.dialogs.get_mut(&id)) {
            dialog.remote = Some(answer.clone());
        }
        if let Some(cause) = bye {
            self.bye(id, &cause, now);
        } else if !self.is_over(id) {
            if initial || expected {
                let answer = answer.map(|answer| Box::new(AudioAnswer(answer.0)));
                self.tell(id, DialogEvent::Acked { answer });
            }
            if !initial {
                self.reoffer(id, reoffer::Input::Settled, now);
            }
        }
        self.sweep(id, now);
        self.arm_dialog(id);
    }

    // ---- digits

    /// INFO: digits in either form phones send, anything else without a body is 200 (RFC 6086 legacy usage).
    pub(super) fn info_asked(&mut self, id: DialogId, key: ServerKey, now: Instant) {
        let Some(server) = self.servers.get(&key) else { return };
        let request = &server.request;
        let digit = if is_type(request, "application/dtmf-relay") || is_type(request, "application/dtmf") {
            info_digit(request.body())
        } else if request.body().is_empty() {
            self.respond(key, 200, now, |_| {}, "");
            return;
        } else {
            let accept = "application/dtmf-relay, application/dtmf";
            self.respond(
                key,
                415,
                now,
                |writer| {
                    writer.header(HeaderName::Accept, accept);
                },
                "",
            );
            return;
        };
        match digit {
            Some(digit) => {
                self.respond(key, 200, now, |_| {}, "");
                self.tell(id, DialogEvent::Info(digit));
            }
            None => self.refuse(key, 400, now),
        }
    }

    /// Sends digits one INFO after the other, so that none overtakes another.
    pub(super) fn send_digits(&mut self, id: DialogId, digits: &[Digit], now: Instant) {
        if let Some(established) = self.established_mut(id) {
            established.digits.extend(digits);
            if !established.info_out {
                self.next_digit(id, now);
            }
        }
    }

    fn next_digit(&mut self, id: DialogId, now: Instant) {
        let Some(established) = self.established_mut(id) else { return };
        let Some(digit) = established.digits.pop_front() else {
            established.info_out = false;
            return;
        };
        established.info_out = true;
        let contact = Some(established.contact.clone());
        let mut draft = Self::dialog_draft(&mut established.record, rsip::Method::Info, contact);
        let record = established.record.clone();
        draft.content_type = "application/dtmf-relay";
        draft.body = format!("Signal={}\r\nDuration=160\r\n", digit.char());
        self.begin_in_dialog(draft, &record, Owner::Info { dialog: id }, now);
    }

    pub(super) fn info_heard(&mut self, id: DialogId, status: u16, now: Instant) {
        if status >= 200 {
            self.next_digit(id, now);
        }
    }
}

/// The digit of `Signal=5` lines or of a bare body.
fn info_digit(body: &[u8]) -> Option<Digit> {
    let text = String::from_utf8_lossy(body);
    let signal = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        key.trim().eq_ignore_ascii_case("signal").then(|| value.trim().to_owned())
    });
    let value = signal.unwrap_or_else(|| text.trim().to_owned());
    match value.as_str() {
        // Some gateways number the star and the pound sign as RFC 4733 does.
        "10" => Digit::new('*'),
        "11" => Digit::new('#'),
        value => {
            let mut characters = value.chars();
            characters.next().filter(|_| characters.next().is_none()).and_then(Digit::new)
        }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn info_digits_come_in_two_forms() {
        assert_eq!(info_digit(b"Signal= 5\r\nDuration=160\r\n"), Digit::new('5'));
        assert_eq!(info_digit(b"Signal=11\r\nDuration=250\r\n"), Digit::new('#'));
        assert_eq!(info_digit(b"*\r\n"), Digit::new('*'));
        assert_eq!(info_digit(b"Signal=55"), None);
        assert_eq!(info_digit(b""), None);
    }
}
