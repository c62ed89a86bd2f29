//! What a transfer needs to know of the world: where it leads by the rights of who asks, which other call has the party, and how
//! a leg goes from one call to another. Reads the ledger and the settings; waits for nothing. The decisions are in
//! [`super::phase`].
//!
//! A leg that changes hands is resumed by a new incarnation in its new call, as after a crash: dialog and media session know
//! nothing of it, so the party hears no gap. A browser knows its call by its id, so an app user stays in its call and the phone
//! changes; two app users who would have to be joined are refused (488), as are two sessions on different media threads.

use super::phase::{By, CallCheckpoint, CallInput, Give, Given, Party, Phase};
use super::{CallMsg, origin, release, route, toll};
use crate::control::{Replace, ReplacedBy, TransferError, TransferOrder};
use crate::ctx::Ctx;
use crate::envelope::Envelope;
use crate::leg::sip::phase::{Role, SipState};
use crate::leg::{LegCheckpoint, LegSide};
use crate::model::address::{Carried, SipOrigin, Target};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, DialogId, Epoch, LegId, MediaId, SubscriberId, TrunkId};
use crate::ports::sip::{Destination, IncomingInvite, Referral, Replaced, SipCommand};
use crate::trunk;

/// What the operator orders; carried out by the call.
///
/// # Errors
/// [`TransferError`]; nothing has happened then.
pub(crate) fn order(ctx: &Ctx, call: CallId, order: TransferOrder) -> Result<(), TransferError> {
    let impossible = |cause: Cause| TransferError::Impossible(cause.reason.into_owned());
    let row = ctx.ledger.calls.get(&call).ok_or(TransferError::NoSuchCall)?;
    let leg = talking(&row, order.replace)?;
    match order.by {
        ReplacedBy::Target(to) => {
            let dialled = route::AppDialled { to: &to, pstn: false, sip_number: None };
            let to = route::from_app(&ctx.settings, dialled, origin::registered(ctx))
                .map_err(|cause| TransferError::Target(cause.reason.into_owned()))?;
            super::order(ctx, call, CallMsg::Transfer { leg, to });
        }
        ReplacedBy::Call(other, replace) => {
            if other == call {
                return Err(TransferError::Impossible("a call cannot be joined with itself".into()));
            }
            let there = ctx.ledger.calls.get(&other).ok_or(TransferError::NoSuchCall)?;
            let replaced = talking(&there, replace)?;
            match join(ctx, &row, leg, &there, replaced, None).map_err(impossible)? {
                Joined::Gives(give) => super::order(ctx, call, CallMsg::Give(give)),
                Joined::Asks { other, replaced } => super::order(ctx, call, CallMsg::Ask { leg, other, replaced }),
            }
        }
    }
    Ok(())
}

/// The leg of a party of a call whose parties talk.
fn talking(call: &CallCheckpoint, which: Replace) -> Result<LegId, TransferError> {
    let party = match which {
        Replace::Caller => call.a.as_ref(),
        Replace::Callee => call.b.as_ref(),
    };
    match party.filter(|_| call.phase == Phase::Talking && call.transfer.is_none()) {
        Some(party) => Ok(party.leg),
        None => Err(TransferError::Impossible("only a call whose parties talk can be transferred".into())),
    }
}

/// Where a REFER of this leg's party leads.
pub(super) fn lead(ctx: &Ctx, call: &CallCheckpoint, leg: LegId, referral: Referral) -> CallInput {
    let Referral { request, to, replaces, referred_by } = referral;
    let refer = Some(request);
    let name = call.parties().find(|party| party.leg == leg).map_or("", |party| party.name.as_str());
    let (replaced, carried) = match replaces {
        Replaced::Nobody => (None, Carried { referred_by, ..Carried::default() }),
        Replaced::Elsewhere(replaces) => {
            (None, Carried { referred_by, replaces: Some(replaces), ..Carried::default() })
        }
        Replaced::Leg(replaced) => (Some(replaced), Carried { referred_by, ..Carried::default() }),
    };
    let to = match replaced {
        Some(replaced) => match attended(ctx, call, leg, replaced, refer) {
            Ok(Attended::Joined(input)) => return *input,
            Ok(Attended::Rings(target)) => Ok(target),
            Err(cause) => Err(cause),
        },
        None => {
            let origin = origin_of(ctx, leg, name);
            let to = route::from_referral(&ctx.settings, &origin, &to, origin::registered(ctx));
            toll::watch(&to);
            to
        }
    };
    CallInput::Transfer { leg, refer, to, carried }
}

/// What becomes of an attended transfer.
enum Attended {
    /// The party of another call takes the place, or ours a place there.
    Joined(Box<CallInput>),
    /// It still rings there: that call is given up, and who stays calls itself.
    Rings(Target),
}

fn attended(
    ctx: &Ctx,
    call: &CallCheckpoint,
    leg: LegId,
    replaced: LegId,
    refer: Option<u64>,
) -> Result<Attended, Cause> {
    let gone = || Cause::from_sip(481, "the call that was to be joined is over");
    let other = ctx.ledger.legs.read(&replaced, |row| row.call).ok_or_else(gone)?;
    if other == call.call {
        return Err(Cause::from_sip(482, "a call cannot be joined with itself"));
    }
    let there = ctx.ledger.calls.get(&other).ok_or_else(gone)?;
    if let Phase::Ringing(ringing) = &there.phase
        && there.a.as_ref().is_some_and(|a| a.leg == replaced)
    {
        let target = ringing.target.clone();
        super::order(ctx, other, CallMsg::HangUp { cause: Cause::cancelled() });
        return Ok(Attended::Rings(target));
    }
    let input = match join(ctx, call, leg, &there, replaced, refer)? {
        Joined::Gives(give) => CallInput::Give(give),
        Joined::Asks { other, replaced } => CallInput::Ask { leg, refer, other, replaced },
    };
    Ok(Attended::Joined(Box::new(input)))
}

/// Which of two calls gives its party to the other.
enum Joined {
    /// This one.
    Gives(Give),
    /// This one asks the other for it.
    Asks {
        /// The other.
        other: CallId,
        /// Who makes place there.
        replaced: LegId,
    },
}

/// How two calls are joined.
fn join(
    ctx: &Ctx,
    call: &CallCheckpoint,
    leg: LegId,
    there: &CallCheckpoint,
    replaced: LegId,
    refer: Option<u64>,
) -> Result<Joined, Cause> {
    let (Some(ours), Some(theirs)) = (far(call, leg), far(there, replaced)) else {
        return Err(Cause::from_sip(481, "the call that was to be joined is over"));
    };
    joinable(ctx, ours, theirs)?;
    Ok(match theirs.client() {
        // An app user stays where it is.
        Some(_) => Joined::Gives(Give { leg, to: there.call, leaver: replaced, refer }),
        None => Joined::Asks { other: there.call, replaced },
    })
}

/// Whether the parties of two calls can be joined.
fn joinable(ctx: &Ctx, ours: &Party, theirs: &Party) -> Result<(), Cause> {
    if ours.client().is_some() && theirs.client().is_some() {
        return Err(Cause::not_acceptable("two app users cannot be joined from two calls"));
    }
    let thread = |media: MediaId| ctx.ledger.media.read(&media, |plan| plan.opened.worker);
    if thread(ours.media) != thread(theirs.media) {
        return Err(Cause::not_acceptable("the two calls are on different media threads"));
    }
    Ok(())
}

/// Who talks with this leg's party.
fn far(call: &CallCheckpoint, leg: LegId) -> Option<&Party> {
    match (&call.a, &call.b) {
        (Some(a), Some(b)) if a.leg == leg => Some(b),
        (Some(a), Some(b)) if b.leg == leg => Some(a),
        (Some(_) | None, _) => None,
    }
}

/// Whose rights a leg's party of this name has: as if it called.
pub(super) fn origin_of(ctx: &Ctx, leg: LegId, name: &str) -> SipOrigin {
    // Whoever is reached by a gateway's line has the trunk's rights, though the line is a subscriber's contact.
    if let Some(trunk) = trunk::leased(ctx, leg) {
        return SipOrigin::Trunk(trunk);
    }
    let origin = ctx.ledger.legs.read(&leg, |row| match &row.side {
        LegSide::Sip(sip) => match &sip.role {
            Role::Uas(invite) => invite.origin.clone(),
            Role::Uac { to, .. } => match to.first() {
                Some(Destination::Contact(_)) => {
                    SubscriberId::new(name).map_or(SipOrigin::Anonymous, SipOrigin::Subscriber)
                }
                Some(Destination::Trunk { trunk, .. }) => SipOrigin::Trunk(trunk.clone()),
                Some(Destination::Uri(_)) | None => SipOrigin::Anonymous,
            },
        },
        LegSide::Rtc(_) => SipOrigin::Anonymous,
    });
    origin.unwrap_or(SipOrigin::Anonymous)
}

/// The trunk whose line a leg holds.
pub(super) fn line_of(ctx: &Ctx, leg: LegId) -> Option<TrunkId> {
    match origin_of(ctx, leg, "") {
        SipOrigin::Trunk(trunk) => Some(trunk),
        SipOrigin::Subscriber(_) | SipOrigin::Anonymous => None,
    }
}

/// The leg of somebody who calls to take the place of `leg`; `None` when it is here already, or was refused.
pub(super) fn newcomer(
    ctx: &Ctx,
    call: &mut CallCheckpoint,
    leg: LegId,
    invite: Box<IncomingInvite>,
) -> Option<CallInput> {
    let dialog = invite.dialog;
    let is_here = |party: &Party| {
        let has = |row: &LegCheckpoint| matches!(&row.side, LegSide::Sip(sip) if sip.dialog == dialog);
        ctx.ledger.legs.read(&party.leg, has) == Some(true)
    };
    if call.parties().any(is_here) {
        return None;
    }
    if let SipOrigin::Trunk(trunk) = &invite.origin {
        if let Err(full) = trunk::admit(ctx, trunk, call.call) {
            refuse(ctx, dialog, Cause::unavailable(full.to_string()));
            return None;
        }
        call.lines.push(trunk.clone());
    }
    let (codecs, encryption) = (origin::codecs_of(ctx, &invite.origin), origin::encryption_of(ctx, &invite.origin));
    let party = Party::new(By::SipIn, origin::shown(invite.asserted.as_ref().unwrap_or(&invite.from)).number);
    let near = call.parties().next().map(|party| party.media);
    let side = LegSide::Sip(Box::new(SipState::uas(invite, codecs, encryption)));
    let row = Box::new(LegCheckpoint::new(call.call, party.leg, party.media, near, side));
    Some(CallInput::ReplacedBy { leg, party: Box::new(party), row })
}

/// A final failure for an INVITE that no leg decides for: two orders end the dialog.
pub(super) fn refuse(ctx: &Ctx, dialog: DialogId, cause: Cause) {
    let sip = &ctx.ports.sip;
    let _ = sip.order(dialog, Epoch(1), 1, SipCommand::Reject { cause, warning: None });
    let _ = sip.order(dialog, Epoch(1), 2, SipCommand::Forget);
}

/// Whether a leg that is given to this call is there to be taken.
pub(super) fn is_ours(ctx: &Ctx, call: &CallCheckpoint, leg: LegId) -> bool {
    let given = ctx.ledger.legs.read(&leg, |row| row.call) == Some(call.call);
    given && !call.parties().any(|party| party.leg == leg)
}

/// Hands a party over to another call: its row first, then the word. A call that is over by now has its party hung up.
pub(super) fn hand_over(ctx: &Ctx, from: CallId, given: Given) {
    let (leg, to) = (given.party.leg, given.to);
    // Whatever incarnation was here commits nothing any more.
    if ctx.ledger.legs.read(&leg, |row| row.call) == Some(from) {
        ctx.ledger.legs.next_epoch(&leg);
        ctx.ledger.legs.update(&leg, |row| row.call = to);
        if let Some(line) = line_of(ctx, leg) {
            trunk::hand_over(ctx, &line, leg, from, to);
        }
    }
    if ctx.directory.calls.post(&to, CallMsg::Take(Box::new(given))).is_err() {
        hang_up_orphan(ctx, to, leg);
    }
}

/// Mail of a call that is over: nobody will hear it, and a party that it gives is hung up.
pub(super) fn undelivered(ctx: &Ctx, call: CallId, mail: impl IntoIterator<Item = Envelope<CallMsg>>) {
    for msg in mail {
        if let CallMsg::Take(given) = msg.unopened() {
            hang_up_orphan(ctx, call, given.party.leg);
        }
    }
}

fn hang_up_orphan(ctx: &Ctx, call: CallId, leg: LegId) {
    if ctx.ledger.legs.read(&leg, |row| row.call) != Some(call) || ctx.ledger.calls.contains(&call) {
        return;
    }
    if let Some(line) = line_of(ctx, leg) {
        trunk::release(ctx, &line, call);
    }
    let _ended = release::hang_up(ctx, leg, &Cause::hangup());
    release::forget_leg(ctx, leg);
}
