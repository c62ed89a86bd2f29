//! A SIP leg's decisions as a pure machine: offers and answers, progress, hold, the end. Transactions, retransmissions, ACK and
//! PRACK are the SIP core's (RFC 3261 §13, §14; RFC 3264; RFC 6337 for who may offer when).
//!
//! ```text
//!  UAS  Offered --Answer--> Answering --ACK--> Confirmed          any --End--> Ending --Ended--> (gone)
//!  UAC  Calling --1xx--> Calling --2xx-------> Confirmed          any --Ended-----------------> (gone)
//! ```

use std::net::IpAddr;

use super::protection::Protection;
pub use super::types::*;
use crate::leg::{LegOrder, LegReport};
use crate::model::address::{AppHeaders, CallerId, Carried, MaxForwards};
use crate::model::cause::Cause;
use crate::model::ids::{DialogId, LegId};
use crate::model::media::Codec;
use crate::model::negotiate::{AudioAnswer, AudioOffer, Capabilities, Negotiated};
use crate::model::srtp::MediaEncryption;
use crate::ports::sip::{
    Destination, DialogEvent, DialogPhase, DialogSnapshot, IncomingInvite, OutgoingInvite, SipCommand,
};

type Step = (SipState, Vec<SipEffect>);

impl SipState {
    /// A leg that the party began.
    pub fn uas(invite: Box<IncomingInvite>, codecs: Vec<Codec>, encryption: MediaEncryption) -> Self {
        let protection = Protection::new(encryption);
        Self::new(invite.dialog, Role::Uas(invite), codecs, protection, SipPhase::Offered)
    }

    /// A leg that we begin.
    pub fn uac(
        to: Vec<Destination>,
        caller: CallerId,
        headers: AppHeaders,
        max_forwards: MaxForwards,
        carried: Carried,
        codecs: Vec<Codec>,
        encryption: MediaEncryption,
    ) -> Self {
        let carried = Box::new(carried);
        let role = Role::Uac { to, caller, headers, max_forwards, carried };
        Self::new(DialogId::random(), role, codecs, Protection::new(encryption), SipPhase::Calling)
    }

    fn new(dialog: DialogId, role: Role, codecs: Vec<Codec>, protection: Protection, phase: SipPhase) -> Self {
        Self {
            dialog,
            role,
            codecs,
            protection,
            rtp: None,
            phase,
            local: None,
            agreed: None,
            progress: None,
            headers: AppHeaders::default(),
            hold: Hold::default(),
            orders: 0,
            last: Vec::new(),
        }
    }

    /// Call-ID of a call that came in; our dialog's id of one that went out.
    pub fn signalling_id(&self) -> String {
        match &self.role {
            Role::Uas(invite) => invite.call_id.clone(),
            Role::Uac { .. } => self.dialog.to_string(),
        }
    }

    /// The party's Session-ID, once it is known.
    pub fn session_id(&self) -> Option<String> {
        match &self.role {
            Role::Uas(invite) => invite.headers.session_id().map(str::to_owned),
            Role::Uac { .. } => self.headers.session_id().map(str::to_owned),
        }
    }

    /// The party holds us.
    pub fn held(&self) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| !agreed.direction.sends())
    }

    /// Steps the leg. `leg` is its own id, needed to name it to the core.
    pub fn step(mut self, leg: LegId, input: SipInput) -> Step {
        let mut out = Vec::new();
        if !matches!(input, SipInput::Resume(_)) {
            self.last.clear();
        }
        match input {
            SipInput::Start => self.start(leg, &mut out),
            SipInput::Resume(snapshot) => self.resume(snapshot, &mut out),
            SipInput::NoMedia(cause) => match self.role {
                Role::Uas(_) => {
                    self.command(SipCommand::Adopt(leg), &mut out);
                    self.end(cause, &mut out);
                }
                Role::Uac { .. } => self.over(cause, &mut out),
            },
            SipInput::Order(order) => self.order(order, &mut out),
            SipInput::Dialog(event) => self.dialog(event, &mut out),
            SipInput::Peer(event) => self.peer(event, &mut out),
            SipInput::Overdue => {
                if let SipPhase::Ending(cause) = self.phase.clone() {
                    self.over(cause, &mut out);
                }
            }
        }
        (self, out)
    }

    fn start(&mut self, leg: LegId, out: &mut Vec<SipEffect>) {
        match &self.role {
            Role::Uas(invite) => {
                let offered = invite.offer.as_ref().and_then(|offer| offer.0.qos);
                let waits = invite.reliable && offered.is_some_and(|qos| !qos.local);
                self.command(SipCommand::Adopt(leg), out);
                if waits {
                    self.tell_preconditions(out);
                }
            }
            Role::Uac { to, caller, headers, max_forwards, carried } => {
                let (to, caller, headers, max_forwards) = (to.clone(), caller.clone(), headers.clone(), *max_forwards);
                let carried = carried.as_ref().clone();
                let Some(ours) = self.capabilities(Vec::new(), None) else {
                    self.over(Cause::internal("a leg began without its media session"), out);
                    return;
                };
                let offer = AudioOffer::from_capabilities(&ours);
                self.local = Some(Box::new(offer.clone()));
                let invite = OutgoingInvite { leg, to, caller, headers, max_forwards, carried, offer };
                self.command(SipCommand::Invite(Box::new(invite)), out);
            }
        }
    }

    /// A caller that still reserves what its call needs is answered at once, so that it can say when it is done (RFC 3312 §5).
    ///
    /// The callee rings meanwhile, where §6 would have it wait: reservations take less than a ring, and a caller whose
    /// reservation fails gives up as any other does.
    fn tell_preconditions(&mut self, out: &mut Vec<SipEffect>) {
        self.prepare(Vec::new(), out);
        let (SipPhase::Offered, Some(local)) = (&self.phase, &self.local) else { return };
        let answer = Some(Box::new(AudioAnswer(local.0.clone())));
        self.command(SipCommand::Progress { status: 183, answer, headers: AppHeaders::default() }, out);
    }

    /// Level-triggered: steps whatever the core knows and the checkpoint does not, then says again what is so.
    fn resume(&mut self, snapshot: Option<Box<DialogSnapshot>>, out: &mut Vec<SipEffect>) {
        let unheard = std::mem::take(&mut self.last);
        let reissued = !unheard.is_empty();
        let answering = unheard.iter().find_map(|(_, command)| match command {
            SipCommand::AnswerReoffer { request, .. } | SipCommand::RejectReoffer { request, .. } => Some(*request),
            SipCommand::Adopt(_)
            | SipCommand::Invite(_)
            | SipCommand::Progress { .. }
            | SipCommand::Answer { .. }
            | SipCommand::Reject { .. }
            | SipCommand::Reoffer(_)
            | SipCommand::Info(_)
            | SipCommand::Hangup(_)
            | SipCommand::Forget => None,
        });
        out.extend(unheard.iter().map(|_| SipEffect::Command));
        self.last = unheard;
        if let Some(agreed) = &self.agreed {
            out.push(SipEffect::Configure { negotiated: agreed.clone(), watched: self.answered() });
            out.push(SipEffect::Report(LegReport::Ready(agreed.send.codec)));
        }
        if let (Some((status, early)), SipPhase::Calling) = (self.progress, &self.phase) {
            let early = self.agreed.as_ref().filter(|_| early).map(|agreed| agreed.send.codec);
            let headers = AppHeaders::default();
            out.push(SipEffect::Report(LegReport::Progress { status, early, headers }));
        }
        if self.phase == SipPhase::Confirmed {
            self.connected(out);
            self.report_hold(out);
        }
        let Some(snapshot) = snapshot else {
            if !reissued {
                self.over(Cause::internal("the SIP core no longer knows the dialog"), out);
            }
            return;
        };
        let remote = snapshot.remote.map(|remote| Box::new(AudioAnswer(remote.0)));
        match (snapshot.phase, &self.phase) {
            (DialogPhase::Ended(cause), _) => self.dialog(DialogEvent::Ended(cause), out),
            (DialogPhase::Confirmed, SipPhase::Calling) => {
                if let Some(answer) = remote {
                    let (headers, advertised) = (snapshot.headers, snapshot.advertised);
                    self.dialog(DialogEvent::Answered { answer, headers, advertised }, out);
                }
            }
            (DialogPhase::Confirmed, SipPhase::Answering) => {
                let answer = remote.filter(|_| self.delayed_offer());
                self.dialog(DialogEvent::Acked { answer }, out);
            }
            (DialogPhase::Early { progress: Some(status) }, SipPhase::Calling) if self.progress.is_none() => {
                let event = DialogEvent::Progress { status, answer: remote, headers: AppHeaders::default() };
                self.dialog(event, out);
            }
            (DialogPhase::Early { .. }, SipPhase::Offered | SipPhase::Answering) if self.awaits_prack() => {
                if let Some(answer) = remote {
                    self.dialog(DialogEvent::Pracked(answer), out);
                }
            }
            (DialogPhase::Confirmed, SipPhase::Confirmed) if !snapshot.offering => match remote {
                Some(answer) if self.hold.proposed.is_some() && self.hold.proposed == snapshot.local => {
                    self.dialog(DialogEvent::ReofferAnswered(answer), out);
                }
                Some(_) | None if self.hold.proposed.is_some() && !reissued => {
                    self.dialog(DialogEvent::ReofferFailed(500), out);
                }
                Some(_) | None => {}
            },
            (DialogPhase::Early { .. } | DialogPhase::Answering | DialogPhase::Confirmed, _) => {}
        }
        if let Some(referral) = snapshot.referral {
            self.dialog(DialogEvent::Referred(referral), out);
        }
        if let Some((request, offer)) = snapshot.pending.filter(|(request, _)| answering != Some(*request)) {
            self.dialog(DialogEvent::Reoffered { request, offer }, out);
        }
    }

    fn order(&mut self, order: LegOrder, out: &mut Vec<SipEffect>) {
        match order {
            LegOrder::Prepare { first } => {
                if self.phase == SipPhase::Offered {
                    self.prepare(first, out);
                }
            }
            LegOrder::Progress { status, early, headers } => {
                if self.phase == SipPhase::Offered {
                    // RFC 3262 §5: without an offer in the INVITE, the first reliable response has one.
                    let offers = self.delayed_offer() && self.offers_early();
                    if offers && self.local.is_none() {
                        self.prepare(Vec::new(), out);
                    }
                    let answer = self.local.as_ref().filter(|_| offers || (early && !self.delayed_offer()));
                    let answer = answer.map(|local| Box::new(AudioAnswer(local.0.clone())));
                    self.command(SipCommand::Progress { status, answer, headers }, out);
                }
            }
            LegOrder::Answer { headers } => {
                if self.phase == SipPhase::Offered {
                    self.answer(headers, out);
                }
            }
            LegOrder::Offer(_) => {}
            LegOrder::Hold(hold) => {
                self.hold.wanted = hold;
                self.tell_hold(out);
            }
            LegOrder::End(cause) if self.phase == SipPhase::Offered && cause.status == 488 => {
                // The call saw that the offer cannot be answered; the core says why in a Warning.
                let error =
                    self.offered().and_then(|offer| offer.answerable(&self.codecs, self.protection.policy).err());
                let warning = error.map(|error| error.warning());
                self.command(SipCommand::Reject { cause: cause.clone(), warning }, out);
                self.ending(cause, out);
            }
            LegOrder::End(cause) => match self.phase {
                SipPhase::Offered | SipPhase::Answering | SipPhase::Calling | SipPhase::Confirmed => {
                    self.end(cause, out);
                }
                SipPhase::Ending(_) | SipPhase::Ended => {}
            },
        }
    }

    fn prepare(&mut self, first: Vec<Codec>, out: &mut Vec<SipEffect>) {
        if let Some(agreed) = &self.agreed {
            out.push(SipEffect::Report(LegReport::Ready(agreed.send.codec)));
            return;
        }
        let offer = self.offered().cloned();
        let Some(ours) = self.capabilities(first, offer.as_ref()) else {
            self.end(Cause::internal("a leg began without its media session"), out);
            return;
        };
        let Some(offer) = offer else {
            // No offer in the INVITE: ours goes out in the 200, and the ACK brings the answer (RFC 3261 §13.2.1).
            self.local = Some(Box::new(AudioOffer::from_capabilities(&ours)));
            let codec = ours.codecs.first().copied().unwrap_or(Codec::Pcmu);
            out.push(SipEffect::Report(LegReport::Ready(codec)));
            return;
        };
        match offer.answer(&ours) {
            Ok((answer, negotiated)) => {
                self.local = Some(Box::new(AudioOffer(answer.0)));
                self.agree(negotiated, out);
                if let Some(agreed) = &self.agreed {
                    out.push(SipEffect::Report(LegReport::Ready(agreed.send.codec)));
                }
            }
            Err(error) => {
                let cause = Cause::not_acceptable(error.to_string());
                self.command(SipCommand::Reject { cause: cause.clone(), warning: Some(error.warning()) }, out);
                self.ending(cause, out);
            }
        }
    }

    fn answer(&mut self, headers: AppHeaders, out: &mut Vec<SipEffect>) {
        if self.local.is_none() {
            self.prepare(Vec::new(), out);
        }
        let (SipPhase::Offered, Some(local)) = (&self.phase, self.local.clone()) else { return };
        self.phase = SipPhase::Answering;
        self.command(SipCommand::Answer { description: local, headers }, out);
        if let Some(agreed) = &self.agreed {
            out.push(SipEffect::Configure { negotiated: agreed.clone(), watched: true });
        }
    }

    fn dialog(&mut self, event: DialogEvent, out: &mut Vec<SipEffect>) {
        if let SipPhase::Ending(cause) = &self.phase {
            // Whatever crosses our hang-up is the core's to finish; only the end counts.
            if let DialogEvent::Ended(_) = event {
                let cause = cause.clone();
                self.over(cause, out);
            }
            return;
        }
        match event {
            DialogEvent::Progress { status, answer, headers } => {
                if self.phase != SipPhase::Calling {
                    return;
                }
                let agreed = match (answer, &self.local) {
                    (Some(answer), Some(local)) => answer.accept(local).ok(),
                    (Some(_), None) | (None, _) => None,
                };
                let early = agreed.as_ref().map(|agreed| agreed.send.codec);
                if let Some(agreed) = agreed {
                    self.agree(agreed, out);
                }
                self.progress = Some((status, early.is_some()));
                out.push(SipEffect::Report(LegReport::Progress { status, early, headers }));
            }
            DialogEvent::Answered { answer, headers, advertised } => {
                if self.phase != SipPhase::Calling {
                    return;
                }
                if let Some(ip) = advertised {
                    self.move_to(ip);
                }
                self.headers = headers;
                self.phase = SipPhase::Confirmed;
                self.take_answer(&answer, out);
                self.tell_hold(out);
            }
            DialogEvent::Pracked(answer) => {
                let Some(local) = self.local.as_ref().filter(|_| self.awaits_prack()) else { return };
                match answer.accept(local) {
                    Ok(negotiated) => self.agree(negotiated, out),
                    Err(error) => self.end(Cause::not_acceptable(error.to_string()), out),
                }
            }
            DialogEvent::Acked { answer } => {
                if self.phase != SipPhase::Answering {
                    self.take_reoffer_answer(answer, out);
                    return;
                }
                self.phase = SipPhase::Confirmed;
                match answer.filter(|_| self.delayed_offer()) {
                    Some(answer) => self.take_answer(&answer, out),
                    None if self.agreed.is_some() => self.connected(out),
                    None => self.end(Cause::not_acceptable("the ACK brought no answer to our offer"), out),
                }
                self.tell_hold(out);
            }
            DialogEvent::Reoffered { request, offer } => self.reoffered(request, offer, out),
            DialogEvent::ReofferAnswered(answer) => self.reoffer_answered(&answer, out),
            DialogEvent::ReofferFailed(status) => self.reoffer_failed(status),
            DialogEvent::Referred(referral) => out.push(SipEffect::Report(LegReport::Referred(referral))),
            DialogEvent::Info(digit) => out.push(SipEffect::Report(LegReport::Digit { digit, by_info: true })),
            DialogEvent::Ended(cause) => self.over(cause, out),
        }
    }

    /// What we say from now on names the address that who answered was offered.
    fn move_to(&mut self, ip: IpAddr) {
        if let Some(rtp) = &mut self.rtp {
            rtp.set_ip(ip);
        }
        if let Some(local) = &mut self.local {
            local.0.rtp.set_ip(ip);
        }
    }

    fn take_answer(&mut self, answer: &AudioAnswer, out: &mut Vec<SipEffect>) {
        let accepted = self.local.as_ref().map(|local| answer.accept(local));
        match accepted {
            Some(Ok(negotiated)) => {
                self.agree(negotiated, out);
                self.connected(out);
                self.report_hold(out);
            }
            Some(Err(error)) => self.end(Cause::not_acceptable(error.to_string()), out),
            None => self.end(Cause::internal("an answer came, but we had offered nothing"), out),
        }
    }

    pub(super) fn agree(&mut self, negotiated: Negotiated, out: &mut Vec<SipEffect>) {
        let negotiated = Box::new(negotiated);
        self.agreed = Some(negotiated.clone());
        out.push(SipEffect::Configure { negotiated, watched: self.answered() });
    }

    fn connected(&self, out: &mut Vec<SipEffect>) {
        if let Some(agreed) = &self.agreed {
            let headers = self.headers.clone();
            out.push(SipEffect::Report(LegReport::Connected { codec: agreed.send.codec, headers }));
        }
    }

    pub(super) fn report_hold(&self, out: &mut Vec<SipEffect>) {
        out.push(SipEffect::Report(LegReport::Held { held: self.held(), mute: self.mute() }));
    }

    pub(super) fn mute(&self) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| !agreed.direction.receives())
    }

    fn answered(&self) -> bool {
        matches!(self.phase, SipPhase::Answering | SipPhase::Confirmed)
    }

    /// Ends it towards the peer; the core does what the dialog's state asks for: a final response, CANCEL or BYE.
    pub(super) fn end(&mut self, cause: Cause, out: &mut Vec<SipEffect>) {
        self.command(SipCommand::Hangup(cause.clone()), out);
        self.ending(cause, out);
    }

    fn ending(&mut self, cause: Cause, out: &mut Vec<SipEffect>) {
        self.phase = SipPhase::Ending(cause);
        out.push(SipEffect::CloseMedia);
    }

    fn over(&mut self, cause: Cause, out: &mut Vec<SipEffect>) {
        if self.phase == SipPhase::Ended {
            return;
        }
        if !matches!(self.phase, SipPhase::Ending(_)) {
            out.push(SipEffect::CloseMedia);
        }
        self.phase = SipPhase::Ended;
        self.command(SipCommand::Forget, out);
        out.push(SipEffect::End(cause));
    }

    pub(super) fn command(&mut self, command: SipCommand, out: &mut Vec<SipEffect>) {
        self.orders += 1;
        self.last.push((self.orders, command));
        out.push(SipEffect::Command);
    }

    fn offered(&self) -> Option<&AudioOffer> {
        match &self.role {
            Role::Uas(invite) => invite.offer.as_ref(),
            Role::Uac { .. } => None,
        }
    }

    fn delayed_offer(&self) -> bool {
        match &self.role {
            Role::Uas(invite) => invite.offer.is_none(),
            Role::Uac { .. } => false,
        }
    }

    /// Our offer may go out before the answer, in a reliable provisional response.
    fn offers_early(&self) -> bool {
        match &self.role {
            Role::Uas(invite) => invite.reliable,
            Role::Uac { .. } => false,
        }
    }

    /// Our offer went out so, and its answer has not come.
    fn awaits_prack(&self) -> bool {
        self.delayed_offer() && self.offers_early() && self.agreed.is_none()
    }

    /// What we can do, for an answer to `offer`, or for an offer of our own.
    pub(super) fn capabilities(&mut self, mut codecs: Vec<Codec>, offer: Option<&AudioOffer>) -> Option<Capabilities> {
        codecs.retain(|codec| self.codecs.contains(codec));
        codecs.extend(self.codecs.iter().filter(|codec| !codecs.contains(codec)).copied().collect::<Vec<_>>());
        let rtp = self.rtp?;
        Some(Capabilities {
            codecs,
            rtp,
            direction: self.hold.direction(),
            // `o=` ids are 63 bits at most in some peers.
            session_id: self.dialog.0 >> 1,
            session_version: 1,
            security: self.protection.toward(offer.map(|offer| &offer.0), self.agreed.as_deref(), rtp),
        })
    }
}

#[cfg(test)]
mod tests;
