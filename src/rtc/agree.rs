//! How a peer begins and changes: by an offer that comes through us, or by what a SIP dialog agreed on. Nothing of a peer is changed
//! before all that can fail is done.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tandem_actors::model::ids::{LegId, MediaId, PeerId};
use tandem_actors::model::negotiate::{Dtls, Setup};
use tandem_actors::ports::rtc::RtcEventKind;

use super::control::Control;
use super::dtls::Association;
use super::ice::Agent;
use super::metrics;
use super::offer::{Answered, Offer};
use super::peer::{Peer, Record};

/// Both sides, our agent as it then is, and the answer where it went through us.
type Agreed = (Dtls, Agent, Option<Answered>);

/// Something else agreed on: the association is there where DTLS begins anew.
struct Later {
    agreed: Agreed,
    renewed: Option<Association>,
}

/// Something agreed on, before anything is changed.
enum Computed {
    First(Box<Peer>),
    Later(Box<Later>),
}

impl Control {
    pub(super) fn accept(&mut self, id: PeerId, leg: LegId, media: MediaId, offer: Offer, now: Instant) {
        let before = self.peers.get(&id).map(|peer| peer.record().clone());
        let answered = before.as_ref().and_then(|before| before.answered.as_ref());
        let outcome = match answered {
            Some(answered) if answered.offer == offer => {
                metrics::offer("repeated");
                self.step(id, now, |peer, effects| peer.repeated(leg, effects));
                return;
            }
            Some(_) | None => {
                let known = before.as_ref().zip(answered);
                let known = known.map(|(before, answered)| (answered, &before.dtls, before.agent.clone()));
                let identity = self.shared.identity.clone();
                self.agree(id, leg, media, before.as_ref(), now, || {
                    let (answered, dtls, agent) = Answered::new(id, offer, identity.fingerprint(), known)?;
                    Ok((dtls, agent, Some(answered)))
                })
            }
        };
        match outcome {
            Ok(()) => {
                metrics::offer("accepted");
                tracing::debug!(peer = %id, %leg, again = before.is_some(), "offer answered");
            }
            Err(why) => self.refuse(id, leg, why),
        }
    }

    pub(super) fn connect(&mut self, id: PeerId, leg: LegId, media: MediaId, dtls: Dtls, now: Instant) {
        let before = self.peers.get(&id).map(|peer| peer.record().clone());
        if before.as_ref().is_some_and(|before| before.dtls == dtls && before.media == media) {
            self.step(id, now, |peer, effects| peer.repeated(leg, effects));
            return;
        }
        let agent = match &before {
            Some(before) => before.agent.clone().agreed_anew(&dtls),
            None => Agent::agreed(&dtls),
        };
        let again = before.is_some();
        match self.agree(id, leg, media, before.as_ref(), now, || Ok((dtls, agent, None))) {
            Ok(()) => tracing::debug!(peer = %id, %leg, again, "to be connected"),
            Err(why) => self.refuse(id, leg, why),
        }
    }

    fn refuse(&self, id: PeerId, leg: LegId, why: String) {
        metrics::offer("refused");
        tracing::info!(peer = %id, %leg, %why, "refused");
        self.tell(leg, id, RtcEventKind::Refused(why));
    }

    /// Takes up what `agreed` comes to: a new peer, or another state of one that is there.
    fn agree(
        &mut self,
        id: PeerId,
        leg: LegId,
        media: MediaId,
        before: Option<&Record>,
        now: Instant,
        agreed: impl FnOnce() -> Result<Agreed, String>,
    ) -> Result<(), String> {
        if before.is_some_and(|before| before.media != media) {
            return Err("the media session of a peer cannot change".to_owned());
        }
        let identity = self.shared.identity.clone();
        let computed = catch_unwind(AssertUnwindSafe(|| {
            let agreed = agreed()?;
            let (ours, theirs) = (&agreed.0.ours, &agreed.0.theirs);
            match before {
                None => Peer::new(leg, media, agreed, &identity, now).map(|peer| Computed::First(Box::new(peer))),
                Some(Record { dtls, .. })
                    if (&dtls.theirs.fingerprint, dtls.ours.setup) == (&theirs.fingerprint, ours.setup) =>
                {
                    Ok(Computed::Later(Box::new(Later { agreed, renewed: None })))
                }
                Some(_) => {
                    let association = Association::new(&identity, &theirs.fingerprint, ours.setup == Setup::Active)?;
                    Ok(Computed::Later(Box::new(Later { agreed, renewed: Some(association) })))
                }
            }
        }));
        match computed {
            Ok(Ok(Computed::First(peer))) => {
                let accepted = peer.record().accepted();
                self.put(id, peer);
                if let Some(accepted) = accepted {
                    self.tell(leg, id, accepted);
                }
                Ok(())
            }
            Ok(Ok(Computed::Later(later))) => {
                let Later { agreed, renewed } = *later;
                self.step(id, now, |peer, effects| peer.renegotiated(leg, agreed, renewed, now, effects));
                Ok(())
            }
            Ok(Err(why)) => Err(why),
            Err(_) => {
                metrics::panicked();
                Err("the offer met a defect of ours".into())
            }
        }
    }
}
