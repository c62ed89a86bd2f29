//! Offers and answers.

use super::*;

fn ours(codecs: &[Codec]) -> Capabilities {
    Capabilities {
        codecs: codecs.to_vec(),
        rtp: "127.0.0.1:10000".parse().expect("an address"),
        direction: Direction::SendRecv,
        session_id: 1,
        session_version: 1,
        security: Security::Plain,
    }
}

fn offer(codecs: &[(u8, Codec)], events: &[(u8, u32)]) -> AudioOffer {
    let mut offer = AudioOffer::from_capabilities(&ours(&[Codec::Pcmu]));
    offer.0.rtp = "192.0.2.1:4000".parse().expect("an address");
    offer.0.codecs = codecs.iter().map(|&(pt, codec)| our_line(codec, pt)).collect();
    offer.0.events =
        events.iter().map(|&(payload_type, clock_rate)| TelephoneEvent { payload_type, clock_rate }).collect();
    offer
}

#[test]
fn the_answer_keeps_the_offers_payload_types_in_our_order() {
    let offer = offer(&[(0, Codec::Pcmu), (96, Codec::Opus)], &[(101, 8000), (97, 48000)]);
    let (answer, agreed) = offer.answer(&ours(&[Codec::Opus, Codec::Pcmu])).expect("an answer");
    assert_eq!(answer.0.codecs.iter().map(|l| l.payload_type).collect::<Vec<_>>(), [96, 0]);
    assert_eq!(agreed.send.codec, Codec::Opus);
    assert_eq!(agreed.send_event, Some(TelephoneEvent { payload_type: 97, clock_rate: 48000 }));
    assert_eq!(agreed.remote_rtcp, Some("192.0.2.1:4001".parse().expect("an address")));
}

#[test]
fn a_further_offer_keeps_sections_and_payload_types_and_adds_what_we_can_speak() {
    let mut last = offer(&[(96, Codec::Opus)], &[(101, 48000)]).0;
    last.before =
        vec![OtherSection { media: "video".into(), protocol: "RTP/AVP".into(), formats: "31".into(), mid: None }];
    let ours = Capabilities { session_version: 5, ..ours(&[Codec::Pcmu, Codec::Opus]) };
    let renewed = AudioOffer::renewed(&last, &ours).0;
    let lines: Vec<_> = renewed.codecs.iter().map(|line| (line.payload_type, line.codec)).collect();
    assert_eq!(lines, [(96, Codec::Opus), (0, Codec::Pcmu)]);
    // 101 stays what it was; the new clock rate takes another.
    let events: Vec<_> = renewed.events.iter().map(|event| (event.payload_type, event.clock_rate)).collect();
    assert_eq!(events, [(101, 48000), (97, 8000)]);
    assert_eq!((renewed.before, renewed.session_version), (last.before, 5));
}

#[test]
fn a_precondition_is_answered_as_met_on_our_side_and_as_it_is_on_theirs() {
    for theirs in [false, true] {
        let mut offer = offer(&[(0, Codec::Pcmu)], &[]);
        offer.0.qos = Some(Qos { local: theirs, remote: false });
        let (answer, _) = offer.answer(&ours(&[Codec::Pcmu])).expect("an answer");
        assert_eq!(answer.0.qos, Some(Qos { local: true, remote: theirs }));
    }
}

#[test]
fn nothing_in_common_names_both_sides() {
    let refused = offer(&[(0, Codec::Pcmu)], &[]).answer(&ours(&[Codec::Opus])).expect_err("no codec");
    assert_eq!(refused.to_string(), "no codec in common: the peer has PCMU, we allow opus");
    assert_eq!(refused.warning(), 305);
}

#[test]
fn a_profile_that_is_not_spoken_is_refused() {
    let mut offer = offer(&[(0, Codec::Pcmu)], &[]);
    offer.0.profile = Profile::Other("udptl".into());
    assert_eq!(offer.answer(&ours(&[Codec::Pcmu])), Err(NegotiateError::Profile("udptl".into())));
}

#[test]
fn a_peers_answer_is_read_with_its_own_order() {
    let ours = ours(&[Codec::Pcmu, Codec::Pcma]);
    let offer = AudioOffer::from_capabilities(&ours);
    let (mut answer, _) = offer.answer(&ours).expect("an answer");
    answer.0.codecs.reverse();
    let agreed = answer.accept(&offer).expect("agreed");
    assert_eq!(agreed.send.codec, Codec::Pcma);
    assert_eq!(agreed.receive.len(), 2);
    answer.0.codecs.truncate(1);
    let agreed = answer.accept(&offer).expect("agreed");
    assert_eq!(agreed.receive.iter().map(|line| line.codec).collect::<Vec<_>>(), [Codec::Pcma], "as answered");
}

#[test]
fn an_address_of_zeroes_sends_nothing() {
    let mut offer = offer(&[(0, Codec::Pcmu)], &[]);
    offer.0.rtp = "0.0.0.0:4000".parse().expect("an address");
    offer.0.direction = Direction::SendOnly;
    let (answer, agreed) = offer.answer(&ours(&[Codec::Pcmu])).expect("an answer");
    assert_eq!(answer.0.direction, Direction::RecvOnly);
    assert_eq!(agreed.remote_rtp, None);
}
