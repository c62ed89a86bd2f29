use std::net::SocketAddr;

use proptest::prelude::*;
use tandem_actors::model::media::{Codec, Direction};
use tandem_actors::model::negotiate::{
    AudioOffer, Capabilities, DtlsIce, OtherSection, Profile, Qos, Sdes, SdesKeys, Secured, Security, Setup,
    TelephoneEvent,
};

use super::{MAX_BYTES, SdpError, parse, samples, write};

fn ours(dtls: Option<DtlsIce>) -> Capabilities {
    Capabilities {
        codecs: vec![Codec::Opus, Codec::Pcmu, Codec::Pcma],
        rtp: at("203.0.113.5:40000"),
        direction: Direction::SendRecv,
        session_id: 7,
        session_version: 1,
        security: dtls.map_or(Security::Plain, |dtls| Security::Dtls(Box::new(dtls))),
    }
}

fn our_dtls() -> DtlsIce {
    DtlsIce {
        ufrag: "oursours".into(),
        pwd: "0123456789abcdef01234567".into(),
        lite: true,
        fingerprint: ["AB"; 32].join(":"),
        setup: Setup::Actpass,
        mid: "0".into(),
        candidates: vec![at("203.0.113.5:40000")],
        audio_level: None,
        ssrc: Some(0x1234),
    }
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn dtls(profile: &Profile) -> &DtlsIce {
    let Profile::Dtls(dtls) = profile else { panic!("not DTLS: {profile:?}") };
    dtls
}

fn payload_types(text: &str) -> Vec<u8> {
    parse(text).expect("readable").codecs.iter().map(|line| line.payload_type).collect()
}

#[test]
fn a_sipp_offer_is_read() {
    let offer = parse(samples::SIPP).expect("readable");
    assert_eq!(offer.rtp, at("127.0.0.1:6000"));
    assert_eq!((offer.session_id, offer.session_version), (53655765, 2353687637));
    assert_eq!((offer.profile, offer.direction, offer.rtcp), (Profile::Plain, Direction::SendRecv, None));
    assert_eq!(payload_types(samples::SIPP), [0]);
}

#[test]
fn a_baresip_offer_keeps_its_order_and_parameters() {
    let offer = parse(samples::BARESIP).expect("readable");
    assert_eq!(payload_types(samples::BARESIP), [96, 8, 0]);
    assert_eq!(offer.codecs[0].parameters, "stereo=1;sprop-stereo=1");
    assert_eq!(offer.events, [TelephoneEvent { payload_type: 101, clock_rate: 8000 }]);
    assert_eq!((offer.ptime_ms, offer.rtcp), (Some(20), None));
}

#[test]
fn unknown_codecs_are_left_out_and_events_kept_by_clock_rate() {
    let offer = parse(samples::ASTERISK).expect("readable");
    assert_eq!(payload_types(samples::ASTERISK), [8, 0]);
    assert_eq!(offer.events.iter().map(|event| event.clock_rate).collect::<Vec<_>>(), [8000, 16000]);
    assert!(offer.rtcp_mux);
}

#[test]
fn an_address_of_zeroes_is_read_as_hold_and_answered_recvonly() {
    let offer = parse(samples::OLD_HOLD).expect("readable");
    assert_eq!(offer.direction, Direction::SendOnly);
    assert_eq!(payload_types(samples::OLD_HOLD), [8]);
    let (answer, agreed) = AudioOffer(offer).answer(&ours(None)).expect("an answer");
    assert_eq!(answer.0.direction, Direction::RecvOnly);
    assert_eq!(agreed.remote_rtp, None);
}

#[test]
fn preconditions_are_read_and_answered_truthfully() {
    let ims = "a=curr:qos local none\r\na=curr:qos remote none\r\na=des:qos mandatory local sendrecv\r\n\
               a=des:qos optional remote sendrecv\r\n";
    let offer = AudioOffer(parse(&format!("{}{ims}", samples::SIPP)).expect("readable"));
    assert_eq!(offer.0.qos, Some(Qos { local: false, remote: false }));
    let text = write(&offer.answer(&ours(None)).expect("an answer").0.0);
    for line in ["a=curr:qos local sendrecv", "a=curr:qos remote none", "a=conf:qos remote sendrecv"] {
        assert!(text.contains(&format!("{line}\r\n")), "{line} is missing in\n{text}");
    }
    assert_eq!(parse(samples::SIPP).expect("readable").qos, None);
}

#[test]
fn a_media_level_address_goes_before_the_sessions() {
    let text = samples::SIPP.replace("RTP/AVP 0\r\n", "RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\na=rtcp:7000\r\n");
    let offer = parse(&text).expect("readable");
    assert_eq!(offer.rtp, at("[2001:db8::1]:6000"));
    assert_eq!(offer.rtcp, Some(at("[2001:db8::1]:7000")));
}

#[test]
fn a_chromium_offer_is_read_whole() {
    let offer = parse(samples::CHROMIUM).expect("readable");
    assert_eq!(payload_types(samples::CHROMIUM), [111, 0, 8]);
    assert_eq!(offer.events.iter().map(|event| event.payload_type).collect::<Vec<_>>(), [110, 126]);
    let dtls = dtls(&offer.profile);
    assert_eq!((dtls.ufrag.as_str(), dtls.mid.as_str(), dtls.lite), ("Zl4M", "0", false));
    assert_eq!((dtls.setup, dtls.audio_level, dtls.ssrc), (Setup::Actpass, Some(1), Some(1510274023)));
    assert!(dtls.candidates.is_empty(), "a full agent's candidates are kept out");
    assert_eq!(offer.after.iter().map(|other| other.media.as_str()).collect::<Vec<_>>(), ["video", "application"]);
}

#[test]
fn the_answer_to_a_browser_refuses_all_but_audio_in_its_order() {
    let offer = AudioOffer(parse(samples::CHROMIUM).expect("readable"));
    let (answer, _) = offer.answer(&ours(Some(our_dtls()))).expect("an answer");
    let text = write(&answer.0);
    for line in [
        "a=group:BUNDLE 0\r\n",
        "a=ice-lite\r\n",
        "m=audio 40000 UDP/TLS/RTP/SAVPF 111 0 8 110 126\r\n",
        "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n",
        "a=fmtp:110 0-16\r\n",
        "a=rtcp-mux\r\n",
        "a=mid:0\r\n",
        "a=setup:passive\r\n",
        "a=ssrc:4660 cname:tandem\r\n",
        "a=msid:tandem tandem-audio\r\n",
        "a=candidate:1 1 udp 2130706431 203.0.113.5 40000 typ host\r\na=end-of-candidates\r\n",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n",
        "m=video 0 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\n",
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    assert_eq!(parse(&text).expect("our own answer"), answer.0);
}

#[test]
fn sections_before_audio_keep_their_place() {
    let text = samples::SIPP.replace("m=audio", "m=video 5000 RTP/AVP 31\r\nm=audio 0 RTP/AVP 8\r\nm=audio");
    let offer = AudioOffer(parse(&text).expect("readable"));
    assert_eq!(offer.0.before.len(), 2);
    let text = write(&offer.answer(&ours(None)).expect("an answer").0.0);
    let sections: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(sections, ["m=video 0 RTP/AVP 31", "m=audio 0 RTP/AVP 8", "m=audio 40000 RTP/AVP 0"]);
}

#[test]
fn attributes_are_found_at_session_level_and_in_any_case() {
    let offer = parse(samples::SESSION_LEVEL).expect("readable");
    let dtls = dtls(&offer.profile);
    assert_eq!((dtls.ufrag.as_str(), dtls.setup), ("abcd", Setup::Active));
    assert!(dtls.fingerprint.starts_with("6B:8B:F0"));
    assert_eq!((offer.direction, offer.codecs[0].codec), (Direction::RecvOnly, Codec::Opus));
}

#[test]
fn what_we_write_we_read_back_unchanged() {
    for sample in [samples::SIPP, samples::BARESIP, samples::ASTERISK, samples::OLD_HOLD, samples::SESSION_LEVEL] {
        let read = parse(sample).expect("readable");
        assert_eq!(parse(&write(&read)).expect("readable"), read);
    }
    for dtls in [None, Some(our_dtls())] {
        let mut offer = AudioOffer::from_capabilities(&ours(dtls)).0;
        offer.rtp = at("[2001:db8::5]:4000");
        assert_eq!(parse(&write(&offer)).expect("our own offer"), offer);
    }
}

#[test]
fn a_profile_we_do_not_speak_is_named() {
    for token in ["TCP/RTP/AVP", "udptl", "UDP/TLS/RTP/SAVPF"] {
        let offer = parse(&samples::SIPP.replace("RTP/AVP", token)).expect("readable");
        assert_eq!(offer.profile, Profile::Other(token.into()));
    }
}

/// An offer of SAVP with these `a=crypto` lines.
fn savp(lines: &str) -> String {
    samples::SIPP.replace("RTP/AVP 0\r\n", &format!("RTP/SAVP 0\r\n{lines}"))
}

#[test]
fn srtp_with_keys_in_the_description_is_read_and_answered_in_kind() {
    let offer = savp(
        "a=crypto:5 F8_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n\
         a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^31|1:1\r\n",
    );
    for (token, required) in [("RTP/SAVP", true), ("RTP/SAVPF", true), ("RTP/AVP", false), ("RTP/AVPF", false)] {
        let offer = AudioOffer(parse(&offer.replace("RTP/SAVP", token)).expect("readable"));
        let Profile::Sdes(sdes) = &offer.0.profile else { panic!("not SDES: {offer:?}") };
        assert_eq!((sdes.required, sdes.lines.len()), (required, 1));
        let keys = SdesKeys::random();
        let ours = Capabilities { security: Security::Sdes { required: false, keys }, ..ours(None) };
        let (answer, agreed) = offer.answer(&ours).expect("an answer");
        let text = write(&answer.0);
        assert!(text.contains(&format!("m=audio 40000 {token} 0\r\n")), "{text}");
        assert_eq!(text.matches("a=crypto:").count(), 1);
        assert!(text.contains("a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:"), "{text}");
        assert!(!text.contains("d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"), "the key is ours, not theirs");
        let Secured::Sdes(agreed) = agreed.secured else { panic!("no keys") };
        assert_eq!(agreed.receive_mki, [1]);
        assert_eq!(parse(&text).expect("our own answer"), answer.0);
    }
}

#[test]
fn our_offer_has_one_m_line_with_every_suite_and_a_key_each() {
    for (required, token) in [(true, "RTP/SAVP"), (false, "RTP/AVP")] {
        let ours = Capabilities { security: Security::Sdes { required, keys: SdesKeys::random() }, ..ours(None) };
        let offer = AudioOffer::from_capabilities(&ours).0;
        let text = write(&offer);
        assert_eq!(text.matches("m=").count(), 1, "linphone refuses two sections for one stream");
        assert!(text.contains(&format!(" {token} ")), "{text}");
        assert!(text.contains("a=crypto:1 AEAD_AES_128_GCM inline:"), "{text}");
        assert!(text.contains("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:"), "{text}");
        let Profile::Sdes(Sdes { lines, .. }) = &offer.profile else { panic!("not SDES") };
        assert_ne!(lines[0].key, lines[1].key);
        assert_eq!(parse(&text).expect("our own offer"), offer);
    }
}

#[test]
fn savp_without_a_line_that_we_can_use_is_488_with_warning_306() {
    let offer = AudioOffer(parse(&savp("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:short\r\n")).expect("readable"));
    let ours = Capabilities { security: Security::Sdes { required: false, keys: SdesKeys::random() }, ..ours(None) };
    assert_eq!(offer.answer(&ours).expect_err("refused").warning(), 306);
}

#[test]
fn what_cannot_be_used_says_why_with_status_and_warning() {
    let without = |line: &str| samples::CHROMIUM.replacen(line, "", 1);
    let cases = [
        (String::new(), SdpError::Malformed("No version line".into()), 400, 399),
        ("v=0\r\ns=-\r\n".into(), SdpError::NoAudio, 488, 304),
        (samples::SIPP.replace("6000", "0"), SdpError::AudioRefused, 488, 304),
        (samples::SIPP.replace("c=IN IP4 127.0.0.1\r\n", ""), SdpError::Address(String::new()), 488, 301),
        (samples::SIPP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 a.test"), SdpError::Address("a.test".into()), 488, 301),
        (
            samples::SIPP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 224.2.1.1/127"),
            SdpError::Multicast([224, 2, 1, 1].into()),
            488,
            330,
        ),
        (without("a=rtcp-mux\r\n"), SdpError::NoRtcpMux, 488, 307),
        (without("a=ice-pwd:9P2uPsN1xTxKyRxlVFeFHbMg\r\n"), SdpError::IceCredentials("ice-pwd"), 488, 307),
        (samples::CHROMIUM.replacen("Zl4M", "Z:4M", 1), SdpError::IceCredentials("ice-ufrag"), 488, 307),
        (
            samples::CHROMIUM.replacen("sha-256 6B", "sha-1 6B", 1).split("m=video").next().expect("audio").into(),
            SdpError::Fingerprint(
                "sha-1 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08"
                    .into(),
            ),
            488,
            307,
        ),
        ("v".repeat(MAX_BYTES + 1), SdpError::TooLong, 400, 399),
        ("\n".repeat(3000), SdpError::TooLong, 400, 399),
    ];
    for (text, error, status, warning) in cases {
        let found = parse(&text).expect_err("unusable");
        assert_eq!((found.status(), found.warning()), (status, warning), "{found}");
        assert_eq!(found, error);
    }
}

#[test]
fn a_section_cannot_smuggle_lines_into_our_answer() {
    let mut offer = parse(samples::SIPP).expect("readable");
    offer.after.push(OtherSection {
        media: "video".into(),
        protocol: "RTP/AVP".into(),
        formats: "31\r\na=evil".into(),
        mid: Some("1\r\nm=audio 1 RTP/AVP 0".into()),
    });
    assert_eq!(write(&offer).lines().filter(|line| line.starts_with("m=") || line.starts_with("a=evil")).count(), 2);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,400}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_damaged_description_is_read_or_refused_without_panic(
        which in 0usize..4, at in 0usize..4000, cut in 0usize..40, put in "[ -~\r\n]{0,12}",
    ) {
        let sample = [samples::CHROMIUM, samples::BARESIP, samples::ASTERISK, samples::SESSION_LEVEL][which];
        let mut text = sample.to_owned();
        let at = at % text.len();
        text.replace_range(at..(at + cut).min(sample.len()), &put);
        if let Ok(description) = parse(&text) {
            let again = parse(&write(&description));
            prop_assert!(again.is_ok(), "{again:?}\n{text}");
        }
    }
}
