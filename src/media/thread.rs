//! A media thread's life: the 5 ms absolute tick round [`Core`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::realtime;
use super::worker::{Core, End, TICK};
use crate::link::Wake;

/// How long a thread without sessions sleeps between two looks.
const IDLE: Duration = Duration::from_millis(20);

/// The thread's life: ticks until it is stopped or fenced.
pub fn run(mut core: Core, wake: &Wake, told: &Wake) -> End {
    let mut next = realtime::now_ns();
    loop {
        if core.is_idle() {
            core.station.idle.store(true, Ordering::SeqCst);
            wake.wait(IDLE);
            core.station.idle.store(false, Ordering::SeqCst);
            next = realtime::now_ns();
        } else {
            next += TICK.as_nanos() as u64;
            realtime::sleep_until(next);
        }
        let now = realtime::now_ns();
        let late = now.saturating_sub(next);
        core.station.stats.lateness_ns.fetch_max(late, Ordering::Relaxed);
        if late > 2 * TICK.as_nanos() as u64 {
            // What was missed is not caught up: sockets are drained whole, and paced senders mind the clock themselves.
            core.station.stats.overruns.fetch_add(1, Ordering::Relaxed);
            next = now;
        }
        if let Some(end) = core.tick(now) {
            told.signal();
            return end;
        }
        if core.has_told() {
            told.signal();
        }
    }
}
