//! An INVITE of ours that was refused for its form: sent again as the refusal wants it (RFC 3261 §8.1.3.5, §21.4.13 to §21.4.15,
//! RFC 4028 §7.3).
//!
//! Deliberately not: after 413, 415, 416 and 494. What we send has no second form: one description, no other scheme, no security
//! agreement.

use tokio::time::Instant;

use super::super::config::Reliability;
use super::super::dialog::reliable;
use super::*;

/// How often one INVITE is sent again as its refusals want it (RFC 3261 §8.1.3.5).
const AMENDMENTS: u8 = 3;

impl Core {
    /// Sends an INVITE again as its refusal wants it: with a longer session (422, RFC 4028 §7.3), without what is not supported
    /// (420), with what is required (421). A new transaction, the next CSeq, the same Call-ID and From (RFC 3261 §8.1.3.5).
    #[allow(clippy::too_many_arguments)]
    pub(super) fn amend(
        &mut self,
        id: DialogId,
        at: usize,
        draft: &Draft,
        flow: Option<Flow>,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) -> bool {
        if self.fork_cancelled(id, at) {
            return false;
        }
        let (Some(flow), Some(response)) = (flow, response) else { return false };
        let may_offer = self.reliability(self.fork_trunk(id, at)) != Reliability::Off;
        let Some(fork) = self.fork_mut(id, at).filter(|fork| fork.amended < AMENDMENTS) else { return false };
        let mut draft = draft.clone();
        match status {
            422 => {
                let Some(least) = draft.raise_session(response) else { return false };
                fork.min_se = Some(least);
            }
            420 if draft.leave_out(response) => {}
            421 if may_offer
                && response.lists(HeaderName::Require, reliable::TAG)
                && !draft.requires(reliable::TAG) =>
            {
                draft.headers.push((HeaderName::Require, reliable::TAG.to_owned()));
            }
            _ => return false,
        }
        fork.amended += 1;
        draft.again();
        self.begin(draft, flow, Owner::Fork { dialog: id, fork: at }, false, now);
        true
    }
}
