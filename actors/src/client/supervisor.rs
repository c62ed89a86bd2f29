//! Keeper of the Clients: maps sockets to connections, delivers what sockets say, kicks, and tells changes of presence.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use ractor::{ActorProcessingErr, ActorRef};

use super::presence::{self, Presence};
use super::protocol::{ErrorCode, Event, PresenceOf, Reply};
use super::{
    CLOSE_DRAINING, CLOSE_RATE_LIMITED, Client, ClientCheckpoint, ClientMsg, Socket, order_call, refuse, reply_frame,
};
use crate::call::ClientAction;
use crate::ctx::Ctx;
use crate::directory::Directory;
use crate::model::ids::{CallId, ClientId, UserId};
use crate::ports::Deliveries;
use crate::ports::client::ClientInput;
use crate::supervision::{Fate, Heard, Intensity, Keeper, Kind, Policy, Restart, Supervise};

/// Logins of one user in a second; more are refused.
const LOGINS_PER_SECOND: usize = 2;
/// What a socket said and its Client has not taken, to the Client; overflow: DROPS the socket's new ones, answered and counted.
const HELD_INPUTS: usize = 256;

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
    /// An order to a call that was not there when it was given.
    CallAction {
        /// By whom.
        client: ClientId,
        /// To which call.
        call: CallId,
        /// What.
        action: ClientAction,
        /// How often to try again.
        retries: u8,
    },
    /// The switch drains: every Client leaves as soon as no call is up.
    Drain,
}

/// One for one, transient, 5/60 s over all Clients. Last act: fails to Root, which restarts the subsystem; sockets, calls and
/// numbered events are not in it and go on. What a socket said and its Client had not taken is said again to the Client's next
/// incarnation; after the second crash it is answered `internal`.
///
/// Every index is rebuilt from the ledger.
#[derive(Default)]
pub struct ClientSupervisor {
    /// Which connection a socket carries.
    sockets: HashMap<ClientId, ClientId>,
    inputs: HashMap<ClientId, Inputs>,
    watchers: HashMap<UserId, HashSet<ClientId>>,
    /// What the watchers of a user were told last.
    told: HashMap<UserId, Presence>,
    logins: HashMap<UserId, VecDeque<std::time::Instant>>,
}

/// What a socket said and its Client has not taken.
#[derive(Default)]
struct Inputs {
    last: u64,
    held: VecDeque<Held>,
}

struct Held {
    number: u64,
    input: ClientInput,
    deliveries: Deliveries,
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

    fn enter(directory: &Directory, me: ActorRef<Heard<Self>>) {
        directory.client_supervisor.set(me);
    }

    fn keys(ctx: &Ctx) -> Vec<ClientId> {
        ctx.ledger.clients.keys()
    }

    fn lives(ctx: &Ctx, id: &ClientId) -> bool {
        ctx.ledger.clients.contains(id)
    }

    fn prepare(keeper: &mut Keeper<Self>) {
        for (id, _, row) in keeper.ctx.ledger.clients.rows() {
            if let Socket::Open(socket) = row.socket {
                keeper.own.sockets.insert(socket, id);
            }
            keeper.own.inputs.insert(id, Inputs { last: row.handled, held: VecDeque::new() });
            keeper.watch(id, &row.watched.into_iter().collect::<Vec<_>>(), true);
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
            ClientSupervisorMsg::CallAction { client, call, action, retries } => {
                order_call(&keeper.ctx, client, call, action, retries);
            }
            ClientSupervisorMsg::Drain => {
                for client in keeper.ctx.ledger.clients.keys() {
                    keeper.ctx.directory.clients.cast(&client, ClientMsg::Drain);
                }
            }
        }
        Ok(())
    }

    fn ended(keeper: &mut Keeper<Self>, id: ClientId) {
        let ClientSupervisor { sockets, inputs, watchers, told, .. } = &mut keeper.own;
        inputs.remove(&id);
        sockets.retain(|_, carried| *carried != id);
        watchers.retain(|user, watchers| {
            watchers.remove(&id);
            if watchers.is_empty() {
                told.remove(user);
            }
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
        self.own.inputs.insert(socket, Inputs::default());
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
            self.ctx.directory.clients.cast(&client, ClientMsg::Kick);
        }
    }

    /// Numbers an input, keeps it until it has taken effect, and passes it on.
    fn hand(&mut self, id: ClientId, input: ClientInput) {
        let handled = self.ctx.ledger.clients.read(&id, |row| row.handled).unwrap_or(u64::MAX);
        let inputs = self.own.inputs.entry(id).or_default();
        inputs.held.retain(|held| held.number > handled);
        if inputs.held.len() >= HELD_INPUTS {
            metrics::counter!("tandem_client_inputs_dropped_total").increment(1);
            if let ClientInput::Request { client, request, .. } = input {
                self.answer(client, request, refuse(ErrorCode::RateLimited, "too many requests at once"));
            }
            return;
        }
        let now = self.ctx.now();
        inputs.last += 1;
        let number = inputs.last;
        inputs.held.push_back(Held { number, input: input.clone(), deliveries: Deliveries::first(now) });
        self.ctx.directory.clients.cast(&id, ClientMsg::Input { number, input });
    }

    /// A new incarnation hears what the old one may not have taken.
    fn say_again(&mut self, id: ClientId) {
        let handled = self.ctx.ledger.clients.read(&id, |row| row.handled).unwrap_or(u64::MAX);
        let Some(inputs) = self.own.inputs.get_mut(&id) else { return };
        inputs.held.retain(|held| held.number > handled);
        // Only the first can have caused the crash; the others wait behind it.
        let now = self.ctx.now();
        let given_up = inputs.held.pop_front_if(|first| !first.deliveries.again(now));
        for held in &inputs.held {
            let msg = ClientMsg::Input { number: held.number, input: held.input.clone() };
            self.ctx.directory.clients.cast(&id, msg);
        }
        if let Some(Held { number, input, .. }) = given_up {
            tracing::error!(client = %id, number, "a Client crashed over the same input twice");
            metrics::counter!("tandem_client_inputs_given_up_total").increment(1);
            if let ClientInput::Request { client, request, .. } = input {
                let sorry = refuse(ErrorCode::Internal, "something of ours failed; this was not done");
                self.answer(client, request, sorry);
            }
        }
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
                let now = presence::of(&self.ctx, user);
                self.own.told.entry(user.clone()).or_insert(now);
            } else if let Some(watchers) = self.own.watchers.get_mut(user) {
                watchers.remove(&client);
                if watchers.is_empty() {
                    self.own.watchers.remove(user);
                    self.own.told.remove(user);
                }
            }
        }
    }

    fn tell_presence(&mut self, user: &UserId) {
        let Some(watchers) = self.own.watchers.get(user) else { return };
        let now = presence::of(&self.ctx, user);
        if self.own.told.insert(user.clone(), now) == Some(now) {
            return;
        }
        for client in watchers {
            let changed = PresenceOf { user: user.clone(), state: now.number() };
            self.ctx.directory.clients.cast(client, ClientMsg::Emit(Event::PresenceChanged(changed)));
        }
    }

    fn count(&self) {
        let clients = u32::try_from(self.ctx.ledger.clients.len()).unwrap_or(u32::MAX);
        metrics::gauge!("tandem_clients").set(clients);
    }
}
