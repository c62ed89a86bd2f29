//! The brain of Tandem: supervised actors, pure state machines, and the ports they ask the world through.
//!
//! This package knows no socket, no codec, no SIP and no WebRTC stack; its tests run on fakes and virtual time.
//!
//! # The tree
//! `n/t`: at most n restarts in t, then the parent's *last act*. Every supervisor's first doc paragraph says its own.
//! ```text
//! Root                       one for one 10/60s -> take no more calls, let those that live end, exit 70
//! ├─ MediaSupervisor         MediaWorker xN        permanent 5/60s; dead or stuck thread -> new thread, sessions re-seated
//! ├─ RtcSupervisor           RtcControl            permanent 5/60s; connected peers keep SRTP, unfinished handshakes fail
//! ├─ SipSupervisor           SipEndpoint xlistener, Registrar   permanent 5/60s
//! ├─ TrunkSupervisor         Trunk xconfig         permanent, never gives up; back-off 1..60 s +-20 %
//! ├─ ClientSupervisor        Client xconnection    transient; a lost socket keeps its Client for the resume window
//! ├─ InvitationSupervisor    Invitation xlive      transient 3/10s -> FAILURE to both sides
//! ├─ RoomSupervisor          Room xlive            transient 3/30s -> close the room
//! └─ CallSupervisor          Call xlive            transient 2/30s -> hang up by the ports, release media, CDR blames us
//!                              ├─ SipLeg | RtcLeg  transient 3/10s -> the leg ends, temporary failure
//!                              └─ Flow             transient 3/10s, resumes at its last step -> the flow's error branch
//! ```
//! Media, Rtc and Sip supervisors that exceed theirs fail to Root, which restarts that subsystem alone; actors find each other
//! through the [`directory`], so the others never notice. A (re)started supervisor casts itself `Rebuild` and respawns a child
//! for every live [`ledger`] key of its kind; new work waits in its mailbox until that is done.
//!
//! # Four laws
//! 1. **No lease in `State`.** Whatever would be heard if dropped belongs to an engine or to the ledger, and is released by an
//!    explicit order: a panic drops `State` and skips `post_stop`.
//! 2. **Commit, command, report**, in that order. A crash in between leaves a checkpoint ahead of the world, never behind;
//!    resume re-issues idempotent commands.
//! 3. **The epoch is a fencing token.** Each incarnation is epoch + 1; commits and commands carry it; older ones are refused
//!    and counted.
//! 4. **Resume is level-triggered.** A restarted actor asks each port for a snapshot and steps the difference. It never waits
//!    for an event that may already have passed. Casts are never replayed. Requests that somebody holds are delivered again: an
//!    INVITE, a re-INVITE and an UPDATE by the SIP core, a client's request by [`client::inputs`]. The holder counts
//!    ([`ports::Deliveries`]) and after the second crash answers 500 (`internal`) itself. What nobody holds and no snapshot tells
//!    of is *posted* ([`directory`]), not cast: what apps and the API order, what apps are told, what supervisors are asked, digits.
//!
//! # What survives
//! | dies | survives in |
//! |---|---|
//! | a leg, a call, an invitation, a room, a trunk, a client | its row of the [`ledger`]: phase, decisions, deadlines |
//! | a supervisor with its subtree | the rows of all its children |
//! | the dialog's actor | the dialog record in the SIP core: tags, CSeq, last offer and answer, pending requests |
//! | the peer's actor | ICE, DTLS and SRTP keys in the `rtc-ctl` and media threads |
//! | a MediaWorker | sockets, codecs, jitter buffers in its thread; the plans in the ledger |
//! | a media thread | the plans in the ledger, each session's seat in the engine |
//! | any actor, with its mailbox | what was posted to it, in the directory |
//! | the process | what the store keeps: CDRs and bindings |
//!
//! What was only cast is lost with a mailbox, by design.
//!
//! # Where to read on
//! [`supervision`] for how restarts work, [`call`] for what a call is, [`ports`] for the world as the brain sees it, [`tree`]
//! for how a program runs all this.

pub mod call;
pub mod client;
pub mod control;
pub mod ctx;
pub mod directory;
pub mod envelope;
#[cfg(feature = "fakes")]
pub mod fakes;
pub mod flow;
pub mod inbox;
pub mod invitation;
pub mod ledger;
pub mod leg;
pub mod media;
pub mod metrics;
pub mod model;
mod operator;
pub mod ports;
pub mod registrar;
pub mod room;
pub mod root;
pub mod rtc;
pub mod sip;
pub mod supervision;
mod timer;
pub mod tree;
pub mod trunk;

pub use ctx::Ctx;
pub use supervision::{Faults, Kind};
pub use tree::Tree;
