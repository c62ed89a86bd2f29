//! Transactions in the tables: begun, stepped by messages and time, their effects carried out, their users told.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::transaction::client_invite;
use super::super::transaction::client_other;
use super::super::transaction::server_invite;
use super::super::transaction::server_other;
use super::super::transaction::{Effects, Tell};
use super::failover::{Left, Trail};
use super::large::LARGEST_DATAGRAM;
use super::*;

impl Core {
    // ---- client transactions

    pub(super) fn via(&mut self, flow: Flow, branch: u64) -> String {
        let address = self.advertised(flow);
        let transport = via_transport(flow.transport);
        // RFC 5923 §6: over TLS that we open, the peer may send us its own requests by the same connection.
        let alias = if flow.transport == Transport::Tls && !flow.is_callers() { ";alias" } else { "" };
        format!("SIP/2.0/{transport} {address};branch=z9hG4bK{branch:016x};rport{alias}")
    }

    /// Begins a client transaction with a peer that has one address.
    pub(super) fn begin(&mut self, draft: Draft, flow: Flow, owner: Owner, proved: bool, now: Instant) -> ClientKey {
        self.begin_toward(draft, flow, Trail::default(), owner, proved, now)
    }

    /// Begins a client transaction with one of several targets.
    pub(super) fn begin_toward(
        &mut self,
        mut draft: Draft,
        flow: Flow,
        trail: Trail,
        owner: Owner,
        proved: bool,
        now: Instant,
    ) -> ClientKey {
        if draft.session_id.is_none() {
            draft.session_id = self.session_id_of(&draft.call_id, &super::super::dialog::tag_of(draft.from.as_bytes()));
        }
        let branch = rand::random();
        let key = ClientKey { branch, cancel: false };
        let (mut flow, mut trail) = (flow, trail);
        let (mut via, mut octets) = self.written(&mut draft, &owner, flow, branch);
        if octets.len() > LARGEST_DATAGRAM
            && let Some(way) = self.way_for_large(flow, &owner, &trail, now)
        {
            trail = trail.grown(way, flow);
            flow = way;
            (via, octets) = self.written(&mut draft, &owner, flow, branch);
        }
        if let Owner::Fork { dialog, fork } = owner {
            self.fork_sent(dialog, fork, key, flow);
        }
        if let Owner::Reinvite { dialog } = owner
            && let Some(established) = self.established_mut(dialog)
        {
            established.reinvite = Some(key);
        }
        let trail = trail.began(self.has_more(&owner), self.config.failover_after, now);
        self.begin_with(key, via, octets, draft, flow, trail, owner, proved, now);
        key
    }

    /// Via and octets of a request that goes this way; a fork's offer is made for it.
    fn written(&mut self, draft: &mut Draft, owner: &Owner, flow: Flow, branch: u64) -> (String, Bytes) {
        if let Owner::Fork { dialog, fork } = owner {
            draft.body = self.fork_offer(*dialog, *fork, flow).unwrap_or_default();
        }
        let via = self.via(flow, branch);
        let contact = draft.contact.as_deref().map(|user| self.contact(flow, user, is_sips(&draft.uri)));
        let octets = draft.write(&via, &contact.unwrap_or_default(), &self.config.user_agent);
        (via, octets)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn begin_with(
        &mut self,
        key: ClientKey,
        via: String,
        octets: Bytes,
        draft: Draft,
        flow: Flow,
        trail: Trail,
        owner: Owner,
        proved: bool,
        now: Instant,
    ) {
        metrics::request("out", Method::Known(draft.method).label());
        let timers = self.config.timers;
        let (machine, effects) = if draft.method == rsip::Method::Invite {
            let (machine, effects) = ClientInvite::start(octets, flow.reliable(), &timers, now);
            (ClientMachine::Invite(machine), effects)
        } else {
            let (machine, effects) = ClientOther::start(octets, flow.reliable(), &timers, now);
            (ClientMachine::Other(machine), effects)
        };
        let watch = metrics::Watch::start(now);
        let draft = Arc::new(draft);
        self.clients.insert(key, Client { machine, draft, via, flow, owner, proved, trail, watch });
        self.carry_out(flow, effects);
        self.arm_client(key);
    }

    pub(super) fn carry_out(&mut self, flow: Flow, effects: Effects) -> Option<Tell> {
        if let Some(octets) = effects.send {
            if effects.again {
                metrics::retransmission("out");
            }
            self.send(flow, octets);
        }
        effects.tell
    }

    pub(super) fn arm_client(&mut self, key: ClientKey) {
        let deadline = self.clients.get(&key).and_then(|client| {
            let machine = match &client.machine {
                ClientMachine::Invite(machine) => machine.deadline(),
                ClientMachine::Other(machine) => Some(machine.deadline()),
            };
            [machine, client.trail.limit()].into_iter().flatten().min()
        });
        if let Some(at) = deadline {
            self.arm(at, Due::Client(key));
        }
    }

    /// A response (or, with `None`, time) for a client transaction.
    pub(super) fn client_step(&mut self, key: ClientKey, response: Option<(&Message, u16)>, now: Instant) {
        let input = match response {
            None => ClientInput::Tick,
            Some((message, status)) => ClientInput::Response { message, status },
        };
        self.client_input(key, input, now);
    }

    pub(super) fn client_input(&mut self, key: ClientKey, input: ClientInput<'_>, now: Instant) {
        let Some(client) = self.clients.remove(&key) else { return };
        if matches!(input, ClientInput::Tick) && client.trail.limit().is_some_and(|limit| now >= limit) {
            self.limit_passed(key, client, now);
            return;
        }
        let Client { machine, draft, via, flow, owner, proved, mut trail, mut watch } = client;
        if let ClientInput::Response { status, .. } = &input {
            watch.response("out", Method::Known(draft.method).label(), *status, now);
        }
        let (reliable, timers) = (flow.reliable(), self.config.timers);
        let (machine, effects) = match machine {
            ClientMachine::Invite(machine) => {
                let input = match &input {
                    ClientInput::Tick => client_invite::Input::Tick,
                    ClientInput::TransportFailed => client_invite::Input::TransportFailed,
                    ClientInput::Response { status: 100..=199, .. } => client_invite::Input::Provisional,
                    ClientInput::Response { status: 200..=299, .. } => client_invite::Input::Success,
                    ClientInput::Response { message, .. } => {
                        let to = message.text(HeaderName::To).unwrap_or_default();
                        client_invite::Input::Failure { ack: draft.ack(&via, &to) }
                    }
                };
                let (machine, effects) = machine.step(input, reliable, &timers, now);
                (machine.map(ClientMachine::Invite), effects)
            }
            ClientMachine::Other(machine) => {
                let input = match &input {
                    ClientInput::Tick => client_other::Input::Tick,
                    ClientInput::TransportFailed => client_other::Input::TransportFailed,
                    ClientInput::Response { status: 100..=199, .. } => client_other::Input::Provisional,
                    ClientInput::Response { .. } => client_other::Input::Final,
                };
                let (machine, effects) = machine.step(input, reliable, &timers, now);
                (machine.map(ClientMachine::Other), effects)
            }
        };
        let tell = self.carry_out(flow, effects);
        // The user is told while the transaction is out of the table: it may end the dialog, or begin others.
        let (owner_kept, draft_kept) = (owner.clone(), draft.clone());
        let abandoned = matches!(owner, Owner::Abandoned { .. });
        if matches!(input, ClientInput::Response { .. }) && !abandoned {
            trail.heard();
        }
        let trail_kept = trail.clone();
        if let Some(machine) = machine {
            self.clients.insert(key, Client { machine, draft, via, flow, owner, proved, trail, watch });
            self.arm_client(key);
        }
        let (draft, owner, trail) = (draft_kept, owner_kept, trail_kept);
        match (tell, input) {
            (Some(Tell::Response), ClientInput::Response { message, status }) => {
                self.target_answered(flow, message, status, now);
                if abandoned {
                    self.abandoned_heard(key, message, status, now);
                    return;
                }
                if trail.moved() && (200..300).contains(&status) {
                    self.dialog_moved(&owner, flow);
                }
                if status == 503 && self.fail_over(&draft, &owner, flow, trail.clone(), Left::Refused, now) {
                    return;
                }
                let challenged = matches!(status, 401 | 407) && !proved;
                if !(challenged && self.prove(&draft, &owner, flow, trail, message, status, now)) {
                    self.heard(owner, &draft, Some(flow), status, Some(message), now);
                }
            }
            (Some(tell @ (Tell::TimedOut | Tell::Unreachable)), _) => {
                let (status, why) = if tell == Tell::TimedOut { (408, Left::Silent) } else { (503, Left::Unreachable) };
                self.target_failed(flow, now);
                if !self.fail_over(&draft, &owner, flow, trail, why, now) {
                    self.heard(owner, &draft, Some(flow), status, None, now);
                }
            }
            (Some(Tell::Response | Tell::NoAck) | None, _) => {}
        }
    }

    /// A request inside a dialog got through by another way: that is the dialog's from here on.
    fn dialog_moved(&mut self, owner: &Owner, flow: Flow) {
        let (Owner::Reinvite { dialog } | Owner::Info { dialog } | Owner::Refresh { dialog }) = *owner else { return };
        if let Some(record) = self.established_record(dialog) {
            record.flow = flow;
        }
    }

    /// A stream to this peer cannot be opened, or closed: what waits for an answer by it fails, and what is answered from now on
    /// is answered by a connection that we open (RFC 3261 §18.2.2), where the peer can be called. No dialog ends of it.
    pub(super) fn unreachable(&mut self, flow: Flow, now: Instant) {
        let flow = flow.connection();
        self.open.remove(&flow);
        let lost: Vec<ClientKey> =
            self.clients.iter().filter(|(_, client)| client.flow.connection() == flow).map(|(key, _)| *key).collect();
        let failed = !lost.is_empty();
        for key in lost {
            self.client_input(key, ClientInput::TransportFailed, now);
        }
        if flow.is_callers() && (self.bound.remove(&flow) || failed) {
            self.connection_gone(flow);
        }
        if !flow.is_callers() || flow.transport.is_websocket() {
            return;
        }
        let again = self.reopened(flow);
        for server in self.servers.values_mut().filter(|server| server.reply.connection() == flow) {
            let port = top_via_port(&server.request, flow.transport);
            server.reply = Flow { remote: SocketAddr::new(flow.remote.ip(), port), ..again };
        }
    }

    /// The trunk that a request goes to.
    pub(super) fn trunk_of(&self, owner: &Owner) -> Option<usize> {
        match owner {
            Owner::Fork { dialog, fork } | Owner::Prack { dialog, fork, .. } => self.fork_trunk(*dialog, *fork),
            Owner::Reinvite { dialog } | Owner::Info { dialog } | Owner::Refresh { dialog } => {
                self.dialog_trunk(*dialog)
            }
            Owner::Bye { trunk } | Owner::Abandoned { trunk, .. } => *trunk,
            Owner::Notify { refer } => self.notify_trunk(*refer),
            Owner::Register { trunk, .. } | Owner::Options { trunk, .. } => Some(*trunk),
            Owner::KeepAlive { .. } | Owner::Message { .. } | Owner::Probe | Owner::Nobody => None,
        }
    }

    /// Tells the owner of a request what became of it: a response, or (without one) 408 or 503 of our own.
    pub(super) fn heard(
        &mut self,
        owner: Owner,
        draft: &Draft,
        flow: Option<Flow>,
        status: u16,
        response: Option<&Message>,
        now: Instant,
    ) {
        match owner {
            Owner::Fork { dialog, fork } => self.fork_heard(dialog, fork, draft, flow, status, response, now),
            Owner::Reinvite { dialog } => self.reinvite_heard(dialog, draft, status, response, now),
            Owner::Info { dialog } => self.info_heard(dialog, status, now),
            Owner::Refresh { dialog } => self.refresh_heard(dialog, status, response, now),
            Owner::Notify { refer } => self.notify_heard(refer, status, now),
            // A PRACK that is not understood: the peer repeats its response, and gives its INVITE up.
            Owner::Prack { .. } | Owner::Bye { .. } | Owner::Probe | Owner::Abandoned { .. } | Owner::Nobody => {}
            Owner::Register { trunk, epoch, expires } => {
                self.register_heard(trunk, epoch, expires, draft, flow, status, response, now);
            }
            Owner::KeepAlive { id } => self.keep_alive_heard(id, status, response),
            Owner::Message { id } => self.message_heard(id, status, response, now),
            Owner::Options { trunk, number, began } => self.options_heard(trunk, number, began, status, now),
        }
    }

    // ---- server transactions

    /// The key of a request's transaction; `method` is INVITE for the ACK and the CANCEL that look for theirs.
    pub(super) fn server_key(&self, request: &Message, method: &[u8]) -> Option<ServerKey> {
        let via = request.get(HeaderName::Via)?;
        let via = Via::parse(trim(view::split(&via, b',').next()?))?;
        let mut parts: Vec<Vec<u8>> =
            vec![via.host.to_ascii_lowercase(), via.port.unwrap_or(0).to_string().into_bytes()];
        match via.transaction() {
            Some(branch) => parts.push(branch.to_vec()),
            None => {
                // RFC 2543: what such a peer keeps the same in a request, its ACK and its CANCEL.
                let names = Names::of(request)?;
                parts.extend([names.call_id.into_bytes(), names.from_tag.into_bytes()]);
                parts.extend([names.cseq.to_string().into_bytes(), via.branch().unwrap_or_default().to_vec()]);
            }
        }
        parts.push(method.to_vec());
        Some(ServerKey(self.hashers.0.hash_one(&parts), self.hashers.1.hash_one(&parts)))
    }

    /// Where responses to a request go (RFC 3261 §18.2.2, RFC 3581 §4): by the connection it came by; over UDP to the source
    /// if it asked by `rport`, else to the source's address and the port of sent-by.
    pub(super) fn reply_flow(request: &Message, flow: Flow) -> Flow {
        if flow.reliable() {
            return flow;
        }
        let via = request.get(HeaderName::Via);
        let top = via.as_deref().and_then(|via| view::split(via, b',').next());
        match top.and_then(|top| Via::parse(trim(top))) {
            Some(via) if via.parameter("rport").is_none() => {
                Flow { remote: SocketAddr::new(flow.remote.ip(), via.port.unwrap_or(5060)), ..flow }
            }
            Some(_) | None => flow,
        }
    }

    /// Opens a server transaction.
    pub(super) fn serve(&mut self, key: ServerKey, request: Message, flow: Flow, invite: bool, now: Instant) {
        let machine = if invite {
            ServerMachine::Invite(ServerInvite::start())
        } else {
            ServerMachine::Other(ServerOther::Trying)
        };
        let server = Server {
            machine,
            reply: Self::reply_flow(&request, flow),
            request,
            flow,
            to_tag: new_tag(),
            proved: None,
            dialog: None,
            merged: None,
            watch: metrics::Watch::start(now),
        };
        self.servers.insert(key, server);
    }

    /// Answers a request; gives the octets sent, for the repetition of a 2xx.
    pub(super) fn respond(
        &mut self,
        key: ServerKey,
        status: u16,
        now: Instant,
        fill: impl FnOnce(&mut Writer),
        body: &str,
    ) -> Option<Bytes> {
        let server = self.servers.get_mut(&key)?;
        let method = match server.request.kind() {
            Kind::Request { method, .. } => method.label(),
            Kind::Response { .. } => Method::Other.label(),
        };
        server.watch.response("in", method, status, now);
        let mut writer = response_to(&server.request, status, &server.to_tag, server.flow.remote);
        if status != 100 {
            writer.header(HeaderName::Server, &self.config.user_agent);
            if let Some(dialog) = server.dialog.and_then(|id| self.dialogs.get(&id)) {
                writer.header(HeaderName::SessionId, dialog.session_id.value());
            }
        }
        fill(&mut writer);
        let octets = writer.finish(SDP, body.as_bytes());
        metrics::response("out", method, status);
        self.server_step(key, ServerInput::Respond { status, response: octets.clone() }, now);
        Some(octets)
    }

    /// A final response with nothing but the headers that its status asks for.
    pub(super) fn refuse(&mut self, key: ServerKey, status: u16, now: Instant) {
        let retry_after = self.retry_after();
        self.respond(
            key,
            status,
            now,
            |writer| match status {
                503 => {
                    writer.header(HeaderName::RetryAfter, retry_after);
                }
                // RFC 3261 §14.2: a random value between 0 and 10 seconds.
                500 => {
                    writer.header(HeaderName::RetryAfter, rand::random_range(0..=10));
                }
                405 => {
                    writer.header(HeaderName::Allow, ALLOW);
                }
                415 => {
                    writer.header(HeaderName::Accept, SDP).header(HeaderName::AcceptEncoding, "identity");
                }
                489 => {
                    writer.header(HeaderName::AllowEvents, EVENTS);
                }
                _ => {}
            },
            "",
        );
    }

    pub(super) fn server_tick(&mut self, key: ServerKey, now: Instant) {
        self.server_step(key, ServerInput::Tick, now);
    }

    pub(super) fn server_step(&mut self, key: ServerKey, input: ServerInput, now: Instant) {
        let Some(mut server) = self.servers.remove(&key) else { return };
        let (reliable, timers) = (server.reply.reliable(), self.config.timers);
        let (machine, effects, deadline) = match server.machine {
            ServerMachine::Invite(machine) => {
                let input = match input {
                    ServerInput::Repeat => server_invite::Input::Repeat,
                    ServerInput::Ack => server_invite::Input::Ack,
                    ServerInput::Respond { status, response } => server_invite::Input::Respond { status, response },
                    ServerInput::Tick => server_invite::Input::Tick,
                };
                let (machine, effects) = machine.step(input, reliable, &timers, now);
                let deadline = machine.as_ref().and_then(ServerInvite::deadline);
                (machine.map(ServerMachine::Invite), effects, deadline)
            }
            ServerMachine::Other(machine) => {
                let input = match input {
                    ServerInput::Repeat | ServerInput::Ack => server_other::Input::Repeat,
                    ServerInput::Respond { response, .. } => server_other::Input::Respond { response },
                    ServerInput::Tick => server_other::Input::Tick,
                };
                let (machine, effects) = machine.step(input, reliable, &timers, now);
                let deadline = machine.as_ref().and_then(ServerOther::deadline);
                (machine.map(ServerMachine::Other), effects, deadline)
            }
        };
        let tell = self.carry_out(server.reply, effects);
        if tell == Some(Tell::NoAck) {
            metrics::dropped("no_ack_to_failure");
        }
        match machine {
            Some(machine) => {
                server.machine = machine;
                self.servers.insert(key, server);
                if let Some(at) = deadline {
                    self.arm(at, Due::Server(key));
                }
            }
            None => {
                if let Some(merged) = server.merged {
                    self.merged.remove(&merged);
                }
            }
        }
    }
}

/// The port of a request's sent-by.
fn top_via_port(request: &Message, transport: Transport) -> u16 {
    let port = (|| {
        let via = request.get(HeaderName::Via)?;
        Via::parse(trim(view::split(&via, b',').next()?))?.port
    })();
    port.unwrap_or(transport.default_port())
}

/// What happens to a client transaction.
pub(super) enum ClientInput<'a> {
    Response { message: &'a Message, status: u16 },
    TransportFailed,
    Tick,
}

/// What happens to a server transaction.
pub(super) enum ServerInput {
    Repeat,
    Ack,
    Respond { status: u16, response: Bytes },
    Tick,
}
