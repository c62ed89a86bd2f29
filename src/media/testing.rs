//! What the tests of this module share: tones, their measurement (Goertzel), and an allocator that tells on the media tick.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what a thread allocates or frees while it has forbidden itself to. A count, not an abort: a panic from inside an
/// allocator cannot say which test it was.
struct Watch;

thread_local! {
    static FORBIDDEN: Cell<bool> = const { Cell::new(false) };
}
static VIOLATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Watch = Watch;

// SAFETY: every call is passed unchanged to the system allocator; the counter beside it allocates nothing.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's contract is ours.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note();
        // SAFETY: the caller's contract is ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn note() {
    // A thread that panics unwinds through frees; the guard is off then.
    if FORBIDDEN.try_with(Cell::get).unwrap_or(false) && !std::thread::panicking() {
        VIOLATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `work` with allocation forbidden; returns how often it allocated or freed all the same.
pub fn allocations_in(work: impl FnOnce()) -> u64 {
    let before = VIOLATIONS.load(Ordering::Relaxed);
    FORBIDDEN.set(true);
    work();
    FORBIDDEN.set(false);
    VIOLATIONS.load(Ordering::Relaxed) - before
}

/// `n` samples of a sine.
pub fn tone(rate: u32, hertz: f64, n: usize, amplitude: f64) -> Vec<i16> {
    (0..n).map(|k| ((k as f64 / f64::from(rate) * hertz * std::f64::consts::TAU).sin() * amplitude) as i16).collect()
}

/// Level of one frequency (Goertzel, Hann window), dB relative to an amplitude of 1.
pub fn level_db(samples: &[i16], rate: u32, hertz: f64) -> f64 {
    let omega = std::f64::consts::TAU * hertz / f64::from(rate);
    let (mut s1, mut s2) = (0.0, 0.0);
    for (k, sample) in samples.iter().enumerate() {
        let window = 0.5 - 0.5 * (std::f64::consts::TAU * k as f64 / samples.len() as f64).cos();
        let s0 = f64::from(*sample) * window + 2.0 * omega.cos() * s1 - s2;
        (s2, s1) = (s1, s0);
    }
    let power = s1 * s1 + s2 * s2 - 2.0 * omega.cos() * s1 * s2;
    20.0 * ((power.max(0.0).sqrt() * 4.0 / samples.len() as f64).max(1e-9)).log10()
}

/// A worker's station on a socket of its own, epoch 1.
pub fn station(address: &str) -> super::seat::Station {
    super::seat::Station {
        shared: super::ports::bind_socket(address.parse().expect("an address")).expect("a socket"),
        epoch: AtomicU64::new(1),
        heartbeat: AtomicU64::new(0),
        idle: false.into(),
        stats: super::stats::WorkerStats::default(),
    }
}

/// An agreement on one codec with telephone-event, 20 ms, both ways.
pub fn negotiated(
    codec: tandem_actors::model::media::Codec,
    remote: Option<std::net::SocketAddr>,
) -> tandem_actors::model::negotiate::Negotiated {
    use tandem_actors::model::negotiate::{CodecLine, Negotiated, Secured, TelephoneEvent};
    let line = CodecLine { payload_type: codec.default_payload_type(), codec, parameters: String::new() };
    let event = TelephoneEvent {
        payload_type: if codec.clock_rate() == 8000 { 101 } else { 110 },
        clock_rate: codec.clock_rate(),
    };
    Negotiated {
        send: line.clone(),
        receive: vec![line],
        send_event: Some(event),
        receive_events: vec![event],
        ptime_ms: 20,
        direction: tandem_actors::model::media::Direction::SendRecv,
        remote_rtp: remote,
        remote_rtcp: None,
        rtcp_mux: false,
        audio_level: None,
        secured: Secured::Plain,
    }
}

/// The same as a thread knows it.
pub fn agreement(
    codec: tandem_actors::model::media::Codec,
    remote: Option<std::net::SocketAddr>,
) -> super::agreement::Agreement {
    super::agreement::Agreement::new(&negotiated(codec, remote), None)
}
