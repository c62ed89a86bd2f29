//! Offers while a leg's session is up: the party's, always answered by themselves, and ours, by which the far side's hold is
//! told (RFC 3264 §8, RFC 6337).

use super::phase::{SipEffect, SipPhase, SipState};
use crate::model::negotiate::{AudioAnswer, AudioDescription, AudioOffer};
use crate::ports::sip::SipCommand;

impl SipState {
    /// A re-INVITE, UPDATE or PRACK: always a real answer, or 488; never what was said before.
    pub(super) fn reoffered(&mut self, request: u64, offer: Option<Box<AudioOffer>>, out: &mut Vec<SipEffect>) {
        let current = self.agreed.as_ref().map(|agreed| agreed.send.codec);
        let Some(mut ours) = self.capabilities(current.into_iter().collect(), offer.as_deref()) else {
            self.command(SipCommand::RejectReoffer { request, status: 500, warning: None }, out);
            return;
        };
        ours.session_version = self.local.as_ref().map_or(1, |local| local.0.session_version.saturating_add(1));
        let Some(offer) = offer else {
            let renewed = match &self.local {
                Some(local) => AudioOffer::renewed(&local.0, &ours).0,
                None => AudioOffer::from_capabilities(&ours).0,
            };
            let description = Box::new(AudioOffer(self.same_version_if_unchanged(renewed)));
            self.local = Some(description.clone());
            self.command(SipCommand::AnswerReoffer { request, description }, out);
            return;
        };
        match offer.answer(&ours) {
            Ok((answer, negotiated)) => {
                let was = (self.held(), self.mute());
                let description = Box::new(AudioOffer(self.same_version_if_unchanged(answer.0)));
                self.local = Some(description.clone());
                self.command(SipCommand::AnswerReoffer { request, description }, out);
                self.agree(negotiated, out);
                if was != (self.held(), self.mute()) {
                    self.report_hold(out);
                }
            }
            Err(error) => {
                let warning = Some(error.warning());
                self.command(SipCommand::RejectReoffer { request, status: 488, warning }, out);
            }
        }
        // Ours met theirs and waits: what it offers follows what was just said.
        if self.hold.proposed.take().is_some() {
            self.tell_hold(out);
        }
    }

    /// The ACK of a re-INVITE that had asked for our offer.
    pub(super) fn take_reoffer_answer(&mut self, answer: Option<Box<AudioAnswer>>, out: &mut Vec<SipEffect>) {
        let (SipPhase::Confirmed, Some(answer), Some(local)) = (&self.phase, answer, &self.local) else { return };
        let was = (self.held(), self.mute());
        if let Ok(negotiated) = answer.accept(local) {
            self.agree(negotiated, out);
        }
        if was != (self.held(), self.mute()) {
            self.report_hold(out);
        }
    }

    /// Tells the party what the far side wants, if it does not know: a re-INVITE that changes the direction and nothing else.
    pub(super) fn tell_hold(&mut self, out: &mut Vec<SipEffect>) {
        let (SipPhase::Confirmed, Some(local)) = (&self.phase, &self.local) else { return };
        if self.hold.wanted == self.hold.told || self.hold.proposed.is_some() {
            return;
        }
        let mut offer = local.clone();
        offer.0.direction = self.hold.direction();
        offer.0.session_version = offer.0.session_version.saturating_add(1);
        self.hold.proposed = Some(offer.clone());
        self.command(SipCommand::Reoffer(offer), out);
    }

    /// The party answered ours, or a refresh of the session.
    pub(super) fn reoffer_answered(&mut self, answer: &AudioAnswer, out: &mut Vec<SipEffect>) {
        if self.phase != SipPhase::Confirmed {
            return;
        }
        if let Some(proposed) = self.hold.proposed.take() {
            self.hold.told = !proposed.0.direction.receives();
            self.local = Some(proposed);
        }
        let was = (self.held(), self.mute());
        // An answer that fits nothing leaves what was agreed on before (RFC 6141 §3.1).
        if let Some(negotiated) = self.local.as_ref().and_then(|local| answer.accept(local).ok())
            && self.agreed.as_deref() != Some(&negotiated)
        {
            self.agree(negotiated, out);
        }
        // Held by us, it sends nothing: that is no hold of its own.
        if was != (self.held(), self.mute()) && !self.hold.told {
            self.report_hold(out);
        }
        self.tell_hold(out);
    }

    /// The party refused ours: the session is as before, and it is not asked again until the wish changes.
    pub(super) fn reoffer_failed(&mut self, status: u16) {
        if self.hold.proposed.take().is_some() {
            tracing::info!(dialog = %self.dialog, status, "a phone was not told of the hold: it refused");
            self.hold.told = self.hold.wanted;
        }
    }

    /// The `o=` version goes up only when something changed (RFC 3264 §8).
    fn same_version_if_unchanged(&self, mut description: AudioDescription) -> AudioDescription {
        if let Some(local) = &self.local {
            let changed = description.session_version;
            description.session_version = local.0.session_version;
            if description != local.0 {
                description.session_version = changed;
            }
        }
        description
    }
}
