//! The top of the tree.

use std::time::Duration;

use ractor::ActorProcessingErr;

use crate::call::release::last_act;
use crate::call::{self, CallMsg, CallSupervisor};
use crate::client::ClientSupervisor;
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::invitation::InvitationSupervisor;
use crate::media::MediaSupervisor;
use crate::model::cause::Cause;
use crate::room::RoomSupervisor;
use crate::rtc::RtcSupervisor;
use crate::sip::SipSupervisor;
use crate::supervision::{Fate, Heard, Keeper, Kind, Policy, Supervise, Supervisor, cast_after};
use crate::trunk::TrunkSupervisor;

/// What calls that live get to end by themselves once Root has given up.
pub const DRAIN: Duration = Duration::from_secs(30);
/// And then to say good-bye.
pub const GOOD_BYE: Duration = Duration::from_secs(2);

/// What only Root hears.
#[derive(Debug)]
pub enum RootMsg {
    /// After the last act: no call lives any more, or those that do have had their time.
    GoodBye,
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
#[derive(Default)]
pub struct Root;

impl Supervise for Root {
    const KIND: Kind = Kind::Root;
    const POLICY: Policy = Policy::permanent(10, Duration::from_secs(60));
    type Key = Subsystem;
    type Msg = RootMsg;

    fn kind(subsystem: &Subsystem) -> Kind {
        subsystem.kind()
    }

    fn desk(_: &Directory) -> Option<&Single<Heard<Self>>> {
        None
    }

    fn keys(_: &Ctx) -> Vec<Subsystem> {
        Subsystem::ALL.to_vec()
    }

    async fn spawn(keeper: &mut Keeper<Self>, subsystem: Subsystem) -> Result<(), Fate<Subsystem>> {
        match subsystem {
            Subsystem::Media => keeper.supervisor::<MediaSupervisor>(subsystem).await,
            Subsystem::Rtc => keeper.supervisor::<RtcSupervisor>(subsystem).await,
            Subsystem::Sip => keeper.supervisor::<SipSupervisor>(subsystem).await,
            Subsystem::Trunk => keeper.supervisor::<TrunkSupervisor>(subsystem).await,
            Subsystem::Client => keeper.supervisor::<ClientSupervisor>(subsystem).await,
            Subsystem::Invitation => keeper.supervisor::<InvitationSupervisor>(subsystem).await,
            Subsystem::Room => keeper.supervisor::<RoomSupervisor>(subsystem).await,
            Subsystem::Call => keeper.supervisor::<CallSupervisor>(subsystem).await,
        }
    }

    async fn hear(keeper: &mut Keeper<Self>, msg: RootMsg) -> Result<(), ActorProcessingErr> {
        let ctx = &keeper.ctx;
        match msg {
            RootMsg::GoodBye => {
                for call in ctx.ledger.calls.keys() {
                    let cause = Cause::unavailable("the switch restarts");
                    call::order(ctx, call, CallMsg::HangUp { cause });
                }
                cast_after(&keeper.me, GOOD_BYE, RootMsg::Fail);
                Ok(())
            }
            RootMsg::Fail => {
                // Nobody may be left to hear a hang-up: no dialog and no CDR is owed to that.
                for call in ctx.ledger.calls.keys() {
                    last_act(ctx, call);
                }
                Err("a subsystem cannot be kept up".into())
            }
        }
    }

    fn last_act(keeper: &mut Keeper<Self>, subsystem: Subsystem, why: &str) -> Result<(), ActorProcessingErr> {
        tracing::error!(%subsystem, why, "a subsystem cannot be kept up: draining, then exit 70");
        let trouble = format!("{subsystem} cannot be kept up");
        keeper.ctx.troubles.insert((Kind::Root, subsystem.to_string()), trouble);
        keeper.ctx.drain();
        let (me, ctx) = (keeper.me.clone(), keeper.ctx.clone());
        tokio::spawn(async move {
            // In time or not, and Root may have been stopped meanwhile.
            let _ = tokio::time::timeout(DRAIN, ctx.ledger.calls.emptied()).await;
            let _ = me.cast(RootMsg::GoodBye.into());
        });
        Ok(())
    }
}

impl Keeper<Root> {
    async fn supervisor<S: Supervise>(&mut self, subsystem: Subsystem) -> Result<(), Fate<Subsystem>> {
        self.child(subsystem, Supervisor::<S>::default(), self.ctx.clone()).await
    }
}
