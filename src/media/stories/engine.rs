//! The engine: threads that die or hang, the control thread, ports.

use tandem_actors::ports::media::OpenError;

use super::*;

#[test]
fn stun_goes_to_the_control_thread_and_its_answers_come_back() {
    let stage = Stage::new();
    let party = browser(&stage, 1, 1100.0);
    let mut control = stage.control.recv_timeout(Duration::from_secs(5)).expect("a control end");
    party.socket.send_to(&[0, 1, 0, 0, 42], party.opened.local).expect("sent");
    let deadline = Instant::now() + Duration::from_secs(5);
    let datagram = loop {
        if let Some(datagram) = control.pop() {
            break datagram;
        }
        assert!(Instant::now() < deadline, "the datagram comes");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(datagram.payload(), [0, 1, 0, 0, 42]);
    control.push(crate::link::Datagram::new(datagram.peer, &[1, 1, 0, 0]).expect("short"));
    let mut buffer = [0; 100];
    loop {
        match party.socket.recv(&mut buffer) {
            Ok(n) if buffer[0] == 1 => break assert_eq!(n, 4),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(Instant::now() < deadline, "the answer comes");
    }
}

/// Crashes or sticks the thread in the middle of a call and replaces it.
fn take_over(fault: impl FnOnce(&Engine)) {
    let stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut browser = browser(&stage, 2, 1100.0);
    stage.bridge(&phone, &browser);
    let first_end = stage.control.recv_timeout(Duration::from_secs(5)).expect("a control end");
    let mut fault = Some(fault);
    run_with(&mut [&mut phone, &mut browser], Duration::from_millis(2600), |n, _| {
        if n == 40 {
            let before = stage.engine.heartbeat(W);
            fault.take().expect("once")(&stage.engine);
            // As the MediaWorker actor does: it is dead, or its heart stands still for 100 ms.
            let mut last = (before, Instant::now());
            while last.0.is_some() && last.1.elapsed() < Duration::from_millis(100) {
                std::thread::sleep(Duration::from_millis(2));
                let beat = stage.engine.heartbeat(W);
                if beat != last.0 {
                    last = (beat, Instant::now());
                }
            }
            stage.engine.replace(W).expect("replaced");
        }
    });
    for (party, hertz) in [(&phone, 1100.0), (&browser, 700.0)] {
        assert!(party.longest_gap() < Duration::from_millis(250), "{:?}", party.longest_gap());
        assert_hears(party, hertz);
        party.assert_forward();
    }
    assert!(stage.control.recv_timeout(Duration::from_secs(5)).is_ok(), "a new control end");
    drop(first_end);
}

#[test]
fn audio_is_back_within_250_ms_when_a_thread_dies() {
    take_over(|engine| engine.crash_thread(W));
}

#[test]
fn audio_is_back_within_250_ms_when_a_thread_hangs_and_the_old_one_stays_silent() {
    take_over(|engine| engine.stick_thread(W, Duration::from_millis(900)));
}

#[test]
fn after_closing_no_port_is_left_and_opening_is_idempotent() {
    let mut stage = Stage::with(|config| config.max_sessions = 8);
    let mut parties: Vec<Party> = (0..8).map(|n| Party::new(&stage, n, Codec::Pcmu, 700.0)).collect();
    let spec = MediaSpec { leg: LegId(1), carriage: Carriage::Rtp(HERE), near: None };
    assert_eq!(stage.engine.open(MediaId(1), &spec), Ok(parties[1].opened));
    assert_eq!(stage.engine.open(MediaId(99), &spec), Err(OpenError::Full { limit: 8 }));
    let ports: Vec<SocketAddr> = parties.iter().map(|p| p.opened.local).collect();
    for party in parties.drain(..) {
        stage.push(MediaCommand::Close { media: party.media });
        assert_eq!(stage.engine.snapshot(party.media), None);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    for port in ports {
        for port in [port, SocketAddr::new(HERE, port.port() + 1)] {
            while UdpSocket::bind(port).is_err() {
                assert!(Instant::now() < deadline, "{port} is still bound");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    // Places and the ring are there for the next eight.
    let again = Party::new(&stage, 50, Codec::Pcmu, 700.0);
    stage.push(MediaCommand::Fence { media: again.media, token: 5 });
    stage.wait_for(again.media, |kind| *kind == MediaEventKind::Fenced(5));
}

#[test]
fn a_range_without_a_free_pair_says_so() {
    let stage = Stage::with(|config| config.rtp_ports = 40_001..=40_001);
    let spec = MediaSpec { leg: LegId(1), carriage: Carriage::Rtp(HERE), near: None };
    assert_eq!(stage.engine.open(MediaId(1), &spec), Err(OpenError::NoPorts { from: 40_001, to: 40_001 }));
}
