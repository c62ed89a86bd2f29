//! Actor twin of one SIP listener. It holds no socket: it sees to it that the listener hears, and says so in `/readyz` while
//! it does not.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::ctx::Ctx;
use crate::model::ids::ListenerId;
use crate::supervision::Kind;

/// How often the listener is looked at: well within what a client transaction waits for its first response (64*T1).
const WATCH: Duration = Duration::from_secs(1);

/// What a SipEndpoint hears.
#[derive(Debug)]
pub enum SipEndpointMsg {
    /// Look at the listener.
    Watch,
    /// Nothing.
    Poke,
}

/// The actor. An address that cannot be bound is no failure of it: the next look tries again, and the switch says that it is
/// not ready.
pub struct SipEndpoint;

/// Its state.
pub struct State {
    ctx: Ctx,
    listener: ListenerId,
}

impl Actor for SipEndpoint {
    type Msg = SipEndpointMsg;
    type State = State;
    type Arguments = (Ctx, ListenerId);

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        (ctx, listener): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        me.send_interval(WATCH, || SipEndpointMsg::Watch);
        ctx.directory.sip_endpoints.set(listener.clone(), me);
        Ok(State { ctx, listener })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        msg: Self::Msg,
        State { ctx, listener }: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        ctx.faults.check(Kind::SipEndpoint, listener);
        match msg {
            SipEndpointMsg::Watch => match ctx.ports.sip.keep_listening(listener) {
                Ok(reopened) => {
                    if reopened {
                        metrics::counter!("tandem_sip_listener_reopens_total").increment(1);
                        tracing::error!(%listener, "a SIP listener was gone and is open again");
                    }
                    ctx.troubles.remove(&(Kind::SipEndpoint, listener.to_string()));
                }
                Err(why) => {
                    let trouble = format!("SIP listener {listener} does not hear: {why}");
                    if ctx.troubles.insert((Kind::SipEndpoint, listener.to_string()), trouble).is_none() {
                        tracing::error!(%listener, why, "a SIP listener does not hear");
                    }
                }
            },
            SipEndpointMsg::Poke => {}
        }
        Ok(())
    }
}
