//! Where adapters' events come in: finds the actor an event is for, and casts it. Never waits, callable from any thread.
//!
//! ```text
//!   SipEvent    Incoming -> CallSupervisor   Dialog -> SipLeg   Register -> Registrar   Trunk… -> Trunk
//!   RtcEvent    -> RtcLeg        MediaEvent -> SipLeg | RtcLeg  (and what the event settles is struck from the plan)
//!   ClientInput -> ClientSupervisor, which knows the Client of each socket
//! ```
//! It exists before the tree, since adapters are built with it and the tree is built with the adapters.

use std::sync::OnceLock;

use crate::call::CallSupervisorMsg;
use crate::client::ClientSupervisorMsg;
use crate::ctx::Ctx;
use crate::leg::LegMsg;
use crate::ports::Brain;
use crate::ports::client::ClientInput;
use crate::ports::media::{MediaEvent, MediaEventKind};
use crate::ports::rtc::RtcEvent;
use crate::ports::sip::{DialogEvent, SipEvent};
use crate::registrar::RegistrarMsg;
use crate::trunk::TrunkMsg;

/// The switch's [`Brain`]. What comes before [`Inbox::open`] is dropped and counted: no adapter hears anything by then that
/// its peer would not repeat.
#[derive(Default)]
pub struct Inbox(OnceLock<Ctx>);

impl Inbox {
    /// Begins to deliver.
    pub(crate) fn open(&self, ctx: Ctx) {
        // A second opening changes nothing: there is one tree an inbox.
        let _ = self.0.set(ctx);
    }

    fn ctx(&self) -> Option<&Ctx> {
        let ctx = self.0.get();
        if ctx.is_none() {
            metrics::counter!("tandem_events_before_start_total").increment(1);
        }
        ctx
    }
}

impl Brain for Inbox {
    fn sip(&self, event: SipEvent) {
        let Some(ctx) = self.ctx() else { return };
        let directory = &ctx.directory;
        match event {
            SipEvent::Incoming(invite) => {
                directory.call_supervisor.post(CallSupervisorMsg::Incoming(invite));
            }
            SipEvent::Dialog { leg, dialog: _, event: event @ DialogEvent::Info(_) } => {
                directory.post_leg(&leg, LegMsg::Sip(event));
            }
            SipEvent::Dialog { leg, dialog: _, event } => {
                directory.sip_legs.cast(&leg, LegMsg::Sip(event));
            }
            SipEvent::Register(request) => {
                directory.registrar.cast(RegistrarMsg::Register(request));
            }
            SipEvent::Message(request) => {
                directory.registrar.cast(RegistrarMsg::Message(request));
            }
            SipEvent::KeptAlive { id, answered } => {
                directory.registrar.cast(RegistrarMsg::KeptAlive { id, answered });
            }
            SipEvent::ConnectionGone { listener, transport, source } => {
                directory.registrar.cast(RegistrarMsg::ConnectionGone { listener, transport, source });
            }
            SipEvent::TrunkRegistration { trunk, epoch, outcome } => {
                directory.trunks.cast(&trunk, TrunkMsg::Registration { epoch, outcome });
            }
            SipEvent::TrunkOptions { trunk, epoch, outcome } => {
                directory.trunks.cast(&trunk, TrunkMsg::Options { epoch, outcome });
            }
        }
    }

    fn rtc(&self, event: RtcEvent) {
        if let Some(ctx) = self.ctx() {
            ctx.directory.cast_leg(&event.leg, LegMsg::Rtc(event.kind));
        }
    }

    fn media(&self, event: MediaEvent) {
        let Some(ctx) = self.ctx() else { return };
        match event.kind {
            MediaEventKind::Played(token) | MediaEventKind::NoClip(token) => ctx.media_played(event.media, token),
            MediaEventKind::Fenced(token) => ctx.media_fenced(event.media, token),
            MediaEventKind::Digit { .. } => {
                ctx.directory.post_leg(&event.leg, LegMsg::Media(event.kind));
                return;
            }
            MediaEventKind::FirstPacket(_) | MediaEventKind::Silent | MediaEventKind::Failed => {}
        }
        ctx.directory.cast_leg(&event.leg, LegMsg::Media(event.kind));
    }

    fn client(&self, input: ClientInput) {
        if let Some(ctx) = self.ctx() {
            ctx.directory.client_supervisor.post(ClientSupervisorMsg::Input(input));
        }
    }
}
