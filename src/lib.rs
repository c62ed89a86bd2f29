//! Tandem: an always-on switch between telephones and browsers.

pub mod app;
pub mod cli;
pub mod config;
pub mod http;
pub mod link;
pub mod media;
pub mod origin;
pub mod pii;
pub mod rtc;
pub mod sdp;
pub mod sip;
pub mod store;
pub mod telemetry;
pub mod tls;
