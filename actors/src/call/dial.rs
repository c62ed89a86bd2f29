//! How a target is reached: contacts, lines, codecs, caller id. Reads the ledger and the settings; waits for nothing.

use std::time::Duration;

use super::phase::{By, CallCheckpoint, Dialled, Party};
use super::{presented, toll};
use crate::ctx::Ctx;
use crate::leg::sip::phase::{Role, SipState};
use crate::leg::{LegCheckpoint, LegSide};
use crate::model::address::{CallerId, Carried, Contact, InstanceId, Target};
use crate::model::cause::{Blame, Cause};
use crate::model::ids::{InvitationId, SubscriberId, TrunkId};
use crate::model::media::Codec;
use crate::model::srtp::MediaEncryption;
use crate::ports::sip::{Destination, TrunkTarget};
use crate::registrar::contacts;
use crate::trunk;

/// Finds whom to ring for a call.
///
/// # Errors
/// The [`Cause`] why nobody can be: not registered (480), no line or no carrier (503).
pub fn dial(ctx: &Ctx, call: &CallCheckpoint, target: &Target) -> Result<Dialled, Cause> {
    match target {
        Target::User(user) => Ok(Dialled::Invite {
            invitation: InvitationId::random(),
            user: user.clone(),
            offline: ctx.directory.users.clients(user).is_empty() && !ctx.settings.sip_to_rtc.offline_wait.is_zero(),
            ring: ctx.settings.sip_to_rtc.ring_timeout,
        }),
        Target::Subscriber(subscriber) => phone(ctx, call, subscriber, None),
        Target::Instance { subscriber, instance } => phone(ctx, call, subscriber, Some(instance)),
        Target::Trunk { trunk: id, number, then } => {
            let Some(settings) = ctx.settings.trunks.get(id) else {
                return Err(Cause::not_found(format!("there is no trunk \"{id}\"")));
            };
            // With another trunk at hand, one whose every target has just failed is not tried.
            let more = !then.is_empty();
            let down = |targets: Vec<TrunkTarget>| !targets.is_empty() && targets.iter().all(|target| !target.up);
            if ctx.ledger.trunks.read(id, |row| row.hopeful()) == Some(false)
                || (more && down(ctx.ports.sip.trunk_targets(id)))
            {
                return Err(Cause::new(503, Some(38), Blame::Upstream, "the trunk does not answer"));
            }
            toll::spend(ctx, call, id)?;
            if let Err(full) = trunk::admit(ctx, id, call.call) {
                return Err(Cause::new(503, Some(34), Blame::Client, full.to_string()));
            }
            let (caller, number, carried) = presented::to_trunk(call, settings, number);
            let codecs = trunk_codecs(ctx, id);
            let party = Party::new(By::SipOut, number.clone());
            let mut to = vec![Destination::Trunk { trunk: id.clone(), number: number.clone(), more }];
            if !settings.lines.lines.is_empty() {
                let Some((_, line)) = trunk::line_out(ctx, id, call.call, party.leg, &number, more) else {
                    if !call.lines.contains(id) {
                        trunk::release(ctx, id, call.call);
                    }
                    let why = "every line of the trunk is in use, resting or away";
                    return Err(Cause::new(503, Some(34), Blame::Client, why));
                };
                to = vec![line];
            }
            Ok(leg(ctx, call, to, party, (caller, carried), codecs, settings.ring_timeout, Some(id.clone())))
        }
        Target::Uri(uri) => {
            let ring = ctx.settings.limits.ring_timeout;
            let codecs = ctx.settings.sip_codecs.clone();
            let to = vec![Destination::Uri(uri.clone())];
            let party = Party::new(By::SipOut, uri.0.clone());
            Ok(leg(ctx, call, to, party, as_it_is(call), codecs, ring, None))
        }
        Target::Service(_) | Target::Room(_) => Err(Cause::internal("a service or room is not rung")),
    }
}

/// The caller and what else goes on, to who is no trunk.
fn as_it_is(call: &CallCheckpoint) -> (CallerId, Carried) {
    (call.from.clone(), call.carried.clone())
}

/// Every contact of a subscriber, or of one of its user agents.
fn phone(
    ctx: &Ctx,
    call: &CallCheckpoint,
    subscriber: &SubscriberId,
    instance: Option<&InstanceId>,
) -> Result<Dialled, Cause> {
    let contacts: Vec<_> = alike(contacts(ctx, subscriber, instance)).into_iter().map(Destination::Contact).collect();
    if contacts.is_empty() {
        return Err(Cause::offline());
    }
    let ring = ctx.settings.limits.ring_timeout;
    let codecs = ctx.settings.sip_codecs.clone();
    let party = Party::new(By::SipOut, subscriber.to_string());
    let dialled = leg(ctx, call, contacts, party, as_it_is(call), codecs, ring, None);
    if let Dialled::Leg { party, .. } = &dialled {
        ctx.ledger.latest_media.insert(subscriber.clone(), party.media);
    }
    Ok(dialled)
}

/// Codecs towards phones, or through this trunk.
pub fn trunk_codecs(ctx: &Ctx, trunk: &TrunkId) -> Vec<Codec> {
    let own = ctx.settings.trunks.get(trunk).map(|trunk| trunk.codecs.clone()).unwrap_or_default();
    if own.is_empty() { ctx.settings.sip_codecs.clone() } else { own }
}

/// A leg has one media session, and a browser's (whoever registered over a WebSocket) is of another kind than a phone's: where a
/// subscriber has both, those are rung that are like the first.
fn alike(mut contacts: Vec<Contact>) -> Vec<Contact> {
    if let Some(first) = contacts.first().map(|contact| contact.transport.is_websocket()) {
        contacts.retain(|contact| contact.transport.is_websocket() == first);
    }
    contacts
}

fn is_browser(to: &Destination) -> bool {
    match to {
        Destination::Contact(contact) => contact.transport.is_websocket(),
        Destination::Trunk { .. } | Destination::Uri(_) => false,
    }
}

/// What protects the media of this trunk.
pub fn trunk_encryption(ctx: &Ctx, trunk: &TrunkId) -> MediaEncryption {
    ctx.settings.trunks.get(trunk).map_or(ctx.settings.sip_encryption, |trunk| trunk.media_encryption)
}

/// Codecs towards a browser: what the far phone speaks first, so that one codec passes through where it can.
pub fn browser_codecs(ctx: &Ctx, far: &[Codec]) -> Vec<Codec> {
    let allowed = &ctx.settings.rtc_codecs;
    let mut codecs: Vec<Codec> = far.iter().filter(|codec| allowed.contains(codec)).copied().collect();
    codecs.extend(allowed.iter().filter(|codec| !far.contains(codec)));
    codecs
}

/// What the caller's leg can speak, in its own order; empty while not known.
pub fn spoken(ctx: &Ctx, party: Option<&Party>) -> Vec<Codec> {
    let Some(party) = party else { return Vec::new() };
    if let Some(codec) = party.codec {
        return vec![codec];
    }
    ctx.ledger
        .legs
        .read(&party.leg, |row| match &row.side {
            LegSide::Sip(sip) => match &sip.role {
                Role::Uas(invite) => {
                    let offered = invite.offer.iter().flat_map(|offer| &offer.0.codecs).map(|line| line.codec);
                    offered.filter(|codec| sip.codecs.contains(codec)).collect()
                }
                Role::Uac { .. } => Vec::new(),
            },
            LegSide::Rtc(_) => Vec::new(),
        })
        .unwrap_or_default()
}

#[expect(clippy::too_many_arguments, reason = "one call a kind of target, each argument differs by kind")]
fn leg(
    ctx: &Ctx,
    call: &CallCheckpoint,
    to: Vec<Destination>,
    party: Party,
    (caller, carried): (CallerId, Carried),
    codecs: Vec<Codec>,
    ring: Duration,
    line: Option<TrunkId>,
) -> Dialled {
    let first = spoken(ctx, call.a.as_ref());
    let mut ordered: Vec<Codec> = first.into_iter().filter(|codec| codecs.contains(codec)).collect();
    ordered.extend(codecs.iter().filter(|codec| !ordered.contains(codec)).copied().collect::<Vec<_>>());
    let near = call.a.as_ref().map(|a| a.media);
    let encryption = match &line {
        Some(trunk) => trunk_encryption(ctx, trunk),
        None if to.iter().any(is_browser) => MediaEncryption::Dtls,
        None => ctx.settings.sip_encryption,
    };
    let sip = SipState::uac(to, caller, call.headers.clone(), call.max_forwards, carried, ordered, encryption);
    let side = LegSide::Sip(Box::new(sip));
    let leg = LegCheckpoint::new(call.call, party.leg, party.media, near, side);
    Dialled::Leg { party: Box::new(party), leg: Box::new(leg), ring, line }
}
