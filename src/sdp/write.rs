//! From [`AudioDescription`] to text.

use std::fmt::Display;

use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};
use tandem_actors::model::media::Codec;
use tandem_actors::model::negotiate::{AudioDescription, DtlsIce, OtherSection, Profile, Sdes, Setup};

use super::crypto;
use super::read::AUDIO_LEVEL;

/// Writes an offer or an answer, lines ended by CR LF.
///
/// A DTLS description is one of an agent with one port: `a=rtcp-mux`, host candidates and `a=end-of-candidates`, and a BUNDLE group
/// of our section alone, so that the sections with port 0 are left out of it (RFC 9143 §7.3.3). Its protocol is always written
/// `UDP/TLS/RTP/SAVPF`, which RFC 8829 §5.1.2 lets every peer of that kind take for its own.
pub fn write(description: &AudioDescription) -> String {
    let mut session = Session::new(
        Origin::with_ip_addr(description.session_id, description.session_version, description.rtp.ip()),
        "-",
    );
    session.connection = Some(Connection::from_ip_addr(description.rtp.ip()));
    session.times.push(Time::new(0, 0));
    if let Profile::Dtls(dtls) = &description.profile {
        if !dtls.mid.is_empty() {
            session.attributes.push(valued("group", format_args!("BUNDLE {}", dtls.mid)));
        }
        if dtls.lite {
            session.attributes.push(flag("ice-lite"));
        }
        session.attributes.push(valued("msid-semantic", "WMS *"));
    }
    session.medias.extend(description.before.iter().map(rejected));
    session.medias.push(audio(description));
    session.medias.extend(description.after.iter().map(rejected));
    session.to_string()
}

fn flag(name: &str) -> Attribute {
    Attribute { attribute: name.to_owned(), value: None }
}

fn valued(name: &str, value: impl Display) -> Attribute {
    Attribute { attribute: name.to_owned(), value: Some(value.to_string()) }
}

fn section(media: &str, port: u16, protocol: &str, formats: String) -> Media {
    Media {
        media: media.to_owned(),
        port,
        num_ports: None,
        proto: protocol.to_owned(),
        fmt: formats,
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

/// RFC 3264 §6: port 0, the formats are of no meaning but must be there.
fn rejected(other: &OtherSection) -> Media {
    let mut media = section(&other.media, 0, &other.protocol, other.formats.clone());
    media.attributes.extend(other.mid.as_ref().map(|mid| valued("mid", mid)));
    media.attributes.push(flag("inactive"));
    media
}

fn audio(description: &AudioDescription) -> Media {
    let codecs = description.codecs.iter().map(|line| line.payload_type);
    let events = description.events.iter().map(|event| event.payload_type);
    let formats: Vec<String> = codecs.chain(events).map(|payload_type| payload_type.to_string()).collect();
    let protocol = match (&description.profile, description.feedback) {
        (Profile::Plain | Profile::Sdes(Sdes { required: false, .. }), false) => "RTP/AVP",
        (Profile::Plain | Profile::Sdes(Sdes { required: false, .. }), true) => "RTP/AVPF",
        (Profile::Sdes(Sdes { required: true, .. }), false) => "RTP/SAVP",
        (Profile::Sdes(Sdes { required: true, .. }), true) => "RTP/SAVPF",
        (Profile::Dtls(_), _) => "UDP/TLS/RTP/SAVPF",
        (Profile::Other(token), _) => token,
    };
    let mut media = section("audio", description.rtp.port(), protocol, formats.join(" "));
    let lines = &mut media.attributes;
    for line in &description.codecs {
        let channels = match line.codec {
            Codec::Opus => "/2", // RFC 7587 §7: always, whatever is sent
            Codec::Pcmu | Codec::Pcma => "",
        };
        let (pt, codec) = (line.payload_type, line.codec);
        lines.push(valued("rtpmap", format_args!("{pt} {codec}/{}{channels}", codec.clock_rate())));
        if !line.parameters.is_empty() {
            lines.push(valued("fmtp", format_args!("{pt} {}", line.parameters)));
        }
    }
    for event in &description.events {
        lines.push(valued("rtpmap", format_args!("{} telephone-event/{}", event.payload_type, event.clock_rate)));
        lines.push(valued("fmtp", format_args!("{} 0-16", event.payload_type)));
    }
    lines.extend(description.ptime_ms.map(|ms| valued("ptime", ms)));
    lines.push(flag(description.direction.attribute()));
    if let Some(qos) = description.qos {
        // RFC 3312 §4, §6: what stands, what is wanted, and that we want to hear when the other side has its part.
        let word = |met: bool| if met { "sendrecv" } else { "none" };
        lines.push(valued("curr", format_args!("qos local {}", word(qos.local))));
        lines.push(valued("curr", format_args!("qos remote {}", word(qos.remote))));
        lines.push(valued("des", "qos mandatory local sendrecv"));
        lines.push(valued("des", "qos mandatory remote sendrecv"));
        if !qos.remote {
            lines.push(valued("conf", "qos remote sendrecv"));
        }
    }
    if description.rtcp_mux {
        lines.push(flag("rtcp-mux"));
    }
    if let Some(rtcp) = description.rtcp {
        let kind = if rtcp.is_ipv4() { "IP4" } else { "IP6" };
        lines.push(valued("rtcp", format_args!("{} IN {kind} {}", rtcp.port(), rtcp.ip())));
    }
    match &description.profile {
        Profile::Dtls(dtls) => secure(dtls, lines),
        Profile::Sdes(sdes) => lines.extend(sdes.lines.iter().map(|line| valued("crypto", crypto::write(line)))),
        Profile::Plain | Profile::Other(_) => {}
    }
    media
}

fn secure(dtls: &DtlsIce, lines: &mut Vec<Attribute>) {
    if !dtls.mid.is_empty() {
        lines.push(valued("mid", &dtls.mid));
    }
    lines.push(valued("ice-ufrag", &dtls.ufrag));
    lines.push(valued("ice-pwd", &dtls.pwd));
    lines.push(valued("fingerprint", format_args!("sha-256 {}", dtls.fingerprint)));
    lines.push(valued(
        "setup",
        match dtls.setup {
            Setup::Actpass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
        },
    ));
    lines.extend(dtls.audio_level.map(|id| valued("extmap", format_args!("{id} {AUDIO_LEVEL}"))));
    lines.push(valued("msid", "tandem tandem-audio"));
    lines.extend(dtls.ssrc.map(|ssrc| valued("ssrc", format_args!("{ssrc} cname:tandem"))));
    for (n, candidate) in dtls.candidates.iter().enumerate() {
        // RFC 8445 §5.1.2.1: type preference of a host, local preferences falling, component 1.
        let local_preference = 65535u32.saturating_sub(u32::try_from(n).unwrap_or(65535));
        let priority = (126 << 24) | (local_preference << 8) | 255;
        lines.push(valued(
            "candidate",
            format_args!("{} 1 udp {priority} {} {} typ host", n + 1, candidate.ip(), candidate.port()),
        ));
    }
    if !dtls.candidates.is_empty() {
        lines.push(flag("end-of-candidates"));
    }
}
