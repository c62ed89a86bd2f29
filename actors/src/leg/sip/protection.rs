//! What protects a SIP leg's media: the policy, and what is ours of it.
//!
//! | leg | carried by | agreed in |
//! |---|---|---|
//! | in the clear, SDES | a port pair of its own | the descriptions |
//! | DTLS-SRTP with ICE | the worker's shared port | the descriptions, then the handshake of its WebRTC peer |
//!
//! Which of the two is settled with the first offer, and stays: a re-INVITE that asks for the other is 488.
//!
//! Our keys stay for the life of the leg, so that hold, resume and refreshes change nothing that is heard. A peer that comes with
//! another key or another address may be another endpoint, which knows nothing of how far our key stream has come (RFC 4568 §7.1.4): it
//! is answered with fresh keys.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::phase::{SipEffect, SipPhase, SipState};
use crate::model::cause::Cause;
use crate::model::ids::PeerId;
use crate::model::negotiate::{
    AudioDescription, Crypto, DtlsIce, Negotiated, Profile, SdesKeys, Secured, Security, Setup,
};
use crate::model::srtp::MediaEncryption;
use crate::ports::rtc::RtcEventKind;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protection {
    /// As configured for whom the leg is with.
    pub policy: MediaEncryption,
    keys: SdesKeys,
    /// Its WebRTC peer, on a leg that is carried by one.
    pub webrtc: Option<Webrtc>,
}

/// Our side of a WebRTC peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webrtc {
    /// Its name with the RTC adapter.
    pub peer: PeerId,
    fingerprint: String,
    credentials: IceCredentials,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct IceCredentials {
    ufrag: String,
    pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IceCredentials({})", self.ufrag)
    }
}

impl IceCredentials {
    /// 64 and 128 bits of randomness (RFC 8445 §5.3 wants 24 and 128), in characters that RFC 8839 §5.4 allows.
    fn random() -> Self {
        Self { ufrag: format!("{:016x}", rand::random::<u64>()), pwd: format!("{:032x}", rand::random::<u128>()) }
    }
}

impl Protection {
    /// Fresh keys under a policy.
    pub fn new(policy: MediaEncryption) -> Self {
        Self { policy, keys: SdesKeys::random(), webrtc: None }
    }

    /// Whether a leg that begins with this offer, or with ours, is carried by a WebRTC peer.
    pub fn wants_webrtc(&self, offer: Option<&AudioDescription>) -> bool {
        match offer {
            Some(offer) => matches!(offer.profile, Profile::Dtls(_)),
            None => self.policy == MediaEncryption::Dtls,
        }
    }

    /// The leg is carried by a WebRTC peer, and our certificate is this one.
    pub fn by_webrtc(&mut self, fingerprint: String) {
        self.webrtc = Some(Webrtc { peer: PeerId::random(), fingerprint, credentials: IceCredentials::random() });
    }

    /// What an offer is answered with, or what ours says; `agreed` is what is agreed on already.
    pub fn toward(
        &mut self,
        offer: Option<&AudioDescription>,
        agreed: Option<&Negotiated>,
        rtp: SocketAddr,
    ) -> Security {
        match offer {
            Some(offer) => self.answer(offer, agreed, rtp),
            None => self.offer(agreed, rtp),
        }
    }

    /// What we offer.
    pub fn offer(&self, agreed: Option<&Negotiated>, rtp: SocketAddr) -> Security {
        match &self.webrtc {
            Some(webrtc) => {
                let mid = dtls_of(agreed).map_or("0", |dtls| &dtls.ours.mid).to_owned();
                // RFC 5763 §5 wants actpass in every offer; who keeps the association keeps its roles (RFC 8842 §5.5).
                Security::Dtls(Box::new(DtlsIce { mid, ..webrtc.ice(Setup::Actpass, rtp) }))
            }
            None => Security::by_policy(self.policy, &self.keys),
        }
    }

    /// What an offer is answered with.
    fn answer(&mut self, offer: &AudioDescription, agreed: Option<&Negotiated>, rtp: SocketAddr) -> Security {
        if let Some(webrtc) = &mut self.webrtc {
            let before = dtls_of(agreed);
            let mut role = Setup::Actpass;
            if let (Some(before), Profile::Dtls(theirs)) = (before, &offer.profile) {
                // RFC 8839 §4.4.1.1: another user fragment restarts ICE, and the answer has fresh ones too.
                if before.theirs.ufrag != theirs.ufrag {
                    webrtc.credentials = IceCredentials::random();
                }
                if before.theirs.fingerprint == theirs.fingerprint {
                    role = before.ours.setup;
                }
            }
            return Security::Dtls(Box::new(webrtc.ice(role, rtp)));
        }
        if is_elsewhere(offer, agreed) {
            self.keys = SdesKeys::random();
        }
        Security::by_policy(self.policy, &self.keys)
    }
}

impl Webrtc {
    fn ice(&self, setup: Setup, candidate: SocketAddr) -> DtlsIce {
        DtlsIce {
            ufrag: self.credentials.ufrag.clone(),
            pwd: self.credentials.pwd.clone(),
            lite: true,
            fingerprint: self.fingerprint.clone(),
            setup,
            mid: String::new(),
            candidates: vec![candidate],
            audio_level: None,
            // The media engine chooses the SSRC; with one section a peer takes whatever comes.
            ssrc: None,
        }
    }
}

fn dtls_of(agreed: Option<&Negotiated>) -> Option<&crate::model::negotiate::Dtls> {
    match &agreed?.secured {
        Secured::Dtls(dtls) => Some(dtls),
        Secured::Plain | Secured::Sdes(_) => None,
    }
}

/// Whether a re-offer may come from another endpoint than what is agreed on: none of its keys is the known one, or its address is
/// another (an address of zeroes is a hold).
fn is_elsewhere(offer: &AudioDescription, agreed: Option<&Negotiated>) -> bool {
    let Some(Negotiated { secured: Secured::Sdes(keys), remote_rtp, .. }) = agreed else { return false };
    let known = |line: &Crypto| line.profile == keys.profile && line.key == keys.receive;
    let Profile::Sdes(sdes) = &offer.profile else { return false };
    let moved = remote_rtp.is_some_and(|rtp| !offer.rtp.ip().is_unspecified() && offer.rtp != rtp);
    moved || !sdes.lines.iter().any(known)
}

impl SipState {
    /// A WebRTC peer's connection. Whoever talks over one that is lost for good is gone (as `leg::rtc` has it).
    pub(super) fn peer(&mut self, event: RtcEventKind, out: &mut Vec<SipEffect>) {
        match event {
            RtcEventKind::Refused(why) | RtcEventKind::Failed(why) => match self.phase {
                SipPhase::Offered | SipPhase::Answering | SipPhase::Calling | SipPhase::Confirmed => {
                    self.end(Cause::media_lost(why), out);
                }
                SipPhase::Ending(_) | SipPhase::Ended => {}
            },
            RtcEventKind::Accepted { .. }
            | RtcEventKind::Connected
            | RtcEventKind::Disconnected
            | RtcEventKind::Reconnected => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::media::{Codec, Direction};
    use crate::model::negotiate::{AudioAnswer, AudioOffer, Capabilities};

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn with(security: Security, rtp: SocketAddr) -> Capabilities {
        let (codecs, direction) = (vec![Codec::Pcmu], Direction::SendRecv);
        Capabilities { codecs, rtp, direction, session_id: 1, session_version: 1, security }
    }

    fn peer(keys: &SdesKeys, port: u16) -> AudioOffer {
        let security = Security::by_policy(MediaEncryption::Sdes, keys);
        AudioOffer::from_capabilities(&with(security, at(port)))
    }

    fn answered(ours: &mut Protection, offer: &AudioOffer, agreed: Option<&Negotiated>) -> (AudioAnswer, Negotiated) {
        let security = ours.answer(&offer.0, agreed, at(9));
        offer.answer(&with(security, at(9))).expect("an answer")
    }

    fn keys(agreed: &Negotiated) -> &crate::model::srtp::SrtpKeys {
        let Secured::Sdes(keys) = &agreed.secured else { panic!("no keys") };
        keys
    }

    #[test]
    fn the_same_key_from_the_same_address_in_a_repeated_offer_changes_no_key() {
        let (mut ours, theirs) = (Protection::new(MediaEncryption::Sdes), SdesKeys::random());
        let (_, first) = answered(&mut ours, &peer(&theirs, 4000), None);
        let (_, again) = answered(&mut ours, &peer(&theirs, 4000), Some(&first));
        assert_eq!(keys(&again), keys(&first));
        let mut held = peer(&theirs, 4000);
        held.0.rtp.set_ip([0, 0, 0, 0].into());
        let (_, held) = answered(&mut ours, &held, Some(&first));
        assert_eq!(keys(&held), keys(&first));
    }

    #[test]
    fn another_key_or_address_of_the_peer_is_answered_with_a_fresh_key_of_ours() {
        let (mut ours, theirs) = (Protection::new(MediaEncryption::Sdes), SdesKeys::random());
        let (_, first) = answered(&mut ours, &peer(&theirs, 4000), None);
        let (_, moved) = answered(&mut ours, &peer(&theirs, 4002), Some(&first));
        assert_eq!(keys(&moved).receive, keys(&first).receive);
        assert_ne!(keys(&moved).send, keys(&first).send);
        let (_, rekeyed) = answered(&mut ours, &peer(&SdesKeys::random(), 4002), Some(&moved));
        assert_ne!(keys(&rekeyed).receive, keys(&moved).receive);
        assert_ne!(keys(&rekeyed).send, keys(&moved).send);
    }

    fn browser(ufrag: &str, fingerprint: &str, setup: Setup) -> AudioOffer {
        let mut browser = Protection::new(MediaEncryption::Dtls);
        browser.by_webrtc(fingerprint.to_owned());
        let Security::Dtls(ice) = browser.offer(None, at(1)) else { panic!("no DTLS") };
        let ice = DtlsIce { lite: false, ufrag: ufrag.to_owned(), setup, mid: "a".to_owned(), ..*ice };
        AudioOffer::from_capabilities(&with(Security::Dtls(Box::new(ice)), at(1)))
    }

    fn dtls(agreed: &Negotiated) -> &crate::model::negotiate::Dtls {
        dtls_of(Some(agreed)).expect("DTLS")
    }

    #[test]
    fn a_restart_of_ice_has_fresh_credentials_and_keeps_the_dtls_role() {
        let mut ours = Protection::new(MediaEncryption::None);
        ours.by_webrtc("OURS".to_owned());
        let (_, first) = answered(&mut ours, &browser("abcd", "THEIRS", Setup::Passive), None);
        assert_eq!((dtls(&first).ours.setup, dtls(&first).ours.mid.as_str()), (Setup::Active, "a"));
        let (_, held) = answered(&mut ours, &browser("abcd", "THEIRS", Setup::Actpass), Some(&first));
        assert_eq!(dtls(&held).ours, dtls(&first).ours);
        let (_, restarted) = answered(&mut ours, &browser("efgh", "THEIRS", Setup::Actpass), Some(&first));
        assert_ne!(dtls(&restarted).ours.ufrag, dtls(&first).ours.ufrag);
        assert_eq!(dtls(&restarted).ours.setup, Setup::Active, "RFC 8842 §5.3: the association goes on");
        let (_, other) = answered(&mut ours, &browser("efgh", "OTHER", Setup::Actpass), Some(&first));
        assert_eq!(dtls(&other).ours.setup, Setup::Passive);
    }

    #[test]
    fn a_later_offer_of_ours_leaves_the_role_open_and_keeps_the_mid() {
        let mut ours = Protection::new(MediaEncryption::None);
        ours.by_webrtc("OURS".to_owned());
        let (_, agreed) = answered(&mut ours, &browser("abcd", "THEIRS", Setup::Actpass), None);
        let Security::Dtls(offer) = ours.offer(Some(&agreed), at(9)) else { panic!("no DTLS") };
        assert_eq!((offer.setup, offer.mid.as_str(), &offer.ufrag), (Setup::Actpass, "a", &dtls(&agreed).ours.ufrag));
    }
}
