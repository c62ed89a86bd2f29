//! Plain values: identifiers, addresses, descriptions of audio, causes, settings. No async, no I/O, no clock.

pub mod address;
pub mod cause;
pub mod diversion;
pub mod ids;
pub mod media;
pub mod negotiate;
pub mod net;
pub mod numbers;
pub mod plan;
pub mod settings;
pub mod srtp;
