//! Offer and answer of the one audio stream a leg has (RFC 3264, RFC 8829 where the peer is a browser). `src/sdp` turns
//! these to text and back; nothing else in the switch reads SDP.

mod security;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::media::{Codec, Direction};
use super::srtp::MediaEncryption;
pub use security::{Crypto, Dtls, Sdes, SdesKeys, Secured, Security};

/// A codec as one `rtpmap` line names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecLine {
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// What it is.
    pub codec: Codec,
    /// The `a=fmtp` parameters, verbatim; empty where there are none.
    pub parameters: String,
}

/// A telephone-event payload type (RFC 4733); there is one a clock rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelephoneEvent {
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// Clock rate, Hz: 8000, 16000 or 48000.
    pub clock_rate: u32,
}

/// How the stream is carried and secured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// `RTP/AVP`.
    Plain,
    /// `RTP/SAVP`, or `RTP/AVP` with `a=crypto`: SRTP with the keys in the description (RFC 4568).
    Sdes(Sdes),
    /// `UDP/TLS/RTP/SAVPF` with ICE, DTLS-SRTP and rtcp-mux.
    Dtls(DtlsIce),
    /// A profile we read but do not speak (`udptl`, DTLS-SRTP without ICE…): its protocol token. Always refused with 488.
    Other(String),
}

/// What a browser needs on top: ICE credentials and candidates, the DTLS fingerprint and role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DtlsIce {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// `a=ice-lite` at session level.
    pub lite: bool,
    /// SHA-256 fingerprint of the certificate, `AA:BB:…`.
    pub fingerprint: String,
    /// `a=setup`.
    pub setup: Setup,
    /// `a=mid` of the audio section.
    pub mid: String,
    /// Host candidates (an ICE-lite side lists nothing else); whatever a full-ICE peer listed is kept out.
    pub candidates: Vec<SocketAddr>,
    /// RFC 6464 header extension id, where offered.
    pub audio_level: Option<u8>,
    /// `a=ssrc` the describing side will send with, where it said so.
    pub ssrc: Option<u32>,
}

/// RFC 4145 / RFC 8842 role in the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setup {
    /// Either.
    Actpass,
    /// Sends the ClientHello.
    Active,
    /// Waits for it.
    Passive,
}

/// A media section that is not our audio: kept so that the answer has as many m-lines, in order, with port 0
/// (RFC 3264 §6), mids kept (RFC 9143).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherSection {
    /// `video`, `application`, a second `audio`…
    pub media: String,
    /// Protocol token, verbatim.
    pub protocol: String,
    /// Formats, verbatim.
    pub formats: String,
    /// `a=mid`, where there was one.
    pub mid: Option<String>,
}

/// What is reserved for a stream both ways (`a=curr:qos`), from the describing side's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qos {
    /// By the describing side.
    pub local: bool,
    /// By the other.
    pub remote: bool,
}

impl Qos {
    /// Our side of it. A switch reserves nothing: what it needs is there.
    fn answered(self) -> Self {
        Self { local: true, remote: self.local }
    }
}

/// One side's description of the one audio stream, with everything needed to answer it or to write it as SDP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioDescription {
    /// `o=` session id.
    pub session_id: u64,
    /// `o=` version: +1 only when something changed.
    pub session_version: u64,
    /// Where RTP is wanted. An unspecified address (`0.0.0.0`) is the old way to hold.
    pub rtp: SocketAddr,
    /// Where RTCP is wanted, where it is not the next port (RFC 3605) and not muxed.
    pub rtcp: Option<SocketAddr>,
    /// RTCP on the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The flavour with feedback (`RTP/AVPF`, `RTP/SAVPF`; RFC 4585): answered in kind, and no feedback is agreed on.
    pub feedback: bool,
    /// Carriage.
    pub profile: Profile,
    /// Codecs in order of preference. Codecs we do not know are left out.
    pub codecs: Vec<CodecLine>,
    /// telephone-event payload types.
    pub events: Vec<TelephoneEvent>,
    /// `a=ptime`, milliseconds.
    pub ptime_ms: Option<u16>,
    /// Direction, from the describing side's view; `c=0.0.0.0` has been turned into its meaning.
    pub direction: Direction,
    /// Preconditions of the stream, where its sender names them (RFC 3312).
    pub qos: Option<Qos>,
    /// Sections before the audio section.
    pub before: Vec<OtherSection>,
    /// Sections after it.
    pub after: Vec<OtherSection>,
}

/// An offer, from either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioOffer(pub AudioDescription);

/// An answer, from either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioAnswer(pub AudioDescription);

/// What we are ready to speak on a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Codecs in our order of preference.
    pub codecs: Vec<Codec>,
    /// Where we receive RTP, as advertised (`external_ip` applied).
    pub rtp: SocketAddr,
    /// What we are willing to do.
    pub direction: Direction,
    /// Our `o=` session id and version for this description.
    pub session_id: u64,
    /// See [`AudioDescription::session_version`].
    pub session_version: u64,
    /// What we protect it with.
    pub security: Security,
}

/// What both sides agreed on: all a media session needs to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// The codec we send, with the payload type the peer asked for.
    pub send: CodecLine,
    /// Every codec that may arrive, by the payload types valid towards us.
    pub receive: Vec<CodecLine>,
    /// telephone-event we send, at the clock rate of the sent codec.
    pub send_event: Option<TelephoneEvent>,
    /// telephone-event that may arrive.
    pub receive_events: Vec<TelephoneEvent>,
    /// What the peer wants a packet to hold, milliseconds.
    pub ptime_ms: u16,
    /// From our point of view.
    pub direction: Direction,
    /// Where to send RTP; `None` while the peer has no address (ICE decides, or held by `0.0.0.0`).
    pub remote_rtp: Option<SocketAddr>,
    /// Where to send RTCP; `None` as above.
    pub remote_rtcp: Option<SocketAddr>,
    /// RTCP on the RTP port.
    pub rtcp_mux: bool,
    /// RFC 6464 extension id agreed on.
    pub audio_level: Option<u8>,
    /// What protects it.
    #[serde(default)]
    pub secured: Secured,
}

/// Why an offer cannot be answered, or an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiateError {
    /// No codec in common (488, Warning 305).
    #[error("no codec in common: the peer has {theirs}, we allow {ours}")]
    NoCodec {
        /// Their codecs that we know, by name.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// The transport profile is not one this leg speaks (488, Warning 302).
    #[error("the media profile {0} is not spoken on this leg (see media_encryption)")]
    Profile(String),
    /// SRTP with keys none of which we can use (488, Warning 306).
    #[error("no crypto attribute of the peer can be used")]
    NoCrypto,
    /// Both sides are ICE-lite (488, Warning 306).
    #[error("both sides are ICE-lite: nobody would send checks")]
    BothLite,
    /// The audio section was refused or there is none (488, Warning 304).
    #[error("the peer has no audio section")]
    NoAudio,
}

impl NegotiateError {
    /// The Warning code of RFC 3261 §20.43.
    pub fn warning(&self) -> u16 {
        match self {
            NegotiateError::NoCodec { .. } => 305,
            NegotiateError::Profile(_) => 302,
            NegotiateError::NoCrypto | NegotiateError::BothLite => 306,
            NegotiateError::NoAudio => 304,
        }
    }
}

impl AudioOffer {
    /// An offer of ours: every capability, telephone-event at each clock rate in use.
    pub fn from_capabilities(ours: &Capabilities) -> Self {
        let codecs: Vec<CodecLine> =
            ours.codecs.iter().map(|&codec| our_line(codec, codec.default_payload_type())).collect();
        Self(AudioDescription {
            session_id: ours.session_id,
            session_version: ours.session_version,
            rtp: ours.rtp,
            rtcp: None,
            rtcp_mux: matches!(ours.security, Security::Dtls(_)),
            feedback: matches!(ours.security, Security::Dtls(_)),
            profile: ours.security.offered(),
            events: our_events(&codecs),
            codecs,
            ptime_ms: Some(20),
            direction: ours.direction,
            qos: None,
            before: Vec::new(),
            after: Vec::new(),
        })
    }

    /// A further offer in a session (RFC 3264 §8): sections, payload types and keys of the last description stay as they are;
    /// whatever else we can speak follows. The `o=` line is that of `ours`.
    pub fn renewed(last: &AudioDescription, ours: &Capabilities) -> Self {
        let mut offer = last.clone();
        offer.session_version = ours.session_version;
        offer.direction = ours.direction;
        // The role is left open again; SDES goes on with the line that was agreed on.
        if matches!(offer.profile, Profile::Dtls(_)) {
            offer.profile = ours.security.offered();
        }
        let free = |offer: &AudioDescription, wanted: u8| {
            let taken = |payload_type: u8| {
                offer.codecs.iter().any(|line| line.payload_type == payload_type)
                    || offer.events.iter().any(|event| event.payload_type == payload_type)
            };
            std::iter::once(wanted).chain(96..=127).find(|&payload_type| !taken(payload_type))
        };
        for &codec in &ours.codecs {
            if offer.codecs.iter().all(|line| line.codec != codec)
                && let Some(payload_type) = free(&offer, codec.default_payload_type())
            {
                offer.codecs.push(our_line(codec, payload_type));
            }
        }
        for event in our_events(&offer.codecs) {
            if offer.events.iter().all(|known| known.clock_rate != event.clock_rate)
                && let Some(payload_type) = free(&offer, event.payload_type)
            {
                offer.events.push(TelephoneEvent { payload_type, ..event });
            }
        }
        Self(offer)
    }

    /// Whether this offer can be answered with these codecs on a leg of this policy: asked before anybody is rung for it.
    ///
    /// # Errors
    /// As [`AudioOffer::answer`].
    pub fn answerable(&self, codecs: &[Codec], policy: MediaEncryption) -> Result<(), NegotiateError> {
        let ours = Capabilities {
            codecs: codecs.to_vec(),
            rtp: SocketAddr::from(([0, 0, 0, 0], 0)),
            direction: Direction::SendRecv,
            session_id: 0,
            session_version: 0,
            security: Security::probe(policy, &self.0.profile),
        };
        self.answer(&ours).map(drop)
    }

    /// Answers this offer. The first codec of *ours* that the offer has is the one we send, and it is listed first; all
    /// others in common follow, so that the peer may switch without a re-offer (RFC 3264 §6.1: the offer's payload types
    /// are kept).
    ///
    /// # Errors
    /// [`NegotiateError`] when nothing can be agreed on; the leg answers 488.
    pub fn answer(&self, ours: &Capabilities) -> Result<(AudioAnswer, Negotiated), NegotiateError> {
        let offer = &self.0;
        let (profile, secured) = ours.security.answer(&offer.profile)?;
        let codecs = common_codecs(&offer.codecs, &ours.codecs)?;
        let events: Vec<TelephoneEvent> = offer
            .events
            .iter()
            .copied()
            .filter(|event| codecs.iter().any(|line| line.codec.clock_rate() == event.clock_rate))
            .collect();
        let direction = offer.direction.answered_by(ours.direction);
        let answer = AudioAnswer(AudioDescription {
            session_id: ours.session_id,
            session_version: ours.session_version,
            rtp: ours.rtp,
            rtcp: None,
            rtcp_mux: offer.rtcp_mux,
            feedback: offer.feedback,
            profile,
            codecs: codecs.iter().map(|line| our_line(line.codec, line.payload_type)).collect(),
            events: events.clone(),
            ptime_ms: offer.ptime_ms,
            direction,
            qos: offer.qos.map(Qos::answered),
            before: offer.before.clone(),
            after: offer.after.clone(),
        });
        let negotiated = negotiated(offer, codecs.clone(), codecs, events.clone(), events, direction, secured)?;
        Ok((answer, negotiated))
    }
}

impl AudioAnswer {
    /// What this answer of the peer means, given the offer we made.
    ///
    /// # Errors
    /// [`NegotiateError`] when the answer has nothing of our offer; the leg ends the call (RFC 3264 §7).
    pub fn accept(&self, offer: &AudioOffer) -> Result<Negotiated, NegotiateError> {
        let ours: Vec<Codec> = offer.0.codecs.iter().map(|line| line.codec).collect();
        // The answerer's order counts: its first is what it wants to hear.
        let send: Vec<CodecLine> = self.0.codecs.iter().filter(|line| ours.contains(&line.codec)).cloned().collect();
        if send.is_empty() {
            return Err(no_codec(&self.0.codecs, &ours));
        }
        // What was offered and not answered is not sent (RFC 3264 §6.1): nothing is made ready for it.
        let receive: Vec<CodecLine> =
            offer.0.codecs.iter().filter(|line| send.iter().any(|known| known.codec == line.codec)).cloned().collect();
        let direction = self.0.direction.answered_by(offer.0.direction);
        let secured = security::accept(&offer.0.profile, &self.0.profile)?;
        let (theirs, ours) = (self.0.events.clone(), offer.0.events.clone());
        negotiated(&self.0, send, receive, theirs, ours, direction, secured)
    }
}

fn our_line(codec: Codec, payload_type: u8) -> CodecLine {
    let parameters = match codec {
        Codec::Opus => "minptime=10;useinbandfec=1",
        Codec::Pcmu | Codec::Pcma => "",
    };
    CodecLine { payload_type, codec, parameters: parameters.into() }
}

/// One telephone-event a clock rate: 101 at 8000 (what trunks expect), 110 at 48000 (what browsers use).
fn our_events(codecs: &[CodecLine]) -> Vec<TelephoneEvent> {
    let mut events: Vec<TelephoneEvent> = Vec::new();
    for clock_rate in codecs.iter().map(|line| line.codec.clock_rate()) {
        if events.iter().all(|event| event.clock_rate != clock_rate) {
            events.push(TelephoneEvent { payload_type: if clock_rate == 8000 { 101 } else { 110 }, clock_rate });
        }
    }
    events
}

fn common_codecs(theirs: &[CodecLine], ours: &[Codec]) -> Result<Vec<CodecLine>, NegotiateError> {
    let common: Vec<CodecLine> =
        ours.iter().filter_map(|codec| theirs.iter().find(|line| line.codec == *codec)).cloned().collect();
    if common.is_empty() { Err(no_codec(theirs, ours)) } else { Ok(common) }
}

fn no_codec(theirs: &[CodecLine], ours: &[Codec]) -> NegotiateError {
    let names = |codecs: &mut dyn Iterator<Item = Codec>| codecs.map(Codec::name).collect::<Vec<_>>().join(", ");
    NegotiateError::NoCodec {
        theirs: names(&mut theirs.iter().map(|line| line.codec)),
        ours: names(&mut ours.iter().copied()),
    }
}

fn negotiated(
    remote: &AudioDescription,
    send: Vec<CodecLine>,
    receive: Vec<CodecLine>,
    send_events: Vec<TelephoneEvent>,
    receive_events: Vec<TelephoneEvent>,
    direction: Direction,
    secured: Secured,
) -> Result<Negotiated, NegotiateError> {
    let send = send.into_iter().next().ok_or(NegotiateError::NoAudio)?;
    let (known, audio_level) = match &remote.profile {
        Profile::Dtls(dtls) => (false, dtls.audio_level),
        Profile::Plain | Profile::Sdes(_) | Profile::Other(_) => {
            (!remote.rtp.ip().is_unspecified() && remote.rtp.port() != 0, None)
        }
    };
    let remote_rtp = known.then_some(remote.rtp);
    let remote_rtcp = remote_rtp.map(|rtp| {
        if remote.rtcp_mux {
            rtp
        } else {
            remote.rtcp.unwrap_or_else(|| SocketAddr::new(rtp.ip(), rtp.port().wrapping_add(1)))
        }
    });
    let send_event = send_events.into_iter().find(|event| event.clock_rate == send.codec.clock_rate());
    Ok(Negotiated {
        ptime_ms: remote.ptime_ms.filter(|ms| (10..=60).contains(ms)).unwrap_or(20),
        send,
        receive,
        send_event,
        receive_events,
        direction,
        remote_rtp,
        remote_rtcp,
        rtcp_mux: remote.rtcp_mux,
        audio_level,
        secured,
    })
}

/// Whether an address can be reached from the outside: used to spot a private contact behind a public one.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
