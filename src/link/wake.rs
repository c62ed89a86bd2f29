//! A wake-up for a thread that sleeps on an eventfd.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Signals coalesce: however many came, one [`Wake::wait`] returns.
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// A new, unsignalled one.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the descriptor it returns is owned by nobody else.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a fresh, valid descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes the waiter. One syscall, never blocks: a full counter is already a signal.
    pub fn signal(&self) {
        let one = 1u64;
        // SAFETY: writes the 8 bytes of `one` to our own descriptor.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Sleeps until signalled or until the timeout; clears the signal.
    pub fn wait(&self, timeout: Duration) {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = timeout.as_millis().clamp(1, i32::MAX as u128) as i32;
        let mut count = 0u64;
        // SAFETY: one pollfd of ours, then 8 bytes read into `count`.
        unsafe {
            libc::poll(&raw mut poll, 1, millis);
            libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_signal_from_another_thread_ends_the_wait() {
        let wake = Arc::new(Wake::new().expect("an eventfd"));
        let other = wake.clone();
        let thread = std::thread::spawn(move || other.signal());
        wake.wait(Duration::from_secs(30));
        thread.join().expect("the signaller");
    }
}
