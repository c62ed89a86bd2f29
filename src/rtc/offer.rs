//! From a browser's offer to our answer: what [`RtcCommand::Accept`] comes to before anything is changed. Pure but for randomness.
//!
//! [`RtcCommand::Accept`]: tandem_actors::ports::rtc::RtcCommand::Accept

use std::net::SocketAddr;

use tandem_actors::model::ids::PeerId;
use tandem_actors::model::media::{Codec, Direction};
use tandem_actors::model::negotiate::{
    AudioDescription, AudioOffer, Capabilities, Dtls, DtlsIce, Negotiated, Profile, Secured, Security, Setup,
};
use tandem_actors::ports::rtc::Sdp;

use super::ice::Agent;
use crate::sdp;

/// An offer and under what conditions it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// As it came.
    pub sdp: Sdp,
    /// The address we list.
    pub candidate: SocketAddr,
    /// Codecs allowed, in order.
    pub codecs: Vec<Codec>,
    /// What we are willing to do.
    pub direction: Direction,
}

/// An offer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What was offered.
    pub offer: Offer,
    /// Our answer.
    pub answer: AudioDescription,
    /// The same as text.
    pub sdp: Sdp,
    /// What was agreed.
    pub negotiated: Box<Negotiated>,
}

impl Answered {
    /// Answers an offer: the first one, or one after `before`, whose `o=` line and DTLS role it keeps as long as the peer keeps its
    /// certificate (RFC 3264 §8, RFC 8842 §5.3). The agent is as before the offer; it is returned as after it, with what the two
    /// sides agreed on.
    ///
    /// # Errors
    /// Plain words why it cannot be answered.
    pub fn new(
        peer: PeerId,
        offer: Offer,
        our_fingerprint: &str,
        before: Option<(&Answered, &Dtls, Agent)>,
    ) -> Result<(Self, Dtls, Agent), String> {
        let description = sdp::parse(&offer.sdp.0).map_err(|error| error.to_string())?;
        let theirs = match &description.profile {
            Profile::Dtls(theirs) => theirs.clone(),
            Profile::Plain | Profile::Sdes(_) | Profile::Other(_) => {
                return Err("the offer is not of UDP/TLS/RTP/SAVPF with ICE: not a browser's".into());
            }
        };
        let (before, agent) = match before {
            Some((answered, dtls, agent)) => (Some((answered, dtls)), agent.offered(&theirs.ufrag)),
            None => (None, Agent::new(&theirs.ufrag)),
        };
        let same = before.filter(|(_, dtls)| dtls.theirs.fingerprint == theirs.fingerprint);
        let role = same.map_or(Setup::Actpass, |(_, dtls)| dtls.ours.setup);
        let before = before.map(|(answered, _)| answered);
        let ours = Capabilities {
            codecs: offer.codecs.clone(),
            rtp: offer.candidate,
            direction: offer.direction,
            // RFC 8829 §5.2.1: 63 bits.
            session_id: peer.0 >> 1,
            session_version: before.map_or(1, |before| before.answer.session_version),
            security: Security::Dtls(Box::new(DtlsIce {
                ufrag: agent.current().ufrag.clone(),
                pwd: agent.current().pwd.clone(),
                lite: true,
                fingerprint: our_fingerprint.to_owned(),
                setup: role,
                mid: theirs.mid.clone(),
                candidates: vec![offer.candidate],
                audio_level: theirs.audio_level,
                // The media engine chooses the SSRC; with one section a browser takes whatever comes.
                ssrc: None,
            })),
        };
        let (answer, negotiated) = AudioOffer(description).answer(&ours).map_err(|error| error.to_string())?;
        let Secured::Dtls(dtls) = &negotiated.secured else { return Err("no DTLS was agreed on".into()) };
        let (dtls, mut answer) = ((**dtls).clone(), answer.0);
        if before.is_some_and(|before| before.answer != answer) {
            answer.session_version += 1;
        }
        let sdp = Sdp(sdp::write(&answer));
        Ok((Self { offer, answer, sdp, negotiated: Box::new(negotiated) }, dtls, agent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str =
        "AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB";

    fn offer(direction: &str, ufrag: &str, setup: &str) -> Offer {
        Offer {
            sdp: Sdp(format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a\r\n\
                 m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:a\r\na={direction}\r\na=rtcp-mux\r\n\
                 a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\na=setup:{setup}\r\n\
                 a=fingerprint:sha-256 {FINGERPRINT}\r\n"
            )),
            candidate: "127.0.0.1:40000".parse().expect("an address"),
            codecs: vec![Codec::Opus, Codec::Pcmu],
            direction: Direction::SendRecv,
        }
    }

    fn first(offer: Offer) -> (Answered, Dtls, Agent) {
        Answered::new(PeerId(u64::MAX), offer, FINGERPRINT, None).expect("an answer")
    }

    #[test]
    fn the_answer_is_passive_to_actpass_and_active_to_passive() {
        for (theirs, ours) in [("actpass", Setup::Passive), ("active", Setup::Passive), ("passive", Setup::Active)] {
            let (answered, dtls, _) = first(offer("sendrecv", "abcd", theirs));
            assert_eq!(dtls.ours.setup, ours);
            let wanted = if ours == Setup::Active { "a=setup:active\r\n" } else { "a=setup:passive\r\n" };
            assert!(answered.sdp.0.contains(wanted));
        }
    }

    #[test]
    fn hold_changes_direction_and_version_and_nothing_of_ice() {
        let (before, dtls, agent) = first(offer("sendrecv", "abcd", "passive"));
        let (held, then, after) = Answered::new(
            PeerId(u64::MAX),
            offer("sendonly", "abcd", "actpass"),
            FINGERPRINT,
            Some((&before, &dtls, agent.clone())),
        )
        .expect("an answer");
        assert_eq!(after, agent);
        assert_eq!(held.answer.direction, Direction::RecvOnly);
        assert_eq!(held.answer.session_version, 2);
        assert_eq!(then.ours.setup, Setup::Active, "the role stays while the certificate does");
    }

    #[test]
    fn an_unchanged_answer_keeps_its_version() {
        let (before, dtls, agent) = first(offer("sendrecv", "abcd", "actpass"));
        let known = Some((&before, &dtls, agent));
        let (again, _, _) = Answered::new(PeerId(u64::MAX), offer("sendrecv", "abcd", "actpass"), FINGERPRINT, known)
            .expect("an answer");
        assert_eq!(again.sdp, before.sdp);
    }

    #[test]
    fn an_ice_restart_gets_fresh_credentials_in_the_answer() {
        let (before, dtls, agent) = first(offer("sendrecv", "abcd", "actpass"));
        let old = agent.current().clone();
        let known = Some((&before, &dtls, agent));
        let (after, _, agent) =
            Answered::new(PeerId(u64::MAX), offer("sendrecv", "efgh", "actpass"), FINGERPRINT, known)
                .expect("an answer");
        assert!(after.sdp.0.contains(&format!("a=ice-ufrag:{}\r\n", agent.current().ufrag)));
        assert!(agent.current().ufrag != old.ufrag && agent.find(&old.ufrag, "abcd").is_some());
    }

    #[test]
    fn what_cannot_be_answered_says_why() {
        let mut plain = offer("sendrecv", "abcd", "actpass");
        plain.sdp = Sdp(plain.sdp.0.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"));
        let mut lite = offer("sendrecv", "abcd", "actpass");
        lite.sdp = Sdp(lite.sdp.0.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"));
        let mut opus = offer("sendrecv", "abcd", "actpass");
        opus.codecs = vec![Codec::Opus];
        let cases = [
            (plain, "the offer is not of UDP/TLS/RTP/SAVPF with ICE: not a browser's"),
            (lite, "both sides are ICE-lite: nobody would send checks"),
            (opus, "no codec in common: the peer has PCMU, we allow opus"),
        ];
        for (offer, why) in cases {
            assert_eq!(Answered::new(PeerId(1), offer, FINGERPRINT, None).expect_err("refused"), why);
        }
    }
}
