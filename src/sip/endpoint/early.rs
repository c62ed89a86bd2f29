//! Provisional responses to an INVITE of ours, and the early dialogs they make: one for each To tag, with a route set, sequence
//! numbers and an RSeq space of its own (RFC 3261 §12.1.2, §13.2.2.1, RFC 3262 §4).
//!
//! *What the caller hears* where several branches send early media (RFC 3960 §3.1): the one that described itself last, since
//! a network that tries one destination after the other is then with that one; a branch that a 199 ended (RFC 6228) is left for
//! the one before. A branch whose P-Early-Media says that it sends nothing (RFC 5009) is not listened to. Whichever branch
//! answers in the end is the call, heard before or not.

use tandem_actors::model::address::AppHeaders;
use tandem_actors::model::cause::{Blame, Cause};
use tandem_actors::model::negotiate::{AudioAnswer, AudioOffer};
use tandem_actors::ports::sip::DialogEvent;
use tokio::time::Instant;

use super::super::dialog::reliable::{self, Order};
use super::super::dialog::{Record, tag_of};
use super::established::Side;
use super::forks::{Cancel, Fork, Outgoing};
use super::offer::description_of;
use super::*;

/// Early dialogs of one INVITE; a hostile callee may invent more.
const MOST: usize = 32;

/// One early dialog.
#[derive(Debug)]
pub(super) struct Branch {
    pub record: Record,
    /// RSeq of the last reliable response taken.
    rseq: Option<u32>,
    /// Our offer was answered in a reliable response: nothing later in the INVITE's transaction counts.
    pub answered: bool,
    /// What it described last.
    pub description: Option<Box<AudioOffer>>,
    /// It sends early media, as far as P-Early-Media says.
    heard: bool,
}

impl Outgoing {
    /// The record of the early dialog with this tag.
    pub fn early_record(&mut self, tag: &str) -> Option<&mut Record> {
        self.branch(tag).map(|branch| &mut branch.record)
    }

    pub fn branch(&mut self, tag: &str) -> Option<&mut Branch> {
        let mut branches = self.forks.iter_mut().flat_map(|fork| &mut fork.branches);
        branches.find(|branch| branch.record.remote_tag == tag)
    }

    /// User part of our Contact in the early dialogs, and what else it is made of.
    pub fn early_contact(&self) -> Option<(String, &Record)> {
        let fork = self.forks.iter().find(|fork| !fork.branches.is_empty())?;
        let user = fork.draft.contact.clone().unwrap_or_default();
        fork.branches.last().map(|branch| (user, &branch.record))
    }
}

impl Core {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn fork_rings(
        &mut self,
        id: DialogId,
        at: usize,
        draft: &Draft,
        flow: Option<Flow>,
        status: u16,
        response: &Message,
        now: Instant,
    ) {
        let Some(fork) = self.fork_mut(id, at) else { return };
        fork.rings(status, now);
        if fork.cancelled() {
            self.send_cancel(id, at, now);
            return;
        }
        self.arm_dialog(id);
        if status == 100 {
            return;
        }
        let tag = response.get(HeaderName::To).map(|to| tag_of(&to)).unwrap_or_default();
        let rseq = reliable::rseq_of(response);
        let Some(branch) = self.early_dialog(id, at, draft, flow, &tag, response) else {
            // RFC 2543 callees and proxies that ring without a tag: a sign of life, no dialog.
            let headers = self.headers_of(id, response);
            self.tell_progress(id, status, None, headers);
            return;
        };
        if let Some(rseq) = rseq {
            if reliable::order_of(branch.rseq, rseq) == Order::Discard {
                metrics::dropped("provisional_out_of_order");
                return;
            }
            branch.rseq = Some(rseq);
        }
        let described = description_of(response).and_then(Result::ok).filter(|_| !branch.answered);
        if let Some(described) = &described {
            branch.description = Some(described.clone());
            branch.answered |= rseq.is_some();
        }
        if let Some(sends) = sends_early_media(response) {
            branch.heard = sends;
        }
        let heard = branch.heard;
        if let Some(rseq) = rseq {
            self.send_prack(id, at, &tag, rseq, draft.cseq, now);
        }
        if status == 199 {
            self.early_dialog_over(id, at, &tag);
            return;
        }
        let headers = self.headers_of(id, response);
        self.tell_progress(id, status, described.filter(|_| heard), headers);
    }

    /// The early dialog that a response belongs to, made by its first; `None` without a tag, or when there are too many.
    fn early_dialog(
        &mut self,
        id: DialogId,
        at: usize,
        draft: &Draft,
        flow: Option<Flow>,
        tag: &str,
        response: &Message,
    ) -> Option<&mut Branch> {
        let fork = self.fork_mut(id, at)?;
        if let Some(known) = fork.branches.iter().position(|branch| branch.record.remote_tag == tag) {
            return fork.branches.get_mut(known);
        }
        if tag.is_empty() || fork.branches.len() >= MOST {
            return None;
        }
        let record = Record::as_uac(response, &tag_of(draft.from.as_bytes()), &draft.uri, flow?)?;
        fork.branches.push(Branch { record, rseq: None, answered: false, description: None, heard: true });
        fork.branches.last_mut()
    }

    fn tell_progress(&mut self, id: DialogId, status: u16, early: Option<Box<AudioOffer>>, headers: AppHeaders) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        let answered = dialog.established.is_some() || dialog.ended.is_some();
        if let Side::Uac(outgoing) = &mut dialog.side
            && !answered
        {
            outgoing.progress = Some(status);
            if early.is_some() {
                dialog.remote = early.clone();
            }
            let answer = early.map(|early| Box::new(AudioAnswer(early.0)));
            self.tell(id, DialogEvent::Progress { status, answer, headers });
        }
    }

    /// RFC 6228: this branch will not answer. What is heard goes back to the one before.
    fn early_dialog_over(&mut self, id: DialogId, at: usize, tag: &str) {
        let Some(fork) = self.fork_mut(id, at) else { return };
        fork.branches.retain(|branch| branch.record.remote_tag != tag);
        let left = fork.branches.iter().rev().find(|branch| branch.heard && branch.description.is_some());
        if let Some(described) = left.and_then(|branch| branch.description.clone()) {
            self.tell_progress(id, 183, Some(described), AppHeaders::default());
        }
    }

    /// Timer C: a callee's network that has said nothing for 3 min rings for nobody. CANCEL, and 408 of our own.
    pub(super) fn timer_c_tick(&mut self, id: DialogId, now: Instant) {
        let Some(Dialog { side: Side::Uac(outgoing), established: None, ended: None, .. }) = self.dialogs.get_mut(&id)
        else {
            return;
        };
        let silent = |fork: &Fork| !fork.done && !fork.cancelled() && fork.timer_c.is_some_and(|at| now >= at);
        let mut ready = Vec::new();
        for (at, fork) in outgoing.forks.iter_mut().enumerate() {
            if silent(fork) {
                fork.cancel = Cancel::Wanted(Some(102));
                ready.push(at);
            }
        }
        for at in &ready {
            self.send_cancel(id, *at, now);
        }
        let all = match self.dialogs.get(&id) {
            Some(Dialog { side: Side::Uac(outgoing), .. }) => {
                outgoing.forks.iter().all(|fork| fork.done || fork.cancelled())
            }
            Some(_) | None => false,
        };
        if all && !ready.is_empty() {
            let silence = "the callee's network said nothing for 3 min (Timer C)";
            self.end(id, Cause::new(408, Some(102), Blame::Upstream, silence), now);
        }
    }

    /// PRACK, a request of its own in the early dialog (RFC 3262 §4, §7.2).
    fn send_prack(&mut self, id: DialogId, at: usize, tag: &str, rseq: u32, cseq: u32, now: Instant) {
        let Some(record) = self.record_of(id, tag) else { return };
        let mut draft = Self::dialog_draft(record, rsip::Method::PRack, None);
        draft.headers = vec![(HeaderName::RAck, format!("{rseq} {cseq} INVITE"))];
        let record = record.clone();
        self.begin_in_dialog(draft, &record, Owner::Prack { dialog: id, fork: at, tag: tag.to_owned() }, now);
    }
}

/// Whether P-Early-Media lets the callee's side send (RFC 5009 §8: directions are its sender's); `None` where it says nothing.
fn sends_early_media(response: &Message) -> Option<bool> {
    let value = response.get(HeaderName::PEarlyMedia)?;
    view::split(&value, b',').find_map(|item| {
        let is = |what: &str| trim(item).eq_ignore_ascii_case(what.as_bytes());
        if is("sendrecv") || is("sendonly") {
            Some(true)
        } else if is("recvonly") || is("inactive") {
            Some(false)
        } else {
            None
        }
    })
}
