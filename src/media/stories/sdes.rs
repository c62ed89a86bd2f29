//! SRTP with keys from the descriptions, on ports of its own.

use tandem_actors::model::negotiate::Secured;

use super::*;

/// A phone whose media session is protected with these keys.
fn phone(stage: &Stage, n: u64, hertz: f64, keys: &SrtpKeys) -> Party {
    let secured = Secured::Sdes(Box::new(keys.clone()));
    let mut party = Party::with(stage, n, Codec::Pcmu, hertz, Carriage::Rtp(HERE), |agreed| agreed.secured = secured);
    party.keys = Some((srtp::Sender::new(keys.profile, &keys.receive), srtp::Receiver::new(keys.profile, &keys.send)));
    party
}

/// Agrees anew, as a re-INVITE does.
fn agree(stage: &Stage, party: &Party, secured: Secured) {
    let mut agreed = negotiated(party.codec, Some(party.socket.local_addr().expect("bound")));
    agreed.secured = secured;
    let media = party.media;
    stage.push(MediaCommand::Configure { media, negotiated: Box::new(agreed), silence_after: None });
}

#[test]
fn a_protected_phone_and_one_in_the_clear_hear_each_other_in_every_suite() {
    for profile in SrtpProfile::ALL {
        let stage = Stage::new();
        let keys = SrtpKeys { profile, ..keys(9) };
        let mut secured = phone(&stage, 1, 700.0, &keys);
        let mut plain = Party::new(&stage, 2, Codec::Pcma, 1100.0);
        stage.bridge(&secured, &plain);
        run(&mut [&mut secured, &mut plain], Duration::from_millis(1500));
        assert_hears(&secured, 1100.0);
        assert_hears(&plain, 700.0);
        secured.assert_forward();
        let snapshot = stage.engine.snapshot(secured.media).expect("open");
        assert_eq!((snapshot.packets_refused, snapshot.packets_lost), (0, 0), "{profile:?} across the rollover");
    }
}

/// Neither where we send to nor what is heard, nor any figure but that of refusals.
#[test]
fn packets_that_are_not_authenticated_change_nothing() {
    let stage = Stage::new();
    let mut secured = phone(&stage, 1, 700.0, &keys(9));
    let mut plain = Party::new(&stage, 2, Codec::Pcmu, 1100.0);
    stage.bridge(&secured, &plain);
    let stranger = UdpSocket::bind((HERE, 0)).expect("a socket");
    stranger.set_nonblocking(true).expect("non-blocking");
    // Before the phone has said anything, and all the while.
    for sequence in 0..40u16 {
        let mut packet = Header::write(0, false, sequence, 0, 77).to_vec();
        packet.extend([0xff; 160]);
        stranger.send_to(&packet, secured.opened.local).expect("sent");
    }
    run(&mut [&mut secured, &mut plain], Duration::from_millis(1500));
    assert_hears(&secured, 1100.0);
    assert_hears(&plain, 700.0);
    assert!(stranger.recv_from(&mut [0; 100]).is_err(), "nothing is sent to a stranger");
    let snapshot = stage.engine.snapshot(secured.media).expect("open");
    assert_eq!((snapshot.packets_refused, snapshot.remote), (40, secured.socket.local_addr().ok()));
}

#[test]
fn a_repeated_agreement_resets_no_rollover_and_no_replay_list() {
    let stage = Stage::new();
    let keys = keys(9);
    let mut secured = phone(&stage, 1, 700.0, &keys);
    let mut plain = Party::new(&stage, 2, Codec::Pcmu, 1100.0);
    stage.bridge(&secured, &plain);
    run(&mut [&mut secured, &mut plain], Duration::from_millis(1000));
    for _ in 0..3 {
        agree(&stage, &secured, Secured::Sdes(Box::new(keys.clone())));
        run(&mut [&mut secured, &mut plain], Duration::from_millis(400));
    }
    assert_hears(&secured, 1100.0);
    assert_hears(&plain, 700.0);
    secured.assert_forward();
    let snapshot = stage.engine.snapshot(secured.media).expect("open");
    assert_eq!((snapshot.packets_refused, snapshot.packets_lost), (0, 0));
}

#[test]
fn new_keys_in_the_middle_of_a_call_are_heard_from_then_on() {
    let stage = Stage::new();
    let mut secured = phone(&stage, 1, 700.0, &keys(9));
    let mut plain = Party::new(&stage, 2, Codec::Pcmu, 1100.0);
    stage.bridge(&secured, &plain);
    run(&mut [&mut secured, &mut plain], Duration::from_millis(1000));
    let fresh = keys(20);
    agree(&stage, &secured, Secured::Sdes(Box::new(fresh.clone())));
    stage.fence(&secured);
    secured.receive();
    secured.keys =
        Some((srtp::Sender::new(fresh.profile, &fresh.receive), srtp::Receiver::new(fresh.profile, &fresh.send)));
    // A context of its own: rollover 0 again.
    (secured.sequence, secured.sent) = (1000, 0);
    secured.got.clear();
    run(&mut [&mut secured, &mut plain], Duration::from_millis(1300));
    assert_hears(&secured, 1100.0);
    assert_hears(&plain, 700.0);
    agree(&stage, &secured, Secured::Plain);
    stage.fence(&secured);
    secured.receive();
    secured.keys = None;
    secured.got.clear();
    run(&mut [&mut secured, &mut plain], Duration::from_millis(1300));
    assert_hears(&secured, 1100.0);
    assert_hears(&plain, 700.0);
}

#[test]
fn a_new_thread_goes_on_with_the_keys_and_their_rollover() {
    let stage = Stage::new();
    let mut secured = phone(&stage, 1, 700.0, &keys(9));
    let mut plain = Party::new(&stage, 2, Codec::Pcmu, 1100.0);
    stage.bridge(&secured, &plain);
    run(&mut [&mut secured, &mut plain], Duration::from_millis(1000));
    stage.engine.crash_thread(W);
    let deadline = Instant::now() + Duration::from_secs(5);
    while stage.engine.heartbeat(W).is_some() {
        assert!(Instant::now() < deadline, "it dies");
        std::thread::sleep(Duration::from_millis(2));
    }
    stage.engine.replace(W).expect("replaced");
    run(&mut [&mut secured, &mut plain], Duration::from_millis(1300));
    assert_hears(&secured, 1100.0);
    assert_hears(&plain, 700.0);
    secured.assert_forward();
}
