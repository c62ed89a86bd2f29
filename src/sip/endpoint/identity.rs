//! Who sends a request, and who we are (RFC 3261 §22): challenges of ours, and answers to a trunk's.
//!
//! A challenge is stateless (RFC 3261 §26.3.2.4: no retransmission, no transaction), so that a flood of requests from made-up
//! addresses fills no table and is not multiplied towards their owners. A trunk's challenge is answered to that trunk alone.

use tandem_actors::model::address::SipOrigin;
use tandem_actors::model::ids::SubscriberId;
use tokio::time::Instant;

use super::super::digest::{Answer, Asked, DigestOffer, Terms, Verdict, answers};
use super::super::message::uri::unescape;
use super::super::message::view::{AuthView, NameAddr};
use super::*;

/// A subscriber whose password a request proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proved {
    pub subscriber: SubscriberId,
    /// The Authentication-Info for its 2xx.
    pub info: Option<String>,
}

/// Who sends a request outside a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// A subscriber.
    Proved(Proved),
    /// A trunk, or a stranger where strangers may call.
    Unproved,
}

impl Core {
    /// Who sends this request; `None` when that has to be proved and was not: it was answered with a challenge.
    pub(super) fn identify(&mut self, flow: Flow, request: &Message, method: Method, now: Instant) -> Option<Caller> {
        let register = method == Method::Known(rsip::Method::Register);
        if !register && self.trunk_at(flow).is_some() {
            return Some(Caller::Unproved);
        }
        let from = request.get(HeaderName::From).unwrap_or_default();
        let from_user = NameAddr::parse(&from).and_then(|from| from.uri.user).map(unescape).unwrap_or_default();
        let offers = self.config.offers(flow.listener, &String::from_utf8_lossy(&from_user));
        let terms = Terms { offers: &offers, integrity: self.config.integrity };
        let Kind::Request { token, uri, .. } = request.kind() else { return None };
        let asked = Asked { method: token, uri, body: request.body() };
        let ip = flow.remote.ip();
        let mut judged = super::super::digest::Judgement::from(Verdict::Absent);
        for header in request.all(HeaderName::Authorization) {
            let value = request.value(header);
            judged = self.guard.judge(&value, ip.into(), asked, terms, self.credentials.as_ref(), now);
            if judged.verdict != Verdict::Absent {
                break;
            }
        }
        let subscriber = judged.user.as_deref().and_then(|user| SubscriberId::new(user).ok());
        // Looked at and thrown away, so that it takes as long as any other.
        let distrusted = judged.user.as_deref().is_some_and(|user| self.gate.distrusts(ip, user, now));
        match (judged.verdict, subscriber) {
            (Verdict::Proved | Verdict::Wrong | Verdict::Mismatch, _) if distrusted => metrics::auth("distrusted"),
            (Verdict::Proved, Some(subscriber)) => {
                metrics::auth("proved");
                self.gate.proved(ip, subscriber.as_str(), now);
                return Some(Caller::Proved(Proved { subscriber, info: judged.info }));
            }
            (Verdict::Absent, _) if self.config.anonymous && !register => {
                metrics::auth("absent");
                return Some(Caller::Unproved);
            }
            (Verdict::Absent, _) => metrics::auth("absent"),
            (Verdict::Stale, _) => metrics::auth("stale"),
            (Verdict::Mismatch, _) => {
                metrics::auth("mismatch");
                self.refuse_stateless(flow, request, 400);
                return None;
            }
            (Verdict::Wrong, _) | (Verdict::Proved, None) => {
                metrics::auth("wrong");
                if let Some(user) = &judged.user {
                    self.gate.wrong_password(ip, user, judged.exists, now);
                }
            }
        }
        let challenges = self.guard.challenges(terms, ip.into(), judged.verdict == Verdict::Stale, now);
        self.answer_stateless(flow, request, 401, |writer| {
            for challenge in &challenges {
                writer.header(HeaderName::WwwAuthenticate, challenge);
            }
        });
        None
    }

    /// Whose call an INVITE is.
    pub(super) fn origin_of(&self, key: ServerKey, flow: Flow) -> SipOrigin {
        if let Some(trunk) = self.trunk_at(flow).and_then(|at| self.trunks.get(at)) {
            return SipOrigin::Trunk(trunk.config.id.clone());
        }
        match self.servers.get(&key).and_then(|server| server.proved.as_ref()) {
            Some(proved) => SipOrigin::Subscriber(proved.subscriber.clone()),
            None => SipOrigin::Anonymous,
        }
    }

    /// Answers without a transaction: a repeat of the request is answered again, with the same To tag.
    pub(super) fn answer_stateless(
        &mut self,
        flow: Flow,
        request: &Message,
        code: u16,
        fill: impl FnOnce(&mut Writer),
    ) {
        let (method, token) = match request.kind() {
            Kind::Request { method, token, .. } => (method, token),
            Kind::Response { .. } => return,
        };
        metrics::response("out", method.label(), code);
        let tag = self.server_key(request, token).map_or_else(new_tag, |key| format!("{:016x}", key.0));
        let mut writer = response_to(request, code, &tag, flow.remote);
        fill(&mut writer);
        let octets = writer.finish("", b"");
        self.send(Self::reply_flow(request, flow), octets);
    }

    /// A failure without a transaction. It does not say who we are: strangers need not know, and it stays small.
    pub(super) fn refuse_stateless(&mut self, flow: Flow, request: &Message, code: u16) {
        self.answer_stateless(flow, request, code, |_| {});
    }

    /// Sends a challenged request again with credentials: next CSeq, same Call-ID (RFC 3261 §8.1.3.5). Only a trunk is
    /// answered, and for a call only at an address of its own: a BYE that is challenged by whoever a Contact named, or an INVITE
    /// by whoever it was redirected to, would otherwise give him a digest of our password to try words on.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn prove(
        &mut self,
        draft: &Draft,
        owner: &Owner,
        flow: Flow,
        trail: Trail,
        response: &Message,
        status: u16,
        now: Instant,
    ) -> bool {
        // Asked of a target, by its name or its address.
        let known = matches!(owner, Owner::Register { .. } | Owner::Options { .. });
        let Some(trunk) = self.trunk_of(owner).and_then(|at| self.trunks.get(at)) else { return false };
        let id = &trunk.config.id;
        if !known && !self.is_of_trunk(trunk, flow.remote.ip()) {
            metrics::auth("withheld");
            tracing::warn!(trunk = %id, from = %flow.remote.ip(), "a challenge of a call is not answered: the address \
                is none of the trunk's; if it is, add it to the trunk's allowed_addresses");
            return false;
        }
        let Some(account) = account(&trunk.config) else { return false };
        let (challenge, credentials) = if status == 401 {
            (HeaderName::WwwAuthenticate, HeaderName::Authorization)
        } else {
            (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization)
        };
        let challenges: Vec<_> = response.all(challenge).map(|header| response.value(header)).collect();
        let cnonce = format!("{:016x}", rand::random::<u64>());
        let method = Method::Known(draft.method).label();
        let asked = Asked { method: method.as_bytes(), uri: draft.uri.as_bytes(), body: draft.body.as_bytes() };
        let before = draft.answers(credentials);
        let made = answers(challenges.iter().map(AsRef::as_ref), &account, asked, &before, &cnonce);
        // Each realm once, and one once more that calls our nonce stale: so this has an end.
        let again = made.iter().any(|answer| before.iter().any(|earlier| earlier.realm == answer.realm));
        if made.is_empty() || before.len() + made.len() > MOST_REALMS {
            return false;
        }
        let cseq = match owner {
            Owner::Reinvite { dialog } | Owner::Info { dialog } | Owner::Refresh { dialog } => {
                match self.established_record(*dialog) {
                    Some(record) => record.next_cseq(),
                    None => return false,
                }
            }
            Owner::Prack { dialog, tag, .. } => match self.record_of(*dialog, tag) {
                Some(record) => record.next_cseq(),
                None => return false,
            },
            Owner::Register { trunk, .. } => match self.trunks.get_mut(*trunk) {
                Some(trunk) => trunk.next_cseq(),
                None => return false,
            },
            Owner::Fork { dialog, fork } if self.fork_cancelled(*dialog, *fork) => return false,
            Owner::Notify { refer } => match self.notify_cseq(*refer) {
                Some(cseq) => cseq,
                None => return false,
            },
            Owner::Fork { .. }
            | Owner::Bye { .. }
            | Owner::Options { .. }
            | Owner::KeepAlive { .. }
            | Owner::Message { .. }
            | Owner::Probe
            | Owner::Abandoned { .. }
            | Owner::Nobody => draft.cseq + 1,
        };
        let draft = draft.with_credentials(credentials, made, cseq);
        self.begin_toward(draft, flow, trail, owner.clone(), again, now);
        true
    }
}

/// Most realms one request proves itself to: the trunk's own, and proxies on the way.
const MOST_REALMS: usize = 4;

fn account(config: &super::super::config::TrunkConfig) -> Option<Account> {
    (!config.password.is_empty()).then(|| Account {
        user: config.auth_user.clone().unwrap_or_else(|| config.username.clone()),
        password: config.password.clone(),
        realm: config.realm.clone(),
    })
}

impl Draft {
    /// The same request without credentials: what was proved to one target says nothing to another.
    pub fn unproved(&self) -> Draft {
        let mut draft = self.clone();
        draft.headers.retain(|(name, _)| !matches!(name, HeaderName::Authorization | HeaderName::ProxyAuthorization));
        draft
    }

    /// The challenges that its credentials of this kind answer.
    fn answers(&self, name: HeaderName) -> Vec<Answer> {
        let read = |value: &String| {
            let view = AuthView::parse(value.as_bytes())?;
            Some(Answer { realm: view.text("realm")?, nonce: view.text("nonce")?, value: value.clone() })
        };
        self.headers.iter().filter(|(known, _)| *known == name).filter_map(|(_, value)| read(value)).collect()
    }

    /// The same request with credentials more, each in place of an earlier one for its realm, and its own sequence number.
    fn with_credentials(&self, name: HeaderName, made: Vec<Answer>, cseq: u32) -> Draft {
        let mut draft = self.clone();
        let kept = self.answers(name).into_iter().filter(|old| made.iter().all(|new| new.realm != old.realm));
        let values: Vec<_> = kept.chain(made.iter().cloned()).map(|answer| (name, answer.value)).collect();
        draft.headers.retain(|(known, _)| *known != name);
        draft.headers.extend(values);
        draft.cseq = cseq;
        draft
    }
}

impl SipConfig {
    /// What a user who comes by a listener is offered: its own rule, else the listener's, else everybody's. Rules go by number,
    /// not by who is known, so that a challenge does not tell whether there is such a user.
    fn offers(&self, listener: usize, user: &str) -> Vec<DigestOffer> {
        let by_user = self.algorithms_by_user.iter().find(|(numbers, _)| numbers.contains(user));
        let by_listener = self.listeners.get(listener).map(|listener| &listener.algorithms);
        let chosen = by_user.map(|(_, offers)| offers).or(by_listener.filter(|offers| !offers.is_empty()));
        chosen.unwrap_or(&self.algorithms).clone()
    }
}
