//! The clock of the media threads and what they ask of the scheduler.

use std::io;

/// Priority under SCHED_FIFO: above everything ordinary, below the kernel's own threads.
const PRIORITY: libc::c_int = 50;

/// Monotonic time, nanoseconds.
pub fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one timespec of ours; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps until that time of [`now_ns`].
pub fn sleep_until(ns: u64) {
    let until = libc::timespec { tv_sec: (ns / 1_000_000_000) as _, tv_nsec: (ns % 1_000_000_000) as _ };
    // SAFETY: one timespec of ours. A signal ends the sleep early: the next tick is then a little early, no more.
    unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut())
    };
}

/// Locks the process's memory as it comes into use, so that no media thread waits for a page to come back from disk. What an
/// allocator only reserves is not made resident, and no page is a huge one: to zero two megabytes while a call begins keeps every
/// other call waiting.
///
/// # Errors
/// Without CAP_IPC_LOCK or a sufficient LimitMEMLOCK.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: neither takes pointers.
    match unsafe {
        // Refused by kernels before 3.15: no harm.
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
        libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT)
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the calling thread a real-time one, on a processor of its own where there is more than one: the `n`-th from the end.
///
/// # Errors
/// Without CAP_SYS_NICE or a sufficient LimitRTPRIO.
pub fn become_realtime(n: u16) -> io::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the structures are ours and of the sizes stated; 0 names the calling thread.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
        if processors > 1 {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET((processors - 1).saturating_sub(usize::from(n)), &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
        match libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_at_its_time_and_not_before() {
        let until = now_ns() + 3_000_000;
        sleep_until(until);
        assert!(now_ns() >= until);
    }
}
