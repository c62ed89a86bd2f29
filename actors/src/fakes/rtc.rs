//! Browsers that always connect.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Events, lock};
use crate::model::ids::{Epoch, LegId, MediaId, PeerId};
use crate::model::media::{Codec, Direction};
use crate::model::negotiate::{CodecLine, Negotiated, Secured, TelephoneEvent};
use crate::ports::Fenced;
use crate::ports::rtc::{PeerSnapshot, PeerState, RtcCommand, RtcEvent, RtcEventKind, RtcPort, Sdp};

struct Peer {
    epoch: Epoch,
    leg: LegId,
    media: MediaId,
    state: PeerState,
    /// The answer to its offer, and what was agreed, where they went through here.
    answered: Option<(Sdp, Box<Negotiated>)>,
}

/// Answers an offer with the first codec allowed, and connects at once.
pub struct FakeRtc {
    brain: Events,
    peers: Mutex<HashMap<PeerId, Peer>>,
    holds_back: AtomicBool,
}

impl FakeRtc {
    pub(super) fn new(brain: Events) -> Self {
        Self { brain, peers: Mutex::default(), holds_back: AtomicBool::new(false) }
    }

    /// Whether DTLS is left unfinished until [`FakeRtc::connect`].
    pub fn hold_back(&self, hold: bool) {
        self.holds_back.store(hold, Ordering::Relaxed);
    }

    /// Finishes a peer's DTLS.
    pub fn connect(&self, peer: PeerId) {
        self.tell(peer, PeerState::Connected, RtcEventKind::Connected);
    }

    /// A peer's path is gone for good.
    pub fn fail(&self, peer: PeerId, why: &str) {
        self.tell(peer, PeerState::Failed, RtcEventKind::Failed(why.to_owned()));
    }

    /// A browser offers again: from now on we send and receive so.
    pub fn renegotiate(&self, id: PeerId, direction: Direction) {
        let told = lock(&self.peers).get_mut(&id).and_then(|peer| {
            let (answer, negotiated) = peer.answered.as_mut()?;
            negotiated.direction = direction;
            let (answer, negotiated) = (answer.clone(), negotiated.clone());
            Some((peer.leg, RtcEventKind::Accepted { answer, negotiated }))
        });
        if let Some((leg, kind)) = told {
            self.brain.rtc(RtcEvent { leg, peer: id, kind });
        }
    }

    /// The peers that are not closed, with their legs and media sessions.
    pub fn peers(&self) -> Vec<(PeerId, LegId, MediaId)> {
        lock(&self.peers).iter().map(|(id, peer)| (*id, peer.leg, peer.media)).collect()
    }

    fn tell(&self, id: PeerId, state: PeerState, kind: RtcEventKind) {
        let leg = lock(&self.peers).get_mut(&id).map(|peer| {
            peer.state = state;
            peer.leg
        });
        if let Some(leg) = leg {
            self.brain.rtc(RtcEvent { leg, peer: id, kind });
        }
    }
}

fn agreed(codec: Codec, direction: Direction) -> Negotiated {
    let line = CodecLine { payload_type: codec.default_payload_type(), codec, parameters: String::new() };
    let event = TelephoneEvent { payload_type: 110, clock_rate: codec.clock_rate() };
    Negotiated {
        send: line.clone(),
        receive: vec![line],
        send_event: Some(event),
        receive_events: vec![event],
        ptime_ms: 20,
        direction,
        remote_rtp: None,
        remote_rtcp: None,
        rtcp_mux: true,
        audio_level: None,
        secured: Secured::Plain,
    }
}

impl RtcPort for FakeRtc {
    fn order(&self, id: PeerId, epoch: Epoch, command: RtcCommand) -> Result<(), Fenced> {
        let mut peers = lock(&self.peers);
        if peers.get(&id).is_some_and(|peer| peer.epoch > epoch) {
            return Err(Fenced);
        }
        match command {
            RtcCommand::Accept { leg, media, candidate: _, offer, codecs, direction } => {
                let Some(&codec) = codecs.first().filter(|_| offer.0 != "refuse me") else {
                    drop(peers);
                    let kind = RtcEventKind::Refused("no codec in common".into());
                    self.brain.rtc(RtcEvent { leg, peer: id, kind });
                    return Ok(());
                };
                let negotiated = Box::new(agreed(codec, direction));
                let answer = Sdp(format!("answer to {}", offer.0));
                let fresh = !peers.contains_key(&id);
                let state = peers.get(&id).map_or(PeerState::Connecting, |peer| peer.state);
                let answered = Some((answer.clone(), negotiated.clone()));
                peers.insert(id, Peer { epoch, leg, media, state, answered });
                drop(peers);
                self.brain.rtc(RtcEvent { leg, peer: id, kind: RtcEventKind::Accepted { answer, negotiated } });
                if fresh && !self.holds_back.load(Ordering::Relaxed) {
                    self.connect(id);
                }
            }
            RtcCommand::Connect { leg, media, dtls: _ } => {
                let fresh = !peers.contains_key(&id);
                let state = peers.get(&id).map_or(PeerState::Connecting, |peer| peer.state);
                peers.insert(id, Peer { epoch, leg, media, state, answered: None });
                drop(peers);
                if fresh && !self.holds_back.load(Ordering::Relaxed) {
                    self.connect(id);
                }
            }
            RtcCommand::Close => {
                peers.remove(&id);
            }
        }
        Ok(())
    }

    fn snapshot(&self, peer: PeerId) -> Option<PeerSnapshot> {
        lock(&self.peers).get(&peer).map(|peer| PeerSnapshot { state: peer.state })
    }

    fn fingerprint(&self) -> String {
        ["FA"; 32].join(":")
    }
}
