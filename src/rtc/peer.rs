//! One peer: its offer and answer, ICE agent, DTLS association and phase together. Told the time; says what is to be done in
//! [`Effect`]s, which `control` executes.

use std::collections::VecDeque;
use std::time::Instant;

use tandem_actors::model::ids::{LegId, MediaId};
use tandem_actors::model::negotiate::{Dtls, Setup};
use tandem_actors::ports::rtc::{PeerSnapshot, PeerState, RtcEventKind};

use super::dtls::{Association, Heard, Identity};
use super::ice::{Agent, Credentials, Path};
use super::limit::{Bucket, CHECKS, DTLS};
use super::metrics;
use super::offer::Answered;
use super::phase::{Input, Phase};
use super::stun::Request;
use tandem_actors::model::srtp::SrtpKeys;

/// Most addresses remembered that authenticated checks came from: a browser has a handful.
const SOURCES: usize = 16;

/// What is known of a peer outside the control thread: what a snapshot says, and what a new thread goes on with.
#[derive(Debug, Clone)]
pub struct Record {
    /// Who hears events.
    pub leg: LegId,
    /// The media session.
    pub media: MediaId,
    /// Both sides, as agreed.
    pub dtls: Dtls,
    /// The last offer and its answer, where they went through us.
    pub answered: Option<Answered>,
    /// Credentials and path.
    pub agent: Agent,
    /// The phase in the port's words.
    pub state: PeerState,
}

impl Record {
    /// As the port shows it.
    pub fn snapshot(&self) -> PeerSnapshot {
        PeerSnapshot { state: self.state }
    }

    /// The event that goes with the last answer, where it went through us.
    pub fn accepted(&self) -> Option<RtcEventKind> {
        let answered = self.answered.as_ref()?;
        Some(RtcEventKind::Accepted { answer: answered.sdp.clone(), negotiated: answered.negotiated.clone() })
    }
}

/// What a step wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send a datagram.
    Send(Path, Vec<u8>),
    /// Tell the leg.
    Tell(RtcEventKind),
    /// Hand keys to the media engine, with the path to send to.
    Secure(Box<SrtpKeys>, Path),
    /// The path of a secured session changed.
    Move(Path),
    /// From this address, DTLS of this peer may come.
    Learn(Path),
    /// No longer from this one.
    Unlearn(Path),
}

/// A live peer.
pub struct Peer {
    record: Record,
    phase: Phase,
    /// `None` once a new control thread took over a connected peer: keys are with the media engine, nothing more is exchanged.
    dtls: Option<Association>,
    checks: Bucket,
    records: Bucket,
    sources: VecDeque<Path>,
    /// Where DTLS came from, for the reply while nothing is nominated.
    dtls_from: Option<Path>,
    changed: bool,
}

impl Peer {
    /// A new one, by its first offer.
    ///
    /// # Errors
    /// Plain words when DTLS cannot be set up.
    pub fn new(
        leg: LegId,
        media: MediaId,
        (dtls, agent, answered): (Dtls, Agent, Option<Answered>),
        identity: &Identity,
        now: Instant,
    ) -> Result<Self, String> {
        let association = Association::new(identity, &dtls.theirs.fingerprint, dtls.ours.setup == Setup::Active)?;
        let record = Record { leg, media, dtls, answered, agent, state: PeerState::Connecting };
        Ok(Self::with(record, Phase::new(now), Some(association), now))
    }

    /// A secured one, taken over by a new control thread; `missing` when its consent was. The periods begin afresh.
    pub fn resumed(record: Record, missing: bool, now: Instant) -> Self {
        let phase = if missing { Phase::Disconnected { checked: now } } else { Phase::Connected { checked: now } };
        Self::with(record, phase, None, now)
    }

    fn with(record: Record, phase: Phase, dtls: Option<Association>, now: Instant) -> Self {
        let (checks, records) = (Bucket::new(CHECKS, now), Bucket::new(DTLS, now));
        // A nominated path is one that an authenticated check came from.
        let sources = record.agent.path().into_iter().collect();
        Self { record, phase, dtls, checks, records, sources, dtls_from: None, changed: true }
    }

    /// What is known of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Where checks came from.
    pub fn sources(&self) -> impl Iterator<Item = Path> {
        self.sources.iter().copied()
    }

    /// Whether the record has changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether it is still shaking hands: its timers are short.
    pub fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. })
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Failed
    }

    /// The same offer again, perhaps for another incarnation's leg.
    pub fn repeated(&mut self, leg: LegId, effects: &mut Vec<Effect>) {
        self.record.leg = leg;
        self.changed = true;
        effects.extend(self.record.accepted().map(Effect::Tell));
    }

    /// Something else was agreed on. `renewed` is a fresh association where the peer has another certificate or role than before
    /// (RFC 8842 §4): DTLS begins anew, and the old keys stay in use until the new ones are there.
    pub fn renegotiated(
        &mut self,
        leg: LegId,
        (dtls, agent, answered): (Dtls, Agent, Option<Answered>),
        renewed: Option<Association>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.record = Record { leg, media: self.record.media, dtls, answered, agent, state: self.record.state };
        self.changed = true;
        effects.extend(self.record.accepted().map(Effect::Tell));
        if let Some(association) = renewed {
            self.dtls = Some(association);
            self.dtls_from = None;
            self.step(Input::Renewed, now, effects);
        }
    }

    /// The credentials that a check with this USERNAME must be made with.
    pub fn credentials(&self, ours: &str, theirs: &str) -> Option<&Credentials> {
        self.record.agent.find(ours, theirs)
    }

    /// An authenticated check (RFC 8445 §7.3). Everything before authentication is `control`'s.
    pub fn checked(
        &mut self,
        request: &Request<'_>,
        by: &Credentials,
        from: Path,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if !self.checks.take(now) {
            return metrics::stun("limited");
        }
        // RFC 8445 §6.1.1: against a lite agent the full one is controlling, whatever it believes.
        if request.role_conflict {
            metrics::stun("role_conflict");
            effects.push(Effect::Send(from, request.conflict(&by.pwd)));
            return;
        }
        if !request.is_understood() {
            metrics::stun("not_understood");
            effects.push(Effect::Send(from, request.not_understood(&by.pwd)));
            return;
        }
        metrics::stun("answered");
        effects.push(Effect::Send(from, request.success(from.address, &by.pwd)));
        self.learn(from, effects);
        let before = self.record.agent.path();
        if request.nominates {
            let agent = self.record.agent.clone().nominated(&by.ufrag, from);
            self.changed |= agent != self.record.agent;
            self.record.agent = agent;
        }
        self.step(Input::Checked, now, effects);
        if self.record.agent.path() != before && !self.is_connecting() {
            effects.push(Effect::Move(from));
        }
        if request.nominates
            && let Some(dtls) = &mut self.dtls
        {
            let heard = dtls.begin(now);
            self.heard(heard, now, effects);
            self.flush(effects);
        }
    }

    fn learn(&mut self, from: Path, effects: &mut Vec<Effect>) {
        if self.sources.contains(&from) {
            return;
        }
        if self.sources.len() == SOURCES {
            effects.extend(self.sources.pop_front().map(Effect::Unlearn));
        }
        self.sources.push_back(from);
        effects.push(Effect::Learn(from));
    }

    /// A DTLS datagram from an address that authenticated checks came from.
    pub fn dtls(&mut self, datagram: &[u8], from: Path, now: Instant, effects: &mut Vec<Effect>) {
        let Some(dtls) = &mut self.dtls else { return };
        if !self.records.take(now) {
            metrics::dropped("limited");
            return;
        }
        self.dtls_from = Some(from);
        let heard = dtls.read(datagram, now);
        // What is queued goes out first: an alert belongs to the failure that follows.
        self.flush(effects);
        self.heard(heard, now, effects);
    }

    /// Time has passed: retransmissions, deadlines, consent.
    pub fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(dtls) = &mut self.dtls {
            let heard = dtls.tick(now);
            self.flush(effects);
            self.heard(heard, now, effects);
        }
        let waiting_for = match (self.sources.is_empty(), self.record.agent.path()) {
            (true, _) => "no ICE check came; is the UDP port reachable?",
            (false, None) => "ICE nominated no path",
            (false, Some(_)) => "DTLS did not finish",
        };
        let was_connecting = self.is_connecting();
        self.step(Input::Tick { waiting_for }, now, effects);
        if was_connecting && self.is_over() {
            metrics::handshake("timeout");
        }
    }

    /// Forgets it: close_notify.
    pub fn close(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
            self.flush(effects);
        }
    }

    fn heard(&mut self, heard: Heard, now: Instant, effects: &mut Vec<Effect>) {
        match heard {
            Heard::Nothing => {}
            Heard::Secured(keys) => {
                // Nothing is nominated yet: the address DTLS came from is authenticated too, and the nomination moves it.
                let Some(path) = self.record.agent.path().or(self.dtls_from) else { return };
                metrics::handshake("completed");
                effects.push(Effect::Secure(keys, path));
                self.step(Input::Secured, now, effects);
            }
            Heard::Closed => self.step(Input::Closed, now, effects),
            Heard::Broken(why) => {
                if self.is_connecting() {
                    metrics::handshake("failed");
                }
                self.step(Input::Broken(why), now, effects);
            }
        }
    }

    fn flush(&mut self, effects: &mut Vec<Effect>) {
        let (Some(dtls), Some(to)) = (&mut self.dtls, self.record.agent.path().or(self.dtls_from)) else { return };
        while let Some(datagram) = dtls.transmit() {
            effects.push(Effect::Send(to, datagram.to_vec()));
        }
    }

    fn step(&mut self, input: Input, now: Instant, effects: &mut Vec<Effect>) {
        let (phase, told) = std::mem::replace(&mut self.phase, Phase::Failed).step(input, now);
        self.phase = phase;
        if self.record.state != self.phase.state() {
            self.record.state = self.phase.state();
            self.changed = true;
        }
        effects.extend(told.map(Effect::Tell));
    }
}
