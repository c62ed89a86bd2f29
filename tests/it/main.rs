//! Stories on real peers: one binary. What each needs from outside the toolchain is installed by `tests/run`.

// Stories live in real time.
#![allow(clippy::disallowed_methods)]

mod capture;
mod peers;
mod rig;
mod stories;
mod tone;
