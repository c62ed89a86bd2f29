//! A SIP core without a wire: dialogs as records, and whatever the far side does when the test says so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Events, lock};
use crate::model::address::{AppHeaders, Carried, Contact, MaxForwards, NameAddr, SipOrigin, SipUri, Transport};
use crate::model::cause::Cause;
use crate::model::ids::{DialogId, Epoch, ListenerId, TrunkId};
use crate::model::media::{Codec, Direction};
use crate::model::negotiate::{AudioAnswer, AudioOffer, Capabilities, Security};
use crate::ports::sip::{
    DialogEvent, DialogPhase, DialogSnapshot, IncomingInvite, MediaAddress, MediaToward, MessageRelay, MessageRequest,
    OutgoingInvite, Referral, RegisterAnswer, RegisterRequest, Replaced, SipCommand, SipEvent, SipPort, TrunkTarget,
};
use crate::ports::{Deliveries, Fenced};

/// An order that was carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct SipOrder {
    /// To which dialog.
    pub dialog: DialogId,
    /// By which incarnation of its leg.
    pub epoch: Epoch,
    /// Which of the leg's orders.
    pub order: u64,
    /// What.
    pub command: SipCommand,
}

/// A dialog as the core has it.
#[derive(Debug, Clone)]
pub struct FakeDialog {
    /// What the leg would see of it.
    pub snapshot: DialogSnapshot,
    /// The INVITE, where we sent it.
    pub invite: Option<OutgoingInvite>,
    /// The INVITE, where it came to us.
    pub incoming: Option<IncomingInvite>,
    /// Our last description sent in a final response or offer.
    pub local: Option<AudioOffer>,
    epoch: Epoch,
    /// Of the request that waits for the leg: the INVITE, or a re-INVITE.
    waits: Option<Deliveries>,
}

impl FakeDialog {
    /// An incarnation asks for what waits: it is delivered once more, or answered 500.
    fn delivered_again(&mut self) -> bool {
        let given_up = self.waits.as_mut().is_some_and(|deliveries| !deliveries.again(now()));
        if given_up {
            self.waits = None;
            if self.snapshot.pending.take().is_none() {
                self.snapshot.phase = DialogPhase::Ended(Cause::internal("two crashes over one INVITE"));
            }
        }
        !given_up
    }
}

#[derive(Default)]
struct Core {
    dialogs: HashMap<DialogId, FakeDialog>,
    poison: Option<fn(&SipCommand) -> bool>,
    given_up: Vec<DialogId>,
    orders: Vec<SipOrder>,
    repeated: u64,
    fenced: u64,
    register_answers: Vec<(u64, RegisterAnswer)>,
    registers: Vec<(TrunkId, Duration)>,
    outcomes: Vec<(u64, u16)>,
    keep_alives: Vec<(SocketAddr, Option<u64>)>,
    message_answers: Vec<(u64, Result<MessageRelay, u16>)>,
    requests: u64,
}

/// Keeps dialogs, acknowledges our 200s at once, ends what is hung up. Trunks register and answer OPTIONS.
pub struct FakeSip {
    brain: Events,
    core: Mutex<Core>,
    trunks_fail: AtomicBool,
    phones_silent: AtomicBool,
    draining: AtomicBool,
    full: AtomicBool,
    withholds_acks: AtomicBool,
    hearing: Mutex<Hearing>,
}

/// Whether the listener hears.
enum Hearing {
    Well,
    /// Not any more; what keeps it from being opened again.
    Gone(Option<String>),
}

impl FakeSip {
    pub(super) fn new(brain: Events) -> Self {
        Self {
            brain,
            core: Mutex::default(),
            trunks_fail: AtomicBool::new(false),
            phones_silent: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            full: AtomicBool::new(false),
            withholds_acks: AtomicBool::new(false),
            hearing: Mutex::new(Hearing::Well),
        }
    }

    /// A phone's description: PCMU and PCMA at this port.
    pub fn phone_offer(port: u16, direction: Direction) -> AudioOffer {
        AudioOffer::from_capabilities(&Capabilities {
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            rtp: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            direction,
            session_id: u64::from(port),
            session_version: 1,
            security: Security::Plain,
        })
    }

    /// An INVITE from `origin` for the user part `to`.
    pub fn invite_from(origin: SipOrigin, from: &str, to: &str) -> IncomingInvite {
        let uri = |user: &str| SipUri(format!("sip:{user}@tandem.test"));
        IncomingInvite {
            dialog: DialogId::random(),
            call_id: format!("{:x}@fake", rand::random::<u64>()),
            listener: ListenerId::new("udp").expect("a name"),
            source: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5060),
            transport: Transport::Udp,
            origin,
            request_uri: uri(to),
            from: NameAddr { display: String::new(), uri: uri(from) },
            to: NameAddr { display: String::new(), uri: uri(to) },
            asserted: None,
            headers: AppHeaders::default(),
            max_forwards: MaxForwards::default(),
            carried: Carried::default(),
            replaces: None,
            offer: Some(Self::phone_offer(4000, Direction::SendRecv)),
            reliable: false,
        }
    }

    /// The INVITE arrives; its dialog.
    pub fn incoming(&self, invite: IncomingInvite) -> DialogId {
        let dialog = invite.dialog;
        let snapshot = DialogSnapshot {
            leg: None,
            phase: DialogPhase::Early { progress: None },
            pending: None,
            referral: None,
            remote: invite.offer.clone().map(Box::new),
            advertised: None,
            local: None,
            offering: false,
            headers: AppHeaders::default(),
            last_order: 0,
        };
        let record = FakeDialog {
            snapshot,
            invite: None,
            incoming: Some(invite.clone()),
            local: None,
            epoch: Epoch::default(),
            waits: Some(Deliveries::first(now())),
        };
        lock(&self.core).dialogs.insert(dialog, record);
        self.brain.sip(SipEvent::Incoming(Box::new(invite)));
        dialog
    }

    /// The callee rings.
    pub fn ring(&self, dialog: DialogId) {
        self.ring_with(dialog, AppHeaders::default());
    }

    /// The same, with these headers.
    pub fn ring_with(&self, dialog: DialogId, headers: AppHeaders) {
        self.change(dialog, |record| record.snapshot.phase = DialogPhase::Early { progress: Some(180) });
        self.tell(dialog, DialogEvent::Progress { status: 180, answer: None, headers });
    }

    /// The callee answers our INVITE with PCMU.
    pub fn pick_up(&self, dialog: DialogId) {
        let Some(invite) = self.dialog(dialog).and_then(|record| record.invite) else { return };
        let ours = Capabilities {
            codecs: vec![Codec::Pcmu],
            rtp: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4002),
            direction: Direction::SendRecv,
            session_id: 1,
            session_version: 1,
            security: Security::Plain,
        };
        let (answer, _) = invite.offer.answer(&ours).expect("an offer of ours has PCMU");
        self.change(dialog, |record| {
            record.snapshot.phase = DialogPhase::Confirmed;
            record.snapshot.remote = Some(Box::new(AudioOffer(answer.0.clone())));
        });
        let (answer, headers) = (Box::new(answer), AppHeaders::default());
        self.tell(dialog, DialogEvent::Answered { answer, headers, advertised: None });
    }

    /// The far side ends it: refuses our INVITE, cancels its own, or hangs up.
    pub fn end(&self, dialog: DialogId, cause: Cause) {
        self.change(dialog, |record| record.snapshot.phase = DialogPhase::Ended(cause.clone()));
        self.tell(dialog, DialogEvent::Ended(cause));
    }

    /// The ACK to our 200 comes, for a test that withheld it.
    pub fn ack(&self, dialog: DialogId, answer: Option<AudioAnswer>) {
        self.change(dialog, |record| record.snapshot.phase = DialogPhase::Confirmed);
        self.tell(dialog, DialogEvent::Acked { answer: answer.map(Box::new) });
    }

    /// Whether ACKs to our 200s wait for [`FakeSip::ack`].
    pub fn withhold_acks(&self, withhold: bool) {
        self.withholds_acks.store(withhold, Ordering::Relaxed);
    }

    /// The far side sends a re-INVITE; the request's number.
    pub fn reoffer(&self, dialog: DialogId, offer: Option<AudioOffer>) -> u64 {
        let request = self.next_request();
        let offer = offer.map(Box::new);
        self.change(dialog, |record| {
            record.snapshot.pending = Some((request, offer.clone()));
            record.waits = Some(Deliveries::first(now()));
            if offer.is_some() {
                record.snapshot.remote = offer.clone();
            }
        });
        self.tell(dialog, DialogEvent::Reoffered { request, offer });
        request
    }

    /// The far side answers our re-INVITE with PCMU.
    pub fn reoffer_answered(&self, dialog: DialogId) {
        let Some(offer) = self.dialog(dialog).and_then(|record| record.local) else { return };
        let ours = Capabilities {
            codecs: vec![Codec::Pcmu],
            rtp: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4002),
            direction: Direction::SendRecv,
            session_id: 1,
            session_version: 2,
            security: Security::Plain,
        };
        let (answer, _) = offer.answer(&ours).expect("an offer of ours has PCMU");
        self.change(dialog, |record| {
            record.snapshot.offering = false;
            record.snapshot.local = Some(Box::new(offer));
            record.snapshot.remote = Some(Box::new(AudioOffer(answer.0.clone())));
        });
        self.tell(dialog, DialogEvent::ReofferAnswered(Box::new(answer)));
    }

    /// The far side asks for a transfer; the request's number.
    pub fn refer(&self, dialog: DialogId, to: &str, replaces: Replaced) -> u64 {
        let request = self.next_request();
        let to = SipUri(format!("sip:{to}@tandem.test"));
        let referral = Box::new(Referral { request, to, replaces, referred_by: None });
        self.change(dialog, |record| record.snapshot.referral = Some(referral.clone()));
        self.tell(dialog, DialogEvent::Referred(referral));
        request
    }

    /// What was said of a transfer, in order.
    pub fn outcomes(&self, request: u64) -> Vec<u16> {
        lock(&self.core).outcomes.iter().filter(|(of, _)| *of == request).map(|(_, status)| *status).collect()
    }

    /// From now on whoever gives such an order about a request that waits panics over it.
    pub fn poison(&self, order: fn(&SipCommand) -> bool) {
        lock(&self.core).poison = Some(order);
    }

    /// The dialogs in which the core answered a request 500 itself, after two crashes over it.
    pub fn given_up(&self) -> Vec<DialogId> {
        lock(&self.core).given_up.clone()
    }

    /// Any other event in a dialog.
    pub fn tell(&self, dialog: DialogId, event: DialogEvent) {
        let leg = self.dialog(dialog).and_then(|record| record.snapshot.leg);
        if let Some(leg) = leg {
            self.brain.sip(SipEvent::Dialog { leg, dialog, event });
        }
    }

    /// A REGISTER whose digest was right arrives; its number.
    pub fn register_request(&self, make: impl FnOnce(u64) -> RegisterRequest) -> u64 {
        let request = self.next_request();
        self.brain.sip(SipEvent::Register(Box::new(make(request))));
        request
    }

    /// A MESSAGE arrives; its number.
    pub fn message(&self, make: impl FnOnce(u64) -> MessageRequest) -> u64 {
        let request = self.next_request();
        self.brain.sip(SipEvent::Message(Box::new(make(request))));
        request
    }

    /// How a MESSAGE was answered.
    pub fn message_answer(&self, request: u64) -> Option<Result<MessageRelay, u16>> {
        lock(&self.core).message_answers.iter().find(|(which, _)| *which == request).map(|(_, answer)| answer.clone())
    }

    /// A connection closes that somebody may have registered by.
    pub fn connection_gone(&self, listener: &ListenerId, transport: Transport, source: SocketAddr) {
        self.brain.sip(SipEvent::ConnectionGone { listener: listener.clone(), transport, source });
    }

    /// The registrar's answer to a REGISTER.
    pub fn register_answer(&self, request: u64) -> Option<RegisterAnswer> {
        lock(&self.core)
            .register_answers
            .iter()
            .find(|(number, _)| *number == request)
            .map(|(_, answer)| answer.clone())
    }

    /// The REGISTERs that were sent for trunks, with their Expires.
    pub fn trunk_registers(&self) -> Vec<(TrunkId, Duration)> {
        lock(&self.core).registers.clone()
    }

    /// Whether trunks answer 503 to REGISTER and OPTIONS.
    pub fn fail_trunks(&self, fail: bool) {
        self.trunks_fail.store(fail, Ordering::Relaxed);
    }

    /// A dialog, until it is forgotten.
    pub fn dialog(&self, dialog: DialogId) -> Option<FakeDialog> {
        lock(&self.core).dialogs.get(&dialog).cloned()
    }

    /// Every dialog that is not forgotten.
    pub fn dialogs(&self) -> Vec<(DialogId, FakeDialog)> {
        lock(&self.core).dialogs.iter().map(|(id, record)| (*id, record.clone())).collect()
    }

    /// The dialogs we sent an INVITE for and that are not over.
    pub fn outgoing(&self) -> Vec<DialogId> {
        let live =
            |record: &FakeDialog| record.invite.is_some() && !matches!(record.snapshot.phase, DialogPhase::Ended(_));
        self.dialogs().into_iter().filter(|(_, record)| live(record)).map(|(id, _)| id).collect()
    }

    /// Every order carried out, in order.
    pub fn orders(&self) -> Vec<SipOrder> {
        lock(&self.core).orders.clone()
    }

    /// The orders carried out in one dialog.
    pub fn orders_of(&self, dialog: DialogId) -> Vec<SipCommand> {
        lock(&self.core).orders.iter().filter(|o| o.dialog == dialog).map(|o| o.command.clone()).collect()
    }

    /// Orders that were dropped since they had been carried out, and orders of older incarnations that were refused.
    pub fn repeated_and_fenced(&self) -> (u64, u64) {
        let core = lock(&self.core);
        (core.repeated, core.fenced)
    }

    /// The listener hears no more, and cannot be opened again while there is a reason.
    pub fn deafen(&self, why: Option<&str>) {
        *lock(&self.hearing) = Hearing::Gone(why.map(str::to_owned));
    }

    /// Whether it was told that `limits.max_calls` calls live.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Keep-alives sent so far: where to, and with which question.
    pub fn keep_alives(&self) -> Vec<(SocketAddr, Option<u64>)> {
        lock(&self.core).keep_alives.clone()
    }

    /// Whether phones leave OPTIONS unanswered.
    pub fn set_phones_silent(&self, silent: bool) {
        self.phones_silent.store(silent, Ordering::Relaxed);
    }

    /// Whether the core refuses new calls.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn change(&self, dialog: DialogId, change: impl FnOnce(&mut FakeDialog)) {
        if let Some(record) = lock(&self.core).dialogs.get_mut(&dialog) {
            change(record);
        }
    }

    fn next_request(&self) -> u64 {
        let mut core = lock(&self.core);
        core.requests += 1;
        core.requests
    }

    fn outcome(&self, good: Duration) -> Result<Duration, u16> {
        if self.trunks_fail.load(Ordering::Relaxed) { Err(503) } else { Ok(good) }
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

impl SipPort for FakeSip {
    fn order(&self, dialog: DialogId, epoch: Epoch, order: u64, command: SipCommand) -> Result<(), Fenced> {
        let mut core = lock(&self.core);
        if let SipCommand::Invite(invite) = &command {
            let snapshot = DialogSnapshot {
                leg: Some(invite.leg),
                phase: DialogPhase::Early { progress: None },
                pending: None,
                referral: None,
                remote: None,
                advertised: None,
                local: None,
                offering: false,
                headers: AppHeaders::default(),
                last_order: 0,
            };
            core.dialogs.entry(dialog).or_insert_with(|| FakeDialog {
                snapshot,
                invite: Some((**invite).clone()),
                incoming: None,
                local: Some(invite.offer.clone()),
                epoch,
                waits: None,
            });
        }
        let poison = core.poison;
        let Some(record) = core.dialogs.get_mut(&dialog) else { return Ok(()) };
        if epoch < record.epoch {
            core.fenced += 1;
            return Err(Fenced);
        }
        assert!(
            record.waits.is_none() || !poison.is_some_and(|poison| poison(&command)),
            "the request is poison to whoever answers it"
        );
        record.epoch = epoch;
        if order <= record.snapshot.last_order {
            core.repeated += 1;
            return Ok(());
        }
        record.snapshot.last_order = order;
        if !matches!(command, SipCommand::Adopt(_)) {
            record.waits = None;
        }
        let mut event = None;
        match &command {
            SipCommand::Adopt(leg) => record.snapshot.leg = Some(*leg),
            SipCommand::Invite(_) | SipCommand::Info(_) => {}
            SipCommand::Progress { status, .. } => {
                record.snapshot.phase = DialogPhase::Early { progress: Some(*status) };
            }
            SipCommand::Answer { description, .. } => {
                record.local = Some((**description).clone());
                record.snapshot.phase = DialogPhase::Answering;
                if !self.withholds_acks.load(Ordering::Relaxed) {
                    record.snapshot.phase = DialogPhase::Confirmed;
                    event = Some(DialogEvent::Acked { answer: None });
                }
            }
            SipCommand::Reject { cause, .. } | SipCommand::Hangup(cause) => {
                if !matches!(record.snapshot.phase, DialogPhase::Ended(_)) {
                    record.snapshot.phase = DialogPhase::Ended(cause.clone());
                    event = Some(DialogEvent::Ended(cause.clone()));
                }
            }
            SipCommand::Reoffer(offer) => {
                record.local = Some((**offer).clone());
                record.snapshot.offering = true;
            }
            SipCommand::AnswerReoffer { description, .. } => {
                record.local = Some((**description).clone());
                record.snapshot.pending = None;
            }
            SipCommand::RejectReoffer { .. } => record.snapshot.pending = None,
            SipCommand::Forget => {
                core.dialogs.remove(&dialog);
            }
        }
        core.orders.push(SipOrder { dialog, epoch, order, command });
        drop(core);
        if let Some(event) = event {
            self.tell(dialog, event);
        }
        Ok(())
    }

    fn snapshot(&self, dialog: DialogId) -> Option<DialogSnapshot> {
        let mut core = lock(&self.core);
        let record = core.dialogs.get_mut(&dialog)?;
        let (delivered, snapshot) = (record.delivered_again(), record.snapshot.clone());
        if !delivered {
            core.given_up.push(dialog);
        }
        Some(snapshot)
    }

    fn unadopted(&self) -> Vec<DialogId> {
        let nobodys = |record: &FakeDialog| {
            let early = matches!(record.snapshot.phase, DialogPhase::Early { .. });
            early && record.incoming.is_some() && record.snapshot.leg.is_none()
        };
        self.dialogs().into_iter().filter(|(_, record)| nobodys(record)).map(|(id, _)| id).collect()
    }

    fn deliver_again(&self, dialog: DialogId) -> Option<Box<IncomingInvite>> {
        let mut core = lock(&self.core);
        let record = core.dialogs.get_mut(&dialog)?;
        if record.delivered_again() {
            return record.incoming.clone().map(Box::new);
        }
        core.given_up.push(dialog);
        None
    }

    fn answer_message(&self, request: u64, answer: Result<MessageRelay, u16>) {
        lock(&self.core).message_answers.push((request, answer));
    }

    fn answer_register(&self, request: u64, answer: RegisterAnswer) {
        lock(&self.core).register_answers.push((request, answer));
    }

    fn keep_alive(&self, contact: &Contact, id: Option<u64>) {
        lock(&self.core).keep_alives.push((contact.source, id));
        let silent = self.phones_silent.load(Ordering::Relaxed);
        if let Some(id) = id {
            self.brain.sip(SipEvent::KeptAlive { id, answered: !silent });
        }
    }

    fn register(&self, trunk: &TrunkId, epoch: Epoch, expires: Duration) {
        lock(&self.core).registers.push((trunk.clone(), expires));
        let outcome = self.outcome(expires);
        self.brain.sip(SipEvent::TrunkRegistration { trunk: trunk.clone(), epoch, outcome });
    }

    fn options(&self, trunk: &TrunkId, epoch: Epoch) {
        let outcome = self.outcome(Duration::from_millis(20));
        self.brain.sip(SipEvent::TrunkOptions { trunk: trunk.clone(), epoch, outcome });
    }

    fn refer_outcome(&self, request: u64, status: u16) {
        let mut core = lock(&self.core);
        let over = core.outcomes.iter().any(|(of, said)| *of == request && *said >= 200);
        if !over && !core.outcomes.contains(&(request, status)) {
            core.outcomes.push((request, status));
        }
        for record in core.dialogs.values_mut() {
            record.snapshot.referral.take_if(|referral| referral.request == request);
        }
    }

    fn trunk_targets(&self, _: &TrunkId) -> Vec<TrunkTarget> {
        let up = !self.trunks_fail.load(Ordering::Relaxed);
        let address = SocketAddr::from(([192, 0, 2, 7], 5060));
        vec![TrunkTarget { address, transport: Transport::Udp, up }]
    }

    fn media_address(&self, _: MediaToward) -> MediaAddress {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        MediaAddress { bind: localhost, advertise: localhost }
    }

    fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    fn listeners(&self) -> Vec<ListenerId> {
        vec![ListenerId::new("udp").expect("a name")]
    }

    fn keep_listening(&self, _: &ListenerId) -> Result<bool, String> {
        match &mut *lock(&self.hearing) {
            Hearing::Well => Ok(false),
            Hearing::Gone(Some(why)) => Err(why.clone()),
            gone @ Hearing::Gone(None) => {
                *gone = Hearing::Well;
                Ok(true)
            }
        }
    }
}
