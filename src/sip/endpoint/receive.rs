//! What comes in: the gate, the match to a transaction, a dialog or a method, and the proof of a caller's password
//! (RFC 3261 §8.2, §17.1.3, §17.2.3, §22).

use tandem_actors::model::address::SipOrigin;
use tandem_actors::model::ids::SubscriberId;
use tokio::time::Instant;

use super::super::digest::Verdict;
use super::super::message::validate::Fault;
use super::transactions::ServerInput;
use super::*;

impl Core {
    /// A message that was read. `checked` is the verdict of the validation, made outside the lock.
    pub(super) fn receive(&mut self, flow: Flow, message: Message, checked: Result<(), Fault>, now: Instant) {
        match (message.kind(), checked) {
            (Kind::Request { method, .. }, Ok(())) => {
                metrics::message("in", method.label());
                self.request(flow, message, method, now);
            }
            (Kind::Response { status: code }, Ok(())) => {
                metrics::message("in", status::class(code));
                self.response(&message, code, now);
            }
            (_, Err(Fault::Refuse { status, why })) => {
                metrics::dropped("malformed");
                if !self.trusted(flow) && !self.gate.admits(flow.remote.ip(), now) {
                    metrics::dropped("over_budget");
                    return;
                }
                tracing::debug!(status, why, "a malformed SIP request is refused");
                self.refuse_stateless(flow, &message, status);
            }
            (_, Err(Fault::Drop { why })) => {
                metrics::dropped("malformed");
                tracing::debug!(why, "a malformed SIP message is dropped");
            }
        }
    }

    fn trusted(&self, flow: Flow) -> bool {
        self.trunk_at(flow).is_some()
    }

    fn refuse_stateless(&mut self, flow: Flow, request: &Message, code: u16) {
        metrics::message("out", status::class(code));
        let mut writer = response_to(request, code, &new_tag(), flow.remote);
        writer.header(HeaderName::Server, &self.config.user_agent);
        let octets = writer.finish("", b"");
        self.send(Core::reply_flow(request, flow), octets);
    }

    fn response(&mut self, message: &Message, status: u16, now: Instant) {
        let key = (|| {
            let via = message.get(HeaderName::Via)?;
            let via = Via::parse(trim(view::split(&via, b',').next()?))?;
            let branch = via.branch()?.strip_prefix(b"z9hG4bK")?;
            let branch = u64::from_str_radix(std::str::from_utf8(branch).ok()?, 16).ok()?;
            let cseq = message.get(HeaderName::CSeq)?;
            let (_, method) = view::cseq(&cseq)?;
            Some(ClientKey { branch, cancel: method == b"CANCEL" })
        })();
        match key.filter(|key| self.clients.contains_key(key)) {
            Some(key) => self.client_step(key, Some((message, status)), now),
            // Late, or not ours: a response is never answered.
            None => metrics::dropped("stray_response"),
        }
    }

    fn request(&mut self, flow: Flow, message: Message, method: Method, now: Instant) {
        let Kind::Request { token, .. } = message.kind() else { return };
        if method == Method::ACK {
            self.ack(&message, now);
            return;
        }
        let Some(key) = self.server_key(&message, token) else {
            metrics::dropped("malformed");
            return;
        };
        if self.servers.contains_key(&key) {
            self.server_step(key, ServerInput::Repeat, now);
            return;
        }
        let Some(names) = Names::of(&message) else { return };
        if method == Method::CANCEL {
            self.cancel(key, flow, message, now);
            return;
        }
        let invite = method == Method::INVITE;
        if !names.to_tag.is_empty() {
            self.serve(key, message, flow, invite);
            if !self.extensions_ok(key, now) {
                return;
            }
            self.in_dialog(key, method, &names, flow, now);
            return;
        }
        if !self.trusted(flow) && !self.gate.admits(flow.remote.ip(), now) {
            metrics::dropped("over_budget");
            return;
        }
        self.serve(key, message, flow, invite);
        if !self.extensions_ok(key, now) {
            return;
        }
        use rsip::Method as M;
        match method {
            Method::Known(M::Invite) => self.invite(key, &names, flow, now),
            Method::Known(M::Options) => self.options_asked(key, now),
            Method::Known(M::Register) => self.register_asked(key, flow, now),
            Method::Known(M::Bye | M::Info | M::Update | M::PRack | M::Notify) => self.refuse(key, 481, now),
            Method::Known(M::Message | M::Subscribe | M::Publish | M::Refer) => self.refuse(key, 405, now),
            // ACK and CANCEL were taken above.
            Method::Known(M::Ack | M::Cancel) | Method::Other => {
                self.respond(
                    key,
                    501,
                    now,
                    |writer| {
                        writer.header(HeaderName::Allow, ALLOW);
                    },
                    "",
                );
            }
        }
    }

    /// RFC 3261 §8.2.2.3: what a request requires we must know.
    fn extensions_ok(&mut self, key: ServerKey, now: Instant) -> bool {
        let Some(server) = self.servers.get(&key) else { return false };
        let mut unknown: Vec<String> = Vec::new();
        for header in server.request.all(HeaderName::Require) {
            let value = server.request.value(header);
            unknown.extend(
                view::split(&value, b',')
                    .map(trim)
                    .filter(|token| !token.is_empty() && !token.eq_ignore_ascii_case(b"timer"))
                    .map(|token| String::from_utf8_lossy(token).into_owned()),
            );
        }
        if unknown.is_empty() {
            return true;
        }
        let list = unknown.join(", ");
        self.respond(
            key,
            420,
            now,
            |writer| {
                writer.header(HeaderName::Unsupported, list);
            },
            "",
        );
        false
    }

    /// OPTIONS outside a dialog (RFC 3261 §11.2).
    fn options_asked(&mut self, key: ServerKey, now: Instant) {
        if self.draining {
            self.refuse(key, 503, now);
            return;
        }
        self.respond(
            key,
            200,
            now,
            |writer| {
                writer
                    .header(HeaderName::Allow, ALLOW)
                    .header(HeaderName::Accept, SDP)
                    .header(HeaderName::Supported, SUPPORTED);
            },
            "",
        );
    }

    /// Who sends this INVITE; `None` when it was challenged or refused.
    pub(super) fn origin_of(&mut self, key: ServerKey, flow: Flow, now: Instant) -> Option<SipOrigin> {
        if let Some(trunk) = self.trunk_at(flow).and_then(|at| self.trunks.get(at)) {
            return Some(SipOrigin::Trunk(trunk.config.id.clone()));
        }
        match self.judge(key, flow, now) {
            Verdict::Proved(user) => SubscriberId::new(&user).ok().map(SipOrigin::Subscriber),
            Verdict::Absent if self.config.anonymous => Some(SipOrigin::Anonymous),
            verdict @ (Verdict::Absent | Verdict::Stale | Verdict::Wrong) => {
                self.challenge(key, &verdict, now);
                None
            }
        }
    }

    /// What a request's credentials prove; wrong ones cost its source some of its budget.
    pub(super) fn judge(&mut self, key: ServerKey, flow: Flow, now: Instant) -> Verdict {
        let Some(server) = self.servers.get(&key) else { return Verdict::Absent };
        let Kind::Request { token, .. } = server.request.kind() else { return Verdict::Absent };
        let method = String::from_utf8_lossy(token).into_owned();
        let mut verdict = Verdict::Absent;
        let values: Vec<_> =
            server.request.all(HeaderName::Authorization).map(|header| server.request.value(header)).collect();
        for value in &values {
            verdict = self.guard.judge(Some(value), &method, self.credentials.as_ref(), now);
            if verdict != Verdict::Absent {
                break;
            }
        }
        match &verdict {
            Verdict::Proved(_) => metrics::auth("proved"),
            Verdict::Stale => metrics::auth("stale"),
            Verdict::Absent => metrics::auth("absent"),
            Verdict::Wrong => {
                metrics::auth("wrong");
                self.gate.wrong_password(flow.remote.ip(), now);
            }
        }
        verdict
    }

    /// 401 with our challenges.
    pub(super) fn challenge(&mut self, key: ServerKey, verdict: &Verdict, now: Instant) {
        let challenges = self.guard.challenges(*verdict == Verdict::Stale, now);
        self.respond(
            key,
            401,
            now,
            |writer| {
                for challenge in &challenges {
                    writer.header(HeaderName::WwwAuthenticate, challenge);
                }
            },
            "",
        );
    }
}
