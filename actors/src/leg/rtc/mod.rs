//! The RtcLeg actor: a shell around [`phase`] that speaks to the RTC port, the media session, and the app user's connection.

pub mod phase;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use self::phase::{RtcEffect, RtcInput, RtcState};
use super::shell::Shell;
use super::{LegMsg, LegSide, Overdue};
use crate::client::ClientMsg;
use crate::client::protocol::Event;
use crate::ctx::Ctx;
use crate::model::ids::LegId;
use crate::ports::media::Carriage;
use crate::supervision::Kind;

/// Child of its Call; transient, 3/10 s. The call's last act for it: close the peer and the media session.
pub struct RtcLeg;

/// Its state.
pub struct State {
    shell: Shell,
    rtc: RtcState,
}

impl Actor for RtcLeg {
    type Msg = LegMsg;
    type State = State;
    type Arguments = (Ctx, LegId);

    async fn pre_start(&self, me: ActorRef<LegMsg>, (ctx, leg): Self::Arguments) -> Result<State, ActorProcessingErr> {
        let shell = Shell::take_up(ctx, leg)?;
        let LegSide::Rtc(rtc) = shell.checkpoint.side.clone() else {
            return Err("the leg is not an RTC leg".into());
        };
        me.cast(LegMsg::Begin)?;
        shell.ctx.directory.rtc_legs.enter(leg, me);
        Ok(State { shell, rtc: *rtc })
    }

    async fn handle(&self, me: ActorRef<LegMsg>, msg: LegMsg, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.shell.ctx.faults.check(Kind::RtcLeg, &state.shell.checkpoint.leg);
        let shell = &state.shell;
        let Some(msg) = shell.ctx.directory.rtc_legs.hear(&shell.checkpoint.leg, msg) else { return Ok(()) };
        match msg {
            LegMsg::Begin => state.begin(&me),
            LegMsg::Order(order) => state.step(&me, RtcInput::Order(order)),
            LegMsg::Rtc(event) => state.step(&me, RtcInput::Peer(event)),
            LegMsg::Media(event) => {
                if let Some(order) = state.shell.media(event) {
                    state.step(&me, RtcInput::Order(order));
                }
            }
            LegMsg::Overdue(Overdue::Browser(wait)) => state.step(&me, RtcInput::Overdue(wait)),
            LegMsg::Sip(_) | LegMsg::Overdue(Overdue::Wire) | LegMsg::Posted | LegMsg::Poke => {}
        }
        Ok(())
    }
}

impl State {
    fn begin(&mut self, me: &ActorRef<LegMsg>) {
        if self.shell.was_over(me) {
            return;
        }
        if self.rtc.candidate.is_none() {
            match self.shell.open_media(Carriage::Webrtc) {
                Ok(local) => self.rtc.candidate = Some(local),
                Err(cause) => {
                    self.step(me, RtcInput::NoMedia(cause));
                    return;
                }
            }
        }
        let input = if self.shell.is_first() {
            RtcInput::Start
        } else {
            RtcInput::Resume(self.shell.ctx.ports.rtc.snapshot(self.rtc.peer))
        };
        self.step(me, input);
    }

    fn emit(&self, event: Event) {
        // An app that is gone has nothing to hear.
        let _ = self.shell.ctx.directory.clients.post(&self.rtc.client, ClientMsg::Emit(event));
    }

    fn step(&mut self, me: &ActorRef<LegMsg>, input: RtcInput) {
        let before = self.rtc.phase;
        let (leg, media) = (self.shell.checkpoint.leg, self.shell.checkpoint.media);
        let (rtc, effects) = self.rtc.clone().step(leg, media, input);
        self.rtc = rtc;
        if self.rtc.phase != before {
            let (call, peer) = (self.shell.checkpoint.call, self.rtc.peer);
            tracing::info!(%call, %leg, %peer, phase = self.rtc.phase.word(), "the RTC leg goes on");
        }
        if !self.shell.commit(LegSide::Rtc(Box::new(self.rtc.clone()))) {
            me.stop(Some("fenced".into()));
            return;
        }
        for effect in effects {
            match effect {
                RtcEffect::Configure(negotiated) => {
                    // Media is awaited once ICE and DTLS are up; until then the wait for those is the limit.
                    self.shell.configure(*negotiated, true);
                }
                RtcEffect::CloseMedia => self.shell.close_media(),
                RtcEffect::Command(command) => {
                    if self.shell.ctx.ports.rtc.order(self.rtc.peer, self.shell.epoch, command).is_err() {
                        me.stop(Some("fenced".into()));
                        return;
                    }
                }
                RtcEffect::Answer(sdp) => {
                    let call = self.shell.checkpoint.call;
                    self.emit(Event::MediaAnswer { call, sdp });
                }
                RtcEffect::Refused(reason) => {
                    let call = self.shell.checkpoint.call;
                    self.emit(Event::MediaRefused { call, reason });
                }
                RtcEffect::Wait(wait, after) => {
                    me.send_after(after, move || LegMsg::Overdue(Overdue::Browser(wait)));
                }
                RtcEffect::Report(report) => self.shell.report(report),
                RtcEffect::End(cause) => {
                    self.shell.end(cause);
                    me.stop(None);
                }
            }
        }
    }
}
