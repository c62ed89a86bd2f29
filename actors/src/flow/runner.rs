//! The Flow actor: runs one call's script.

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::FlowMsg;
use super::phase::{FlowCheckpoint, FlowEffect, FlowInput};
use crate::call::CallMsg;
use crate::ctx::Ctx;
use crate::model::ids::{CallId, Epoch};
use crate::supervision::Kind;

/// Child of its Call; transient, 3/10 s, resumes at its last step. What follows then is the call's: the step's error branch.
pub struct Flow;

/// Its state.
pub struct State {
    ctx: Ctx,
    call: CallId,
    epoch: Epoch,
    flow: FlowCheckpoint,
}

impl Actor for Flow {
    type Msg = FlowMsg;
    type State = State;
    type Arguments = (Ctx, CallId);

    async fn pre_start(
        &self,
        me: ActorRef<FlowMsg>,
        (ctx, call): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Some((epoch, flow)) = ctx.ledger.flows.next_epoch(&call) else {
            return Err("the flow is over".into());
        };
        me.cast(FlowMsg::Begin)?;
        ctx.directory.flows.set(call, me);
        Ok(State { ctx, call, epoch, flow })
    }

    async fn handle(&self, me: ActorRef<FlowMsg>, msg: FlowMsg, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.ctx.faults.check(Kind::Flow, &state.call);
        let input = match msg {
            FlowMsg::Begin => FlowInput::Begin,
            FlowMsg::Played(token) => FlowInput::Played(token),
            FlowMsg::Digit(digit) => FlowInput::Digit(digit),
            FlowMsg::Timeout(token) => FlowInput::Timeout(token),
            FlowMsg::DialFailed(token) => FlowInput::DialFailed(token),
            FlowMsg::Poke => return Ok(()),
        };
        state.step(&me, input);
        Ok(())
    }
}

impl State {
    fn step(&mut self, me: &ActorRef<FlowMsg>, input: FlowInput) {
        let (flow, effects) = self.flow.clone().step(input);
        if flow.step != self.flow.step {
            tracing::info!(call = %self.call, step = %flow.step, "the flow goes on");
        }
        self.flow = flow;
        if self.ctx.ledger.flows.commit(&self.call, self.epoch, self.flow.clone()).is_err() {
            me.stop(Some("fenced".into()));
            return;
        }
        for effect in effects {
            match effect {
                FlowEffect::Play { clip, token } => self.ctx.media_play(self.flow.media, &clip, token, false),
                FlowEffect::StopPlay => self.ctx.media_stop_play(self.flow.media),
                FlowEffect::Wait { token, after } => {
                    me.send_after(after, move || FlowMsg::Timeout(token));
                }
                FlowEffect::Report(report) => {
                    self.ctx.directory.calls.cast(&self.call, CallMsg::Flow(report));
                }
            }
        }
    }
}
