//! An INVITE that came, up to our final response (RFC 3261 §8.2, §13.3), and its CANCEL (§9.2).

use tandem_actors::model::address::{AppHeaders, MaxForwards, NameAddr as Named, SipUri};
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::LegId;
use tandem_actors::model::negotiate::AudioOffer;
use tandem_actors::ports::Deliveries;
use tandem_actors::ports::sip::{DialogEvent, IncomingInvite};
use tokio::time::Instant;

use super::super::dialog::accepted::Accepted;
use super::super::dialog::reliable::Reliable;
use super::super::dialog::reoffer::DECISION;
use super::super::dialog::session_id::SessionId;
use super::super::dialog::session_timer::{Said, SessionTimer};
use super::super::dialog::{Record, request_uri, request_user};
use super::super::message::tel;
use super::super::message::view::NameAddr;
use super::super::overload::Waiting;
use super::established::{Established, Side};
use super::offer::allows_update;
use super::passing::further;
use super::provisional::Next;
use super::reoffers::Offers;
use super::transactions::ServerInput;
use super::*;

/// How often a provisional response is repeated while it rings, so that proxies do not give up (RFC 3261 §13.3.1.1).
const RING_REFRESH: Duration = Duration::from_secs(60);

/// An INVITE of a peer's.
#[derive(Debug)]
pub(super) struct Incoming {
    pub key: ServerKey,
    pub record: Record,
    /// User part of our Contact: what was dialled.
    pub contact: String,
    trunk: Option<usize>,
    pub cseq: u32,
    /// Whether it carried an offer; otherwise our 200 does, or our first reliable provisional response.
    pub offered: bool,
    /// The last provisional status above 100.
    pub progress: Option<u16>,
    /// Our provisional responses are acknowledged.
    pub reliable: Option<Reliable>,
    /// What waits for a PRACK.
    pub next: Option<Next>,
    /// Its network wants to hear whether early media is sent (RFC 5009).
    pub early_media_asked: bool,
    stage: Stage,
    ring_refresh: Option<Instant>,
}

/// How far the brain has come with an INVITE.
#[derive(Debug)]
enum Stage {
    /// No leg has adopted it: kept to be delivered again, answered 500 at this time.
    Unadopted(Box<IncomingInvite>, Deliveries, Instant),
    /// A leg has adopted it and has ordered nothing else.
    Adopted(Deliveries),
    /// Its leg got on with it, or it is over.
    Decided,
}

impl Incoming {
    pub fn trunk(&self) -> Option<usize> {
        self.trunk
    }

    pub fn deadline(&self) -> Option<Instant> {
        let adopt_by = match &self.stage {
            Stage::Unadopted(_, _, at) => Some(*at),
            Stage::Adopted(_) | Stage::Decided => None,
        };
        let prack_by = self.reliable.as_ref().and_then(Reliable::deadline);
        [adopt_by, self.ring_refresh, prack_by].into_iter().flatten().min()
    }

    /// Its leg got on with it.
    pub fn decided(&mut self) {
        self.stage = Stage::Decided;
    }

    /// The next repetition is due a while from now.
    pub fn ring_again(&mut self, now: Instant) {
        self.ring_refresh = Some(now + RING_REFRESH);
    }

    /// It is delivered once more; `false` after the second crash over it.
    pub fn again(&mut self, now: Instant) -> bool {
        match &mut self.stage {
            Stage::Unadopted(_, deliveries, _) | Stage::Adopted(deliveries) => deliveries.again(now.into_std()),
            Stage::Decided => true,
        }
    }
}

impl Dialog {
    /// Whether it is an INVITE that no leg has adopted.
    pub(super) fn is_unadopted(&self) -> bool {
        match &self.side {
            Side::Uas(incoming) => self.ended.is_none() && matches!(incoming.stage, Stage::Unadopted(..)),
            Side::Uac(_) => false,
        }
    }
}

impl Core {
    /// A new INVITE outside a dialog.
    pub(super) fn invite(&mut self, key: ServerKey, names: &Names, flow: Flow, now: Instant) {
        let merged = self.hashers.0.hash_one((&names.call_id, &names.from_tag, names.cseq));
        if self.merged.contains_key(&merged) {
            // RFC 3261 §8.2.2.2: the same request by another path.
            self.refuse(key, 482, now);
            return;
        }
        let origin = self.origin_of(key, flow);
        let Some(server) = self.servers.get_mut(&key) else { return };
        server.merged = Some(merged);
        self.merged.insert(merged, key);
        self.respond(key, 100, now, |_| {}, "");
        let Some(server) = self.servers.get(&key) else { return };
        let request = &server.request;
        let hops = request.get(HeaderName::MaxForwards).and_then(|value| view::number(trim(&value), 255));
        let max_forwards = hops.and_then(|hops| u8::try_from(hops).ok()).map_or_else(MaxForwards::default, MaxForwards);
        if max_forwards == MaxForwards(0) {
            // A B2BUA in a loop is a loop all the same (RFC 7332).
            self.refuse(key, 483, now);
            return;
        }
        if trust::beyond_us(request) {
            self.refuse(key, 500, now);
            return;
        }
        let trunk = self.trunk_at(flow);
        let Some(reliable) = self.reliable_for(key, trunk, now) else { return };
        let Some(offer) = self.offer_of(key, trunk, now) else { return };
        let Some(replaces) = self.replaced_of(key, now) else { return };
        let Some(server) = self.servers.get(&key) else { return };
        let request = &server.request;
        let tag = server.to_tag.clone();
        // A NATed caller's later requests come by the same flow: it is kept, not where Via says responses go.
        let Some(record) = Record::as_uas(request, &tag, flow) else {
            self.refuse(key, 400, now);
            return;
        };
        let mut incoming = Incoming {
            key,
            contact: request_user(request),
            trunk,
            cseq: names.cseq,
            offered: offer.is_some(),
            progress: None,
            reliable: reliable.then(Reliable::new),
            next: None,
            early_media_asked: trunk.is_some() && request.lists(HeaderName::PEarlyMedia, "supported"),
            stage: Stage::Decided,
            ring_refresh: None,
            record,
        };
        let id = DialogId::random();
        let Some(listener) = self.listeners.get(flow.listener).map(|listener| listener.id.clone()) else { return };
        let named = |name| {
            let value = request.get(name)?;
            let first = view::split(&value, b',').next()?;
            NameAddr::parse(first).map(|value| trust::named(&value))
        };
        let empty = || Named { display: String::new(), uri: SipUri(String::new()) };
        let believed = trunk.and_then(|at| self.trunks.get(at)).is_some_and(|trunk| trunk.config.identity.believed);
        let mut session_id = SessionId::new(None);
        session_id.hear(request);
        let event = IncomingInvite {
            dialog: id,
            call_id: names.call_id.clone(),
            listener,
            source: flow.remote,
            transport: flow.transport,
            request_uri: SipUri(tel::canonical(&request_uri(request))),
            from: named(HeaderName::From).unwrap_or_else(empty),
            to: named(HeaderName::To).unwrap_or_else(empty),
            // RFC 3325 §5: believed from trusted neighbours only.
            asserted: if believed { trust::asserted(request) } else { None },
            origin,
            headers: AppHeaders {
                further: further(self.passed_in(trunk).of(request), Some(session_id.peer().to_owned())),
                ..app_headers(request)
            },
            max_forwards,
            carried: trust::carried_of(request, believed),
            replaces,
            offer: offer.as_deref().cloned(),
            reliable,
        };
        tracing::info!(dialog = %id, call_id = %names.call_id, session_id = %session_id.value(), "an INVITE came");
        incoming.stage = Stage::Unadopted(Box::new(event.clone()), Deliveries::first(now.into_std()), now + DECISION);
        if let Some(server) = self.servers.get_mut(&key) {
            server.dialog = Some(id);
        }
        self.names.insert((names.call_id.clone(), tag), id);
        self.dialogs.insert(
            id,
            Dialog {
                leg: None,
                epoch: Epoch::default(),
                last_order: 0,
                side: Side::Uas(Box::new(incoming)),
                established: None,
                ended: None,
                forgotten: false,
                remote: offer,
                local: None,
                offers: Offers::default(),
                session_id,
                armed: None,
            },
        );
        self.arm_dialog(id);
        self.overload.told(Waiting::Invite(id), now);
        self.event(SipEvent::Incoming(Box::new(event)));
    }

    /// CANCEL: 200 for itself, 487 for the INVITE if that has no final response (RFC 3261 §9.2).
    pub(super) fn cancel(&mut self, key: ServerKey, flow: Flow, message: Message, now: Instant) {
        let invite = self.server_key(&message, b"INVITE").filter(|invite| self.servers.contains_key(invite));
        let q850 = q850_of(&message);
        self.serve(key, message, flow, false, now);
        let Some(invite) = invite else {
            self.refuse(key, 481, now);
            return;
        };
        let (tag, dialog, pending) = match self.servers.get(&invite) {
            Some(Server { machine: ServerMachine::Invite(machine), to_tag, dialog, .. }) => {
                (to_tag.clone(), *dialog, !machine.is_final())
            }
            Some(_) | None => {
                self.refuse(key, 481, now);
                return;
            }
        };
        if let Some(server) = self.servers.get_mut(&key) {
            // §9.2: the To tag of both responses should be the same.
            server.to_tag = tag;
        }
        self.respond(key, 200, now, |_| {}, "");
        if !pending {
            return;
        }
        self.refuse(invite, 487, now);
        let Some(id) = dialog else { return };
        match self.dialogs.get(&id) {
            Some(Dialog { side: Side::Uas(incoming), .. }) if incoming.key == invite => {
                let mut cause = Cause::cancelled();
                cause.q850 = q850.or(cause.q850);
                self.end(id, cause, now);
            }
            // A re-INVITE was cancelled: the session stays as it was.
            Some(_) => {
                let pending = self.dialogs.get(&id).and_then(|dialog| dialog.offers.pending());
                if let Some((request, _)) = pending {
                    self.reject_reoffer(id, request, 487, None, now);
                }
            }
            None => {}
        }
    }

    pub(super) fn incoming_tick(&mut self, id: DialogId, now: Instant) {
        let Some(Dialog { side: Side::Uas(incoming), .. }) = self.dialogs.get_mut(&id) else { return };
        let key = incoming.key;
        if matches!(incoming.stage, Stage::Unadopted(_, _, at) if now >= at) {
            incoming.stage = Stage::Decided;
            metrics::dropped("undecided");
            self.refuse(key, 500, now);
            self.end(id, Cause::internal("no leg adopted the INVITE in time"), now);
            return;
        }
        self.provisional_tick(id, now);
        let Some(incoming) = self.incoming_mut(id) else { return };
        if incoming.ring_refresh.is_some_and(|at| now >= at) {
            incoming.ring_again(now);
            match (&incoming.reliable, incoming.progress) {
                (Some(reliable), Some(status)) if !reliable.waits() => {
                    self.send_progress(id, status, None, &AppHeaders::default(), now);
                }
                (Some(_), _) => {}
                (None, _) => self.server_step(key, ServerInput::Repeat, now),
            }
        }
    }

    pub(super) fn incoming_mut(&mut self, id: DialogId) -> Option<&mut Incoming> {
        match self.dialogs.get_mut(&id) {
            Some(Dialog { side: Side::Uas(incoming), established: None, ended: None, .. }) => Some(incoming),
            Some(_) | None => None,
        }
    }

    /// The INVITEs that no leg has adopted.
    pub(super) fn unadopted(&self) -> Vec<DialogId> {
        self.dialogs.iter().filter(|(_, dialog)| dialog.is_unadopted()).map(|(id, _)| *id).collect()
    }

    /// One of them once more; `None` when it no longer waits, or was answered 500 just now.
    pub(super) fn deliver_again(&mut self, id: DialogId, now: Instant) -> Option<Box<IncomingInvite>> {
        let incoming = self.incoming_mut(id)?;
        if !incoming.again(now) {
            self.give_up_invite(id, now);
            return None;
        }
        match &incoming.stage {
            Stage::Unadopted(invite, _, _) => Some(invite.clone()),
            Stage::Adopted(_) | Stage::Decided => None,
        }
    }

    /// The brain crashed over it twice: 500, before it takes the brain down.
    fn give_up_invite(&mut self, id: DialogId, now: Instant) {
        let Some(incoming) = self.incoming_mut(id) else { return };
        incoming.stage = Stage::Decided;
        let key = incoming.key;
        metrics::given_up("INVITE");
        tracing::error!(dialog = %id, "two crashes over one INVITE: it is answered 500");
        self.refuse(key, 500, now);
        self.end(id, Cause::internal("two crashes over one INVITE"), now);
    }

    /// The next incarnation of a dialog's leg asks: what waits is delivered once more, or answered 500 after the second crash.
    pub(super) fn resumed(&mut self, id: DialogId, now: Instant) {
        if let Some(incoming) = self.incoming_mut(id)
            && !incoming.again(now)
        {
            self.give_up_invite(id, now);
            return;
        }
        self.offer_again(id, now);
    }

    /// A leg takes the INVITE.
    pub(super) fn adopt(&mut self, id: DialogId, leg: LegId) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        dialog.leg = Some(leg);
        let ended = dialog.ended.as_ref().map(|(cause, _)| cause.clone());
        if let Side::Uas(incoming) = &mut dialog.side {
            incoming.stage = match std::mem::replace(&mut incoming.stage, Stage::Decided) {
                Stage::Unadopted(_, deliveries, _) | Stage::Adopted(deliveries) => Stage::Adopted(deliveries),
                Stage::Decided => Stage::Decided,
            };
        }
        // Cancelled before anybody had it: the leg hears the end now.
        if let Some(cause) = ended {
            self.tell(id, DialogEvent::Ended(cause));
        }
    }

    /// 200; `false` when it is not possible now.
    pub(super) fn answer(
        &mut self,
        id: DialogId,
        description: &AudioOffer,
        headers: &AppHeaders,
        now: Instant,
    ) -> bool {
        let asked = self.dialogs.get(&id).is_some_and(|dialog| dialog.offers.pending().is_some());
        let Some(incoming) = self.incoming_mut(id) else { return false };
        incoming.decided();
        if asked || incoming.reliable.as_ref().is_some_and(Reliable::holds_2xx) {
            // RFC 3262 §3, §5: not before the PRACK, nor before the answer to its offer.
            incoming.next = Some(Next::Answer { description: Box::new(description.clone()), headers: headers.clone() });
            return true;
        }
        self.send_answer(id, description, headers, now);
        true
    }

    pub(super) fn send_answer(&mut self, id: DialogId, description: &AudioOffer, headers: &AppHeaders, now: Instant) {
        let timers = self.config.timers;
        let passed = self.passed_back(id, headers);
        let Some(incoming) = self.incoming_mut(id) else { return };
        incoming.ring_refresh = None;
        incoming.next = None;
        // RFC 6337 §2.1: agreed on reliably, it is not said again.
        let agreed = incoming.reliable.as_ref().is_some_and(|reliable| reliable.described);
        if let Some(reliable) = &mut incoming.reliable {
            reliable.over();
        }
        let (key, cseq, offered, trunk) = (incoming.key, incoming.cseq, incoming.offered, incoming.trunk);
        let mut established = Established::new(incoming.record.clone(), incoming.contact.clone(), trunk, now);
        let policy = self.session_policy(trunk);
        let said = self.servers.get(&key).map(|server| (Said::of(&server.request), allows_update(&server.request)));
        if let Some((said, allows_update)) = said {
            established.session = SessionTimer::as_uas(said, policy, None, now);
            established.allows_update = allows_update;
        }
        let session = established.session;
        let contact = self.contact(established.record.flow, &established.contact, established.record.sips);
        let supported = self.supported(trunk);
        let body = if agreed { String::new() } else { crate::sdp::write(&description.0) };
        let fill = |writer: &mut Writer| {
            writer
                .header(HeaderName::Contact, contact)
                .header(HeaderName::Allow, ALLOW)
                .header(HeaderName::Supported, supported);
            if let Some(timer) = session {
                timer.write(writer);
            }
            write_app_headers(writer, headers, &passed);
        };
        let octets = self.respond(key, 200, now, fill, &body);
        established.accepted = octets.map(|octets| Accepted::new(cseq, octets, &timers, now));
        established.initial = true;
        established.expects_answer = !offered && !agreed;
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            dialog.established = Some(established);
            dialog.local = Some(Box::new(description.clone()));
        }
        self.arm_dialog(id);
    }

    /// A final failure; `false` when it is not possible now.
    pub(super) fn reject(&mut self, id: DialogId, cause: &Cause, warning: Option<u16>, now: Instant) -> bool {
        let Some(incoming) = self.incoming_mut(id) else { return false };
        if let Some(reliable) = &mut incoming.reliable {
            reliable.over();
        }
        let key = incoming.key;
        // A normal hang-up of a call that was never answered has no status of its own.
        let status = if (300..700).contains(&cause.status) { cause.status } else { 480 };
        let warning = warning.map(|code| self.warning(code, "incompatible session description"));
        let retry_after = self.config.retry_after;
        self.respond(
            key,
            status,
            now,
            |writer| {
                if let Some(reason) = reason_value(cause.q850) {
                    writer.header(HeaderName::Reason, reason);
                }
                if let Some(warning) = warning {
                    writer.header(HeaderName::Warning, warning);
                }
                if status == 503 {
                    writer.header(HeaderName::RetryAfter, retry_after);
                }
            },
            "",
        );
        self.end(id, cause.clone(), now);
        true
    }
}

/// X-Number, X-CusData, X-ArInfo, X-App.
pub(super) fn app_headers(message: &Message) -> AppHeaders {
    AppHeaders {
        number: message.text(HeaderName::XNumber),
        cus_data: message.text(HeaderName::XCusData),
        ar_info: message.text(HeaderName::XArInfo),
        app: message.text(HeaderName::XApp),
        ..AppHeaders::default()
    }
}

pub(super) fn app_header_lines(headers: &AppHeaders) -> impl Iterator<Item = (HeaderName, &String)> {
    [
        (HeaderName::XNumber, &headers.number),
        (HeaderName::XCusData, &headers.cus_data),
        (HeaderName::XArInfo, &headers.ar_info),
        (HeaderName::XApp, &headers.app),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
}

/// `passed`: those of `headers.passed` that pass here.
pub(super) fn write_app_headers(writer: &mut Writer, headers: &AppHeaders, passed: &[(String, String)]) {
    for (name, value) in app_header_lines(headers) {
        writer.header(name, value);
    }
    for (name, value) in passed {
        writer.named(name, value);
    }
}
