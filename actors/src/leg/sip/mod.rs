//! The SipLeg actor: a shell around [`phase`] that speaks to the SIP port and to the media session.

pub mod phase;
pub mod protection;
mod reoffers;
mod types;

use std::net::SocketAddr;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use self::phase::{Role, SipEffect, SipInput, SipPhase, SipState};
use super::shell::Shell;
use super::{LegMsg, LegSide, Overdue};
use crate::ctx::Ctx;
use crate::model::cause::Cause;
use crate::model::ids::LegId;
use crate::model::negotiate::Secured;
use crate::ports::media::Carriage;
use crate::ports::rtc::{RtcCommand, RtcEventKind};
use crate::ports::sip::MediaToward;
use crate::supervision::Kind;

/// A little more than 64*T1 (RFC 3261 §17): by then the core has given the wire up.
const WIRE_DONE_WITHIN: Duration = Duration::from_secs(40);

/// Child of its Call; transient, 3/10 s. The call's last act for it: hang up by the port, close the media session.
pub struct SipLeg;

/// Its state.
pub struct State {
    shell: Shell,
    sip: SipState,
}

impl Actor for SipLeg {
    type Msg = LegMsg;
    type State = State;
    type Arguments = (Ctx, LegId);

    async fn pre_start(&self, me: ActorRef<LegMsg>, (ctx, leg): Self::Arguments) -> Result<State, ActorProcessingErr> {
        let shell = Shell::take_up(ctx, leg)?;
        let LegSide::Sip(sip) = shell.checkpoint.side.clone() else {
            return Err("the leg is not a SIP leg".into());
        };
        me.cast(LegMsg::Begin)?;
        shell.ctx.directory.sip_legs.enter(leg, me);
        Ok(State { shell, sip: *sip })
    }

    async fn handle(&self, me: ActorRef<LegMsg>, msg: LegMsg, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.shell.ctx.faults.check(Kind::SipLeg, &state.shell.checkpoint.leg);
        let shell = &state.shell;
        let Some(msg) = shell.ctx.directory.sip_legs.hear(&shell.checkpoint.leg, msg) else { return Ok(()) };
        match msg {
            LegMsg::Begin => state.begin(&me),
            LegMsg::Order(order) => state.step(&me, SipInput::Order(order)),
            LegMsg::Sip(event) => state.step(&me, SipInput::Dialog(event)),
            LegMsg::Media(event) => {
                if let Some(order) = state.shell.media(event) {
                    state.step(&me, SipInput::Order(order));
                }
            }
            LegMsg::Overdue(Overdue::Wire) => state.step(&me, SipInput::Overdue),
            LegMsg::Rtc(event) => state.step(&me, SipInput::Peer(event)),
            LegMsg::Overdue(Overdue::Browser(_)) | LegMsg::Posted | LegMsg::Poke => {}
        }
        Ok(())
    }
}

impl State {
    fn begin(&mut self, me: &ActorRef<LegMsg>) {
        if self.shell.was_over(me) {
            return;
        }
        self.shell.ctx.ports.sip.belong(self.sip.dialog, self.shell.checkpoint.call);
        if let SipPhase::Ending(_) = self.sip.phase {
            self.watch_the_wire(me);
        } else if self.sip.rtp.is_none()
            && let Err(cause) = self.open()
        {
            self.step(me, SipInput::NoMedia(cause));
            return;
        }
        let input = if self.shell.is_first() {
            SipInput::Start
        } else {
            SipInput::Resume(self.shell.ctx.ports.sip.snapshot(self.sip.dialog).map(Box::new))
        };
        let webrtc = self.sip.protection.webrtc.as_ref();
        let lost = webrtc.and_then(|webrtc| self.shell.ctx.ports.rtc.snapshot(webrtc.peer)?.is_failed().then_some(()));
        self.step(me, input);
        if lost.is_some() {
            self.step(me, SipInput::Peer(RtcEventKind::Failed("the connection failed".into())));
        }
    }

    fn open(&mut self) -> Result<(), Cause> {
        let offer = match &self.sip.role {
            Role::Uas(invite) => invite.offer.as_ref().map(|offer| &offer.0),
            Role::Uac { .. } => None,
        };
        if self.sip.protection.wants_webrtc(offer) {
            self.sip.rtp = Some(self.shell.open_media(Carriage::Webrtc)?);
            self.sip.protection.by_webrtc(self.shell.ctx.ports.rtc.fingerprint());
            return Ok(());
        }
        let toward = match &self.sip.role {
            Role::Uas(invite) => MediaToward::Peer(invite.source),
            Role::Uac { to, .. } if to.is_empty() => return Err(Cause::offline()),
            Role::Uac { to, .. } => MediaToward::Destinations(to.clone()),
        };
        let address = self.shell.ctx.ports.sip.media_address(toward);
        let local = self.shell.open_media(Carriage::Rtp(address.bind))?;
        self.sip.rtp = Some(SocketAddr::new(address.advertise, local.port()));
        Ok(())
    }

    fn step(&mut self, me: &ActorRef<LegMsg>, input: SipInput) {
        let before = self.sip.phase.word();
        let leg = self.shell.checkpoint.leg;
        let (sip, effects) = self.sip.clone().step(leg, input);
        self.sip = sip;
        if self.sip.phase.word() != before {
            let (call, dialog) = (self.shell.checkpoint.call, self.sip.dialog);
            tracing::info!(%call, %leg, %dialog, phase = self.sip.phase.word(), "the SIP leg goes on");
            if let SipPhase::Ending(_) = self.sip.phase {
                self.watch_the_wire(me);
            }
        }
        if !self.shell.commit(LegSide::Sip(Box::new(self.sip.clone()))) {
            me.stop(Some("fenced".into()));
            return;
        }
        let mut commands = self.sip.last.clone().into_iter();
        for effect in effects {
            match effect {
                SipEffect::Configure { negotiated, watched } => {
                    if let Secured::Dtls(dtls) = &negotiated.secured
                        && !self.peer(RtcCommand::Connect {
                            leg,
                            media: self.shell.checkpoint.media,
                            dtls: dtls.clone(),
                        })
                    {
                        me.stop(Some("fenced".into()));
                        return;
                    }
                    self.shell.configure(*negotiated, watched);
                }
                SipEffect::CloseMedia => {
                    self.shell.close_media();
                    if !self.peer(RtcCommand::Close) {
                        me.stop(Some("fenced".into()));
                        return;
                    }
                }
                SipEffect::Command => {
                    let Some((order, command)) = commands.next() else { continue };
                    let port = &self.shell.ctx.ports.sip;
                    if port.order(self.sip.dialog, self.shell.epoch, order, command).is_err() {
                        me.stop(Some("fenced".into()));
                        return;
                    }
                }
                SipEffect::Report(report) => self.shell.report(report),
                SipEffect::End(cause) => {
                    self.shell.end(cause);
                    me.stop(None);
                }
            }
        }
    }

    /// An order to the leg's WebRTC peer, if it has one; `false` when a later incarnation has spoken for it.
    fn peer(&self, command: RtcCommand) -> bool {
        let Some(webrtc) = &self.sip.protection.webrtc else { return true };
        self.shell.ctx.ports.rtc.order(webrtc.peer, self.shell.epoch, command).is_ok()
    }

    fn watch_the_wire(&self, me: &ActorRef<LegMsg>) {
        me.send_after(WIRE_DONE_WITHIN, || LegMsg::Overdue(Overdue::Wire));
    }
}
