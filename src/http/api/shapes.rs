//! What the API shows, as JSON. Times are RFC 3339 in UTC, ids as logs show them; a field that has no value is `null`.

use std::time::SystemTime;

use serde::Serialize;
use tandem_actors::control::{
    CallView, ClientView, LegView, LineView, PhoneCallHistory, PhoneCallState, RoomView, TrunkView,
};
use tandem_actors::model::cause::{Blame, Cause};
use tandem_actors::ports::media::MediaSnapshot;
use tandem_actors::ports::sip::TrunkTarget;
use tandem_actors::ports::store::{Cdr, CdrLeg, SavedBinding};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// RFC 3339, to the millisecond.
pub(crate) fn moment(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let cut = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    cut.format(&Rfc3339).unwrap_or_default()
}

/// Several of something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Calls {
    /// Live calls.
    pub(super) calls: Vec<Call>,
}

/// A live call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Call {
    /// As in logs and CDRs.
    #[schema(example = "call-0000000000009c1e")]
    id: String,
    /// `ivr`, `sip_to_rtc`, `rtc_to_sip`, `sip_to_sip`, `rtc_to_rtc`, `connector`.
    kind: String,
    /// Caller as shown.
    from: String,
    /// What was called.
    to: String,
    /// `routing`, `flow`, `ringing`, `talking`, `room`, `ending`.
    phase: String,
    /// When it began.
    #[schema(format = DateTime)]
    started_at: String,
    /// When both sides talked.
    #[schema(format = DateTime)]
    answered_at: Option<String>,
    /// Its legs.
    legs: Vec<Leg>,
}

/// One party's half of a live call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Leg {
    /// `sip` or `rtc`.
    kind: String,
    /// Number, user id or URI.
    party: String,
    /// In words.
    phase: String,
    /// Times its actor was restarted.
    restarts: u32,
    /// Its media figures.
    media: Option<Media>,
}

/// What a media session has done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Media {
    /// RTP packets accepted.
    packets_received: u64,
    /// RTP packets sent.
    packets_sent: u64,
    /// Packets never received, by sequence numbers.
    packets_lost: u64,
    /// Packets refused: wrong source, failed authentication, unknown payload type, malformed.
    packets_refused: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1), microseconds.
    jitter_us: u32,
    /// Round trip, microseconds; 0 while unknown.
    round_trip_us: u32,
    /// Where RTP comes from.
    remote: Option<String>,
    /// The codec that is sent.
    codec: Option<String>,
    /// `sendrecv`, `sendonly`, `recvonly`, `inactive`, from the switch's point of view.
    direction: Option<String>,
}

/// Why something ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CauseShape {
    /// SIP status.
    sip_status: u16,
    /// Q.850 cause value.
    q850: Option<u8>,
    /// `success`, `client`, `server`, `upstream`, `indeterminate`.
    blame: String,
    /// Plain words.
    reason: String,
}

/// Several of something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Registrations {
    /// Current bindings.
    pub(super) registrations: Vec<Registration>,
}

/// A registered contact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Registration {
    /// Whose.
    subscriber: String,
    /// The contact URI.
    contact: String,
    /// The address it registered from.
    source: String,
    /// `udp` or `tcp`.
    transport: String,
    /// Until when.
    #[schema(format = DateTime)]
    expires_at: String,
    /// What it says it is.
    user_agent: Option<String>,
    /// Its own URN, where it has one (RFC 5626, RFC 5627).
    instance: Option<String>,
    /// Whether a NAT is between us.
    behind_nat: bool,
    /// The proxies it is reached through (RFC 3327).
    path: Vec<String>,
}

/// Several of something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trunks {
    /// Configured trunks.
    pub(super) trunks: Vec<Trunk>,
}

/// A trunk's state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trunk {
    /// Its name.
    id: String,
    /// `static`, `registering`, `registered`, `failed`, `unregistered`.
    registration: String,
    /// Last final SIP status when it failed.
    last_status: Option<u16>,
    /// Whether it answers OPTIONS; `null` while not asked.
    alive: Option<bool>,
    /// Seconds until the registration runs out.
    expires_in_s: Option<u64>,
    /// Calls up now.
    calls: u32,
    /// Its addresses as DNS and the configuration name them now.
    targets: Vec<TrunkTargetShape>,
    /// Its lines, where it is a SIM gateway.
    lines: Vec<Line>,
}

/// A line of a SIM gateway.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Line {
    /// Its name.
    id: String,
    /// Its own number.
    number: String,
    /// `free`, `busy`, `resting` or `unreachable`.
    state: String,
    /// The call that has it.
    call: Option<String>,
    /// Calls out that failed in a row.
    failures: u32,
    /// Calls out since the switch started.
    attempts: u64,
    /// Of those, answered.
    answered: u64,
    /// Seconds until it takes a call out again.
    rests_for_s: Option<u64>,
}

impl From<LineView> for Line {
    fn from(line: LineView) -> Self {
        let LineView { line, number, state, call, failures, attempts, answered, rests_for_s } = line;
        let call = call.map(|call| call.to_string());
        Self { id: line.to_string(), number, state, call, failures, attempts, answered, rests_for_s }
    }
}

/// One address of a trunk.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrunkTargetShape {
    /// Address and port.
    address: String,
    /// `udp`, `tcp`, `tls`.
    transport: String,
    /// Whether it is not known to be down: one that is, is tried last.
    up: bool,
}

/// Several of something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rooms {
    /// Live rooms.
    pub(super) rooms: Vec<Room>,
}

/// A live room.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Room {
    /// Its name.
    id: String,
    /// Who is in it, in order of joining.
    participants: Vec<RoomParticipant>,
}

/// Somebody in a room.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoomParticipant {
    /// By which call.
    call: String,
    /// Number or user id.
    party: String,
}

/// Several of something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientList {
    /// App users online.
    pub(super) clients: Vec<Client>,
}

/// An app user's connection.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Client {
    /// Who.
    user: String,
    /// ONLINE 0, UNREACHABLE 1.
    presence: u8,
    /// What it says it is.
    device: String,
}

/// A phone call's history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PhoneCallShape {
    /// Its id.
    pub(super) id: String,
    /// In order of time.
    pub(super) states: Vec<PhoneCallStateShape>,
    /// Whether it is over.
    pub(super) done: bool,
    /// Why it is over.
    pub(super) cause: Option<CauseShape>,
}

/// One state of a phone call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PhoneCallStateShape {
    /// When.
    #[schema(format = DateTime)]
    timestamp: String,
    /// 1 CALLING, 2 INCOMING, 3 EARLY, 4 CONNECTING, 5 CONFIRMED, 6 DISCONNECTED.
    #[schema(minimum = 1, maximum = 6)]
    state: u8,
    /// The word.
    #[schema(example = "CALLING")]
    state_text: String,
    /// SIP status; 0 while there is none.
    status_code: u16,
    /// Plain words.
    reason: String,
}

/// Several of something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cdrs {
    /// Newest first.
    pub(super) cdrs: Vec<CdrShape>,
}

/// One call detail record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CdrShape {
    /// Which call.
    call: String,
    /// `ivr`, `sip_to_rtc`, `rtc_to_sip`, `sip_to_sip`, `rtc_to_rtc`, `connector`.
    kind: String,
    /// Caller as shown.
    from: String,
    /// What was called.
    to: String,
    /// When the first leg came.
    #[schema(format = DateTime)]
    started_at: String,
    /// When both sides talked.
    #[schema(format = DateTime)]
    answered_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    ended_at: String,
    /// Why.
    cause: CauseShape,
    /// Its legs, in order of appearance.
    legs: Vec<CdrLegShape>,
}

/// One leg of a CDR.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CdrLegShape {
    /// Which leg.
    leg: String,
    /// `sip` or `rtc`.
    kind: String,
    /// The party.
    party: String,
    /// SIP Call-ID or peer id.
    signalling_id: String,
    /// Session-ID of the party (RFC 7989): the same in what its other hops log.
    session_id: Option<String>,
    /// Milliseconds from the call's start to this leg's answer.
    answered_after_ms: Option<u64>,
    /// Why it ended.
    cause: Option<CauseShape>,
    /// How often its actor was restarted.
    restarts: u32,
    /// Its media figures.
    media: Option<Media>,
}

fn blame(blame: Blame) -> &'static str {
    match blame {
        Blame::Success => "success",
        Blame::Client => "client",
        Blame::Server => "server",
        Blame::Upstream => "upstream",
        Blame::Indeterminate => "indeterminate",
    }
}

impl From<Cause> for CauseShape {
    fn from(cause: Cause) -> Self {
        Self {
            sip_status: cause.status,
            q850: cause.q850,
            blame: blame(cause.blame).into(),
            reason: cause.reason.into_owned(),
        }
    }
}

impl From<MediaSnapshot> for Media {
    fn from(media: MediaSnapshot) -> Self {
        Self {
            packets_received: media.packets_received,
            packets_sent: media.packets_sent,
            packets_lost: media.packets_lost,
            packets_refused: media.packets_refused,
            jitter_us: media.jitter_us,
            round_trip_us: media.round_trip_us,
            remote: media.remote.map(|remote| remote.to_string()),
            codec: media.codec.map(|codec| codec.to_string()),
            direction: media.direction.map(|direction| direction.attribute().into()),
        }
    }
}

impl From<LegView> for Leg {
    fn from(leg: LegView) -> Self {
        let LegView { kind, party, phase, restarts, media } = leg;
        Self { kind, party, phase, restarts, media: media.map(Into::into) }
    }
}

impl From<CallView> for Call {
    fn from(call: CallView) -> Self {
        let CallView { call, kind, from, to, phase, started_at, answered_at, legs } = call;
        Self {
            id: call.to_string(),
            kind,
            from,
            to,
            phase,
            started_at: moment(started_at),
            answered_at: answered_at.map(moment),
            legs: legs.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<SavedBinding> for Registration {
    fn from(binding: SavedBinding) -> Self {
        Self {
            subscriber: binding.subscriber.to_string(),
            contact: binding.contact.uri.0,
            source: binding.contact.source.to_string(),
            transport: binding.contact.transport.label().into(),
            expires_at: moment(binding.expires_at),
            user_agent: binding.user_agent,
            instance: binding.instance.map(|instance| instance.0),
            behind_nat: binding.contact.behind_nat,
            path: binding.contact.path,
        }
    }
}

impl From<TrunkView> for Trunk {
    fn from(view: TrunkView) -> Self {
        let TrunkView { trunk, registration, last_status, alive, expires_in_s, calls, targets, lines } = view;
        let targets = targets.into_iter().map(Into::into).collect();
        let lines = lines.into_iter().map(Into::into).collect();
        Self { id: trunk.to_string(), registration, last_status, alive, expires_in_s, calls, targets, lines }
    }
}

impl From<TrunkTarget> for TrunkTargetShape {
    fn from(target: TrunkTarget) -> Self {
        let TrunkTarget { address, transport, up } = target;
        Self { address: address.to_string(), transport: transport.label().into(), up }
    }
}

impl From<RoomView> for Room {
    fn from(view: RoomView) -> Self {
        let participants = view.participants.into_iter();
        Self {
            id: view.room.to_string(),
            participants: participants.map(|p| RoomParticipant { call: p.call.to_string(), party: p.party }).collect(),
        }
    }
}

impl From<ClientView> for Client {
    fn from(view: ClientView) -> Self {
        Self { user: view.user.to_string(), presence: view.presence, device: view.device }
    }
}

impl From<PhoneCallState> for PhoneCallStateShape {
    fn from(state: PhoneCallState) -> Self {
        Self {
            timestamp: moment(state.at),
            state: state.state,
            state_text: state.text,
            status_code: state.status,
            reason: state.reason,
        }
    }
}

impl PhoneCallShape {
    /// A history, under its call's id.
    pub(super) fn new(id: String, history: PhoneCallHistory) -> Self {
        Self {
            id,
            states: history.states.into_iter().map(Into::into).collect(),
            done: history.done,
            cause: history.cause.map(Into::into),
        }
    }
}

impl From<CdrLeg> for CdrLegShape {
    fn from(leg: CdrLeg) -> Self {
        Self {
            leg: leg.leg.to_string(),
            kind: leg.kind,
            party: leg.party,
            signalling_id: leg.signalling_id,
            session_id: leg.session_id,
            answered_after_ms: leg.answered_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            cause: leg.cause.map(Into::into),
            restarts: leg.restarts,
            media: leg.media.map(Into::into),
        }
    }
}

impl From<Cdr> for CdrShape {
    fn from(cdr: Cdr) -> Self {
        Self {
            call: cdr.call.to_string(),
            kind: cdr.kind,
            from: cdr.from,
            to: cdr.to,
            started_at: moment(cdr.started_at),
            answered_at: cdr.answered_at.map(moment),
            ended_at: moment(cdr.ended_at),
            cause: cdr.cause.into(),
            legs: cdr.legs.into_iter().map(Into::into).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn moments_are_rfc_3339_to_the_millisecond() {
        assert_eq!(moment(UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456)), "2023-11-14T22:13:20.123Z");
        assert_eq!(moment(UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
