//! Rooms, clips, silence: what the switch itself makes or mixes.

use tandem_actors::model::ids::RoomId;
use tandem_actors::model::media::Direction;

use super::*;

#[test]
fn three_in_a_room_hear_the_two_others_and_not_themselves() {
    let stage = Stage::new();
    let mut a = Party::new(&stage, 1, Codec::Pcmu, 500.0);
    let mut b = Party::new(&stage, 2, Codec::Opus, 900.0);
    let mut c = Party::new(&stage, 3, Codec::Opus, 1300.0);
    let mut listener = Party::with(&stage, 4, Codec::Opus, 0.0, Carriage::Rtp(HERE), |_| {});
    let room = RoomId::new("standup").expect("a name");
    for party in [&a, &b, &c, &listener] {
        stage.attach(party.media, Attachment::Room(room.clone()));
    }
    run(&mut [&mut a, &mut b, &mut c, &mut listener], Duration::from_millis(2500));
    for (party, own) in [(&a, 500.0), (&b, 900.0), (&c, 1300.0), (&listener, 3000.0)] {
        for hertz in [500.0, 900.0, 1300.0] {
            if hertz == own { assert_deaf_to(party, hertz) } else { assert_hears(party, hertz) }
        }
        party.assert_forward();
        assert!(party.longest_gap() < Duration::from_millis(120), "{:?}", party.longest_gap());
    }
    stage.attach(a.media, Attachment::Nothing);
    b.got.clear();
    run(&mut [&mut a, &mut b, &mut c], SECONDS);
    assert_deaf_to(&b, 500.0);
    assert_hears(&b, 1300.0);
}

#[test]
fn clips_play_instead_of_the_bridge_and_say_when_they_end() {
    let mut stage = Stage::new();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 44_100,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let path = stage._prompts.path().join("hello.wav");
    let mut writer = hound::WavWriter::create(path, spec).expect("a file");
    tone(44_100, 1500.0, 44_100 * 6 / 5, 8000.0).into_iter().for_each(|s| writer.write_sample(s).expect("written"));
    writer.finalize().expect("finished");
    assert!(stage.engine.has_clip("hello") && stage.engine.has_clip("tone:busy") && !stage.engine.has_clip("other"));

    let mut phone = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut browser = Party::new(&stage, 2, Codec::Opus, 1100.0);
    stage.bridge(&phone, &browser);
    for media in [phone.media, browser.media] {
        stage.push(MediaCommand::Play { media, clip: "hello".into(), token: 9, repeat: false });
    }
    run(&mut [&mut phone, &mut browser], Duration::from_millis(1100));
    for party in [&phone, &browser] {
        assert!((level_db(&party.sound()[1600..8000], 8000, 1500.0) - LOUD).abs() < 3.0);
        assert!(party.longest_gap() < Duration::from_millis(120));
    }
    assert_deaf_to_in(&phone, 1100.0, 1600..8000);
    run(&mut [&mut phone, &mut browser], Duration::from_millis(1500));
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::Played(9));
    stage.wait_for(browser.media, |kind| *kind == MediaEventKind::Played(9));
    assert_hears(&phone, 1100.0);
    assert_hears(&browser, 700.0);
    phone.assert_forward();
    browser.assert_forward();

    stage.push(MediaCommand::Play { media: phone.media, clip: "nothing".into(), token: 10, repeat: false });
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::NoClip(10));
    stage.push(MediaCommand::Play { media: phone.media, clip: "tone:busy".into(), token: 11, repeat: true });
    stage.push(MediaCommand::Fence { media: phone.media, token: 77 });
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::Fenced(77));
    phone.got.clear();
    run(&mut [&mut phone], Duration::from_millis(1200));
    let loudest = phone.sound().windows(800).step_by(80).map(|w| level_db(w, 8000, 425.0) as i64).max();
    assert!(loudest > Some(70), "a repeated tone goes on: {loudest:?}");
}

fn assert_deaf_to_in(party: &Party, hertz: f64, range: std::ops::Range<usize>) {
    let level = level_db(&party.sound()[range], 8000, hertz);
    assert!(level < LOUD - 30.0, "{hertz} Hz at {level} dB");
}

#[test]
fn a_session_joined_to_nothing_sends_silence_and_a_silent_peer_is_told_of() {
    let mut stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcma, 700.0);
    run(&mut [&mut phone], Duration::from_millis(600));
    assert!(phone.got.len() >= 25, "{}", phone.got.len());
    assert!(phone.got.iter().all(|g| g.payload.iter().all(|o| *o == 0xd5)));
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::Silent);

    let mut held = negotiated(Codec::Pcma, Some(phone.socket.local_addr().expect("bound")));
    held.direction = Direction::Inactive;
    stage.push(MediaCommand::Configure { media: phone.media, negotiated: Box::new(held), silence_after: None });
    stage.push(MediaCommand::Fence { media: phone.media, token: 1 });
    stage.wait_for(phone.media, |kind| *kind == MediaEventKind::Fenced(1));
    phone.receive();
    phone.got.clear();
    run(&mut [&mut phone], Duration::from_millis(300));
    assert_eq!(phone.got.len(), 0, "a held session sends nothing");
}
