//! Tandem: an always-on switch between telephones and browsers.

pub mod sdp;
pub mod sip;
