//! Transfers: one party's place in an answered call is taken by somebody else, at that party's own wish (REFER, RFC 3515, RFC
//! 5589), at the wish of whoever comes (INVITE with Replaces, RFC 3891), or at the operator's.
//!
//! ```text
//!   blind      Talking --Transfer--> Ringing (the transferor stands aside) --answered--> Joining --> Talking
//!                                       `--failed--> Joining with the transferor again
//!   attended   this call: Talking --Ask--> Talking (asked) --Take--> Joining --> Talking
//!              the other: Talking --Give--> Ending; its party goes on here, by a new incarnation of its leg
//!   replaced   Talking --Replace--> Ringing (the newcomer is being answered) --> Joining --> Talking
//! ```
//! The one who stays keeps its leg and its media session throughout, and becomes the A side: who waits for somebody. A call that
//! gave its party away does so again when it is resumed; taking a party twice is taking it once.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::ringing::RINGBACK;
use super::{ASK_AGAIN, Ask, CallCheckpoint, CallEffect, Party, Phase, Ringing, Side};
use crate::call::ClientAction;
use crate::client::protocol::Event;
use crate::leg::{LegCheckpoint, LegOrder};
use crate::model::address::{AppHeaders, Carried, Target};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, LegId};
use crate::ports::media::Attachment;
use crate::ports::sip::Referral;

/// Another call answers within this, or has ended meanwhile.
const GIVEN_WITHIN: Duration = Duration::from_secs(5);
/// A party that was transferred away hangs up by itself once it has heard how it went; after this we do.
const HANGS_UP_WITHIN: Duration = Duration::from_secs(3);

/// A party's place is to be taken by somebody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The REFER that asked for it, whose sender is told how it goes.
    pub refer: Option<u64>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a transfer is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Another call was asked to give its party, in place of this leg's.
    Asked {
        /// Whose place it takes.
        leg: LegId,
        /// When that is given up.
        until: SystemTime,
    },
    /// Who made place stands aside, and comes back if nobody takes it; `None`: it has hung up.
    Aside(Option<Box<Party>>),
}

/// What one call asks of another: to give up the party that talks with a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Give {
    /// The leg whose party is not given.
    pub leg: LegId,
    /// Which call takes the other one.
    pub to: CallId,
    /// Whose place it takes there.
    pub leaver: LegId,
    /// The REFER that asked for it.
    pub refer: Option<u64>,
}

/// A party that goes on in another call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// In which.
    pub to: CallId,
    /// Whose place it takes there.
    pub leaver: LegId,
    /// The REFER that asked for it.
    pub refer: Option<u64>,
    /// The party.
    pub party: Party,
}

impl CallCheckpoint {
    /// A party asks by REFER. Said again by a leg that is back from a crash.
    pub(super) fn referred(&mut self, leg: LegId, referral: Box<Referral>, out: &mut Vec<CallEffect>) {
        match &self.transfer {
            Some(transfer) if transfer.refer == Some(referral.request) => {}
            Some(_) => out.push(CallEffect::TellReferrer(referral.request, 491)),
            None if self.phase == Phase::Talking => out.push(CallEffect::Refer { leg, referral }),
            // Who speaks with a flow or a room has nobody to be transferred.
            None => out.push(CallEffect::TellReferrer(referral.request, 403)),
        }
    }

    /// The place of this leg is to be taken by a target, as routed.
    pub(super) fn transfer_to(
        &mut self,
        leg: LegId,
        refer: Option<u64>,
        to: Result<Target, Cause>,
        carried: Carried,
        now: SystemTime,
        out: &mut Vec<CallEffect>,
    ) {
        let target = match (to, self.free_to_transfer(leg)) {
            (Ok(target), Ok(_)) => target,
            (Err(cause), _) | (Ok(_), Err(cause)) => {
                tracing::info!(call = %self.call, %cause, "a transfer is refused");
                tell(refer, refused(&cause), out);
                return;
            }
        };
        let Some(from) = self.set_aside(leg) else { return };
        let Some(stays) = &self.a else { return };
        tracing::info!(call = %self.call, "a transfer begins");
        self.unhold(stays, from.held, out);
        out.push(CallEffect::StopPlay(stays.media));
        out.push(CallEffect::Attach(stays.media, Attachment::Nothing));
        out.push(CallEffect::Attach(from.media, Attachment::Nothing));
        let ringback = CallEffect::Tone(stays.media, RINGBACK);
        // Who stays is the caller still: hidden, if it wished so.
        let privacy = self.carried.privacy.take();
        self.carried = Carried { privacy, preferred: self.carried.preferred.take(), ..carried };
        self.transfer = Some(Transfer { refer, stage: Stage::Aside(Some(Box::new(from))) });
        match target {
            // A service or room is always there.
            Target::Service(service) => {
                self.phase = Phase::Flow;
                self.transferred(now, out);
                out.push(CallEffect::StartFlow(service));
            }
            Target::Room(room) => {
                self.transferred(now, out);
                self.take_into_room(room, Side::A, now, out);
            }
            Target::User(_)
            | Target::Subscriber(_)
            | Target::Instance { .. }
            | Target::Trunk { .. }
            | Target::Uri(_) => {
                out.push(ringback);
                self.ring(target, None, None, out);
                if let Phase::Ringing(ringing) = &mut self.phase {
                    // What stays hears ringback already, and was answered long ago.
                    ringing.told = Some(180);
                }
            }
        }
    }

    /// The place of this leg is to be taken by the far party of another call, which is asked for it.
    pub(super) fn ask_other(
        &mut self,
        leg: LegId,
        refer: Option<u64>,
        other: CallId,
        replaced: LegId,
        now: SystemTime,
        out: &mut Vec<CallEffect>,
    ) {
        if let Err(cause) = self.free_to_transfer(leg) {
            tell(refer, refused(&cause), out);
            return;
        }
        self.transfer = Some(Transfer { refer, stage: Stage::Asked { leg, until: now + GIVEN_WITHIN } });
        let give = Give { leg: replaced, to: self.call, leaver: leg, refer };
        out.push(CallEffect::AskCall(other, give));
    }

    /// Another call asks for the party that talks with this leg: it is let go without being ended, and this call is over.
    pub(super) fn give(&mut self, give: Give, now: SystemTime, out: &mut Vec<CallEffect>) {
        if let Err(cause) = self.free_to_transfer(give.leg) {
            out.push(CallEffect::NotGiven { to: give.to, refer: give.refer, cause });
            return;
        }
        let Some(left) = self.set_aside(give.leg) else { return };
        let Some(party) = self.a.take() else { return };
        tracing::info!(call = %self.call, to = %give.to, "the call's party goes on in another call");
        if let Some(client) = left.client() {
            let event = Event::CallEnded { call: self.call, cause: transferred() };
            out.push(CallEffect::Emit(client, Box::new(event)));
        }
        self.leaving.push(left);
        self.linger = Some(now + HANGS_UP_WITHIN);
        self.phase = Phase::Ending(transferred());
        self.cause = Some(transferred());
        out.push(CallEffect::StopFlow);
        self.given = Some(Given { to: give.to, leaver: give.leaver, refer: give.refer, party });
        self.hand_over(out);
    }

    /// Hands the given party over; said again by a call that is resumed.
    pub(super) fn hand_over(&self, out: &mut Vec<CallEffect>) {
        if let Some(given) = &self.given {
            out.push(CallEffect::HandOver(Box::new(given.clone())));
        }
    }

    /// Another call gives its party: it takes the place of `leaver` here.
    pub(super) fn take(&mut self, given: Given, now: SystemTime, out: &mut Vec<CallEffect>) {
        let Given { leaver, refer, mut party, .. } = given;
        if self.parties().any(|known| known.leg == party.leg) {
            return;
        }
        out.push(CallEffect::Adopt(party.leg));
        if matches!(&self.transfer, Some(Transfer { stage: Stage::Asked { leg, .. }, .. }) if *leg == leaver) {
            self.transfer = None;
        }
        match self.free_to_transfer(leaver) {
            Ok(()) => {}
            Err(cause) => {
                // It cannot be given back: that call is over.
                tell(refer, refused(&cause), out);
                self.order_end(&party, &cause, out);
                self.leaving.push(party);
                return;
            }
        }
        let Some(from) = self.set_aside(leaver) else { return };
        out.push(CallEffect::Attach(from.media, Attachment::Nothing));
        if let Some(stays) = &self.a {
            self.unhold(stays, from.held, out);
        }
        // Who made place in the other call may have held it.
        self.unhold(&party, true, out);
        // It was up before this call was, for all that this call's record can tell.
        party.connected_after = Some(now.duration_since(self.started_at).unwrap_or_default());
        self.b = Some(party);
        self.transfer = Some(Transfer { refer, stage: Stage::Aside(Some(Box::new(from))) });
        self.phase = Phase::Joining { ask: Ask { token: 0, asked: 0, again: now + ASK_AGAIN }, flow: false };
        self.join(now, out);
    }

    /// The other call cannot give.
    pub(super) fn not_given(&mut self, refer: Option<u64>, cause: &Cause, out: &mut Vec<CallEffect>) {
        if let Some(Transfer { refer: asked, stage: Stage::Asked { .. } }) = &self.transfer
            && *asked == refer
        {
            self.transfer = None;
            tell(refer, refused(cause), out);
        }
    }

    /// Somebody calls to take this leg's place (RFC 3891): an answered party's, or that of a phone that rings.
    pub(super) fn replaced_by(
        &mut self,
        leg: LegId,
        party: Party,
        row: Box<LegCheckpoint>,
        now: SystemTime,
        out: &mut Vec<CallEffect>,
    ) {
        out.push(CallEffect::Spawn(row));
        let picked_up = matches!(&self.phase, Phase::Ringing(ringing) if ringing.flow.is_none())
            && self.transfer.is_none()
            && self.into_room.is_none()
            && self.side(leg) == Some(Side::B);
        if picked_up {
            if let Some(b) = self.b.take() {
                let cause = Cause { q850: Some(26), ..Cause::cancelled() };
                self.order_end(&b, &cause, out);
                self.leaving.push(b);
            }
        } else if let Err(cause) = self.free_to_transfer(leg) {
            self.order_end(&party, &cause, out);
            self.leaving.push(party);
            return;
        } else if let Some(from) = self.set_aside(leg) {
            if let Some(stays) = &self.a {
                self.unhold(stays, from.held, out);
            }
            // Those who talk go on talking until the newcomer's media is up.
            self.transfer = Some(Transfer { refer: None, stage: Stage::Aside(Some(Box::new(from))) });
            let target = Target::Uri(crate::model::address::SipUri(party.name.clone()));
            let until = Some(now + GIVEN_WITHIN);
            let told = Some(180);
            let ringing = Ringing {
                target,
                timeout: None,
                until,
                flow: None,
                told,
                early: None,
                headers: AppHeaders::default(),
                preparing: false,
                rang: false,
            };
            self.phase = Phase::Ringing(ringing);
        }
        let first = self.a.as_ref().and_then(|a| a.codec).into_iter().collect();
        self.b = Some(party);
        self.order(Side::B, LegOrder::Prepare { first }, out);
    }

    /// The newcomer's media is agreed on: it is answered at once, and joined when it has acknowledged that.
    pub(super) fn answer_newcomer(&mut self, out: &mut Vec<CallEffect>) {
        self.with(Side::B, |b| b.answered = true);
        self.order(Side::B, LegOrder::Answer { headers: self.headers.clone() }, out);
    }

    /// The newcomer's or the target's media is joined: who made place is let go.
    pub(super) fn transferred(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        let Some(Transfer { refer, stage: Stage::Aside(from) }) = self.transfer.take() else { return };
        tell(refer, 200, out);
        let Some(from) = from else { return };
        if let Some(client) = from.client() {
            let event = Event::CallEnded { call: self.call, cause: transferred() };
            out.push(CallEffect::Emit(client, Box::new(event)));
        }
        let wait = if refer.is_some() { HANGS_UP_WITHIN } else { Duration::ZERO };
        self.leaving.push(*from);
        self.linger = Some(now + wait);
        if wait.is_zero() {
            self.stop_lingering(now, out);
        }
    }

    /// The target was not reached: the one who stays gets the transferor back, or has nobody left.
    pub(super) fn transfer_failed(&mut self, cause: Cause, now: SystemTime, out: &mut Vec<CallEffect>) {
        let Some(Transfer { refer, stage: Stage::Aside(from) }) = self.transfer.take() else { return };
        tracing::info!(call = %self.call, %cause, back = from.is_some(), "a transfer failed");
        self.let_callee_go(&cause, out);
        tell(refer, refused(&cause), out);
        let Some(from) = from else {
            self.end(cause, now, out);
            return;
        };
        self.b = Some(*from);
        self.phase = Phase::Joining { ask: Ask { token: 0, asked: 0, again: now + ASK_AGAIN }, flow: false };
        self.join(now, out);
    }

    /// The call ends in the midst of a transfer.
    pub(super) fn end_transfer(&mut self, cause: &Cause, out: &mut Vec<CallEffect>) {
        let Some(Transfer { refer, stage }) = self.transfer.take() else { return };
        tell(refer, refused(cause), out);
        let from = match stage {
            Stage::Aside(from) => from,
            Stage::Asked { .. } => None,
        };
        let Some(from) = from else { return };
        if let Some(client) = from.client() {
            let event = Event::CallEnded { call: self.call, cause: cause.clone() };
            out.push(CallEffect::Emit(client, Box::new(event)));
        }
        self.order_end(&from, cause, out);
        self.leaving.push(*from);
    }

    /// Time: another call did not answer; a party that was let go is still there.
    pub(super) fn transfer_tick(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        self.stop_lingering(now, out);
        if let Some(Transfer { refer, stage: Stage::Asked { until, .. } }) = &self.transfer
            && now >= *until
        {
            tell(*refer, 481, out);
            self.transfer = None;
        }
    }

    /// The next moment at which that matters.
    pub(super) fn transfer_deadline(&self) -> Option<SystemTime> {
        let asked = match &self.transfer {
            Some(Transfer { stage: Stage::Asked { until, .. }, .. }) => Some(*until),
            Some(Transfer { stage: Stage::Aside(_), .. }) | None => None,
        };
        [asked, self.linger].into_iter().flatten().min()
    }

    /// The transferor, while somebody else is being put in its place.
    pub(in crate::call) fn aside(&self) -> Option<&Party> {
        match &self.transfer {
            Some(Transfer { stage: Stage::Aside(from), .. }) => from.as_deref(),
            Some(Transfer { stage: Stage::Asked { .. }, .. }) | None => None,
        }
    }

    /// The same, to be changed or taken out: it hung up, or (an app user) wants no more of it.
    pub(super) fn aside_mut(&mut self) -> Option<&mut Option<Box<Party>>> {
        match &mut self.transfer {
            Some(Transfer { stage: Stage::Aside(from), .. }) => Some(from),
            Some(Transfer { stage: Stage::Asked { .. }, .. }) | None => None,
        }
    }

    /// An app user who stands aside asks: it may leave, and there is nothing else for it to do.
    pub(super) fn let_aside_go(&mut self, action: &ClientAction, out: &mut Vec<CallEffect>) {
        match action {
            ClientAction::Hangup | ClientAction::Lost => {
                if let Some(from) = self.aside_mut().and_then(Option::take) {
                    self.order_end(&from, &Cause::hangup(), out);
                    self.leaving.push(*from);
                }
            }
            ClientAction::Offer(sdp) => {
                if let Some(from) = self.aside() {
                    out.push(CallEffect::Order(from.leg, LegOrder::Offer(sdp.clone())));
                }
            }
            ClientAction::Digits(_) => {}
        }
    }

    /// A party is not held by who makes place any more.
    fn unhold(&self, party: &Party, was: bool, out: &mut Vec<CallEffect>) {
        if was {
            self.tell_held(party, false, out);
        }
    }

    /// Whether this leg's party may be replaced now.
    fn free_to_transfer(&self, leg: LegId) -> Result<(), Cause> {
        if self.side(leg).is_none() {
            Err(Cause::from_sip(481, "the party to be replaced is not in the call any more"))
        } else if self.transfer.is_some() {
            Err(Cause::from_sip(491, "another transfer of this call is under way"))
        } else if self.phase != Phase::Talking {
            Err(Cause::forbidden("only who talks can be transferred"))
        } else {
            Ok(())
        }
    }

    /// Takes the party out whose place is free now; the other one becomes the A side.
    fn set_aside(&mut self, leg: LegId) -> Option<Party> {
        if self.side(leg)? == Side::A {
            std::mem::swap(&mut self.a, &mut self.b);
            // Who began the call by an invitation is no party of it any more.
            self.invited = None;
        }
        self.b.take()
    }

    fn stop_lingering(&mut self, now: SystemTime, out: &mut Vec<CallEffect>) {
        if self.linger.take_if(|at| now >= *at).is_none() {
            return;
        }
        // The word of it may have been lost in the other call's crash.
        self.hand_over(out);
        for party in &self.leaving {
            out.push(CallEffect::Order(party.leg, LegOrder::End(transferred())));
        }
    }
}

fn tell(refer: Option<u64>, status: u16, out: &mut Vec<CallEffect>) {
    out.extend(refer.map(|refer| CallEffect::TellReferrer(refer, status)));
}

/// The final status a referrer is told of a failure.
fn refused(cause: &Cause) -> u16 {
    if (300..700).contains(&cause.status) { cause.status } else { 480 }
}

/// Why a leg ends whose party was transferred away.
fn transferred() -> Cause {
    Cause { reason: "transferred".into(), ..Cause::hangup() }
}
