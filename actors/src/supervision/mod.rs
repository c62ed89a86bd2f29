//! Restart strategies, which ractor leaves to its users: the pure rules ([`policy`]), the table every supervisor keeps of its
//! children ([`roster`]), what supervisors do alike ([`supervisor`]), the kinds of actors there are ([`kind`]) and the switch by which
//! tests make one of them panic ([`faults`]).
//!
//! What every actor of this package does alike:
//! - it is spawned through [`Roster::spawn`], never by a name;
//! - its `pre_start` takes the next epoch of its ledger key, then enters itself in the directory; it does no I/O;
//! - its message enum has a `Poke` variant that does nothing, and its `handle` begins with `ctx.faults.check(…)`.

pub mod faults;
pub mod kind;
pub mod policy;
pub mod roster;
pub mod supervisor;

pub use faults::Faults;
pub use kind::Kind;
pub use policy::{Backoff, Intensity, Policy, Restart, Scope};
pub use roster::{Fate, Roster, cast_after};
pub use supervisor::{Heard, Keeper, Supervise, Supervisor, SupervisorMsg};
