//! The SIP listeners as the brain sees them: an actor twin each ([`endpoint`]), and the supervisor that keeps them and the
//! Registrar. Dialogs are ordered by their legs, through the port.

pub mod endpoint;
pub mod supervisor;

pub use endpoint::{SipEndpoint, SipEndpointMsg};
pub use supervisor::{SipChild, SipSupervisor};
