//! Towards trunks: REGISTER and OPTIONS of ours (RFC 3261 §10.2, §11.1). When to send them is the Trunk actor's.

use tandem_actors::model::address::MaxForwards;
use tandem_actors::ports::sip::SipEvent;
use tokio::time::Instant;

use super::super::config::{HOST_WEIGHT, TrunkConfig};
use super::super::dialog::path;
use super::super::message::uri::escape_user;
use super::super::message::view::NameAddr;
use super::super::resolve::{Place, weights};
use super::dispatch::Places;
use super::health::Standing;
use super::*;

/// One trunk and what its registration is made of: Call-ID and CSeq go on for the life of the process
/// (RFC 3261 §10.2.4).
#[derive(Debug)]
pub(super) struct TrunkState {
    at: usize,
    pub config: TrunkConfig,
    /// Every target as last known, in an order that stays: they are sources of its calls as well.
    pub targets: Vec<Flow>,
    survey: Option<Survey>,
    call_id: String,
    cseq: u32,
    tag: String,
}

/// A question to every target whether it lives.
#[derive(Debug)]
struct Survey {
    epoch: Epoch,
    /// Names the answers that belong to it.
    number: u64,
    /// Answers that are awaited; `None` while names are looked up.
    left: Option<usize>,
    /// The quickest answer, or the last failure.
    outcome: Result<Duration, u16>,
}

impl TrunkState {
    pub fn new(at: usize, config: TrunkConfig) -> Self {
        Self { at, config, targets: Vec::new(), survey: None, call_id: new_call_id(), cseq: 0, tag: new_tag() }
    }
    pub fn next_cseq(&mut self) -> u32 {
        self.cseq += 1;
        self.cseq
    }
    /// The host of its URIs.
    pub fn domain(&self) -> &str {
        self.config.domain.as_deref().unwrap_or(&self.config.host)
    }
    /// Where its requests go.
    pub fn places(&self) -> Places {
        let TrunkConfig { host, port, transport, listener, others, outbound_proxy, .. } = &self.config;
        let place = |host: &str, port| Place { host: host.to_owned(), port, transport: *transport, secure: false };
        let of = match outbound_proxy.as_deref().and_then(Place::of_uri) {
            Some(proxy) => vec![(Place { transport: proxy.transport.or(*transport), ..proxy }, 0, 0)],
            None => {
                // None: its lines register with us.
                let own = (!host.is_empty()).then(|| (place(host, *port), 0, HOST_WEIGHT));
                let others = others.iter().map(|one| (place(&one.host, one.port), one.priority, one.weight));
                own.into_iter().chain(others).collect()
            }
        };
        Places { of, party: Party::Trunk(self.at), listener: listener.clone() }
    }
    /// Request-URI and Route values of a request to a URI of its: by its outbound proxy, where it has one (RFC 3261 §8.1.1.1).
    pub fn through(&self, uri: &str) -> (String, Vec<String>) {
        let proxy: Vec<String> = self.config.outbound_proxy.iter().map(|proxy| format!("<{proxy}>")).collect();
        path(uri, &proxy)
    }
    pub fn hop(&self) -> NextHop {
        NextHop::Places(self.places())
    }
    /// Its Request-URI for a number (empty: for itself).
    pub fn uri(&self, number: &str) -> String {
        let port = self.config.port.map(|port| format!(":{port}")).unwrap_or_default();
        let transport = self.config.transport.map_or("", transport_parameter);
        let at = if number.is_empty() { "" } else { "@" };
        format!("sip:{}{at}{}{port}{transport}", escape_user(number), self.domain())
    }
}

/// How often trunks are looked after: names that are about to run out, targets that may be back.
pub(super) const LOOK: Duration = Duration::from_secs(5);

impl Core {
    /// Asks for the names of every trunk before they run out, though nothing may ever be sent to it: its addresses say whose
    /// calls those from there are, and no call should wait for them. Asks targets that failed whether they are back.
    pub(super) fn look_after_trunks(&mut self, now: Instant) {
        for at in 0..self.trunks.len() {
            let Some(state) = self.trunks.get(at) else { continue };
            let (asks, targets) = (state.config.asks, state.targets.clone());
            if let Err(missing) = self.flows_of(&state.places(), &mut weights::fixed, now + LOOK) {
                self.ask(&missing);
            }
            let limit = self.config.failover_after;
            for flow in targets.into_iter().filter(|_| asks) {
                // Until the answer, or the next look after it should have come.
                if self.targets.due(flow.peer(), limit + LOOK, now)
                    && let Some(draft) = self.options_draft(at)
                {
                    self.begin_toward(draft, flow, Trail::until(flow, now + limit), Owner::Probe, false, now);
                }
            }
        }
        self.show_targets(now);
        self.arm(now + LOOK, Due::Trunks);
    }

    /// A trunk's names may be known now, or known anew. One that has no address any more keeps its last: they say who calls.
    ///
    /// # Errors
    /// What has to be asked first.
    pub(super) fn trunk_targets_known(&mut self, at: usize, now: Instant) -> Result<(), Vec<Question>> {
        let Some(state) = self.trunks.get(at) else { return Ok(()) };
        let flows = self.flows_of(&state.places(), &mut weights::fixed, now)?;
        let Some(state) = self.trunks.get_mut(at) else { return Ok(()) };
        if !flows.is_empty() {
            state.targets.clone_from(&flows);
        }
        if state.survey.as_ref().is_some_and(|survey| survey.left.is_none()) {
            self.survey(at, flows, now);
        }
        Ok(())
    }

    /// Shows how every trunk's targets stand.
    pub(super) fn show_targets(&self, now: Instant) {
        for state in &self.trunks {
            for (place, flow) in state.targets.iter().enumerate() {
                let up = self.targets.standing(flow.peer(), now) == Standing::Up;
                metrics::target_up(&state.config.id, place, up);
            }
        }
    }

    /// Sends REGISTER.
    pub(super) fn register_trunk(&mut self, trunk: usize, epoch: Epoch, expires: u32, now: Instant) {
        let Some(state) = self.trunks.get_mut(trunk) else { return };
        let cseq = state.next_cseq();
        let user = escape_user(&state.config.username);
        let aor = format!("<sip:{user}@{}>", state.domain());
        let (uri, routes) = state.through(&state.uri(""));
        let draft = Draft {
            method: rsip::Method::Register,
            uri,
            routes,
            from: format!("{aor};tag={}", state.tag),
            to: aor,
            call_id: state.call_id.clone(),
            cseq,
            max_forwards: MaxForwards::default(),
            contact: Some(user),
            headers: vec![(HeaderName::Expires, expires.to_string())],
            passed: Vec::new(),
            session_id: None,
            content_type: "",
            body: String::new(),
        };
        let hop = state.hop();
        self.dispatch(draft, hop, Owner::Register { trunk, epoch, expires }, now);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn register_heard(
        &mut self,
        trunk: usize,
        epoch: Epoch,
        expires: u32,
        draft: &Draft,
        flow: Option<Flow>,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) {
        let outcome = match status {
            100..=199 => return,
            200..=299 => {
                let user = draft.contact.as_deref().unwrap_or_default();
                Ok(granted(response, user).unwrap_or(expires))
            }
            423 => {
                let least = response.and_then(|response| response.get(HeaderName::MinExpires));
                let least = least.and_then(|value| view::seconds(&value)).filter(|least| *least > expires);
                // Asked once more with what it wants; a registrar that raises it again is refused by the bound.
                match least.filter(|least| *least <= 86_400) {
                    Some(least) => {
                        self.register_trunk(trunk, epoch, least, now);
                        return;
                    }
                    None => Err(423),
                }
            }
            other => Err(other),
        };
        let Some(state) = self.trunks.get(trunk) else { return };
        let id = state.config.id.clone();
        if let Err(status) = &outcome {
            tracing::warn!(trunk = %id, status, reached = flow.is_some(), "a trunk refused our registration");
        }
        let outcome = outcome.map(|seconds| Duration::from_secs(u64::from(seconds)));
        self.event(SipEvent::TrunkRegistration { trunk: id, epoch, outcome });
    }

    /// Asks every target of a trunk whether it lives.
    pub(super) fn ask_trunk(&mut self, trunk: usize, epoch: Epoch, now: Instant) {
        let number = self.next_serial();
        let Some(state) = self.trunks.get_mut(trunk) else { return };
        state.survey = Some(Survey { epoch, number, left: None, outcome: Err(503) });
        let places = state.places();
        match self.flows_of(&places, &mut weights::fixed, now) {
            Ok(flows) => self.survey(trunk, flows, now),
            Err(missing) => self.ask(&missing),
        }
    }

    fn survey(&mut self, trunk: usize, flows: Vec<Flow>, now: Instant) {
        let Some(survey) = self.trunks.get_mut(trunk).and_then(|state| state.survey.as_mut()) else { return };
        survey.left = Some(flows.len());
        let number = survey.number;
        if flows.is_empty() {
            // No address at all.
            self.survey_over(trunk);
            return;
        }
        // One of several is not waited for longer than a call would.
        let limit = (flows.len() > 1).then(|| now + self.config.failover_after);
        for flow in flows {
            let Some(draft) = self.options_draft(trunk) else { return };
            let trail = limit.map_or_else(Trail::default, |limit| Trail::until(flow, limit));
            self.begin_toward(draft, flow, trail, Owner::Options { trunk, number, began: now }, false, now);
        }
    }

    fn options_draft(&self, trunk: usize) -> Option<Draft> {
        let state = self.trunks.get(trunk)?;
        let user = escape_user(&state.config.username);
        let at = if user.is_empty() { "" } else { "@" };
        let target = state.uri("");
        let (uri, routes) = state.through(&target);
        Some(Draft {
            method: rsip::Method::Options,
            to: format!("<{target}>"),
            uri,
            routes,
            from: format!("<sip:{user}{at}{}>;tag={}", self.config.domain, new_tag()),
            call_id: new_call_id(),
            cseq: 1,
            max_forwards: MaxForwards::default(),
            contact: Some(user),
            headers: vec![(HeaderName::Accept, SDP.into())],
            passed: Vec::new(),
            session_id: None,
            content_type: "",
            body: String::new(),
        })
    }

    pub(super) fn options_heard(&mut self, trunk: usize, number: u64, began: Instant, status: u16, now: Instant) {
        let outcome = match status {
            100..=199 => return,
            // Our own 408 (nobody answered) is the exception to "below 500 is alive".
            408 => Err(408),
            200..=499 | 501 => Ok(now - began),
            other => Err(other),
        };
        let survey = self.trunks.get_mut(trunk).and_then(|state| state.survey.as_mut());
        let Some(survey) = survey.filter(|survey| survey.number == number) else { return };
        survey.outcome = match (survey.outcome, outcome) {
            (Ok(quickest), Ok(other)) => Ok(quickest.min(other)),
            (Ok(quickest), Err(_)) => Ok(quickest),
            (Err(_), outcome) => outcome,
        };
        survey.left = survey.left.map(|left| left.saturating_sub(1));
        if survey.left == Some(0) {
            self.survey_over(trunk);
        }
    }

    /// A trunk lives while one of its targets does.
    fn survey_over(&mut self, trunk: usize) {
        let Some(state) = self.trunks.get_mut(trunk) else { return };
        let (id, Some(Survey { epoch, outcome, .. })) = (state.config.id.clone(), state.survey.take()) else { return };
        self.event(SipEvent::TrunkOptions { trunk: id, epoch, outcome });
    }
}

/// The lifetime a 200 grants our binding: the contact with our user part, else the Expires header.
fn granted(response: Option<&Message>, user: &str) -> Option<u32> {
    let response = response?;
    let ours = response.all(HeaderName::Contact).find_map(|header| {
        let value = response.value(header);
        view::split(&value, b',').find_map(|item| {
            let contact = NameAddr::parse(trim(item))?;
            let mine = contact.uri.user.unwrap_or_default() == user.as_bytes();
            contact.parameter("expires").filter(|_| mine).and_then(view::seconds)
        })
    });
    ours.or_else(|| response.get(HeaderName::Expires).and_then(|value| view::seconds(&value)))
}
