//! Our provisional responses, and PRACK: reliable where the caller requires it, or the trunk is configured so and the caller
//! knows how (RFC 3262 §3, §5).
//!
//! One waits for its PRACK at a time; what the leg orders meanwhile waits behind it: the latest progress, or the answer. The 2xx
//! waits only where the response carried a description, or the PRACK an offer that is not answered yet.

use tandem_actors::model::address::AppHeaders;
use tandem_actors::model::cause::{Blame, Cause};
use tandem_actors::model::negotiate::{AudioAnswer, AudioOffer};
use tandem_actors::ports::sip::DialogEvent;
use tokio::time::Instant;

use super::super::config::Reliability;
use super::super::dialog::reliable::{self, Due, Reliable};
use super::established::Side;
use super::inbound::write_app_headers;
use super::offer::description_of;
use super::reoffers::Carrier;
use super::*;

/// What waits for a PRACK.
#[derive(Debug)]
pub(super) enum Next {
    Progress { status: u16, description: Option<Box<AudioOffer>>, headers: AppHeaders },
    Answer { description: Box<AudioOffer>, headers: AppHeaders },
}

impl Core {
    /// Whether provisional responses are acknowledged with a trunk, or with anybody else.
    pub(super) fn reliability(&self, trunk: Option<usize>) -> Reliability {
        trunk.and_then(|at| self.trunks.get(at)).map_or_else(Reliability::default, |state| state.config.reliable)
    }

    /// The value of Supported towards a trunk, or anybody else.
    pub(super) fn supported(&self, trunk: Option<usize>) -> String {
        match self.reliability(trunk) {
            Reliability::Off => SUPPORTED.replace("100rel, ", ""),
            Reliability::Supported | Reliability::Required => SUPPORTED.to_owned(),
        }
    }

    /// Whether our provisional responses to this INVITE are reliable; `None` once it was refused with 421.
    pub(super) fn reliable_for(&mut self, key: ServerKey, trunk: Option<usize>, now: Instant) -> Option<bool> {
        let request = &self.servers.get(&key)?.request;
        let mut requires = request.lists(HeaderName::Require, reliable::TAG);
        let knows = requires || request.lists(HeaderName::Supported, reliable::TAG);
        // RFC 3312 §5: preconditions are negotiated in reliable responses.
        requires |= knows && request.lists(HeaderName::Require, PRECONDITION);
        match self.reliability(trunk) {
            Reliability::Required if !knows => {
                let fill = |writer: &mut Writer| {
                    writer.header(HeaderName::Require, reliable::TAG);
                };
                self.respond(key, 421, now, fill, "");
                None
            }
            Reliability::Required => Some(true),
            Reliability::Supported => Some(requires),
            Reliability::Off => Some(false),
        }
    }

    /// A provisional response; `false` when it is not possible now.
    pub(super) fn progress(
        &mut self,
        id: DialogId,
        status: u16,
        answer: Option<&AudioAnswer>,
        headers: &AppHeaders,
        now: Instant,
    ) -> bool {
        let status = if (101..200).contains(&status) { status } else { 180 };
        let Some(incoming) = self.incoming_mut(id) else { return false };
        incoming.decided();
        incoming.progress = Some(status);
        incoming.ring_again(now);
        let description = answer.map(|answer| Box::new(AudioOffer(answer.0.clone())));
        let headers = headers.clone();
        if incoming.reliable.as_ref().is_some_and(Reliable::waits) {
            let earlier = incoming.next.take();
            incoming.next = Some(match earlier {
                Some(Next::Progress { description: earlier, .. }) => {
                    Next::Progress { status, description: description.or(earlier), headers }
                }
                Some(answer @ Next::Answer { .. }) => answer,
                None => Next::Progress { status, description, headers },
            });
        } else {
            self.send_progress(id, status, description, &headers, now);
        }
        self.arm_dialog(id);
        true
    }

    /// Sends one now.
    pub(super) fn send_progress(
        &mut self,
        id: DialogId,
        status: u16,
        description: Option<Box<AudioOffer>>,
        headers: &AppHeaders,
        now: Instant,
    ) {
        let timers = self.config.timers;
        let passed = self.passed_back(id, headers);
        let Some(incoming) = self.incoming_mut(id) else { return };
        let (key, user) = (incoming.key, incoming.contact.clone());
        let (flow, sips) = (incoming.record.flow, incoming.record.sips);
        let rseq = incoming.reliable.as_ref().map(Reliable::next_rseq);
        // Described once reliably, it stands; an offer of ours must go reliably.
        let repeats = incoming.reliable.as_ref().is_some_and(|reliable| reliable.described);
        let description = description.filter(|_| !repeats && (incoming.offered || rseq.is_some()));
        let authorises = description.is_some() && incoming.early_media_asked;
        let contact = self.contact(flow, &user, sips);
        let body = description.as_ref().map(|description| crate::sdp::write(&description.0)).unwrap_or_default();
        let fill = |writer: &mut Writer| {
            writer.header(HeaderName::Contact, contact).header(HeaderName::Allow, ALLOW);
            if let Some(rseq) = rseq {
                writer.header(HeaderName::Require, reliable::TAG).header(HeaderName::RSeq, rseq);
            }
            if authorises {
                writer.header(HeaderName::PEarlyMedia, "sendrecv");
            }
            write_app_headers(writer, headers, &passed);
        };
        let octets = self.respond(key, status, now, fill, &body);
        let described = description.is_some();
        if let (Some(octets), Some(incoming)) = (octets, self.incoming_mut(id))
            && let Some(reliable) = &mut incoming.reliable
        {
            reliable.sent(octets, described, &timers, now);
        }
        if let (Some(description), Some(dialog)) = (description, self.dialogs.get_mut(&id)) {
            dialog.local = Some(description);
        }
        self.arm_dialog(id);
    }

    /// A PRACK (RFC 3262 §3): 481 unless it acknowledges what waits.
    pub(super) fn prack_asked(&mut self, id: DialogId, key: ServerKey, names: &Names, now: Instant) {
        let rack = self.servers.get(&key).and_then(|server| reliable::rack_of(&server.request));
        let taken = match self.dialogs.get_mut(&id).map(|dialog| &mut dialog.side) {
            Some(Side::Uas(incoming)) => {
                let (ours, offered) = (incoming.cseq, incoming.offered);
                rack.filter(|(_, cseq)| *cseq == ours)
                    .zip(incoming.reliable.as_mut())
                    .and_then(|((rseq, _), reliable)| reliable.acknowledged(rseq))
                    .map(|described| described && !offered)
            }
            Some(Side::Uac(_)) | None => None,
        };
        let Some(expects_answer) = taken else {
            self.refuse(key, 481, now);
            return;
        };
        let described = self.servers.get(&key).and_then(|server| description_of(&server.request));
        match described {
            None => {
                self.grant(id, key, Carrier::Prack, None, now);
            }
            Some(Ok(answer)) if expects_answer => {
                self.grant(id, key, Carrier::Prack, None, now);
                if let Some(dialog) = self.dialogs.get_mut(&id) {
                    dialog.remote = Some(answer.clone());
                }
                self.tell(id, DialogEvent::Pracked(Box::new(AudioAnswer(answer.0))));
            }
            Some(_) => self.offer_asked(id, key, names, Carrier::Prack, now),
        }
        self.go_on(id, now);
    }

    /// What waited for a PRACK, or for the answer to its offer, goes on its way.
    pub(super) fn go_on(&mut self, id: DialogId, now: Instant) {
        let asked = self.dialogs.get(&id).is_some_and(|dialog| dialog.offers.pending().is_some());
        let Some(incoming) = self.incoming_mut(id) else { return };
        if asked || incoming.reliable.as_ref().is_some_and(Reliable::waits) {
            return;
        }
        match incoming.next.take() {
            Some(Next::Progress { status, description, headers }) => {
                self.send_progress(id, status, description, &headers, now);
            }
            Some(Next::Answer { description, headers }) => self.send_answer(id, &description, &headers, now),
            None => {}
        }
    }

    /// Repeats what waits for its PRACK, or gives the INVITE up.
    pub(super) fn provisional_tick(&mut self, id: DialogId, now: Instant) {
        let Some(incoming) = self.incoming_mut(id) else { return };
        let (key, flow) = (incoming.key, incoming.record.flow);
        match incoming.reliable.as_mut().map_or(Due::Nothing, |reliable| reliable.tick(now)) {
            Due::Nothing => {}
            Due::Resend(octets) => {
                metrics::retransmission("out");
                let flow = self.servers.get(&key).map_or(flow, |server| server.reply);
                self.send(flow, octets);
            }
            Due::GiveUp => {
                self.refuse(key, 504, now);
                let never = "the reliable provisional response was never acknowledged";
                self.end(id, Cause::new(504, Some(102), Blame::Upstream, never), now);
            }
        }
    }
}
