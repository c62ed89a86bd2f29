//! Stories on real peers: one binary. What each needs from outside the toolchain is installed by `tests/run`.

// Stories live in real time.
#![allow(clippy::disallowed_methods)]

mod capture;
mod peers;
#[allow(dead_code, reason = "what only the unit tests of the store use")]
#[path = "../../src/store/tests/server.rs"]
mod postgres;
mod rig;
mod stories;
mod tone;
