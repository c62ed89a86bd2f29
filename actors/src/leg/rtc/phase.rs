//! An RTC leg's decisions as a pure machine: the browser's offers, the wait for ICE and DTLS, hold, the end. ICE, DTLS and SDP
//! are the RTC adapter's.
//!
//! ```text
//!  Waiting --offer--> Accepting --answer--> Connecting --DTLS--> Connected     any --End | Failed--> (gone)
//!   15 s                        10 s in all                  (offers anew: ICE restart, hold)
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::leg::{LegOrder, LegReport};
use crate::model::address::AppHeaders;
use crate::model::cause::{Blame, Cause};
use crate::model::ids::{ClientId, LegId, MediaId, PeerId, UserId};
use crate::model::media::{Codec, Direction};
use crate::model::negotiate::Negotiated;
use crate::ports::rtc::{PeerSnapshot, PeerState, RtcCommand, RtcEventKind, Sdp};

/// A client that accepted without an offer has this long to make one.
pub const OFFER_WITHIN: Duration = Duration::from_secs(15);
/// From the offer to DTLS done.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// An RTC leg, as checkpointed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RtcState {
    /// Its peer.
    pub peer: PeerId,
    /// The connection that signals for it.
    pub client: ClientId,
    /// Who that is.
    pub user: UserId,
    /// Codecs allowed, in order.
    pub codecs: Vec<Codec>,
    /// The candidate to advertise; `None` until the media session is open.
    pub candidate: Option<SocketAddr>,
    /// The last offer of the browser.
    pub offer: Option<Sdp>,
    /// The answer to it.
    pub answer: Option<Sdp>,
    /// What is agreed on.
    pub agreed: Option<Box<Negotiated>>,
    /// Where it stands.
    pub phase: RtcPhase,
}

/// Where the leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RtcPhase {
    /// The browser's first offer is awaited.
    Waiting,
    /// The RTC adapter works on it.
    Accepting,
    /// Answered; ICE and DTLS are under way.
    Connecting,
    /// Media flows.
    Connected,
    /// Over.
    Ended,
}

impl RtcPhase {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            RtcPhase::Waiting => "waiting",
            RtcPhase::Accepting => "accepting",
            RtcPhase::Connecting => "connecting",
            RtcPhase::Connected => "connected",
            RtcPhase::Ended => "ended",
        }
    }
}

/// What may take a browser too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Its first offer.
    Offer,
    /// ICE and DTLS.
    Connect,
}

/// What happens to an RTC leg.
#[derive(Debug)]
pub enum RtcInput {
    /// Its first incarnation begins; the media session is open.
    Start,
    /// A later one begins; this is what the RTC adapter knows.
    Resume(Option<PeerSnapshot>),
    /// Its first incarnation begins without a media session: why not.
    NoMedia(Cause),
    /// The call decides.
    Order(LegOrder),
    /// The RTC adapter tells.
    Peer(RtcEventKind),
    /// A wait took too long.
    Overdue(Wait),
}

/// What a step leads to, in order.
#[derive(Debug, PartialEq)]
pub enum RtcEffect {
    /// Configure the media session.
    Configure(Box<Negotiated>),
    /// Close the media session.
    CloseMedia,
    /// An order to the peer.
    Command(RtcCommand),
    /// Hand the browser the answer.
    Answer(Sdp),
    /// Tell the browser that its new offer is refused, and why.
    Refused(String),
    /// Watch the time.
    Wait(Wait, Duration),
    /// Tell the call.
    Report(LegReport),
    /// Report the end and stop.
    End(Cause),
}

impl RtcState {
    /// A leg for this connection; without an offer it waits for one.
    pub fn new(client: ClientId, user: UserId, offer: Option<Sdp>, codecs: Vec<Codec>) -> Self {
        let phase = if offer.is_some() { RtcPhase::Accepting } else { RtcPhase::Waiting };
        let peer = PeerId::random();
        Self { peer, client, user, codecs, candidate: None, offer, answer: None, agreed: None, phase }
    }

    /// The browser holds us.
    pub fn held(&self) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| !agreed.direction.sends())
    }

    fn mute(&self) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| !agreed.direction.receives())
    }

    /// Steps the leg; `leg` and `media` are its own, needed to name them to the adapter.
    pub fn step(mut self, leg: LegId, media: MediaId, input: RtcInput) -> (Self, Vec<RtcEffect>) {
        let mut out = Vec::new();
        match input {
            RtcInput::Start => match self.phase {
                RtcPhase::Waiting => out.push(RtcEffect::Wait(Wait::Offer, OFFER_WITHIN)),
                RtcPhase::Accepting | RtcPhase::Connecting | RtcPhase::Connected | RtcPhase::Ended => {
                    self.accept(leg, media, &mut out);
                }
            },
            RtcInput::Resume(snapshot) => self.resume(leg, media, snapshot, &mut out),
            RtcInput::NoMedia(cause) => self.over(cause, &mut out),
            RtcInput::Order(LegOrder::Offer(offer)) => self.offered(leg, media, offer, &mut out),
            RtcInput::Order(LegOrder::End(cause)) => self.over(cause, &mut out),
            RtcInput::Order(
                LegOrder::Prepare { .. } | LegOrder::Progress { .. } | LegOrder::Answer { .. } | LegOrder::Hold(_),
            ) => {}
            RtcInput::Peer(event) => self.peer(event, &mut out),
            RtcInput::Overdue(wait) => self.overdue(wait, &mut out),
        }
        (self, out)
    }

    fn accept(&mut self, leg: LegId, media: MediaId, out: &mut Vec<RtcEffect>) {
        let (Some(offer), Some(candidate)) = (self.offer.clone(), self.candidate) else {
            self.over(Cause::internal("a leg began without its media session"), out);
            return;
        };
        let (codecs, direction) = (self.codecs.clone(), Direction::SendRecv);
        out.push(RtcEffect::Command(RtcCommand::Accept { leg, media, candidate, offer, codecs, direction }));
        if self.phase == RtcPhase::Accepting {
            out.push(RtcEffect::Wait(Wait::Connect, CONNECT_WITHIN));
        }
    }

    fn offered(&mut self, leg: LegId, media: MediaId, offer: Sdp, out: &mut Vec<RtcEffect>) {
        match self.phase {
            RtcPhase::Waiting => self.phase = RtcPhase::Accepting,
            RtcPhase::Accepting | RtcPhase::Connecting | RtcPhase::Connected => {}
            RtcPhase::Ended => return,
        }
        self.offer = Some(offer);
        self.answer = None;
        self.accept(leg, media, out);
    }

    fn resume(&mut self, leg: LegId, media: MediaId, snapshot: Option<PeerSnapshot>, out: &mut Vec<RtcEffect>) {
        match self.phase {
            RtcPhase::Waiting => out.push(RtcEffect::Wait(Wait::Offer, OFFER_WITHIN)),
            // Accepting the same offer again answers the same.
            RtcPhase::Accepting => self.accept(leg, media, out),
            RtcPhase::Connecting | RtcPhase::Connected => {
                let Some(snapshot) = snapshot else {
                    self.over(Cause::media_lost("the WebRTC peer is gone"), out);
                    return;
                };
                self.configure(out);
                if self.answer.is_none() {
                    self.accept(leg, media, out);
                }
                if let (RtcPhase::Connecting, Some(answer)) = (self.phase, self.answer.clone()) {
                    // Said again: the crash may have come before it was said the first time.
                    out.push(RtcEffect::Answer(answer));
                    out.push(RtcEffect::Wait(Wait::Connect, CONNECT_WITHIN));
                }
                match snapshot.state {
                    PeerState::Connected => self.peer(RtcEventKind::Connected, out),
                    PeerState::Connecting | PeerState::Disconnected => {}
                    PeerState::Failed => self.peer(RtcEventKind::Failed("the connection failed".into()), out),
                }
                if self.phase == RtcPhase::Connected {
                    self.report_hold(out);
                }
            }
            RtcPhase::Ended => {}
        }
    }

    fn peer(&mut self, event: RtcEventKind, out: &mut Vec<RtcEffect>) {
        match event {
            RtcEventKind::Accepted { answer, negotiated } => {
                let was = (self.held(), self.mute());
                match self.phase {
                    RtcPhase::Accepting => self.phase = RtcPhase::Connecting,
                    RtcPhase::Connecting | RtcPhase::Connected => {}
                    RtcPhase::Waiting | RtcPhase::Ended => return,
                }
                let new = self.answer.as_ref() != Some(&answer);
                self.answer = Some(answer.clone());
                self.agreed = Some(negotiated);
                self.configure(out);
                if new {
                    out.push(RtcEffect::Answer(answer));
                }
                if was != (self.held(), self.mute()) {
                    self.report_hold(out);
                }
            }
            RtcEventKind::Refused(why) => match self.phase {
                RtcPhase::Waiting | RtcPhase::Accepting => self.over(Cause::not_acceptable(why), out),
                // The peer is as before: the browser keeps what it had, and is told so.
                RtcPhase::Connecting | RtcPhase::Connected => out.push(RtcEffect::Refused(why)),
                RtcPhase::Ended => {}
            },
            RtcEventKind::Connected => match (self.phase, &self.agreed) {
                (RtcPhase::Connecting | RtcPhase::Connected, Some(agreed)) => {
                    let (codec, headers) = (agreed.send.codec, AppHeaders::default());
                    self.phase = RtcPhase::Connected;
                    out.push(RtcEffect::Report(LegReport::Connected { codec, headers }));
                }
                (
                    RtcPhase::Waiting
                    | RtcPhase::Accepting
                    | RtcPhase::Connecting
                    | RtcPhase::Connected
                    | RtcPhase::Ended,
                    _,
                ) => {}
            },
            // The adapter gives the path 30 s to come back; whoever talks hears silence meanwhile, and nothing can be done.
            RtcEventKind::Disconnected | RtcEventKind::Reconnected => {}
            RtcEventKind::Failed(why) => self.over(Cause::media_lost(why), out),
        }
    }

    fn overdue(&mut self, wait: Wait, out: &mut Vec<RtcEffect>) {
        let late = |reason: &'static str| Cause::new(480, Some(27), Blame::Upstream, reason);
        match (wait, self.phase) {
            (Wait::Offer, RtcPhase::Waiting) => {
                self.over(late("the app accepted and sent no WebRTC offer within 15 s"), out);
            }
            (Wait::Connect, RtcPhase::Accepting | RtcPhase::Connecting) => {
                self.over(late("the app's WebRTC connection was not up within 10 s"), out);
            }
            (
                Wait::Offer | Wait::Connect,
                RtcPhase::Waiting | RtcPhase::Accepting | RtcPhase::Connecting | RtcPhase::Connected | RtcPhase::Ended,
            ) => {}
        }
    }

    fn configure(&self, out: &mut Vec<RtcEffect>) {
        if let Some(agreed) = &self.agreed {
            out.push(RtcEffect::Configure(agreed.clone()));
            out.push(RtcEffect::Report(LegReport::Ready(agreed.send.codec)));
        }
    }

    fn report_hold(&self, out: &mut Vec<RtcEffect>) {
        out.push(RtcEffect::Report(LegReport::Held { held: self.held(), mute: self.mute() }));
    }

    fn over(&mut self, cause: Cause, out: &mut Vec<RtcEffect>) {
        if self.phase == RtcPhase::Ended {
            return;
        }
        self.phase = RtcPhase::Ended;
        out.push(RtcEffect::CloseMedia);
        out.push(RtcEffect::Command(RtcCommand::Close));
        out.push(RtcEffect::End(cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::negotiate::{CodecLine, Secured};

    fn leg(offer: Option<&str>) -> RtcState {
        let user = UserId::new("alice").expect("an id");
        let mut leg = RtcState::new(ClientId(1), user, offer.map(|o| Sdp(o.into())), vec![Codec::Opus]);
        leg.candidate = Some("192.0.2.1:7000".parse().expect("an address"));
        leg
    }

    fn step(leg: RtcState, input: RtcInput) -> (RtcState, Vec<RtcEffect>) {
        leg.step(LegId(1), MediaId(1), input)
    }

    fn accepted(direction: Direction) -> RtcEventKind {
        let line = CodecLine { payload_type: 111, codec: Codec::Opus, parameters: String::new() };
        RtcEventKind::Accepted {
            answer: Sdp(format!("answer {}", direction.attribute())),
            negotiated: Box::new(Negotiated {
                send: line.clone(),
                receive: vec![line],
                send_event: None,
                receive_events: Vec::new(),
                ptime_ms: 20,
                direction,
                remote_rtp: None,
                remote_rtcp: None,
                rtcp_mux: true,
                audio_level: None,
                secured: Secured::Plain,
            }),
        }
    }

    fn connected() -> RtcState {
        let (state, _) = step(leg(Some("offer")), RtcInput::Start);
        let (state, _) = step(state, RtcInput::Peer(accepted(Direction::SendRecv)));
        step(state, RtcInput::Peer(RtcEventKind::Connected)).0
    }

    fn ends(effects: &[RtcEffect]) -> Option<u16> {
        effects.iter().find_map(|effect| match effect {
            RtcEffect::End(cause) => Some(cause.status),
            RtcEffect::Configure(_)
            | RtcEffect::CloseMedia
            | RtcEffect::Command(_)
            | RtcEffect::Answer(_)
            | RtcEffect::Refused(_)
            | RtcEffect::Wait(..)
            | RtcEffect::Report(_) => None,
        })
    }

    #[test]
    fn media_is_configured_before_the_browser_hears_the_answer() {
        let (state, _) = step(leg(Some("offer")), RtcInput::Start);
        let (_, effects) = step(state, RtcInput::Peer(accepted(Direction::SendRecv)));
        let at = |wanted: fn(&RtcEffect) -> bool| effects.iter().position(wanted).expect("the effect");
        assert!(at(|e| matches!(e, RtcEffect::Configure(_))) < at(|e| matches!(e, RtcEffect::Answer(_))));
    }

    #[test]
    fn an_acceptance_without_an_offer_waits_15_s_for_one() {
        let (state, effects) = step(leg(None), RtcInput::Start);
        assert_eq!(effects, [RtcEffect::Wait(Wait::Offer, OFFER_WITHIN)]);
        let (late, effects) = step(state.clone(), RtcInput::Overdue(Wait::Offer));
        assert_eq!((late.phase, ends(&effects)), (RtcPhase::Ended, Some(480)));
        let (state, effects) = step(state, RtcInput::Order(LegOrder::Offer(Sdp("offer".into()))));
        assert!(matches!(effects.first(), Some(RtcEffect::Command(RtcCommand::Accept { .. }))));
        assert_eq!(ends(&step(state, RtcInput::Overdue(Wait::Offer)).1), None);
    }

    #[test]
    fn a_browser_that_does_not_connect_within_10_s_ends_the_leg_with_480() {
        let (state, _) = step(leg(Some("offer")), RtcInput::Start);
        let (state, _) = step(state, RtcInput::Peer(accepted(Direction::SendRecv)));
        assert_eq!(ends(&step(state, RtcInput::Overdue(Wait::Connect)).1), Some(480));
        assert_eq!(ends(&step(connected(), RtcInput::Overdue(Wait::Connect)).1), None);
    }

    #[test]
    fn a_resumed_leg_says_again_what_is_so() {
        let state = connected();
        let snapshot = PeerSnapshot { state: PeerState::Connected };
        let (_, effects) = step(state.clone(), RtcInput::Resume(Some(snapshot)));
        assert!(effects.contains(&RtcEffect::Report(LegReport::Ready(Codec::Opus))));
        assert!(effects.iter().any(|e| matches!(e, RtcEffect::Report(LegReport::Connected { .. }))));
        assert!(!effects.iter().any(|e| matches!(e, RtcEffect::Command(_) | RtcEffect::Answer(_))));
        assert_eq!(ends(&step(state, RtcInput::Resume(None)).1), Some(408));
    }

    #[test]
    fn a_new_offer_that_holds_is_reported_and_a_refused_one_is_said_and_changes_nothing() {
        let (state, _) = step(connected(), RtcInput::Order(LegOrder::Offer(Sdp("hold".into()))));
        let (held, effects) = step(state.clone(), RtcInput::Peer(accepted(Direction::RecvOnly)));
        assert!(held.held());
        assert!(effects.contains(&RtcEffect::Report(LegReport::Held { held: true, mute: false })));
        let (same, effects) = step(state.clone(), RtcInput::Peer(RtcEventKind::Refused("bad".into())));
        assert_eq!((same, effects), (state, vec![RtcEffect::Refused("bad".into())]));
    }

    #[test]
    fn the_end_closes_media_and_peer_once() {
        let (ended, effects) = step(connected(), RtcInput::Order(LegOrder::End(Cause::hangup())));
        assert_eq!(
            effects,
            [RtcEffect::CloseMedia, RtcEffect::Command(RtcCommand::Close), RtcEffect::End(Cause::hangup())]
        );
        assert_eq!(step(ended, RtcInput::Order(LegOrder::End(Cause::hangup()))).1, []);
    }
}
