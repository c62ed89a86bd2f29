//! Ports that remember what they were told and tell what a test wants told, and [`World`]: the whole tree over them on virtual
//! time. Only with the feature `fakes`; no part of the shipped switch.
//!
//! A fake keeps the promises of its port's documentation (fencing, idempotence, the last event of a dialog), and otherwise does
//! what a well-meaning world would: trunks register, browsers connect, fences come back. Each habit can be switched off.

mod client;
mod media;
mod meter;
mod rtc;
mod sip;
mod store;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use client::FakeClient;
pub use media::{FakeMedia, FakeSession};
pub use meter::Meter;
pub use rtc::FakeRtc;
pub use sip::{FakeDialog, FakeSip, SipOrder};
pub use store::FakeStore;
pub use world::World;

use crate::ports::Brain;

/// A panic of an actor while it holds a fake's lock (an injected fault never does) must not fail the next test step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Events = Arc<dyn Brain>;
