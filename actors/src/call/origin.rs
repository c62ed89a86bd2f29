//! How a call begins: the first checkpoint, and the caller's leg, for each of the ways one comes.

use super::dial::{browser_codecs, trunk_codecs, trunk_encryption};
use super::phase::{By, CallCheckpoint, CallKind, Invited, Party, Phase};
use super::route::{self, AppDialled, SipDialled};
use super::toll;
use super::{ClientCall, ClientCallKind, InvitedCall, presented};
use crate::control::{PhoneCall, StartError};
use crate::ctx::Ctx;
use crate::invitation::content::{Content, REFUSED_JOINED, REFUSED_NOT_JSON};
use crate::leg::rtc::phase::RtcState;
use crate::leg::sip::phase::SipState;
use crate::leg::{LegCheckpoint, LegSide};
use crate::model::address::{AppHeaders, CallerId, Carried, MaxForwards, NameAddr, SipOrigin, Target};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, RoomId, SubscriberId};
use crate::model::media::Codec;
use crate::model::settings::AcceptOn;
use crate::model::srtp::MediaEncryption;
use crate::ports::sip::IncomingInvite;
use crate::{registrar, trunk};

/// A call to be, and its first leg where it has one.
pub type NewCall = (CallCheckpoint, Option<LegCheckpoint>);

/// A phone or trunk calls.
pub fn incoming(ctx: &Ctx, mut invite: IncomingInvite) -> NewCall {
    let call = CallId::random();
    let line = trunk::line_in(ctx, &invite);
    if let Some((trunk, _)) = &line {
        // What comes by a line that registers is the trunk's call, not its subscriber's: it never dials out.
        invite.origin = SipOrigin::Trunk(trunk.clone());
    }
    let dialled = SipDialled {
        origin: &invite.origin,
        request_uri: &invite.request_uri,
        to: &invite.to.uri,
        headers: &invite.headers,
    };
    let mut goal = registrar::gruu::target(ctx, &invite.request_uri)
        .unwrap_or_else(|| route::from_sip(&ctx.settings, dialled, registered(ctx)));
    toll::watch(&goal);
    let (codecs, encryption) = (codecs_of(ctx, &invite.origin), encryption_of(ctx, &invite.origin));
    let mut new = blank(ctx, call, kind(&goal, CallKind::SipToRtc, CallKind::SipToSip));
    if let Some(Err(error)) = invite.offer.as_ref().map(|offer| offer.answerable(&codecs, encryption)) {
        // Nobody is rung for a call that cannot be heard.
        goal = goal.and(Err(Cause::not_acceptable(error.to_string())));
    }
    if let SipOrigin::Trunk(trunk) = &invite.origin {
        match trunk::admit(ctx, trunk, call) {
            Ok(()) => new.lines.push(trunk.clone()),
            Err(full) => goal = Err(Cause::unavailable(full.to_string())),
        }
    }
    new.to = invite.request_uri.user().unwrap_or(&invite.request_uri.0).to_owned();
    new.headers = invite.headers.clone();
    new.max_forwards = invite.max_forwards.forwarded();
    new.carried = invite.carried.clone();
    new.from =
        presented::caller(&ctx.settings, (&invite.origin, &invite.from, invite.asserted.as_ref()), &mut new.carried);
    let party = Party::new(By::SipIn, new.shown_outside().number);
    if let Some((trunk, line)) = &line
        && goal.is_ok()
        && !trunk::take_line(ctx, trunk, line, call, party.leg)
    {
        goal = Err(Cause::busy());
    }
    new.goal = goal;
    let near = match &invite.origin {
        SipOrigin::Subscriber(subscriber) => ctx.ledger.latest_media.insert(subscriber.clone(), party.media),
        SipOrigin::Trunk(_) | SipOrigin::Anonymous => None,
    };
    let side = LegSide::Sip(Box::new(SipState::uas(Box::new(invite), codecs, encryption)));
    let leg = LegCheckpoint::new(call, party.leg, party.media, near, side);
    new.a = Some(party);
    (new, Some(leg))
}

/// An app user calls, or joins a room.
pub fn from_client(ctx: &Ctx, client: ClientCall) -> NewCall {
    let ClientCall { call, client, user, kind: wanted, sdp } = client;
    let mut new = blank(ctx, call, CallKind::Room);
    new.from = CallerId { display: String::new(), number: user.to_string() };
    match wanted {
        ClientCallKind::Room(room) => {
            new.to = room.to_string();
            new.goal = Ok(Target::Room(room));
        }
        ClientCallKind::To { to, pstn, display_name, headers, sip_number } => {
            let dialled = AppDialled { to: &to, pstn, sip_number: sip_number.as_deref() };
            new.goal = route::from_app(&ctx.settings, dialled, registered(ctx));
            toll::watch(&new.goal);
            new.kind = kind(&new.goal, CallKind::RtcToRtc, CallKind::RtcToSip);
            new.from.display = display_name;
            new.headers = headers;
            new.to = to;
        }
    }
    let codecs = codecs_for(ctx, &new.goal);
    let party = Party::new(By::Rtc { client, user: user.clone() }, user.to_string());
    let side = LegSide::Rtc(Box::new(RtcState::new(client, user, Some(sdp), codecs)));
    let leg = LegCheckpoint::new(call, party.leg, party.media, None, side);
    new.a = Some(party);
    (new, Some(leg))
}

/// An app user invited a number or a service.
pub fn from_invitation(ctx: &Ctx, invited: InvitedCall) -> NewCall {
    let InvitedCall { call, invitation, client, user, callee, content, .. } = invited;
    let mut new = blank(ctx, call, CallKind::RtcToSip);
    new.from = CallerId { display: String::new(), number: user.to_string() };
    new.to = callee.clone();
    let (content, mut refusal) = match Content::parse(&content) {
        Ok(content) => (content, None),
        Err(_) => (Content::default(), Some(REFUSED_NOT_JSON)),
    };
    let chan = if content.chan_id.is_empty() { call.to_string() } else { content.chan_id.clone() };
    let dialled = AppDialled { to: &callee, pstn: content.pstn, sip_number: content.sip_number.as_deref() };
    new.goal = route::from_app(&ctx.settings, dialled, registered(ctx));
    toll::watch(&new.goal);
    new.kind = kind(&new.goal, CallKind::RtcToRtc, CallKind::RtcToSip);
    let conference = content.conference && !matches!(new.goal, Ok(Target::Service(_)));
    if conference {
        match RoomId::new(&chan) {
            Ok(room) => new.into_room = Some(room),
            Err(error) => new.goal = Err(Cause::not_found(error.to_string())),
        }
    } else if refusal.is_none() && bridged(ctx, call, &chan) {
        refusal = Some(REFUSED_JOINED);
    }
    if let Some(word) = refusal {
        let reason = format!("the invitation is refused: \"{word}\"");
        new.goal = Err(Cause { reason: reason.into(), ..Cause::declined() });
    }
    new.from.display = content.display_name.clone();
    if let Some(number) = content.shown_number() {
        new.from.number = number.to_owned();
    }
    new.headers = content.headers();
    let is_service = matches!(new.goal, Ok(Target::Service(_)));
    new.invited = Some(Invited {
        invitation,
        user,
        client,
        accept_on: if is_service { AcceptOn::Early } else { ctx.settings.rtc_to_sip.accept_on },
        response: content.accept_response(&chan),
        refusal: refusal.map(str::to_owned),
        chan,
        accepted: false,
    });
    (new, None)
}

/// The API calls a phone into a room.
///
/// # Errors
/// Why the number is not called.
pub fn phone_call(ctx: &Ctx, order: PhoneCall) -> Result<NewCall, StartError> {
    if !ctx.settings.modes.rtc_to_sip {
        return Err(StartError::NoRoute("modes.rtc_to_sip is off".into()));
    }
    let goal = route::from_connector(&ctx.settings, &order.phone_number, registered(ctx));
    toll::watch(&goal);
    let target = goal.map_err(|cause| {
        let outside = cause.status == 403 || !route::is_phone_number(&order.phone_number);
        let why = cause.reason.into_owned();
        if outside { StartError::Number(why) } else { StartError::NoRoute(why) }
    })?;
    let call = CallId::random();
    let mut new = blank(ctx, call, CallKind::Connector);
    new.from = CallerId { display: String::new(), number: order.caller };
    if new.from.number.is_empty() {
        new.from.number = order.room.to_string();
    }
    new.to = order.phone_number;
    new.goal = Ok(target);
    new.into_room = Some(order.room);
    new.connector = true;
    let ttl = order.ttl.unwrap_or(ctx.settings.limits.connector_ttl);
    new.expires_at = new.started_at + ttl.min(ctx.settings.limits.max_duration);
    Ok((new, None))
}

/// Codecs for the browser of a caller who goes there.
pub fn codecs_for(ctx: &Ctx, goal: &Result<Target, Cause>) -> Vec<Codec> {
    match goal {
        Ok(Target::Subscriber(_) | Target::Instance { .. } | Target::Uri(_)) => {
            browser_codecs(ctx, &ctx.settings.sip_codecs)
        }
        Ok(Target::Trunk { trunk, .. }) => browser_codecs(ctx, &trunk_codecs(ctx, trunk)),
        Ok(Target::User(_) | Target::Service(_) | Target::Room(_)) | Err(_) => ctx.settings.rtc_codecs.clone(),
    }
}

/// Codecs of who calls.
pub(super) fn codecs_of(ctx: &Ctx, origin: &SipOrigin) -> Vec<Codec> {
    match origin {
        SipOrigin::Trunk(trunk) => trunk_codecs(ctx, trunk),
        SipOrigin::Subscriber(_) | SipOrigin::Anonymous => ctx.settings.sip_codecs.clone(),
    }
}

/// What protects the media of who calls from there.
pub(super) fn encryption_of(ctx: &Ctx, origin: &SipOrigin) -> MediaEncryption {
    match origin {
        SipOrigin::Trunk(trunk) => trunk_encryption(ctx, trunk),
        SipOrigin::Subscriber(_) | SipOrigin::Anonymous => ctx.settings.sip_encryption,
    }
}

fn blank(ctx: &Ctx, call: CallId, kind: CallKind) -> CallCheckpoint {
    let now = ctx.wall();
    CallCheckpoint {
        call,
        kind,
        from: CallerId::default(),
        to: String::new(),
        headers: AppHeaders::default(),
        answer_headers: AppHeaders::default(),
        max_forwards: MaxForwards::default(),
        carried: Carried::default(),
        transfer: None,
        linger: None,
        given: None,
        goal: Err(Cause::internal("a call without a goal")),
        started_at: now,
        answered_at: None,
        expires_at: now + ctx.settings.limits.max_duration,
        a: None,
        b: None,
        leaving: Vec::new(),
        invitation: None,
        invited: None,
        into_room: None,
        phase: Phase::Begin,
        fence: 0,
        failed_dial: None,
        past: Vec::new(),
        lines: Vec::new(),
        connector: false,
        history: 0,
        cause: None,
        cdr_written: false,
    }
}

fn kind(goal: &Result<Target, Cause>, to_user: CallKind, to_phone: CallKind) -> CallKind {
    match goal {
        Ok(Target::Service(_)) => CallKind::Ivr,
        Ok(Target::Room(_)) => CallKind::Room,
        Ok(Target::Subscriber(_) | Target::Instance { .. } | Target::Trunk { .. } | Target::Uri(_)) => to_phone,
        Ok(Target::User(_)) | Err(_) => to_user,
    }
}

pub(super) fn registered(ctx: &Ctx) -> impl Fn(&SubscriberId) -> bool {
    let now = ctx.wall();
    move |subscriber| {
        ctx.ledger.bindings.read(subscriber, |rows| rows.iter().any(|row| row.expires_at > now)) == Some(true)
    }
}

/// Whether another live call bridges this channel.
fn bridged(ctx: &Ctx, call: CallId, chan: &str) -> bool {
    ctx.ledger.calls.rows().iter().any(|(id, _, row)| {
        *id != call && row.cause.is_none() && row.invited.as_ref().is_some_and(|invited| invited.chan == chan)
    })
}

/// As a callee is shown somebody.
pub(super) fn shown(who: &NameAddr) -> CallerId {
    CallerId { display: who.display.clone(), number: who.uri.user().unwrap_or(&who.uri.0).to_owned() }
}
