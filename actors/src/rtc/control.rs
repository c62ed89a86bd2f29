//! Actor twin of the `rtc-ctl` thread: sees to it that the thread runs.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::ctx::Ctx;
use crate::supervision::Kind;

/// How often the thread is looked at: a browser repeats an unanswered STUN check or DTLS flight for longer than this.
const WATCH: Duration = Duration::from_millis(250);

/// What RtcControl hears.
#[derive(Debug)]
pub enum RtcControlMsg {
    /// Look at the thread.
    Watch,
    /// Nothing.
    Poke,
}

/// The actor. A thread that cannot be started is its failure.
pub struct RtcControl;

impl Actor for RtcControl {
    type Msg = RtcControlMsg;
    type State = Ctx;
    type Arguments = Ctx;

    async fn pre_start(&self, me: ActorRef<Self::Msg>, ctx: Ctx) -> Result<Ctx, ActorProcessingErr> {
        me.send_interval(WATCH, || RtcControlMsg::Watch);
        ctx.directory.rtc_control.set(me);
        Ok(ctx)
    }

    async fn handle(&self, _: ActorRef<Self::Msg>, msg: Self::Msg, ctx: &mut Ctx) -> Result<(), ActorProcessingErr> {
        ctx.faults.check(Kind::RtcControl, &Kind::RtcControl);
        match msg {
            RtcControlMsg::Watch => {
                if ctx.ports.rtc.keep_running()? {
                    metrics::counter!("tandem_rtc_thread_replacements_total").increment(1);
                    tracing::error!("the rtc-ctl thread was dead and is replaced");
                }
            }
            RtcControlMsg::Poke => {}
        }
        Ok(())
    }
}
