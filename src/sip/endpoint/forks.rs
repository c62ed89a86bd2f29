//! What is known of an INVITE of ours under way: its forks and what each has heard. What is done with them is [`super::outbound`]'s.

use tandem_actors::model::address::AppHeaders;
use tandem_actors::model::cause::Cause;
use tandem_actors::model::negotiate::AudioOffer;
use tokio::time::Instant;

use super::early::Branch;
use super::redirect::Redirection;
use super::*;

/// An INVITE of ours.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub forks: Vec<Fork>,
    /// As ordered; each fork is written its own address into it.
    pub offer: Option<Box<AudioOffer>>,
    /// The last provisional status above 100.
    pub progress: Option<u16>,
    pub winner: Option<usize>,
    pub failures: Vec<Cause>,
    /// Application headers of the 2xx.
    pub headers: AppHeaders,
}

/// One destination.
#[derive(Debug)]
pub(super) struct Fork {
    pub draft: Draft,
    pub local_tag: String,
    pub trunk: Option<usize>,
    /// Another trunk is tried if this one says nothing.
    pub more: bool,
    pub sent: Option<(ClientKey, Flow)>,
    pub heard: bool,
    pub cancel: Cancel,
    /// Our media address as this fork was offered it.
    pub advertised: Option<IpAddr>,
    /// The early dialogs it has, the latest last.
    pub branches: Vec<Branch>,
    /// Until when a sign of life other than 100 must come again (Timer C, RFC 3261 §16.6 step 11).
    pub timer_c: Option<Instant>,
    /// What was changed after a refusal, so that it is not tried for ever.
    pub amended: u8,
    pub min_se: Option<u32>,
    /// To tags whose 2xx was acknowledged, with the ACK.
    pub acks: Vec<(String, Flow, Bytes)>,
    pub redirection: Redirection,
    pub done: bool,
}

/// Where the cancelling of a fork stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cancel {
    /// Not wanted.
    No,
    /// Wanted: sent once a provisional response came (RFC 3261 §9.1).
    Wanted(Option<u8>),
    /// Sent; without a final response it is over at this time.
    Sent(Instant),
}

/// Timer C: longer than 3 min (RFC 3261 §16.6 step 11).
const TIMER_C: Duration = Duration::from_secs(181);

impl Fork {
    pub fn new(draft: Draft, local_tag: String, trunk: Option<usize>, more: bool, redirection: Redirection) -> Self {
        Self {
            draft,
            local_tag,
            trunk,
            more,
            sent: None,
            heard: false,
            cancel: Cancel::No,
            advertised: None,
            branches: Vec::new(),
            timer_c: None,
            amended: 0,
            min_se: None,
            acks: Vec::new(),
            redirection,
            done: false,
        }
    }

    /// A provisional response came.
    pub fn rings(&mut self, status: u16, now: Instant) {
        self.heard = true;
        if status > 100 || self.timer_c.is_none() {
            self.timer_c = Some(now + TIMER_C);
        }
    }

    pub fn cancelled(&self) -> bool {
        self.cancel != Cancel::No
    }

    fn deadline(&self) -> Option<Instant> {
        match self.cancel {
            Cancel::Sent(until) => Some(until),
            Cancel::No => self.timer_c,
            Cancel::Wanted(_) => None,
        }
    }
}

impl Outgoing {
    /// The trunk of who answered, else of the first destination.
    pub fn trunk(&self) -> Option<usize> {
        self.forks.get(self.winner.unwrap_or_default())?.trunk
    }

    /// Whether no fork can bring anything any more.
    pub fn quiet(&self) -> bool {
        self.forks.iter().all(|fork| fork.done)
    }

    /// Our offer as who answered was sent it.
    pub fn offered(&self) -> Option<Box<AudioOffer>> {
        let mut offer = self.offer.clone()?;
        if let Some(ip) = self.advertised() {
            offer.0.rtp.set_ip(ip);
        }
        Some(offer)
    }

    /// Whether an early dialog has this tag.
    pub fn rings(&self, tag: &str) -> bool {
        self.forks.iter().flat_map(|fork| &fork.branches).any(|branch| branch.record.remote_tag == tag)
    }

    /// Our media address as who answered was offered it.
    pub fn advertised(&self) -> Option<IpAddr> {
        self.forks.get(self.winner?)?.advertised
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.forks.iter().filter(|fork| !fork.done).filter_map(Fork::deadline).min()
    }
}
