//! From text to [`AudioDescription`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, NetType, Session};
use tandem_actors::model::media::{Codec, Direction};
use tandem_actors::model::negotiate::{
    AudioDescription, CodecLine, DtlsIce, OtherSection, Profile, Qos, Sdes, Setup, TelephoneEvent,
};

use super::{MAX_BYTES, MAX_LINES, MAX_SECTIONS, SdpError, crypto};

/// URI of the header extension of RFC 6464.
pub(super) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// Reads an offer or an answer. Codecs we do not know are left out, so are attributes; names are read in any letter case, lines
/// may end with a bare line feed.
///
/// With plain RTP, `c=0.0.0.0` is the hold of RFC 2543 (RFC 3264 §8.4): its sender does not want to receive. So its direction loses
/// the receiving half, `sendrecv` becomes [`Direction::SendOnly`] (answered `recvonly`) and `recvonly` becomes inactive, and the
/// unspecified address stays in [`AudioDescription::rtp`], so that nothing is sent to it. With ICE the `c=` line means nothing.
///
/// # Errors
/// [`SdpError`], with the SIP status and the Warning code to refuse it with.
pub fn parse(text: &str) -> Result<AudioDescription, SdpError> {
    let lines = text.bytes().filter(|&byte| byte == b'\n').count();
    if text.len() > MAX_BYTES || lines > MAX_LINES {
        return Err(SdpError::TooLong);
    }
    let session = Session::parse(text.as_bytes()).map_err(|error| SdpError::Malformed(error.to_string()))?;
    if session.medias.len() > MAX_SECTIONS {
        return Err(SdpError::TooLong);
    }
    let is_audio = |media: &Media| media.media.eq_ignore_ascii_case("audio");
    let ours = match session.medias.iter().position(|media| is_audio(media) && media.port != 0) {
        Some(ours) => ours,
        None if session.medias.iter().any(is_audio) => return Err(SdpError::AudioRefused),
        None => return Err(SdpError::NoAudio),
    };
    let (before, rest) = session.medias.split_at(ours);
    let (audio, after) = rest.split_first().ok_or(SdpError::NoAudio)?;
    let lines = Lines { session: &session, audio };

    let (profile, feedback) = profile(&lines)?;
    let rtcp_mux = lines.media("rtcp-mux").is_some();
    let (rtp, rtcp) = match &profile {
        Profile::Dtls(_) if !rtcp_mux => return Err(SdpError::NoRtcpMux),
        Profile::Dtls(_) => {
            (SocketAddr::new(connection(&lines).unwrap_or(Ipv4Addr::UNSPECIFIED.into()), audio.port), None)
        }
        Profile::Plain | Profile::Sdes(_) | Profile::Other(_) => {
            let rtp = SocketAddr::new(connection(&lines)?, audio.port);
            (rtp, if rtcp_mux { None } else { rtcp(&lines, rtp) })
        }
    };
    let mut direction = direction(&lines);
    if matches!(profile, Profile::Plain | Profile::Sdes(_)) && rtp.ip().is_unspecified() {
        direction = if direction.sends() { Direction::SendOnly } else { Direction::Inactive };
    }
    let (codecs, events) = formats(audio);
    Ok(AudioDescription {
        session_id: session.origin.sess_id.parse().unwrap_or_else(|_| number_of(&session.origin.sess_id)),
        session_version: session.origin.sess_version,
        rtp,
        rtcp,
        rtcp_mux,
        feedback,
        profile,
        codecs,
        events,
        ptime_ms: lines.any("ptime").and_then(|value| value.parse().ok()),
        direction,
        qos: qos(&lines),
        before: before.iter().map(other).collect(),
        after: after.iter().map(other).collect(),
    })
}

/// The attributes of our section and, behind them, the session's.
struct Lines<'a> {
    session: &'a Session,
    audio: &'a Media,
}

impl<'a> Lines<'a> {
    /// Value of the section's first attribute of that name; empty where it has none.
    fn media(&self, name: &str) -> Option<&'a str> {
        named(&self.audio.attributes, name).next()
    }
    /// As [`Lines::media`], else the session's.
    fn any(&self, name: &str) -> Option<&'a str> {
        self.media(name).or_else(|| named(&self.session.attributes, name).next())
    }
}

fn named<'a>(attributes: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute.trim().eq_ignore_ascii_case(name))
        .map(|attribute| attribute.value.as_deref().unwrap_or_default().trim())
}

/// The session id is a number (RFC 8866 §5.2) but some write a word: then a number that is the same for the same word.
fn number_of(word: &str) -> u64 {
    word.bytes().fold(0, |number: u64, byte| number.wrapping_mul(31).wrapping_add(byte.into()))
}

fn address(connection: &Connection) -> Result<IpAddr, SdpError> {
    let unusable = || SdpError::Address(connection.connection_address.clone());
    if connection.nettype != NetType::In {
        return Err(unusable());
    }
    let ip = connection.try_address().map_err(|_| unusable())?.ip;
    if ip.is_multicast() { Err(SdpError::Multicast(ip)) } else { Ok(ip) }
}

fn connection(lines: &Lines<'_>) -> Result<IpAddr, SdpError> {
    let line = lines.audio.connections.first().or(lines.session.connection.as_ref());
    address(line.ok_or_else(|| SdpError::Address(String::new()))?)
}

/// `a=rtcp:port [IN IP4|IP6 address]` (RFC 3605 §2.1); without an address that of RTP. The next port is not worth saying.
fn rtcp(lines: &Lines<'_>, rtp: SocketAddr) -> Option<SocketAddr> {
    let mut words = lines.media("rtcp")?.split_ascii_whitespace();
    let port: u16 = words.next()?.parse().ok().filter(|&port| port != 0)?;
    let ip = words.nth(2).and_then(|address| address.parse().ok()).unwrap_or(rtp.ip());
    let rtcp = SocketAddr::new(ip, port);
    (rtp.port().checked_add(1).map(|next| SocketAddr::new(rtp.ip(), next)) != Some(rtcp)).then_some(rtcp)
}

/// `a=curr:qos local sendrecv` (RFC 3312 §4); whatever is reserved one way only does not count. End-to-end status is both
/// sides' (§5.1.1).
fn qos(lines: &Lines<'_>) -> Option<Qos> {
    let wanted = |name: &str| named(&lines.audio.attributes, name).any(|value| value.starts_with("qos "));
    let met = |side: &str| {
        named(&lines.audio.attributes, "curr").any(|value| {
            let mut words = value.split_ascii_whitespace();
            let (kind, of, direction) = (words.next(), words.next(), words.next());
            kind == Some("qos") && (of == Some(side) || of == Some("e2e")) && direction == Some("sendrecv")
        })
    };
    (wanted("des") || wanted("curr")).then(|| Qos { local: met("local"), remote: met("remote") })
}

fn direction(lines: &Lines<'_>) -> Direction {
    const ALL: [Direction; 4] = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
    let of = |attributes: &[Attribute]| {
        attributes.iter().find_map(|attribute| {
            ALL.into_iter().find(|direction| attribute.attribute.trim().eq_ignore_ascii_case(direction.attribute()))
        })
    };
    of(&lines.audio.attributes).or_else(|| of(&lines.session.attributes)).unwrap_or_default()
}

/// The profile, and whether it is the flavour with feedback.
fn profile(lines: &Lines<'_>) -> Result<(Profile, bool), SdpError> {
    let token = lines.audio.proto.trim();
    let is = |known: &[&str]| known.iter().any(|known| token.eq_ignore_ascii_case(known));
    let feedback = is(&["RTP/AVPF", "RTP/SAVPF"]);
    // RFC 8829 §5.1.2 lists the tokens that mean DTLS-SRTP when there is a fingerprint. DTLS without ICE is not spoken.
    let dtls = is(&["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF"]);
    let has_ice = lines.any("ice-ufrag").is_some() || lines.any("ice-pwd").is_some();
    if !(dtls && has_ice && lines.any("fingerprint").is_some()) {
        let crypto = crypto::read(named(&lines.audio.attributes, "crypto"));
        let profile = if is(&["RTP/SAVP", "RTP/SAVPF"]) {
            Profile::Sdes(Sdes { required: true, lines: crypto })
        } else if !is(&["RTP/AVP", "RTP/AVPF"]) {
            Profile::Other(token.to_owned())
        } else if crypto.is_empty() {
            Profile::Plain
        } else {
            Profile::Sdes(Sdes { required: false, lines: crypto })
        };
        return Ok((profile, feedback));
    }
    let lite = named(&lines.session.attributes, "ice-lite").next().is_some();
    let ice = DtlsIce {
        ufrag: credential(lines, "ice-ufrag", 4)?,
        pwd: credential(lines, "ice-pwd", 22)?,
        lite,
        fingerprint: fingerprint(lines)?,
        setup: match lines.any("setup") {
            Some(setup) if setup.eq_ignore_ascii_case("active") => Setup::Active,
            Some(setup) if setup.eq_ignore_ascii_case("passive") => Setup::Passive,
            // RFC 5763 §5 wants actpass in offers; what is missing or unknown can only be that.
            Some(_) | None => Setup::Actpass,
        },
        mid: lines.media("mid").unwrap_or_default().to_owned(),
        candidates: if lite { candidates(lines.audio) } else { Vec::new() },
        audio_level: audio_level(lines),
        ssrc: named(&lines.audio.attributes, "ssrc")
            .find_map(|value| value.split_ascii_whitespace().next()?.parse().ok()),
    };
    // Always written `UDP/TLS/RTP/SAVPF`.
    Ok((Profile::Dtls(ice), true))
}

/// RFC 8839 §5.4: 4 (`ufrag`) or 22 (`pwd`) to 256 of `A-Za-z0-9+/`.
fn credential(lines: &Lines<'_>, name: &'static str, shortest: usize) -> Result<String, SdpError> {
    lines
        .any(name)
        .filter(|value| (shortest..=256).contains(&value.len()))
        // Some browsers' polyfills add `-` and `_`; they do no harm, a colon would (it parts the USERNAME).
        .filter(|value| value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b)))
        .map(str::to_owned)
        .ok_or(SdpError::IceCredentials(name))
}

/// The first SHA-256 fingerprint (RFC 8122 §5), at either level, as `AA:BB:…`.
fn fingerprint(lines: &Lines<'_>) -> Result<String, SdpError> {
    let all = || named(&lines.audio.attributes, "fingerprint").chain(named(&lines.session.attributes, "fingerprint"));
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    all()
        .find_map(|value| {
            let (function, hex) = value.split_once(' ')?;
            let hex = hex.trim();
            let usable =
                function.eq_ignore_ascii_case("sha-256") && hex.split(':').count() == 32 && hex.split(':').all(is_byte);
            usable.then(|| hex.to_ascii_uppercase())
        })
        .ok_or_else(|| SdpError::Fingerprint(all().next().unwrap_or_default().to_owned()))
}

/// `candidate:foundation component udp priority address port typ host` (RFC 8839 §5.1): RTP's only.
fn candidates(audio: &Media) -> Vec<SocketAddr> {
    named(&audio.attributes, "candidate")
        .filter_map(|value| {
            let words: Vec<&str> = value.split_ascii_whitespace().take(8).collect();
            let [_, "1", transport, _, address, port, "typ", "host"] = words.as_slice() else { return None };
            transport
                .eq_ignore_ascii_case("udp")
                .then(|| Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?)))?
        })
        .collect()
}

/// `extmap:id[/direction] uri` (RFC 8285 §8); one-byte headers have ids 1 to 14.
fn audio_level(lines: &Lines<'_>) -> Option<u8> {
    named(&lines.audio.attributes, "extmap").find_map(|value| {
        let mut words = value.split_ascii_whitespace();
        let id = words.next()?;
        let id: u8 = id.split_once('/').map_or(id, |(id, _)| id).parse().ok()?;
        (words.next()? == AUDIO_LEVEL && (1..=14).contains(&id)).then_some(id)
    })
}

/// The payload types of the `m=` line that we know, in its order.
fn formats(audio: &Media) -> (Vec<CodecLine>, Vec<TelephoneEvent>) {
    let (mut codecs, mut events) = (Vec::<CodecLine>::new(), Vec::<TelephoneEvent>::new());
    for payload_type in audio.fmt.split_ascii_whitespace().filter_map(|format| format.parse::<u8>().ok()) {
        let seen = codecs.iter().any(|line| line.payload_type == payload_type)
            || events.iter().any(|event| event.payload_type == payload_type);
        if payload_type > 127 || seen {
            continue;
        }
        match encoding(audio, payload_type) {
            Some(Encoding::Codec(codec)) => codecs.push(CodecLine {
                payload_type,
                codec,
                parameters: of_payload_type(audio, "fmtp", payload_type).unwrap_or_default().to_owned(),
            }),
            Some(Encoding::Event(clock_rate)) => events.push(TelephoneEvent { payload_type, clock_rate }),
            None => {}
        }
    }
    (codecs, events)
}

enum Encoding {
    Codec(Codec),
    Event(u32),
}

/// `rtpmap:pt name/rate[/channels]`, else the static assignment (RFC 3551 §6).
fn encoding(audio: &Media, payload_type: u8) -> Option<Encoding> {
    let Some(map) = of_payload_type(audio, "rtpmap", payload_type) else {
        return [Codec::Pcmu, Codec::Pcma]
            .into_iter()
            .find(|codec| codec.default_payload_type() == payload_type)
            .map(Encoding::Codec);
    };
    let mut parts = map.split('/').map(str::trim);
    let name = parts.next()?;
    let rate: u32 = parts.next()?.parse().ok()?;
    if name.eq_ignore_ascii_case("telephone-event") {
        return matches!(rate, 8000 | 16000 | 48000).then_some(Encoding::Event(rate));
    }
    [Codec::Pcmu, Codec::Pcma, Codec::Opus]
        .into_iter()
        .find(|codec| codec.name().eq_ignore_ascii_case(name) && codec.clock_rate() == rate)
        .map(Encoding::Codec)
}

fn of_payload_type<'a>(audio: &'a Media, name: &'static str, payload_type: u8) -> Option<&'a str> {
    named(&audio.attributes, name).find_map(|value| {
        let (number, rest) = value.split_once(char::is_whitespace)?;
        (number.parse() == Ok(payload_type)).then(|| rest.trim())
    })
}

fn other(media: &Media) -> OtherSection {
    OtherSection {
        media: media.media.clone(),
        protocol: media.proto.clone(),
        formats: media.fmt.clone(),
        mid: named(&media.attributes, "mid").next().map(str::to_owned),
    }
}
