//! `audiopus_sys` over the bundled libopus 1.6.1 of `opusic-sys`; see Cargo.toml beside it.
pub use opusic_sys::*;
