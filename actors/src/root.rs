//! The top of the tree.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::call::release::last_act;
use crate::call::{CallMsg, CallSupervisor};
use crate::client::ClientSupervisor;
use crate::ctx::Ctx;
use crate::invitation::InvitationSupervisor;
use crate::media::MediaSupervisor;
use crate::model::cause::Cause;
use crate::room::RoomSupervisor;
use crate::rtc::RtcSupervisor;
use crate::sip::SipSupervisor;
use crate::supervision::{Fate, Kind, Policy, Roster, cast_after};
use crate::trunk::TrunkSupervisor;

/// What calls that live get to end by themselves once Root has given up.
pub const DRAIN: Duration = Duration::from_secs(30);
/// And then to say good-bye.
pub const GOOD_BYE: Duration = Duration::from_secs(2);

/// What Root hears.
#[derive(Debug)]
pub enum RootMsg {
    /// Spawn the subsystems.
    Rebuild,
    /// The wait before a subsystem's restart is over.
    Respawn(Subsystem),
    /// After the last act: look whether calls still live.
    Wait {
        /// How long to wait yet.
        left: Duration,
    },
    /// The good-byes have been said.
    Fail,
}

/// Root's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subsystem {
    /// Media threads.
    Media,
    /// ICE and DTLS.
    Rtc,
    /// Listeners and bindings.
    Sip,
    /// Trunks.
    Trunk,
    /// App users' connections.
    Client,
    /// Invitations.
    Invitation,
    /// Rooms.
    Room,
    /// Calls, their legs and flows.
    Call,
}

impl Subsystem {
    /// In the order they are started: what others lean on first, what takes calls last.
    const ALL: [Subsystem; 8] = [
        Subsystem::Media,
        Subsystem::Rtc,
        Subsystem::Sip,
        Subsystem::Trunk,
        Subsystem::Client,
        Subsystem::Invitation,
        Subsystem::Room,
        Subsystem::Call,
    ];

    fn kind(&self) -> Kind {
        match self {
            Subsystem::Media => Kind::MediaSupervisor,
            Subsystem::Rtc => Kind::RtcSupervisor,
            Subsystem::Sip => Kind::SipSupervisor,
            Subsystem::Trunk => Kind::TrunkSupervisor,
            Subsystem::Client => Kind::ClientSupervisor,
            Subsystem::Invitation => Kind::InvitationSupervisor,
            Subsystem::Room => Kind::RoomSupervisor,
            Subsystem::Call => Kind::CallSupervisor,
        }
    }
}

impl std::fmt::Display for Subsystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind().fmt(f)
    }
}

/// One for one, permanent, 10/60 s over all subsystems together: one is restarted alone, and the others, which find each other
/// through the directory, never notice. Last act: takes no more calls, gives those that live [`DRAIN`] to end, hangs up the
/// rest, and fails; `main` then exits with 70 and the init system starts us again.
pub struct Root;

/// Its state.
pub struct State {
    ctx: Ctx,
    subsystems: Roster<Subsystem>,
}

impl Actor for Root {
    type Msg = RootMsg;
    type State = State;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<RootMsg>, ctx: Ctx) -> Result<State, ActorProcessingErr> {
        me.cast(RootMsg::Rebuild)?;
        Ok(State { ctx, subsystems: Roster::new(Subsystem::kind, Policy::permanent(10, Duration::from_secs(60))) })
    }

    async fn handle(&self, me: ActorRef<RootMsg>, msg: RootMsg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match msg {
            RootMsg::Rebuild => {
                for subsystem in Subsystem::ALL {
                    state.spawn(&me, subsystem).await;
                }
            }
            RootMsg::Respawn(subsystem) => state.spawn(&me, subsystem).await,
            RootMsg::Wait { left } => {
                const STEP: Duration = Duration::from_secs(1);
                if state.ctx.ledger.calls.is_empty() || left.is_zero() {
                    for call in state.ctx.ledger.calls.keys() {
                        let cause = Cause::unavailable("the switch restarts");
                        state.ctx.directory.calls.cast(&call, CallMsg::HangUp { cause });
                    }
                    cast_after(&me, GOOD_BYE, RootMsg::Fail);
                } else {
                    cast_after(&me, STEP, RootMsg::Wait { left: left.saturating_sub(STEP) });
                }
            }
            RootMsg::Fail => {
                // Nobody may be left to hear a hang-up: no dialog and no CDR is owed to that.
                for call in state.ctx.ledger.calls.keys() {
                    last_act(&state.ctx, call);
                }
                return Err("a subsystem cannot be kept up".into());
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.ctx.now();
        let fate = match event {
            SupervisionEvent::ActorFailed(who, why) => state.subsystems.failed(who.get_id(), &why, now),
            SupervisionEvent::ActorTerminated(who, _, why) => state.subsystems.ended(who.get_id(), why, now),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        state.follow(&me, fate);
        Ok(())
    }
}

impl State {
    async fn spawn(&mut self, me: &ActorRef<RootMsg>, key: Subsystem) {
        let (ctx, cell, now) = (self.ctx.clone(), me.get_cell(), self.ctx.now());
        let all = &mut self.subsystems;
        let spawned = match key {
            Subsystem::Media => all.spawn(key, MediaSupervisor, ctx, cell, now).await.map(drop),
            Subsystem::Rtc => all.spawn(key, RtcSupervisor, ctx, cell, now).await.map(drop),
            Subsystem::Sip => all.spawn(key, SipSupervisor, ctx, cell, now).await.map(drop),
            Subsystem::Trunk => all.spawn(key, TrunkSupervisor, ctx, cell, now).await.map(drop),
            Subsystem::Client => all.spawn(key, ClientSupervisor, ctx, cell, now).await.map(drop),
            Subsystem::Invitation => all.spawn(key, InvitationSupervisor, ctx, cell, now).await.map(drop),
            Subsystem::Room => all.spawn(key, RoomSupervisor, ctx, cell, now).await.map(drop),
            Subsystem::Call => all.spawn(key, CallSupervisor, ctx, cell, now).await.map(drop),
        };
        if let Err(fate) = spawned {
            self.follow(me, fate);
        }
    }

    fn follow(&self, me: &ActorRef<RootMsg>, fate: Fate<Subsystem>) {
        match fate {
            Fate::Restart { key, after } => cast_after(me, after, RootMsg::Respawn(key)),
            Fate::GaveUp { key, why } => {
                tracing::error!(subsystem = %key, why, "a subsystem cannot be kept up: draining, then exit 70");
                self.ctx.troubles.insert((Kind::Root, key.to_string()), format!("{key} cannot be kept up"));
                self.ctx.drain();
                cast_after(me, Duration::ZERO, RootMsg::Wait { left: DRAIN });
            }
            Fate::Stranger | Fate::Ended { .. } => {}
        }
    }
}
