//! Media as the brain sees it: sessions planned in the ledger ([`plan`]), an actor twin of each media thread ([`worker`]) that
//! keeps the plan and the thread in step, and their supervisor.

pub mod plan;
pub mod supervisor;
pub mod worker;

pub use supervisor::MediaSupervisor;
pub use worker::{MediaWorker, MediaWorkerMsg};
