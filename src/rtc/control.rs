//! The `rtc-ctl` thread: routes datagrams and orders to peers, executes what they want done.
//!
//! A peer's step runs under `catch_unwind`: a panic is the end of that peer alone. Should the thread itself die or stick, another
//! takes over (`Rtc::restart`) from what is in [`Shared`].

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tandem_actors::model::ids::{LegId, PeerId};
use tandem_actors::ports::rtc::{PeerState, RtcCommand, RtcEvent, RtcEventKind};

use super::ice::Path;
use super::limit::Sources;
use super::metrics;
use super::offer::Offer;
use super::peer::{Effect, Peer, Record};
use super::shared::{Shared, lock};
use super::stun::{NotARequest, Request};
use crate::link::DATAGRAMS;

/// How often peers' timers are looked at.
const SWEEP: Duration = Duration::from_millis(50);
/// Longest sleep: the heartbeat goes on.
const IDLE: Duration = Duration::from_millis(500);
/// How long a failed peer can be asked about.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The thread's own state.
pub struct Control {
    pub(super) shared: Arc<Shared>,
    generation: u64,
    pub(super) peers: HashMap<PeerId, Box<Peer>>,
    by_ufrag: HashMap<String, PeerId>,
    by_path: HashMap<Path, PeerId>,
    sources: Sources,
    /// Failed peers and when they are forgotten, oldest first.
    graves: VecDeque<(Instant, PeerId)>,
    outbox: Vec<(Path, Vec<u8>)>,
    swept: Instant,
}

impl Control {
    /// Takes over what the book says: connected peers go on, handshakes under way fail, for their DTLS state died.
    pub fn new(shared: Arc<Shared>, generation: u64, now: Instant) -> Self {
        let mut control = Self {
            shared: shared.clone(),
            generation,
            peers: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_path: HashMap::new(),
            sources: Sources::default(),
            graves: VecDeque::new(),
            outbox: Vec::new(),
            swept: now,
        };
        let book: Vec<(PeerId, Record)> =
            shared.book.iter().map(|entry| (*entry.key(), entry.value().clone())).collect();
        for (id, record) in book {
            match record.state {
                PeerState::Connected => control.put(id, Box::new(Peer::resumed(record, false, now))),
                PeerState::Disconnected => control.put(id, Box::new(Peer::resumed(record, true, now))),
                PeerState::Connecting => {
                    metrics::handshake("interrupted");
                    control.fail(id, record.leg, "the WebRTC control thread was replaced during the handshake", now);
                }
                PeerState::Failed => control.graves.push_back((now + REMEMBERED, id)),
            }
        }
        control
    }

    /// Runs until a later generation is there.
    pub fn run(mut self) {
        let mut received = Vec::with_capacity(DATAGRAMS);
        loop {
            self.shared.wake.wait(self.sleep());
            if self.is_replaced() {
                return;
            }
            self.shared.beats.fetch_add(1, Ordering::Relaxed);
            let now = tokio::time::Instant::now().into_std();
            while let Some((peer, command)) = self.next_order() {
                self.order(peer, command, now);
            }
            lock(&self.shared.rings).drain(&mut received);
            for (from, datagram) in received.drain(..) {
                self.datagram(from, datagram.payload(), now);
            }
            if now >= self.swept + SWEEP {
                self.swept = now;
                self.sweep(now);
            }
            if self.is_replaced() {
                return;
            }
            let mut rings = lock(&self.shared.rings);
            for (path, payload) in self.outbox.drain(..) {
                rings.send(path, &payload);
            }
            drop(rings);
            metrics::peers(self.peers.len());
        }
    }

    fn is_replaced(&self) -> bool {
        self.shared.generation.load(Ordering::Acquire) != self.generation
    }

    fn sleep(&self) -> Duration {
        if self.peers.values().any(|peer| peer.is_connecting()) {
            SWEEP
        } else if self.peers.is_empty() {
            IDLE
        } else {
            IDLE / 2
        }
    }

    fn next_order(&self) -> Option<(PeerId, RtcCommand)> {
        lock(&self.shared.orders).pop_front()
    }

    fn order(&mut self, id: PeerId, command: RtcCommand, now: Instant) {
        match command {
            RtcCommand::Accept { leg, media, candidate, offer, codecs, direction } => {
                self.accept(id, leg, media, Offer { sdp: offer, candidate, codecs, direction }, now);
            }
            RtcCommand::Connect { leg, media, dtls } => self.connect(id, leg, media, *dtls, now),
            RtcCommand::Close => {
                self.step(id, now, |peer, effects| peer.close(now, effects));
                self.forget(id);
                tracing::debug!(peer = %id, "closed");
            }
        }
    }

    /// RFC 7983 §7: the first byte says what it is. The media thread keeps RTP and RTCP for itself.
    fn datagram(&mut self, from: Path, payload: &[u8], now: Instant) {
        match payload.first() {
            Some(0..=3) => self.stun(from, payload, now),
            Some(20..=63) => match self.by_path.get(&from) {
                Some(&id) => {
                    self.step(id, now, |peer, effects| peer.dtls(payload, from, now, effects));
                }
                None => metrics::dropped("unknown_source"),
            },
            Some(_) | None => metrics::dropped("unknown_kind"),
        }
    }

    /// Authenticates first: nothing changes and nothing is sent for a datagram that is not made with a peer's password. RFC 8489
    /// §9.1.3 would have 400 and 401 sent; to whoever forges a source address we are silent instead.
    ///
    /// An address that authentic checks came from is not limited by what is refused from it: whoever forges it would have the
    /// peer's own checks dropped, and end its call for want of consent. A forged check then costs one HMAC, and no more of them
    /// come at once than the ring holds (`link::DATAGRAMS`).
    fn stun(&mut self, from: Path, payload: &[u8], now: Instant) {
        let is_known = self.by_path.contains_key(&from);
        if !is_known && !self.sources.allows(from.address, now) {
            return metrics::stun("limited");
        }
        let refused = match Request::parse(payload) {
            Err(NotARequest::Other) => return metrics::stun("ignored"),
            Err(NotARequest::Malformed) => "malformed",
            Err(NotARequest::Anonymous) => "anonymous",
            Ok(request) => {
                let named = request.ufrags().map(|(ours, theirs)| {
                    let id = *self.by_ufrag.get(ours)?;
                    Some((id, self.peers.get(&id)?.credentials(ours, theirs).cloned()))
                });
                match named {
                    None => "malformed",
                    Some(None) => "unknown_peer",
                    Some(Some((id, Some(by)))) if request.is_authentic(&by.pwd) => {
                        self.step(id, now, |peer, effects| peer.checked(&request, &by, from, now, effects));
                        return;
                    }
                    Some(Some(_)) => "unauthenticated",
                }
            }
        };
        if !is_known {
            self.sources.refused(from.address);
        }
        metrics::stun(refused);
    }

    fn sweep(&mut self, now: Instant) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.step(id, now, |peer, effects| peer.tick(now, effects));
        }
        while let Some(&(due, id)) = self.graves.front().filter(|(due, _)| now >= *due) {
            self.graves.pop_front();
            tracing::trace!(peer = %id, ?due, "forgotten");
            if self.shared.book.remove_if(&id, |_, record| record.state == PeerState::Failed).is_some() {
                self.shared.epochs.remove(&id);
            }
        }
    }

    /// One step of one peer, its panics kept from the others.
    pub(super) fn step(&mut self, id: PeerId, now: Instant, f: impl FnOnce(&mut Peer, &mut Vec<Effect>)) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        let (leg, media) = (peer.record().leg, peer.record().media);
        let mut effects = Vec::new();
        if catch_unwind(AssertUnwindSafe(|| f(&mut peer, &mut effects))).is_err() {
            metrics::panicked();
            self.unindex(id, &peer);
            self.fail(id, leg, "the peer met a defect of ours", now);
            return;
        }
        // The book first, then keys, then the report: who hears `Connected` finds both done.
        let leg = peer.record().leg;
        let over = peer.is_over();
        if peer.take_changed() && !over {
            self.unindex_ufrags(id);
            self.index(id, &peer);
        }
        if over {
            self.unindex(id, &peer);
            if let Some(mut record) = self.shared.book.get_mut(&id) {
                record.state = PeerState::Failed;
            }
            self.graves.push_back((now + REMEMBERED, id));
        } else {
            self.peers.insert(id, peer);
        }
        for effect in effects {
            match effect {
                Effect::Send(path, payload) => self.outbox.push((path, payload)),
                Effect::Secure(keys, path) => {
                    tracing::debug!(peer = %id, %leg, %media, profile = ?keys.profile, path = %path.address, "secured");
                    self.shared.srtp.secure(media, *keys, path.address);
                }
                Effect::Move(path) => {
                    tracing::debug!(peer = %id, %leg, %media, path = %path.address, "path changed");
                    self.shared.srtp.path(media, path.address);
                }
                Effect::Learn(path) => {
                    self.by_path.insert(path, id);
                }
                Effect::Unlearn(path) => self.unlearn(id, path),
                Effect::Tell(kind) => self.tell(leg, id, kind),
            }
        }
    }

    pub(super) fn put(&mut self, id: PeerId, mut peer: Box<Peer>) {
        peer.take_changed();
        self.index(id, &peer);
        self.by_path.extend(peer.sources().map(|path| (path, id)));
        self.peers.insert(id, peer);
    }

    fn index(&mut self, id: PeerId, peer: &Peer) {
        self.shared.book.insert(id, peer.record().clone());
        for ufrag in peer.record().agent.ufrags() {
            self.by_ufrag.insert(ufrag.to_owned(), id);
        }
    }

    /// By the book, which still has the record as it was indexed.
    fn unindex_ufrags(&mut self, id: PeerId) {
        let Some(old) = self.shared.book.get(&id) else { return };
        for ufrag in old.agent.ufrags() {
            self.by_ufrag.remove(ufrag);
        }
    }

    fn unindex(&mut self, id: PeerId, peer: &Peer) {
        self.unindex_ufrags(id);
        for path in peer.sources() {
            self.unlearn(id, path);
        }
    }

    fn unlearn(&mut self, id: PeerId, path: Path) {
        if self.by_path.get(&path) == Some(&id) {
            self.by_path.remove(&path);
        }
    }

    fn forget(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.remove(&id) {
            self.unindex(id, &peer);
        }
        self.shared.book.remove(&id);
    }

    /// A peer that is no longer in the table failed.
    fn fail(&mut self, id: PeerId, leg: LegId, why: &str, now: Instant) {
        if let Some(mut record) = self.shared.book.get_mut(&id) {
            record.state = PeerState::Failed;
        }
        self.graves.push_back((now + REMEMBERED, id));
        self.tell(leg, id, RtcEventKind::Failed(why.to_owned()));
    }

    pub(super) fn tell(&self, leg: LegId, peer: PeerId, kind: RtcEventKind) {
        match &kind {
            RtcEventKind::Failed(why) => tracing::info!(%peer, %leg, %why, "failed"),
            RtcEventKind::Connected => tracing::info!(%peer, %leg, "connected"),
            RtcEventKind::Disconnected => tracing::info!(%peer, %leg, "consent missing"),
            RtcEventKind::Reconnected => tracing::info!(%peer, %leg, "consent is back"),
            RtcEventKind::Accepted { .. } | RtcEventKind::Refused(_) => {}
        }
        self.shared.brain.rtc(RtcEvent { leg, peer, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Double, Ear, Sink};
    use super::*;
    use crate::link::Wake;
    use std::sync::mpsc;
    use tandem_actors::model::ids::{MediaId, WorkerId};
    use tandem_actors::model::media::{Codec, Direction};
    use tandem_actors::ports::rtc::Sdp;

    const LEG: LegId = LegId(1);

    fn control(now: Instant) -> (Control, mpsc::Receiver<RtcEvent>) {
        let (ear, events) = Ear::new();
        let wake = Arc::new(Wake::new().expect("an eventfd"));
        let shared = Shared::new(ear, Sink::new().0, mpsc::channel().1, wake).expect("a certificate");
        (Control::new(Arc::new(shared), 0, now), events)
    }

    fn accept(control: &mut Control, id: PeerId, now: Instant) -> Double {
        let candidate = "127.0.0.1:40000".parse().expect("an address");
        let mut double = Double::new(candidate);
        let offer =
            Offer { sdp: Sdp(double.offer()), candidate, codecs: vec![Codec::Opus], direction: Direction::SendRecv };
        control.accept(id, LEG, MediaId(1), offer, now);
        let record = control.shared.book.get(&id).expect("accepted").clone();
        double.answered(&record.answered.expect("answered").sdp.0);
        double
    }

    fn told(events: &mpsc::Receiver<RtcEvent>) -> Vec<(PeerId, RtcEventKind)> {
        events
            .try_iter()
            .filter(|event| !matches!(event.kind, RtcEventKind::Accepted { .. }))
            .map(|event| (event.peer, event.kind))
            .collect()
    }

    #[test]
    fn a_panic_in_a_peers_step_ends_that_peer_alone() {
        let now = tokio::time::Instant::now().into_std();
        let (mut control, events) = control(now);
        accept(&mut control, PeerId(1), now);
        let other = accept(&mut control, PeerId(2), now);
        control.step(PeerId(1), now, |_, _| panic!("a defect"));
        assert_eq!(told(&events), [(PeerId(1), RtcEventKind::Failed("the peer met a defect of ours".into()))]);
        assert_eq!(control.shared.book.get(&PeerId(1)).expect("remembered").state, PeerState::Failed);
        let from = Path { worker: WorkerId(0), address: "127.0.0.1:9".parse().expect("an address") };
        control.datagram(from, &other.request(&[]), now);
        assert_eq!(control.outbox.len(), 1, "the other is answered");
    }

    #[test]
    fn a_peer_that_never_comes_fails_is_remembered_and_leaves_nothing() {
        let now = tokio::time::Instant::now().into_std();
        let (mut control, events) = control(now);
        let double = accept(&mut control, PeerId(1), now);
        let from = Path { worker: WorkerId(0), address: "127.0.0.1:9".parse().expect("an address") };
        control.datagram(from, &double.request(&[]), now);
        assert_eq!((control.by_ufrag.len(), control.by_path.len()), (1, 1));
        let late = now + super::super::phase::HANDSHAKE;
        control.sweep(late);
        let why = "no connection within 15 s: ICE nominated no path";
        assert_eq!(told(&events), [(PeerId(1), RtcEventKind::Failed(why.into()))]);
        assert_eq!((control.peers.len(), control.by_ufrag.len(), control.by_path.len()), (0, 0, 0));
        assert!(control.shared.book.contains_key(&PeerId(1)));
        control.sweep(late + REMEMBERED);
        assert!(control.shared.book.is_empty() && control.graves.is_empty());
    }

    /// A hundred checks that name a peer and are made with a wrong password, then one of its own; returns the answers.
    fn answered_after_forgeries(control: &mut Control, double: &Double, from: Path, now: Instant) -> usize {
        control.outbox.clear();
        let authentic = double.request(&[(0x25, &[])]);
        let username = Request::parse(&authentic).expect("a check").ufrags().expect("a username");
        let username = format!("{}:{}", username.0, username.1);
        for _ in 0..100 {
            control.datagram(from, &super::super::stun::request(&username, "a guess", &[]), now);
        }
        control.datagram(from, &authentic, now);
        control.outbox.iter().filter(|(_, sent)| sent.starts_with(&[1, 1])).count()
    }

    #[test]
    fn checks_forged_from_a_peers_address_do_not_have_its_own_dropped() {
        let now = tokio::time::Instant::now().into_std();
        let (mut control, _events) = control(now);
        let double = accept(&mut control, PeerId(1), now);
        let from = Path { worker: WorkerId(0), address: "127.0.0.1:9".parse().expect("an address") };
        assert_eq!(answered_after_forgeries(&mut control, &double, from, now), 0, "nobody has authenticated there yet");
        let now = now + Duration::from_secs(1);
        control.datagram(from, &double.request(&[(0x25, &[])]), now);
        assert_eq!(answered_after_forgeries(&mut control, &double, from, now), 1);
    }

    #[test]
    fn a_new_thread_knows_the_path_of_a_peer_it_takes_over() {
        let now = tokio::time::Instant::now().into_std();
        let (mut control, _events) = control(now);
        let double = accept(&mut control, PeerId(1), now);
        let from = Path { worker: WorkerId(0), address: "127.0.0.1:9".parse().expect("an address") };
        control.datagram(from, &double.request(&[(0x25, &[])]), now);
        control.shared.book.get_mut(&PeerId(1)).expect("a record").state = PeerState::Connected;
        let mut successor = Control::new(control.shared.clone(), 1, now);
        assert_eq!(answered_after_forgeries(&mut successor, &double, from, now), 1);
        successor.forget(PeerId(1));
        assert!(successor.by_path.is_empty());
    }

    #[test]
    fn addresses_remembered_of_a_peer_are_few() {
        let now = tokio::time::Instant::now().into_std();
        let (mut control, _events) = control(now);
        let double = accept(&mut control, PeerId(1), now);
        for port in 1..100 {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            control.datagram(Path { worker: WorkerId(0), address }, &double.request(&[]), now);
        }
        assert_eq!(control.by_path.len(), 16);
    }
}
