//! Keeper of the Clients: maps sockets to connections, delivers what sockets say, kicks, and tells changes of presence.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use ractor::ActorProcessingErr;

use super::inputs::Again;
use super::presence;
use super::protocol::{ErrorCode, Reply};
use super::{CLOSE_DRAINING, CLOSE_RATE_LIMITED, Client, ClientCheckpoint, ClientMsg, Socket, refuse, reply_frame};
use crate::ctx::Ctx;
use crate::directory::{Directory, Single};
use crate::model::ids::{ClientId, UserId};
use crate::ports::client::ClientInput;
use crate::supervision::{Fate, Heard, Intensity, Keeper, Kind, Policy, Restart, Supervise};

/// Logins of one user in a second; more are refused.
const LOGINS_PER_SECOND: usize = 2;

/// What only the ClientSupervisor hears.
#[derive(Debug)]
pub enum ClientSupervisorMsg {
    /// A socket says something.
    Input(ClientInput),
    /// A connection wants to hear, or no longer hear, of users' presence.
    Watch {
        /// Who wants it.
        client: ClientId,
        /// Of whom.
        users: Vec<UserId>,
        /// Hear, or no longer.
        on: bool,
    },
    /// A user's presence may have changed.
    Presence(UserId),
    /// The switch drains: every Client leaves as soon as no call is up.
    Drain,
}

/// One for one, transient, 5/60 s over all Clients. Last act: fails to Root, which restarts the subsystem; sockets, calls and
/// numbered events are not in it and go on. What a socket said and its Client had not taken is said again to the Client's next
/// incarnation; after the second crash it is answered `internal`.
///
/// Every index is rebuilt from the ledger, and from what is held for the Clients.
#[derive(Default)]
pub struct ClientSupervisor {
    /// Which connection a socket carries.
    sockets: HashMap<ClientId, ClientId>,
    watchers: HashMap<UserId, HashSet<ClientId>>,
    logins: HashMap<UserId, VecDeque<std::time::Instant>>,
}

impl Supervise for ClientSupervisor {
    const KIND: Kind = Kind::ClientSupervisor;
    const POLICY: Policy = Policy {
        restart: Restart::Transient,
        intensity: Intensity::of(5, Duration::from_secs(60)),
        ..Policy::SUBSYSTEM
    };
    type Key = ClientId;
    type Msg = ClientSupervisorMsg;

    fn kind(_: &ClientId) -> Kind {
        Kind::Client
    }

    fn desk(directory: &Directory) -> Option<&Single<Heard<Self>>> {
        Some(&directory.client_supervisor)
    }

    fn keys(ctx: &Ctx) -> Vec<ClientId> {
        ctx.ledger.clients.keys()
    }

    fn lives(ctx: &Ctx, id: &ClientId) -> bool {
        ctx.ledger.clients.contains(id)
    }

    fn prepare(keeper: &mut Keeper<Self>) {
        let ctx = &keeper.ctx;
        ctx.inputs.keep(|id| ctx.ledger.clients.contains(id));
        for (id, _, row) in keeper.ctx.ledger.clients.rows() {
            let current = match row.socket {
                Socket::Open(socket) => Some(socket),
                Socket::Lost(_) => None,
            };
            if let Some(socket) = keeper.ctx.inputs.resuming(id, row.handled).last().copied().or(current) {
                keeper.own.sockets.insert(socket, id);
            }
            keeper.watch(id, &row.watched.into_keys().collect::<Vec<_>>(), true);
        }
        keeper.count();
    }

    async fn spawn(keeper: &mut Keeper<Self>, id: ClientId) -> Result<(), Fate<ClientId>> {
        keeper.child(id, Client, (keeper.ctx.clone(), id)).await?;
        keeper.say_again(id);
        Ok(())
    }

    async fn hear(keeper: &mut Keeper<Self>, msg: ClientSupervisorMsg) -> Result<(), ActorProcessingErr> {
        match msg {
            ClientSupervisorMsg::Input(input) => keeper.input(input).await?,
            ClientSupervisorMsg::Watch { client, users, on } => keeper.watch(client, &users, on),
            ClientSupervisorMsg::Presence(user) => keeper.tell_presence(&user),
            ClientSupervisorMsg::Drain => {
                for client in keeper.ctx.ledger.clients.keys() {
                    keeper.post(client, ClientMsg::Drain);
                }
            }
        }
        Ok(())
    }

    fn ended(keeper: &mut Keeper<Self>, id: ClientId) {
        keeper.ctx.inputs.forget(id);
        keeper.own.sockets.retain(|_, carried| *carried != id);
        keeper.own.watchers.retain(|_, watchers| {
            watchers.remove(&id);
            !watchers.is_empty()
        });
        keeper.count();
    }
}

impl Keeper<ClientSupervisor> {
    async fn input(&mut self, input: ClientInput) -> Result<(), ActorProcessingErr> {
        match input {
            ClientInput::Connected { client, user, device, resume, request } => {
                if let Some((earlier, seq)) = resume
                    && self.can_resume(earlier, &user, seq)
                {
                    if let Some(Socket::Open(old)) = self.ctx.ledger.clients.read(&earlier, |row| row.socket) {
                        self.own.sockets.remove(&old);
                    }
                    self.own.sockets.insert(client, earlier);
                    self.hand(earlier, ClientInput::Connected { client, user, device, resume, request });
                    return Ok(());
                }
                self.log_in(client, user, device, request).await
            }
            ClientInput::Request { client, request, body } => {
                match self.own.sockets.get(&client).copied() {
                    Some(id) => self.hand(id, ClientInput::Request { client, request, body }),
                    None => {
                        let reply = refuse(ErrorCode::Unauthorized, "log in first");
                        self.answer(client, request, reply);
                    }
                }
                Ok(())
            }
            ClientInput::Alive(socket) => {
                if let Some(id) = self.own.sockets.get(&socket) {
                    self.ctx.directory.clients.cast(id, ClientMsg::Alive);
                }
                Ok(())
            }
            ClientInput::Lost(socket) => {
                if let Some(id) = self.own.sockets.remove(&socket) {
                    self.hand(id, ClientInput::Lost(socket));
                }
                Ok(())
            }
        }
    }

    fn can_resume(&self, earlier: ClientId, user: &UserId, seq: u64) -> bool {
        let outcome =
            self.ctx.ledger.clients.read(&earlier, |row| match (&row.user == user, row.log.can_resume(seq)) {
                (true, true) => "resumed",
                (true, false) => "overflow",
                (false, _) => "unknown",
            });
        let outcome = outcome.unwrap_or("unknown");
        metrics::counter!("tandem_client_resumes_total", "outcome" => outcome).increment(1);
        outcome == "resumed"
    }

    async fn log_in(
        &mut self,
        socket: ClientId,
        user: UserId,
        device: String,
        request: String,
    ) -> Result<(), ActorProcessingErr> {
        if self.ctx.draining() {
            self.answer(socket, request, refuse(ErrorCode::Unavailable, "the switch is about to stop"));
            self.ctx.ports.client.close(socket, CLOSE_DRAINING, "the switch stops");
            return Ok(());
        }
        if !self.may_log_in(&user) {
            metrics::counter!("tandem_client_logins_total", "outcome" => "rate_limited").increment(1);
            self.answer(socket, request, refuse(ErrorCode::RateLimited, "more than 2 logins in a second"));
            self.ctx.ports.client.close(socket, CLOSE_RATE_LIMITED, "too many logins");
            return Ok(());
        }
        let row = ClientCheckpoint::new(user.clone(), device, socket, self.ctx.wall());
        if !self.ctx.ledger.clients.insert(socket, row) {
            // A socket that says it connected twice.
            return Ok(());
        }
        metrics::counter!("tandem_client_logins_total", "outcome" => "ok").increment(1);
        self.own.sockets.insert(socket, socket);
        self.answer(
            socket,
            request,
            Reply::Welcome {
                client: socket,
                user: user.clone(),
                resumed: false,
                resume_window_s: self.ctx.settings.limits.resume_window.as_secs(),
            },
        );
        // The new one is there before the old one goes: the user is never offline in between.
        self.spawn(socket).await?;
        self.kick_others(&user, socket);
        self.count();
        Ok(())
    }

    fn may_log_in(&mut self, user: &UserId) -> bool {
        let now = self.ctx.now();
        let is_recent = |at: &std::time::Instant| now.saturating_duration_since(*at) < Duration::from_secs(1);
        self.own.logins.retain(|_, logins| logins.iter().any(is_recent));
        let logins = self.own.logins.entry(user.clone()).or_default();
        logins.retain(is_recent);
        if logins.len() >= LOGINS_PER_SECOND {
            return false;
        }
        logins.push_back(now);
        true
    }

    /// One login more than a user may have kicks the oldest.
    fn kick_others(&self, user: &UserId, newest: ClientId) {
        let mut others: Vec<_> = self.ctx.directory.users.clients(user);
        others.retain(|client| *client != newest);
        others.sort_by_key(|client| self.ctx.ledger.clients.read(client, |row| row.since));
        let allowed = self.ctx.settings.limits.devices_per_user.max(1) as usize;
        let too_many = (others.len() + 1).saturating_sub(allowed);
        for client in others.into_iter().take(too_many) {
            self.post(client, ClientMsg::Kick);
        }
    }

    /// Numbers an input, keeps it until it has taken effect, and passes it on.
    fn hand(&self, id: ClientId, input: ClientInput) {
        let now = self.ctx.now();
        match self.ctx.inputs.hold(id, self.handled(id), input.clone(), now) {
            Some(number) => {
                self.ctx.directory.clients.cast(&id, ClientMsg::Input { number, input });
            }
            None => {
                metrics::counter!("tandem_client_inputs_dropped_total").increment(1);
                if let ClientInput::Request { client, request, .. } = input {
                    self.answer(client, request, refuse(ErrorCode::RateLimited, "too many requests at once"));
                }
            }
        }
    }

    /// A new incarnation hears what the old one may not have taken.
    fn say_again(&self, id: ClientId) {
        let Again { inputs, given_up } = self.ctx.inputs.again(id, self.handled(id), self.ctx.now());
        for (number, input) in inputs {
            self.ctx.directory.clients.cast(&id, ClientMsg::Input { number, input });
        }
        if let Some(input) = given_up {
            tracing::error!(client = %id, "a Client crashed over the same input twice");
            metrics::counter!("tandem_client_inputs_given_up_total").increment(1);
            if let ClientInput::Request { client, request, .. } = input {
                let sorry = refuse(ErrorCode::Internal, "something of ours failed; this was not done");
                self.answer(client, request, sorry);
            }
        }
    }

    /// The last input that took effect.
    fn handled(&self, id: ClientId) -> u64 {
        self.ctx.ledger.clients.read(&id, |row| row.handled).unwrap_or(u64::MAX)
    }

    fn post(&self, id: ClientId, msg: ClientMsg) {
        // One that is gone has nothing to hear.
        let _ = self.ctx.directory.clients.post(&id, msg);
    }

    fn answer(&self, socket: ClientId, request: String, reply: Reply) {
        if let Err(error) = self.ctx.ports.client.deliver(socket, reply_frame(request, reply)) {
            tracing::debug!(client = %socket, %error, "a reply was not delivered");
        }
    }

    fn watch(&mut self, client: ClientId, users: &[UserId], on: bool) {
        for user in users {
            if on {
                self.own.watchers.entry(user.clone()).or_default().insert(client);
                // It may have changed since the request was answered, or while nobody listened.
                self.tell_presence(user);
            } else if let Some(watchers) = self.own.watchers.get_mut(user) {
                watchers.remove(&client);
                if watchers.is_empty() {
                    self.own.watchers.remove(user);
                }
            }
        }
    }

    /// A Client knows what it has told its app, and tells what is new.
    fn tell_presence(&self, user: &UserId) {
        let Some(watchers) = self.own.watchers.get(user) else { return };
        let presence = presence::of(&self.ctx, user);
        for client in watchers {
            self.post(*client, ClientMsg::Presence { user: user.clone(), presence });
        }
    }

    fn count(&self) {
        let clients = u32::try_from(self.ctx.ledger.clients.len()).unwrap_or(u32::MAX);
        metrics::gauge!("tandem_clients").set(clients);
    }
}
