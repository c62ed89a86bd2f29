//! What comes in: the gate, the match to a transaction, a dialog or a method (RFC 3261 §8.2, §17.1.3, §17.2.3).

use tokio::time::Instant;

use super::super::message::validate::Fault;
use super::super::overload::{Newcomer, Shed, Waiting};
use super::identity::Caller;
use super::transactions::ServerInput;
use super::*;

/// Most server transactions while requests that nobody has to prove (OPTIONS, methods we do not know) are still taken: beyond,
/// they DROP, counted, and calls and registrations go on.
const MOST_UNPROVED: usize = 20_000;

impl Core {
    /// A message that was read. `checked` is the verdict of the validation, made outside the lock.
    pub(super) fn receive(&mut self, flow: Flow, message: Message, checked: Result<(), Fault>, now: Instant) {
        if flow.is_callers() {
            self.open.insert(flow.connection());
        }
        match (message.kind(), checked) {
            (Kind::Request { .. }, _) if self.scans(flow, &message, now) => metrics::dropped("scanner"),
            (Kind::Request { method, .. }, Ok(())) => {
                metrics::request("in", method.label());
                self.request(flow, message, method, now);
            }
            (Kind::Response { status: code }, Ok(())) => {
                metrics::response("in", cseq_method(&message).label(), code);
                self.response(&message, code, now);
            }
            (_, Err(Fault::Refuse { status, why })) => {
                metrics::dropped("malformed");
                if !self.admitted(flow, now) {
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

    /// Whether a scanner sends this: it is not answered.
    fn scans(&mut self, flow: Flow, message: &Message, now: Instant) -> bool {
        let Some(agent) = message.get(HeaderName::UserAgent) else { return false };
        !self.trusted(flow) && self.gate.scans(flow.remote.ip(), &agent, now)
    }

    /// Whether a request outside every dialog of ours goes on.
    fn admitted(&mut self, flow: Flow, now: Instant) -> bool {
        let admitted = self.trusted(flow) || self.gate.admits(flow.remote.ip(), now);
        if !admitted {
            metrics::dropped("over_budget");
        }
        admitted
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
        use rsip::Method as M;
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
            metrics::retransmission("in");
            self.server_step(key, ServerInput::Repeat, now);
            return;
        }
        let Some(names) = Names::of(&message) else { return };
        let invite = method == Method::INVITE;
        let ours = if method == Method::CANCEL {
            self.server_key(&message, b"INVITE").is_some_and(|invite| self.servers.contains_key(&invite))
        } else {
            self.names.contains_key(&(names.call_id.clone(), names.to_tag.clone()))
        };
        match (method == Method::CANCEL, names.to_tag.is_empty()) {
            // Nothing of ours is meant, so nothing of it is kept (RFC 3261 §9.2, §12.2.2).
            (true, _) | (false, false) if !ours => {
                if self.admitted(flow, now) {
                    self.refuse_stateless(flow, &message, 481);
                }
                return;
            }
            (true, _) => {
                self.cancel(key, flow, message, now);
                return;
            }
            (false, false) => {
                self.serve(key, message, flow, invite, now);
                if self.extensions_ok(key, method, flow, now) {
                    self.in_dialog(key, method, &names, flow, now);
                }
                return;
            }
            (false, true) => {}
        }
        if !self.admitted(flow, now) {
            return;
        }
        // RFC 3261 §8.2: who it is comes before what it wants.
        let caller = match method {
            Method::Known(M::Options | M::Bye | M::Info | M::Update | M::PRack | M::Notify) | Method::Other => {
                if self.servers.len() >= MOST_UNPROVED {
                    metrics::dropped("table_full");
                    return;
                }
                Caller::Unproved
            }
            // ACK and CANCEL were taken above.
            Method::Known(M::Ack | M::Cancel) => return,
            Method::Known(M::Invite | M::Register | M::Message | M::Subscribe | M::Publish | M::Refer) => {
                let Some(caller) = self.identify(flow, &message, method, now) else { return };
                caller
            }
        };
        // Not before: calls that nobody proved would use up what may begin a second.
        if self.sheds(flow, &message, method, now) {
            return;
        }
        self.serve(key, message, flow, invite, now);
        if let (Caller::Proved(proved), Some(server)) = (caller, self.servers.get_mut(&key)) {
            server.proved = Some(proved);
        }
        if !self.extensions_ok(key, method, flow, now) {
            return;
        }
        match method {
            Method::Known(M::Invite) => self.invite(key, &names, flow, now),
            Method::Known(M::Options) => self.capabilities_asked(key, ALLOW_OUTSIDE, now),
            Method::Known(M::Register) => self.register_asked(key, flow, now),
            Method::Known(M::Bye | M::Info | M::Update | M::PRack | M::Notify) => self.refuse(key, 481, now),
            Method::Known(M::Refer) => self.refuse(key, 403, now),
            // RFC 6665 §4.2.1.1, RFC 3903 §6: nothing can be subscribed to, or published, here.
            Method::Known(M::Subscribe | M::Publish) => self.refuse(key, 489, now),
            Method::Known(M::Message) => self.message_asked(key, flow, now),
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

    /// Whether there is too much to do to begin this: it was answered 503.
    fn sheds(&mut self, flow: Flow, request: &Message, method: Method, now: Instant) -> bool {
        use rsip::Method as M;
        let who = match method {
            Method::Known(M::Invite) => {
                let priority = request.get(HeaderName::ResourcePriority).is_some() && self.trusted(flow);
                Newcomer::Call { priority }
            }
            Method::Known(M::Options) => Newcomer::Options,
            Method::Known(M::Register) => Newcomer::Register,
            Method::Known(
                M::Ack
                | M::Bye
                | M::Cancel
                | M::Info
                | M::Update
                | M::PRack
                | M::Notify
                | M::Message
                | M::Subscribe
                | M::Publish
                | M::Refer,
            )
            | Method::Other => return false,
        };
        let (dialogs, registers) = (&self.dialogs, &self.registers);
        let lag = self.overload.lag(now, |what| match what {
            Waiting::Invite(id) => dialogs.get(&id).is_some_and(Dialog::is_unadopted),
            Waiting::Register(serial) => registers.contains_key(&serial),
        });
        metrics::lag(lag);
        let crowded = self.dialogs.len() >= self.config.max_dialogs && matches!(who, Newcomer::Call { .. });
        let shed = self.overload.sheds(who, lag, rand::random(), now).or(crowded.then_some(Shed::Full));
        let Some(shed) = shed else { return false };
        metrics::shed(shed.word());
        let retry_after = self.retry_after();
        self.answer_stateless(flow, request, 503, |writer| {
            writer.header(HeaderName::RetryAfter, retry_after);
        });
        true
    }

    /// Retry-After of a 503: spread, so that those who were refused together do not come back together.
    pub(super) fn retry_after(&self) -> u32 {
        let least = self.config.retry_after;
        rand::random_range(least..=least.saturating_mul(2))
    }

    /// RFC 3261 §8.2.2.3: what a request requires we must know.
    fn extensions_ok(&mut self, key: ServerKey, method: Method, flow: Flow, now: Instant) -> bool {
        let supported = self.supported(self.trunk_at(flow));
        use rsip::Method as M;
        let offers = matches!(method, Method::Known(M::Invite | M::Update | M::PRack));
        let register = method == Method::Known(M::Register);
        let knows = |token: &[u8]| {
            let is = |tag: &str| tag.trim().as_bytes().eq_ignore_ascii_case(token);
            // RFC 3262 §4: provisional responses to an INVITE only. RFC 3312 §11: what an offer says needs them.
            match (is("100rel"), is(PRECONDITION)) {
                (true, _) => method == Method::INVITE && supported.contains("100rel"),
                (_, true) => offers && supported.contains("100rel"),
                (false, false) if register => registrar::EXTENSIONS.iter().copied().any(is),
                (false, false) => supported.split(',').any(is),
            }
        };
        let Some(server) = self.servers.get(&key) else { return false };
        let mut unknown: Vec<String> = Vec::new();
        for header in server.request.all(HeaderName::Require) {
            let value = server.request.value(header);
            unknown.extend(
                view::split(&value, b',')
                    .map(trim)
                    .filter(|token| !token.is_empty() && !knows(token))
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

    /// OPTIONS, inside a dialog or outside (RFC 3261 §11.2): what we can do. No body: whom it is for decides what could be offered.
    pub(super) fn capabilities_asked(&mut self, key: ServerKey, allow: &str, now: Instant) {
        self.respond(
            key,
            200,
            now,
            |writer| {
                writer
                    .header(HeaderName::Allow, allow)
                    .header(HeaderName::Accept, SDP)
                    .header(HeaderName::AcceptEncoding, "identity")
                    .header(HeaderName::AllowEvents, EVENTS)
                    .header(HeaderName::Supported, SUPPORTED);
            },
            "",
        );
    }
}

/// The method that CSeq names: a response's own.
fn cseq_method(message: &Message) -> Method {
    let cseq = message.get(HeaderName::CSeq).unwrap_or_default();
    view::cseq(&cseq).map_or(Method::Other, |(_, method)| Method::of(method))
}
