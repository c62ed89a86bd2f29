//! What happens while it is up: hold, digits, silence, the app users' wishes.

use std::time::SystemTime;

use super::{CallCheckpoint, CallEffect, Party, Phase, Side, ToFlow};
use crate::call::ClientAction;
use crate::client::protocol::Event;
use crate::leg::LegOrder;
use crate::model::cause::Cause;
use crate::model::ids::ClientId;
use crate::model::media::Digit;

/// What a held party hears when the holder sends nothing.
pub(super) const HOLD: &str = "tone:hold";

impl CallCheckpoint {
    /// A party holds, or no longer. The other side is told; it hears the holder's own music where there is some, our tone
    /// where the holder sends nothing.
    pub(super) fn party_held(&mut self, side: Side, held: bool, mute: bool, out: &mut Vec<CallEffect>) {
        let was = self.party(side).is_some_and(|party| party.held);
        self.with(side, |party| party.held = held);
        if self.phase != Phase::Talking {
            return;
        }
        let Some(other) = self.party(side.other()) else { return };
        if was != held {
            self.tell_held(other, held, out);
        }
        if held && mute {
            out.push(CallEffect::Tone(other.media, HOLD));
        } else if was {
            out.push(CallEffect::StopPlay(other.media));
        }
    }

    /// Tells a party that it is held, or no longer: an app by an event, a phone by a re-INVITE.
    pub(super) fn tell_held(&self, party: &Party, held: bool, out: &mut Vec<CallEffect>) {
        match party.client() {
            Some(client) => out.push(CallEffect::Emit(client, Box::new(Event::CallHeld { call: self.call, held }))),
            None => out.push(CallEffect::Order(party.leg, LegOrder::Hold(held))),
        }
    }

    /// No RTP: a holder without music, or a path that is gone.
    pub(super) fn silent(&mut self, side: Side, now: SystemTime, out: &mut Vec<CallEffect>) {
        let Some(party) = self.party(side) else { return };
        if party.held {
            if let (Phase::Talking, Some(other)) = (&self.phase, self.party(side.other())) {
                out.push(CallEffect::Tone(other.media, HOLD));
            }
            return;
        }
        match &self.phase {
            Phase::Flow | Phase::Talking | Phase::Room { .. } => {
                let reason = format!("no RTP came from {} for limits.no_rtp_timeout", party.kind());
                self.end(Cause::media_lost(reason), now, out);
            }
            Phase::Begin
            | Phase::Opening { .. }
            | Phase::Ringing(_)
            | Phase::Joining { .. }
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    /// A digit of a party. The media plane has passed a telephone-event on to a joined party by itself; INFO it has not.
    pub(super) fn digit(&mut self, side: Side, digit: Digit, by_info: bool, out: &mut Vec<CallEffect>) {
        match &self.phase {
            Phase::Flow if side == Side::A => out.push(CallEffect::TellFlow(ToFlow::Digit(digit))),
            Phase::Talking => {
                let Some(other) = self.party(side.other()) else { return };
                if let Some(client) = other.client() {
                    out.push(CallEffect::Emit(client, Box::new(Event::CallDtmf { call: self.call, digit })));
                } else if by_info {
                    out.push(CallEffect::Digits(other.media, vec![digit]));
                }
            }
            Phase::Begin
            | Phase::Opening { .. }
            | Phase::Flow
            | Phase::Ringing(_)
            | Phase::Joining { .. }
            | Phase::Room { .. }
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    /// An app user asks; whoever is no party of this call is not heard.
    pub(super) fn client(
        &mut self,
        client: ClientId,
        action: ClientAction,
        now: SystemTime,
        out: &mut Vec<CallEffect>,
    ) {
        let is = |party: &Option<Party>| party.as_ref().and_then(Party::client) == Some(client);
        let side = match (is(&self.a), is(&self.b)) {
            (true, _) => Side::A,
            (_, true) => Side::B,
            (false, false) if self.aside().and_then(Party::client) == Some(client) => {
                self.let_aside_go(&action, out);
                return;
            }
            (false, false) if self.invited.as_ref().is_some_and(|invited| invited.client == client) => Side::A,
            (false, false) => return,
        };
        match action {
            ClientAction::Offer(sdp) => self.order(side, LegOrder::Offer(sdp), out),
            ClientAction::Hangup if side == Side::A && self.answered_at.is_none() => {
                self.end(Cause::cancelled(), now, out);
            }
            ClientAction::Hangup => self.end(Cause::hangup(), now, out),
            ClientAction::Lost => self.end(Cause::client_lost(), now, out),
            ClientAction::Digits(digits) => self.client_digits(side, digits, out),
        }
    }

    fn client_digits(&self, side: Side, digits: Vec<Digit>, out: &mut Vec<CallEffect>) {
        match &self.phase {
            Phase::Flow if side == Side::A => {
                out.extend(digits.into_iter().map(|digit| CallEffect::TellFlow(ToFlow::Digit(digit))));
            }
            // Early media may be a menu of the far network.
            Phase::Talking | Phase::Ringing(_) => {
                let Some(other) = self.party(side.other()).filter(|other| other.ready) else { return };
                match other.client() {
                    Some(client) => {
                        out.extend(digits.into_iter().map(|digit| {
                            CallEffect::Emit(client, Box::new(Event::CallDtmf { call: self.call, digit }))
                        }))
                    }
                    None => out.push(CallEffect::Digits(other.media, digits)),
                }
            }
            Phase::Begin
            | Phase::Opening { .. }
            | Phase::Flow
            | Phase::Joining { .. }
            | Phase::Room { .. }
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }
}
