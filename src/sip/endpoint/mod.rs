//! The SIP core: transactions, dialogs, registrations under way, and who is told what.
//!
//! [`Core`] is one table without I/O behind one lock, held for microseconds and never across an await: it is handed messages,
//! orders and the time, and leaves [`Effect`]s. [`Shared`] is the shell that carries effects out after the lock is released,
//! in the order they were made, so that events of one dialog never overtake each other.
//!
//! ```text
//!   udp task --parse, validate--.                              .--> Wire (sockets)
//!   connections ---------------> Shared::with(|core, now| ..) ----> Brain (events)
//!   actors: SipPort::order ----'        one lock               '--> resolver task --> Shared
//!   timer task (next deadline) -'
//! ```

mod amend;
mod breadth;
mod dispatch;
mod diversion;
mod draft;
mod early;
mod established;
mod failover;
mod forks;
mod health;
mod identity;
mod in_dialog;
mod inbound;
mod keep_alive;
mod large;
mod offer;
mod outbound;
mod passing;
mod port;
mod provisional;
mod reason;
mod receive;
mod redirect;
mod refer;
mod registrar;
mod reoffers;
mod session_timer;
mod shell;
#[cfg(test)]
mod tests;
mod text;
mod transactions;
mod trunk;
mod trust;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tandem_actors::model::address::{Contact, Transport};
use tandem_actors::model::ids::{CallId, DialogId, Epoch, ListenerId, TrunkId};
use tandem_actors::ports::sip::SipEvent;
use tokio::time::Instant;

use self::dispatch::{NextHop, Unsent};
use self::draft::Draft;
use self::established::Dialog;
use self::failover::Trail;
use self::health::Targets;
use self::identity::Proved;
use self::reason::{q850_of, reason_value};
use self::refer::Subscription;
use self::registrar::HeldRegister;
use self::text::HeldMessage;
use self::trunk::TrunkState;
use super::config::SipConfig;
use super::dialog::{Names, is_sips};
use super::digest::{Account, Credentials, Guard};
use super::message::view::{self, Via};
use super::message::write::{Writer, response_to};
use super::message::{HeaderName, Kind, Message, Method, status, trim};
use super::metrics;
use super::nuisance::Gate;
use super::overload::Overload;
use super::resolve::Question;
use super::resolve::cache::Cache;
use super::transaction::client_invite::ClientInvite;
use super::transaction::client_other::ClientOther;
use super::transaction::server_invite::ServerInvite;
use super::transaction::server_other::ServerOther;
use super::transport::peers::Names as NamesOfPeers;
use super::transport::{Flow, Party, SourceAddresses};
use tandem_actors::model::net::Net;

pub use shell::{Shared, SipCore};

/// What we allow, in the order of Allow (RFC 3261 §20.5).
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, REGISTER";
/// The same outside a call, where a text may be for a phone of ours.
const ALLOW_OUTSIDE: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, REGISTER, MESSAGE";
/// Extensions we understand (RFC 3261 §20.32).
const SUPPORTED: &str = "100rel, timer, 199, replaces, norefersub";
/// Understood where reliable provisional responses are, and not asked for: we reserve nothing (RFC 3312 §11).
const PRECONDITION: &str = "precondition";
/// Event packages we know (RFC 6665 §8.2.2): that of our own NOTIFYs about transfers.
const EVENTS: &str = "refer";
/// The body we read.
const SDP: &str = "application/sdp";

/// Most dialogs whose call is known before their INVITE is ordered: a leg that finds no media orders none. Only sight would suffer.
const AWAITED: usize = 4096;

/// What is to be done once the lock is released.
#[derive(Debug)]
enum Effect {
    Send {
        flow: Flow,
        octets: Bytes,
    },
    Event(Box<SipEvent>),
    Resolve(Question),
    /// The dialogs of these Call-IDs are legs of a call: for sight.
    Belong {
        call: CallId,
        call_ids: Vec<String>,
    },
}

/// A client transaction by its branch; a CANCEL shares its INVITE's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ClientKey {
    branch: u64,
    cancel: bool,
}

/// A server transaction by the hash of branch, sent-by and method (RFC 3261 §17.2.3), or of what stands in for a branch in
/// RFC 2543 requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ServerKey(u64, u64);

#[derive(Debug)]
enum ClientMachine {
    Invite(ClientInvite),
    Other(ClientOther),
}

/// A client transaction and whose it is.
#[derive(Debug)]
struct Client {
    machine: ClientMachine,
    draft: Arc<Draft>,
    via: String,
    flow: Flow,
    owner: Owner,
    /// Whether no more challenges are answered: a realm is told the password once, and once more when it calls our nonce
    /// stale.
    proved: bool,
    /// Where else it may go.
    trail: Trail,
    watch: metrics::Watch,
}

/// Who hears what becomes of a request of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// The INVITE of a fork.
    Fork { dialog: DialogId, fork: usize },
    /// The acknowledgement of a reliable provisional response, in the early dialog with this tag.
    Prack { dialog: DialogId, fork: usize, tag: String },
    /// A re-INVITE.
    Reinvite { dialog: DialogId },
    /// A digit by INFO.
    Info { dialog: DialogId },
    /// A session refresh by UPDATE.
    Refresh { dialog: DialogId },
    /// A BYE, for its credentials only.
    Bye { trunk: Option<usize> },
    /// A registration of ours.
    Register { trunk: usize, epoch: Epoch, expires: u32 },
    /// A keep-alive that somebody waits for.
    KeepAlive { id: u64 },
    /// A text that goes on.
    Message { id: u64 },
    /// A question whether a trunk lives.
    Options { trunk: usize, number: u64, began: Instant },
    /// A NOTIFY about a transfer.
    Notify { refer: u64 },
    /// A question whether a target that failed is back.
    Probe,
    /// An INVITE whose target was left for another: whoever answers it is told that nobody wants it any more.
    Abandoned { trunk: Option<usize>, cancelled: bool, ended: Vec<String> },
    /// Nobody: CANCEL.
    Nobody,
}

#[derive(Debug)]
enum ServerMachine {
    Invite(ServerInvite),
    Other(ServerOther),
}

/// A server transaction with its request, which responses are made of.
#[derive(Debug)]
struct Server {
    machine: ServerMachine,
    request: Message,
    /// Where responses go.
    reply: Flow,
    /// How the request came.
    flow: Flow,
    to_tag: String,
    /// The subscriber it comes from, by its password.
    proved: Option<Proved>,
    /// The dialog an INVITE made or belongs to.
    dialog: Option<DialogId>,
    /// The entry of `merged` to clear with it.
    merged: Option<u64>,
    watch: metrics::Watch,
}

/// Whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Client(ClientKey),
    Server(ServerKey),
    Dialog(DialogId),
    Register(u64),
    Message(u64),
    Refer(u64),
    Trunks,
}

/// One listener as it is bound.
#[derive(Debug, Clone)]
struct Listener {
    id: ListenerId,
    transports: Vec<Transport>,
    local: SocketAddr,
    external_ip: Option<IpAddr>,
    local_nets: Vec<Net>,
}

/// The tables. See the module's doc.
struct Core {
    config: SipConfig,
    listeners: Vec<Listener>,
    trunks: Vec<TrunkState>,
    credentials: std::sync::Arc<dyn Credentials>,
    guard: Guard,
    gate: Gate,
    overload: Overload,
    clients: HashMap<ClientKey, Client>,
    servers: HashMap<ServerKey, Server>,
    /// From tag, Call-ID and CSeq of INVITEs under way, to spot merged requests (RFC 3261 §8.2.2.2).
    merged: HashMap<u64, ServerKey>,
    /// The calls of dialogs whose INVITE is about to be ordered.
    awaited: HashMap<DialogId, CallId>,
    dialogs: HashMap<DialogId, Dialog>,
    /// Call-ID and local tag to dialog.
    names: HashMap<(String, String), DialogId>,
    registers: HashMap<u64, HeldRegister>,
    messages: HashMap<u64, HeldMessage>,
    /// Transfers whose senders are told of them, by request.
    refers: HashMap<u64, Subscription>,
    timers: BTreeMap<(Instant, u64), Due>,
    /// Requests that wait for answers about names, and the questions that are out.
    unsent: Vec<Unsent>,
    asking: HashSet<Question>,
    dns: Cache,
    targets: Targets,
    sources: SourceAddresses,
    /// Hosts of `sips:` URIs.
    names_of_peers: std::sync::Arc<NamesOfPeers>,
    /// Connections that peers opened, and that brought a message.
    open: HashSet<Flow>,
    /// Those of them that somebody registered by.
    bound: HashSet<Flow>,
    hashers: (RandomState, RandomState),
    effects: Vec<Effect>,
    serial: u64,
}

impl Core {
    fn new(
        config: SipConfig,
        listeners: Vec<Listener>,
        credentials: std::sync::Arc<dyn Credentials>,
        now: Instant,
    ) -> Self {
        let mut core = Self {
            guard: Guard::new(config.domain.clone(), now),
            gate: Gate::new(config.budget.clone(), now),
            trunks: config.trunks.iter().cloned().enumerate().map(|(at, trunk)| TrunkState::new(at, trunk)).collect(),
            overload: Overload::new(config.max_cps, now),
            config,
            listeners,
            credentials,
            clients: HashMap::new(),
            servers: HashMap::new(),
            merged: HashMap::new(),
            awaited: HashMap::new(),
            dialogs: HashMap::new(),
            names: HashMap::new(),
            registers: HashMap::new(),
            messages: HashMap::new(),
            refers: HashMap::new(),
            timers: BTreeMap::new(),
            unsent: Vec::new(),
            asking: HashSet::new(),
            dns: Cache::default(),
            targets: Targets::default(),
            sources: SourceAddresses::default(),
            names_of_peers: std::sync::Arc::default(),
            open: HashSet::new(),
            bound: HashSet::new(),
            hashers: (RandomState::new(), RandomState::new()),
            effects: Vec::new(),
            serial: 0,
        };
        for at in 0..core.trunks.len() {
            // Names are asked for by the first look after the trunks.
            let _ = core.trunk_targets_known(at, now);
        }
        if !core.trunks.is_empty() {
            core.arm(now, Due::Trunks);
        }
        core
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn event(&mut self, event: SipEvent) {
        self.effects.push(Effect::Event(Box::new(event)));
    }

    fn send(&mut self, flow: Flow, octets: Bytes) {
        self.effects.push(Effect::Send { flow, octets });
    }

    // ---- sight

    /// The Call-IDs of a dialog: one, or one a fork.
    fn call_ids(&self, id: DialogId) -> Vec<String> {
        match self.dialogs.get(&id).map(|dialog| &dialog.side) {
            Some(established::Side::Uas(incoming)) => vec![incoming.record.call_id.clone()],
            Some(established::Side::Uac(outgoing)) => {
                outgoing.forks.iter().map(|fork| fork.draft.call_id.clone()).collect()
            }
            None => Vec::new(),
        }
    }

    /// A dialog is a leg of this call; one whose INVITE comes next is remembered until then.
    fn belong(&mut self, id: DialogId, call: CallId) {
        if self.dialogs.contains_key(&id) {
            let call_ids = self.call_ids(id);
            self.effects.push(Effect::Belong { call, call_ids });
            return;
        }
        if self.awaited.len() >= AWAITED {
            self.awaited.clear();
        }
        self.awaited.insert(id, call);
    }

    // ---- time

    fn arm(&mut self, at: Instant, due: Due) {
        let serial = self.next_serial();
        self.timers.insert((at, serial), due);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Runs every timer that is due. Timers are not cancelled: whoever is woken looks at its own deadlines.
    fn tick(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            match entry.remove() {
                Due::Client(key) => self.client_step(key, None, now),
                Due::Server(key) => self.server_tick(key, now),
                Due::Dialog(id) => self.dialog_tick(id, now),
                Due::Register(request) => self.register_overdue(request, now),
                Due::Message(request) => self.message_overdue(request, now),
                Due::Refer(request) => self.refer_overdue(request, now),
                Due::Trunks => self.look_after_trunks(now),
            }
        }
    }

    // ---- addresses

    /// Our address as this peer should see it.
    fn advertised(&mut self, flow: Flow) -> SocketAddr {
        let Some(listener) = self.listeners.get(flow.listener) else {
            return SocketAddr::from(([0, 0, 0, 0], 0));
        };
        let peer = flow.remote.ip().to_canonical();
        let near = peer.is_loopback() || listener.local_nets.iter().any(|net| net.contains(peer));
        let port = listener.local.port();
        match listener.external_ip {
            Some(external) if !near => SocketAddr::new(external, port),
            Some(_) | None if listener.local.ip().is_unspecified() => {
                // The address that it came to or leaves from, else the one that the kernel has packets to there leave from.
                let ours = flow.local.unwrap_or_else(|| self.sources.toward(peer));
                SocketAddr::new(ours, port)
            }
            Some(_) | None => listener.local,
        }
    }

    /// The way to a phone that registered by datagrams: from the address of ours that it registered at, where a listener has
    /// several and this one is still there.
    fn datagrams_to(&mut self, listener: usize, contact: &Contact) -> Flow {
        let flow = Flow::udp(listener, contact.source);
        let has_several = self.listeners.get(listener).is_some_and(|listener| listener.local.ip().is_unspecified());
        let same_family = |ours: &IpAddr| ours.is_ipv4() == contact.source.is_ipv4();
        let local = contact.heard_at.filter(same_family).filter(|ours| has_several && self.sources.has(*ours));
        Flow { local, ..flow }
    }

    /// Our Contact on the way to a peer; `sips` where the request that makes the dialog asks for it (RFC 5630 §3.2.1).
    fn contact(&mut self, flow: Flow, user: &str, sips: bool) -> String {
        let address = self.advertised(flow);
        let transport = transport_parameter(flow.transport);
        let at = if user.is_empty() { "" } else { "@" };
        let scheme = if sips { "sips" } else { "sip" };
        format!("<{scheme}:{user}{at}{address}{transport}>")
    }

    /// The listener for a destination: the named one, else the first with the transport and the address family. For a stream
    /// that we open one without the transport does: what the peer has to say comes by that stream.
    fn listener_for(&self, named: Option<&ListenerId>, transport: Transport, peer: IpAddr) -> Option<usize> {
        let named = named.and_then(|id| self.listeners.iter().position(|listener| listener.id == *id));
        let family = |listener: &Listener| listener.local.is_ipv4() == peer.is_ipv4();
        let speaks = |listener: &Listener| listener.transports.contains(&transport) && family(listener);
        named
            .or_else(|| self.listeners.iter().position(speaks))
            .or_else(|| self.listeners.iter().position(family).filter(|_| transport.is_stream()))
    }

    /// The trunk that a source belongs to: by a configured network, whatever the port; by the address and (over UDP) the
    /// port of one of its targets, so that phones on the same machine are not taken for it.
    fn trunk_at(&self, flow: Flow) -> Option<usize> {
        let source = flow.remote.ip().to_canonical();
        let is = |target: &Flow| {
            target.remote.ip().to_canonical() == source
                && (flow.reliable() || flow.remote.port() == target.remote.port())
        };
        self.trunks.iter().position(|trunk| {
            trunk.config.allowed_addresses.iter().any(|net| net.contains(source)) || trunk.targets.iter().any(is)
        })
    }

    /// Whether an address is one of a trunk's own, whatever the port.
    fn is_of_trunk(&self, trunk: &TrunkState, source: IpAddr) -> bool {
        let source = source.to_canonical();
        trunk.config.allowed_addresses.iter().any(|net| net.contains(source))
            || trunk.targets.iter().any(|target| target.remote.ip().to_canonical() == source)
    }

    /// A way to the same peer that we may open: whose certificate it must have over TLS is that of the trunk which is there.
    fn reopened(&self, flow: Flow) -> Flow {
        let party = match flow.party {
            Party::Caller => self.trunk_at(flow).map_or(Party::Anyone, Party::Trunk),
            party @ (Party::Anyone | Party::Trunk(_) | Party::Named(_)) => party,
        };
        Flow { party, ..flow }
    }

    fn trunk_named(&self, id: &TrunkId) -> Option<usize> {
        self.trunks.iter().position(|trunk| trunk.config.id == *id)
    }
}

/// A tag of ours: 64 random bits (RFC 3261 §19.3 wants at least 32).
fn new_tag() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// A Call-ID of ours. It names no host: an address inside it would leak through NAT.
fn new_call_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The transport of a Via (RFC 3261 §20.42, RFC 7118 §5.2).
fn via_transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
        Transport::Ws => "WS",
        Transport::Wss => "WSS",
    }
}

/// The transport of a URI of ours (RFC 3261 §19.1.1, RFC 7118 §5.2.4: `ws` inside TLS, too).
fn transport_parameter(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
        Transport::Ws | Transport::Wss => ";transport=ws",
    }
}

/// How long an ended dialog is remembered.
fn remembered(timers: &super::transaction::timer::Timers) -> Duration {
    timers.give_up()
}
