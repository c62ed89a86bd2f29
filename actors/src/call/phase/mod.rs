//! A call's decisions as a pure machine. It knows what its parties are, not how they are reached.
//!
//! ```text
//!           Service, Room              flow: Dial
//!  begin --------------> Opening --> Flow ------> Ringing --B up--> Joining --fenced--> Talking
//!    |  else                  `-----> Room <------- | B failed: back to Flow
//!    `-----------------------------------> Ringing -'                any --> Ending --legs over--> Over
//! ```
//! *Media is ready before we answer*: the caller's leg is prepared, both sessions are joined, and the media thread has
//! acknowledged so ([`Phase::Joining`]) before the caller hears 200.
//!
//! The rules of each stretch are in files of their own: `begin`, `ringing`, `talking`, `transfer`, `ending`.

mod begin;
mod ending;
mod ringing;
mod talking;
mod transfer;
mod types;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

pub use transfer::{Give, Given, Stage, Transfer};
pub use types::*;

use crate::leg::{LegOrder, LegReport};
use crate::model::address::{AppHeaders, CallerId};
use crate::model::cause::Cause;
use crate::model::ids::LegId;
use crate::ports::media::Attachment;

/// A fence or a room's answer that did not come is asked for again after this: its actor was replaced meanwhile.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);
/// So often; then the media engine is given up.
const ASKS: u32 = 10;

/// A step's result.
pub type Step = (CallCheckpoint, Vec<CallEffect>);

impl CallCheckpoint {
    /// Steps the call at this wall time.
    pub fn step(mut self, input: CallInput, now: SystemTime) -> Step {
        let mut out = Vec::new();
        match input {
            CallInput::Begin => self.begin(now, &mut out),
            CallInput::Resume => self.resume(now, &mut out),
            CallInput::Dialled(dialled) => self.dialled(*dialled, now, &mut out),
            CallInput::DialFailed(cause) => self.callee_failed(cause, now, &mut out),
            CallInput::Leg { leg, report } => self.leg(leg, report, now, &mut out),
            CallInput::Invitation { invitation, report } => self.invitation(invitation, report, now, &mut out),
            CallInput::Client { client, action } => self.client(client, action, now, &mut out),
            CallInput::Flow(report) => self.flow(report, now, &mut out),
            CallInput::Room(report) => self.room(report, now, &mut out),
            CallInput::Transfer { leg, refer, to, carried } => {
                self.transfer_to(leg, refer, to, carried, now, &mut out);
            }
            CallInput::Ask { leg, refer, other, replaced } => {
                self.ask_other(leg, refer, other, replaced, now, &mut out);
            }
            CallInput::Give(give) => self.give(give, now, &mut out),
            CallInput::Take(given) => self.take(*given, now, &mut out),
            CallInput::NotGiven(refer, cause) => self.not_given(refer, &cause, &mut out),
            CallInput::ReplacedBy { leg, party, row } => self.replaced_by(leg, *party, row, now, &mut out),
            CallInput::HangUp(cause) => self.end(cause, now, &mut out),
            CallInput::Tick => self.tick(now, &mut out),
        }
        (self, out)
    }

    /// The next moment at which a [`CallInput::Tick`] matters.
    pub fn deadline(&self) -> Option<SystemTime> {
        let own = match &self.phase {
            Phase::Begin => None,
            Phase::Ringing(ringing) => ringing.until,
            Phase::Opening { ask: Some(ask) } | Phase::Joining { ask, .. } => Some(ask.again),
            Phase::Room { joined: None, again, .. } => Some(*again),
            Phase::Ending(_) | Phase::Over => return self.transfer_deadline(),
            Phase::Opening { ask: None } | Phase::Flow | Phase::Talking | Phase::Room { .. } => None,
        };
        [own, self.transfer_deadline(), Some(self.expires_at)].into_iter().flatten().min()
    }

    /// Level-triggered: the actor has respawned legs and flow, which say again what is so; what was asked of others and may
    /// have been answered to a dead mailbox is asked again.
    fn resume(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        match self.phase.clone() {
            Phase::Begin => self.begin(now, out),
            Phase::Opening { ask: Some(_) } => self.ask_fence(now, out),
            Phase::Ringing(ringing) => {
                if self.b.is_none() && self.invitation.is_none() {
                    out.push(CallEffect::Dial { target: ringing.target, timeout: ringing.timeout });
                } else if let Some((invitation, _)) = &self.invitation {
                    out.push(CallEffect::AskInvitation(*invitation));
                }
            }
            Phase::Joining { .. } => self.join(now, out),
            Phase::Room { .. } => self.enter_room(now, out),
            Phase::Ending(_) => {
                self.hand_over(out);
                self.check_over(out);
            }
            Phase::Opening { ask: None } => self.order(Side::A, LegOrder::Prepare { first: Vec::new() }, out),
            Phase::Flow | Phase::Talking | Phase::Over => {}
        }
    }

    fn tick(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        self.transfer_tick(now, out);
        if now >= self.expires_at && !matches!(self.phase, Phase::Ending(_) | Phase::Over) {
            let reason = if self.connector { "the call's ttl has passed" } else { "limits.max_duration has passed" };
            self.end(Cause { reason: reason.into(), ..Cause::hangup() }, now, out);
            return;
        }
        match self.phase.clone() {
            Phase::Ringing(ringing) if ringing.until.is_some_and(|until| now >= until) => {
                // It has rung for as long as it may, on whichever trunk.
                if let Phase::Ringing(ringing) = &mut self.phase {
                    ringing.rang = true;
                }
                self.callee_failed(Cause::ring_timeout(), now, out);
            }
            Phase::Opening { ask: Some(ask) } | Phase::Joining { ask, .. } if now >= ask.again => {
                if ask.asked >= ASKS {
                    self.end(Cause::internal("the media engine does not answer"), now, out);
                } else {
                    self.ask_fence(now, out);
                }
            }
            Phase::Room { joined: None, again, .. } if now >= again => self.enter_room(now, out),
            Phase::Begin
            | Phase::Opening { .. }
            | Phase::Flow
            | Phase::Ringing(_)
            | Phase::Joining { .. }
            | Phase::Talking
            | Phase::Room { .. }
            | Phase::Ending(_)
            | Phase::Over => {}
        }
    }

    fn leg(&mut self, leg: LegId, report: LegReport, now: SystemTime, out: &mut Vec<CallEffect>) {
        if let LegReport::Ended(end) = report {
            self.leg_ended(leg, end, now, out);
            return;
        }
        let Some(side) = self.side(leg) else {
            if let (LegReport::Held { held, .. }, Some(Some(from))) = (&report, self.aside_mut())
                && from.leg == leg
            {
                from.held = *held;
            }
            return;
        };
        match report {
            LegReport::Ready(codec) => {
                self.with(side, |party| {
                    party.codec = Some(codec);
                    party.ready = true;
                });
                self.party_ready(side, now, out);
            }
            LegReport::Connected { codec, headers } => {
                let started = self.started_at;
                self.with(side, |party| {
                    party.codec = Some(codec);
                    party.ready = true;
                    party.connected_after.get_or_insert(now.duration_since(started).unwrap_or_default());
                });
                if side == Side::B && headers != AppHeaders::default() {
                    self.answer_headers = headers;
                }
                self.party_connected(side, now, out);
            }
            LegReport::Progress { status, early, headers } => {
                if side == Side::B {
                    self.callee_progress(status, early, headers, now, out);
                }
            }
            LegReport::Held { held, mute } => self.party_held(side, held, mute, out),
            LegReport::Digit { digit, by_info } => self.digit(side, digit, by_info, out),
            LegReport::Referred(referral) => self.referred(leg, referral, out),
            LegReport::Media(event) => self.media(side, event, now, out),
            LegReport::Silent => self.silent(side, now, out),
            LegReport::Ended(_) => {}
        }
    }

    /// Which party a leg is; `None` for one that is leaving.
    fn side(&self, leg: LegId) -> Option<Side> {
        let is = |party: &Option<Party>| party.as_ref().is_some_and(|party| party.leg == leg);
        if is(&self.a) {
            Some(Side::A)
        } else if is(&self.b) {
            Some(Side::B)
        } else {
            None
        }
    }

    fn party(&self, side: Side) -> Option<&Party> {
        match side {
            Side::A => self.a.as_ref(),
            Side::B => self.b.as_ref(),
        }
    }

    fn with(&mut self, side: Side, change: impl FnOnce(&mut Party)) {
        let party = match side {
            Side::A => self.a.as_mut(),
            Side::B => self.b.as_mut(),
        };
        if let Some(party) = party {
            change(party);
        }
    }

    fn order(&self, side: Side, order: LegOrder, out: &mut Vec<CallEffect>) {
        if let Some(party) = self.party(side) {
            out.push(CallEffect::Order(party.leg, order));
        }
    }

    /// Joins the two parties' sound, and asks to hear when that has taken effect.
    fn join(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        let (Some(a), Some(b)) = (&self.a, &self.b) else { return };
        let (a, b) = (a.media, b.media);
        out.push(CallEffect::StopPlay(a));
        out.push(CallEffect::StopPlay(b));
        out.push(CallEffect::Attach(a, Attachment::Bridge(b)));
        out.push(CallEffect::Attach(b, Attachment::Bridge(a)));
        self.ask_fence(now, out);
    }

    fn ask_fence(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        self.fence += 1;
        let token = self.fence;
        match &mut self.phase {
            Phase::Opening { ask: Some(ask) } | Phase::Joining { ask, .. } => {
                *ask = Ask { token, asked: ask.asked + 1, again: now + ASK_AGAIN };
            }
            Phase::Begin
            | Phase::Opening { ask: None }
            | Phase::Flow
            | Phase::Ringing(_)
            | Phase::Talking
            | Phase::Room { .. }
            | Phase::Ending(_)
            | Phase::Over => return,
        }
        if let Some(a) = &self.a {
            out.push(CallEffect::Fence(a.media, token));
        }
    }
}

impl CallCheckpoint {
    /// What a leg that is back from a crash should have been told by now: its orders may have died with its mailbox. Each is
    /// idempotent.
    pub fn reminders(&self, leg: LegId) -> Vec<LegOrder> {
        if let Some(party) = self.leaving.iter().find(|party| party.leg == leg) {
            let mut effects = Vec::new();
            let cause = self.cause.clone().unwrap_or_else(Cause::cancelled);
            self.order_end(party, &cause, &mut effects);
            return effects
                .into_iter()
                .filter_map(|effect| if let CallEffect::Order(_, order) = effect { Some(order) } else { None })
                .collect();
        }
        if let Some(b) = self.b.as_ref().filter(|b| b.leg == leg && b.by == By::SipIn) {
            let first = self.a.as_ref().and_then(|a| a.codec).into_iter().collect();
            let answer = || LegOrder::Answer { headers: self.headers.clone() };
            return std::iter::once(LegOrder::Prepare { first }).chain(b.answered.then(answer)).collect();
        }
        let mut orders = Vec::new();
        if let (Phase::Talking, Some(side)) = (&self.phase, self.side(leg)) {
            let held = self.party(side.other()).is_some_and(|other| other.held);
            orders.push(LegOrder::Hold(held));
        }
        let Some(a) = self.a.as_ref().filter(|a| a.leg == leg && a.by == By::SipIn) else { return orders };
        let first = self.b.as_ref().and_then(|b| b.codec).into_iter().collect();
        match &self.phase {
            Phase::Ringing(ringing) => {
                if ringing.preparing {
                    orders.push(LegOrder::Prepare { first });
                }
                match ringing.told.filter(|_| a.unanswered()) {
                    Some(183) if a.ready => {
                        orders.push(LegOrder::Progress { status: 183, early: true, headers: ringing.headers.clone() })
                    }
                    Some(_) => {
                        orders.push(LegOrder::Progress { status: 180, early: false, headers: ringing.headers.clone() })
                    }
                    None => {}
                }
            }
            Phase::Opening { .. } | Phase::Joining { .. } => orders.push(LegOrder::Prepare { first }),
            Phase::Begin | Phase::Flow | Phase::Talking | Phase::Room { .. } | Phase::Ending(_) | Phase::Over => {}
        }
        if a.answered {
            orders.push(LegOrder::Answer { headers: self.answer_headers.clone() });
        }
        orders
    }

    /// The caller as app users and rooms are shown it: nobody, where that is wished (RFC 3323); they are outside the trust domain.
    pub fn shown_outside(&self) -> CallerId {
        if self.carried.hides_caller() {
            return CallerId { display: "Anonymous".into(), number: "anonymous".into() };
        }
        self.from.clone()
    }

    /// Every party whose leg has not ended.
    pub fn parties(&self) -> impl Iterator<Item = &Party> {
        [&self.a, &self.b].into_iter().flatten().chain(self.aside()).chain(&self.leaving)
    }
}
