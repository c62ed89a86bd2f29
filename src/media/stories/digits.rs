//! Digits: across a bridge, and of our own.

use tandem_actors::model::media::Digit;

use super::*;
use crate::media::dtmf::Listener;

#[test]
fn digits_cross_between_clock_rates_each_once() {
    let mut stage = Stage::new();
    let mut phone = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut browser = Party::new(&stage, 2, Codec::Opus, 1100.0);
    stage.bridge(&phone, &browser);
    run_with(&mut [&mut phone, &mut browser], Duration::from_millis(2400), |n, parties| match n {
        20 => parties[0].press(5),
        40 => parties[0].press(5),
        60 => parties[1].press(11),
        80 => parties[1].press(0),
        _ => {}
    });
    assert_eq!((stage.digits(phone.media).as_str(), stage.digits(browser.media).as_str()), ("55", "#0"));
    // As the other party hears them, by the very listener of the engine's receiving side.
    for (party, rate, expected) in [(&browser, 48_000, "55"), (&phone, 8000, "#0")] {
        let mut listener = Listener::default();
        let mut heard = String::new();
        for got in party.got.iter().filter(|g| matches!(g.header.payload_type, 101 | 110)) {
            let event = Event::parse(&got.payload).expect("an event");
            if let Some((digit, time)) = listener.hear(event, got.header.timestamp, rate, Duration::ZERO) {
                assert_eq!(time, Duration::from_millis(100));
                heard.push(digit.char());
            }
        }
        assert_eq!(heard, expected);
        party.assert_forward();
        let markers = party.got.iter().filter(|g| matches!(g.header.payload_type, 101 | 110) && g.header.marker);
        assert_eq!(markers.count(), 2, "one marker an event");
    }
}

#[test]
fn digits_of_ours_are_sent_with_three_ends_and_in_band_where_events_are_not_taken() {
    let stage = Stage::new();
    let mut events = Party::new(&stage, 1, Codec::Pcmu, 700.0);
    let mut tones = Party::with(&stage, 2, Codec::Pcmu, 1100.0, Carriage::Rtp(HERE), |n| n.send_event = None);
    for media in [events.media, tones.media] {
        let digits = "17".chars().map(|c| Digit::new(c).expect("a digit")).collect();
        stage.push(MediaCommand::SendDigits { media, digits });
    }
    run(&mut [&mut events, &mut tones], Duration::from_millis(1600));
    let sent: Vec<Event> = events
        .got
        .iter()
        .filter(|g| g.header.payload_type == 101)
        .map(|g| Event::parse(&g.payload).expect("an event"))
        .collect();
    assert_eq!(sent.iter().filter(|e| e.end && e.code == 1).count(), 3);
    assert_eq!(sent.iter().filter(|e| e.end && e.code == 7).count(), 3);
    let sound = tones.sound();
    let loudest = |hertz| sound.windows(800).step_by(80).map(|w| level_db(w, 8000, hertz) as i64).max();
    for hertz in [697.0, 1209.0, 852.0] {
        assert!(loudest(hertz) > loudest(1400.0).map(|quiet| quiet + 20), "{hertz}");
    }
    events.assert_forward();
    tones.assert_forward();
}
