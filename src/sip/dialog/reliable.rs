//! Reliable provisional responses, both sides (RFC 3262): ours, one at a time until its PRACK ([`Reliable`]); theirs, in the
//! order of RSeq within each early dialog ([`order_of`]).
//!
//! ```text
//!   Quiet --send--> Unacknowledged --PRACK--> Quiet      Unacknowledged --64*T1--> the INVITE is refused with 5xx
//! ```
//! Deliberately not: a second reliable response before the first is acknowledged (§3 allows it after the first one; it saves a
//! round trip and costs a window to keep), and provisional responses other than to an INVITE.

use bytes::Bytes;
use tokio::time::Instant;

use super::super::message::view;
use super::super::message::{HeaderName, Message};
use super::super::transaction::timer::{Retransmit, Timers};

/// The option tag.
pub const TAG: &str = "100rel";

/// Reliable provisional responses to one INVITE of a peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reliable {
    /// RSeq of the last one sent, or (none yet) one less than of the first.
    last: u32,
    waiting: Option<Waiting>,
    /// RSeq of one that a final response overtook: its PRACK is answered all the same (§3).
    overtaken: Option<u32>,
    /// A description was sent in one: no further response to the INVITE carries any.
    pub described: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    response: Bytes,
    described: bool,
    retransmit: Retransmit,
    give_up: Instant,
}

/// What time asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Send this again.
    Resend(Bytes),
    /// No PRACK within 64*T1: the INVITE is refused with 5xx.
    GiveUp,
}

impl Reliable {
    /// Nothing sent yet. RSeq begins between 1 and 2^31 - 1 (§3).
    pub fn new() -> Self {
        Self { last: rand::random_range(0..0x4000_0000), waiting: None, overtaken: None, described: false }
    }

    /// RSeq of the next one.
    pub fn next_rseq(&self) -> u32 {
        self.last + 1
    }

    /// Whether one waits for its PRACK.
    pub fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether a 2xx must wait: a description in a reliable response is acknowledged first (§3).
    pub fn holds_2xx(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.described)
    }

    /// The one with [`Reliable::next_rseq`] has just been sent; none may wait.
    pub fn sent(&mut self, response: Bytes, described: bool, timers: &Timers, now: Instant) {
        self.last += 1;
        self.described |= described;
        let retransmit = Retransmit::begin(now, timers.t1, None);
        self.waiting = Some(Waiting { response, described, retransmit, give_up: now + timers.give_up() });
    }

    /// A PRACK names this RSeq: whether it is the one that waits, and whether that carried a description.
    pub fn acknowledged(&mut self, rseq: u32) -> Option<bool> {
        if self.overtaken.take_if(|overtaken| *overtaken == rseq).is_some() {
            return Some(false);
        }
        self.waiting.take_if(|_| self.last == rseq).map(|waiting| waiting.described)
    }

    /// A final response was sent: nothing is sent again.
    pub fn over(&mut self) {
        if self.waiting.take().is_some() {
            self.overtaken = Some(self.last);
        }
    }

    /// When [`Reliable::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.retransmit.at.min(waiting.give_up))
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant) -> Due {
        match &mut self.waiting {
            Some(waiting) if now >= waiting.give_up => {
                self.waiting = None;
                Due::GiveUp
            }
            Some(waiting) if now >= waiting.retransmit.at => {
                waiting.retransmit = waiting.retransmit.again(now);
                Due::Resend(waiting.response.clone())
            }
            Some(_) | None => Due::Nothing,
        }
    }
}

impl Default for Reliable {
    fn default() -> Self {
        Self::new()
    }
}

/// The RSeq of a provisional response that must be acknowledged.
pub fn rseq_of(response: &Message) -> Option<u32> {
    let value = response.get(HeaderName::RSeq).filter(|_| response.lists(HeaderName::Require, TAG))?;
    number(&value).filter(|rseq| *rseq > 0)
}

/// What a PRACK acknowledges: RSeq, CSeq number; only an INVITE's responses are reliable (§7.2).
pub fn rack_of(prack: &Message) -> Option<(u32, u32)> {
    let value = prack.get(HeaderName::RAck)?;
    let text = std::str::from_utf8(&value).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (rseq, cseq, method) = (words.next()?, words.next()?, words.next()?);
    let words_left = words.next().is_some();
    (method == "INVITE" && !words_left).then_some((number(rseq.as_bytes())?, number(cseq.as_bytes())?))
}

fn number(text: &[u8]) -> Option<u32> {
    u32::try_from(view::number(text.trim_ascii(), u64::from(u32::MAX))?).ok()
}

/// Where a reliable response stands among those of its early dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The next: to be taken and acknowledged.
    Next,
    /// Taken before, or one in between is missing: discarded (§4). A lost PRACK is repeated by its own transaction, a missing
    /// response by its sender.
    Discard,
}

/// Judges a response by the RSeq taken last in its early dialog. The first may have any (§4).
pub fn order_of(last: Option<u32>, rseq: u32) -> Order {
    match last {
        None => Order::Next,
        Some(last) if last.checked_add(1) == Some(rseq) => Order::Next,
        Some(_) => Order::Discard,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::message::Carried;
    use super::*;

    fn sent(described: bool, now: Instant) -> (Reliable, u32) {
        let mut reliable = Reliable::new();
        let rseq = reliable.next_rseq();
        reliable.sent(Bytes::from_static(b"183"), described, &Timers::default(), now);
        (reliable, rseq)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reliable_response_is_repeated_doubling_without_cap_until_64_t1() {
        let (began, timers) = (Instant::now(), Timers::default());
        let (mut reliable, _) = sent(false, began);
        let mut at_ms = Vec::new();
        loop {
            let at = reliable.deadline().expect("armed");
            match reliable.tick(at) {
                Due::Resend(_) => at_ms.push((at - began).as_millis()),
                Due::GiveUp => {
                    assert_eq!(at - began, timers.give_up());
                    break;
                }
                Due::Nothing => panic!("it was due"),
            }
        }
        assert_eq!(at_ms, [500, 1500, 3500, 7500, 15500, 31500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_2xx_waits_only_for_a_description() {
        let (mut reliable, rseq) = sent(true, Instant::now());
        assert!(reliable.holds_2xx() && reliable.described);
        assert_eq!(reliable.acknowledged(rseq), Some(true));
        assert!(!reliable.holds_2xx() && reliable.described);
        assert!(!sent(false, Instant::now()).0.holds_2xx());
    }

    #[tokio::test(start_paused = true)]
    async fn a_prack_that_matches_nothing_is_not_taken() {
        let (mut reliable, rseq) = sent(false, Instant::now());
        assert_eq!(reliable.acknowledged(rseq + 1), None);
        assert_eq!(reliable.acknowledged(rseq), Some(false));
        assert_eq!(reliable.acknowledged(rseq), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_response_stops_the_repetition_and_the_late_prack_is_still_taken() {
        let (mut reliable, rseq) = sent(false, Instant::now());
        reliable.over();
        assert_eq!(reliable.deadline(), None);
        assert_eq!(reliable.acknowledged(rseq), Some(false));
    }

    #[test]
    fn rack_names_rseq_cseq_and_the_invite() {
        let prack = |value: &str| {
            let text = format!(
                "PRACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
                 Call-ID: 1\r\nCSeq: 2 PRACK\r\nRAck: {value}\r\n\r\n"
            );
            rack_of(&Message::parse(Bytes::from(text), Carried::Datagram).expect("a request").0)
        };
        assert_eq!(prack("776656 1 INVITE"), Some((776_656, 1)));
        assert_eq!(prack(" 7   1   INVITE "), Some((7, 1)));
        for bad in ["", "7", "7 1", "7 1 BYE", "7 1 INVITE 3", "x 1 INVITE", "99999999999 1 INVITE"] {
            assert_eq!(prack(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn responses_are_taken_in_order_and_once(rseqs in proptest::collection::vec(1u32..8, 0..40)) {
            let mut last = None;
            let mut taken = Vec::new();
            for rseq in rseqs {
                if order_of(last, rseq) == Order::Next {
                    last = Some(rseq);
                    taken.push(rseq);
                }
            }
            prop_assert!(taken.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
    }
}
