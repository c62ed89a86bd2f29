//! The shell around the core: its lock, the order of its effects, its tasks (sockets, timers, name resolution).

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tandem_actors::model::address::Transport;
use tandem_actors::model::ids::ListenerId;
use tandem_actors::ports::Brain;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::config::{ListenerConfig, SipConfig, SipStartError};
use super::super::digest::Credentials;
use super::super::message::validate::validate;
use super::super::message::{Carried, Message};
use super::super::resolve::Resolver;
use super::super::transport::tcp::Connections;
use super::super::transport::{Flow, Wire, tcp, udp};
use super::{Core, Effect, Listener};
use crate::sip::metrics;

/// How often a port of the system's choice is tried, when UDP got one whose TCP twin is taken.
const PORT_TRIES: usize = 16;
/// How often the timer task looks whether the core is still there when nothing is due.
const IDLE_LOOK: std::time::Duration = std::time::Duration::from_secs(5);

/// The SIP adapter: a handle that can be cloned. When the last one is gone its tasks end.
#[derive(Clone)]
pub struct SipCore {
    shared: Arc<Shared>,
}

/// What the tasks of the adapter share.
pub struct Shared {
    core: Mutex<Guarded>,
    wire: Box<dyn Wire>,
    brain: Arc<dyn Brain>,
    resolver: Resolver,
    wake: Arc<Notify>,
    /// Stream connections.
    pub(in crate::sip) connections: Connections,
    runtime: tokio::runtime::Handle,
    me: Weak<Shared>,
}

struct Guarded {
    core: Core,
    /// Somebody is carrying effects out: others leave theirs in the queue, so that order is kept.
    carrying: bool,
    /// What the timer task sleeps until.
    armed: Option<Instant>,
}

impl SipCore {
    /// Binds every listener, then runs. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`SipStartError`], naming listener, address and remedy; nothing is left bound.
    pub async fn start(
        config: SipConfig,
        brain: Arc<dyn Brain>,
        credentials: Arc<dyn Credentials>,
    ) -> Result<Self, SipStartError> {
        metrics::describe();
        let mut bound = Vec::new();
        for listener in &config.listeners {
            bound.push(bind(listener)?);
        }
        if bound.is_empty() {
            return Err(SipStartError::NoListener);
        }
        let listeners = config
            .listeners
            .iter()
            .zip(&bound)
            .map(|(listener, bound)| Listener {
                id: listener.id.clone(),
                transports: listener.transports.clone(),
                local: bound.local,
                external_ip: listener.external_ip,
                local_nets: listener.local_nets.clone(),
            })
            .collect();
        let mut sockets = HashMap::new();
        let mut tasks = Vec::new();
        for (at, bound) in bound.into_iter().enumerate() {
            let local = bound.local;
            let failed = |transport: &'static str| {
                let id = config.listeners.get(at).map(|listener| listener.id.clone());
                move |error: io::Error| bind_error(id, local, transport, error)
            };
            if let Some(socket) = bound.udp {
                let reader = socket.try_clone().and_then(tokio::net::UdpSocket::from_std).map_err(failed("udp"))?;
                sockets.insert(at, Arc::new(socket));
                tasks.push(Bound::Udp(at, reader));
            }
            if let Some(socket) = bound.tcp {
                let acceptor = tokio::net::TcpListener::from_std(socket).map_err(failed("tcp"))?;
                tasks.push(Bound::Tcp(at, acceptor));
            }
        }
        let core = Core::new(config, listeners, credentials, Instant::now());
        let this = Self::assemble(core, brain, |me| Box::new(Sockets { sockets, me }));
        for task in tasks {
            let me = Arc::downgrade(&this.shared);
            match task {
                Bound::Udp(at, socket) => drop(tokio::spawn(udp::run(at, socket, me))),
                Bound::Tcp(at, socket) => drop(tokio::spawn(tcp::run(at, socket, me))),
            }
        }
        Ok(this)
    }

    /// Puts a core on a wire of any kind, with its timer task.
    pub(super) fn assemble(
        core: Core,
        brain: Arc<dyn Brain>,
        wire: impl FnOnce(Weak<Shared>) -> Box<dyn Wire>,
    ) -> Self {
        let shared = Arc::new_cyclic(|me| Shared {
            core: Mutex::new(Guarded { core, carrying: false, armed: None }),
            wire: wire(me.clone()),
            brain,
            resolver: Resolver::default(),
            wake: Arc::new(Notify::new()),
            connections: Connections::default(),
            runtime: tokio::runtime::Handle::current(),
            me: me.clone(),
        });
        tokio::spawn(run_timers(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// The addresses that are bound, by listener: with port 0 in the configuration the way to learn the port.
    pub fn local_addrs(&self) -> Vec<(ListenerId, SocketAddr)> {
        self.shared
            .with(|core, _| core.listeners.iter().map(|listener| (listener.id.clone(), listener.local)).collect())
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    #[cfg(test)]
    pub(super) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }
}

impl Shared {
    /// Runs a step under the lock, then carries out what it left to do.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut Core, Instant) -> R) -> R {
        let now = Instant::now();
        let mut guarded = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut guarded.core, now);
        if !guarded.carrying {
            guarded.carrying = true;
            loop {
                let batch = std::mem::take(&mut guarded.core.effects);
                if batch.is_empty() {
                    break;
                }
                drop(guarded);
                for effect in batch {
                    self.carry_out(effect);
                }
                guarded = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            }
            guarded.carrying = false;
        }
        let (transactions, dialogs) =
            (guarded.core.clients.len() + guarded.core.servers.len(), guarded.core.dialogs.len());
        let next = guarded.core.next_deadline();
        let sooner = match (next, guarded.armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        drop(guarded);
        metrics::tables(transactions, dialogs);
        if sooner {
            self.wake.notify_one();
        }
        result
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Send { flow, octets } => self.wire.send(flow, octets),
            Effect::Event(event) => {
                // A panic of the brain's inbox must not stop the wire.
                if catch_unwind(AssertUnwindSafe(|| self.brain.sip(*event))).is_err() {
                    tracing::error!("the brain panicked over a SIP event");
                    metrics::dropped("brain_panic");
                }
            }
            Effect::Resolve { host } => {
                let me = self.me.clone();
                self.runtime.spawn(async move {
                    let Some(shared) = me.upgrade() else { return };
                    let addresses = shared.resolver.addresses(&host).await;
                    shared.with(|core, now| core.resolved(&host, addresses, now));
                });
            }
        }
    }

    /// Octets of one datagram.
    pub(in crate::sip) fn datagram(&self, flow: Flow, octets: Bytes) {
        // RFC 5626 §4.4.1 keep-alives and single NULs of old NAT keep-alives: nothing to answer over UDP.
        if octets.iter().all(|octet| matches!(octet, b'\r' | b'\n' | 0 | b' ')) {
            metrics::dropped("keep_alive");
            return;
        }
        match Message::parse(octets, Carried::Datagram) {
            Ok((message, _)) => self.message(flow, message),
            Err(error) => {
                metrics::dropped("unreadable");
                tracing::debug!(%error, "a datagram is not SIP");
            }
        }
    }

    /// A message that was read. One that makes the core panic is counted, and costs nobody else anything.
    pub(in crate::sip) fn message(&self, flow: Flow, message: Message) {
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let checked = validate(&message);
            self.with(|core, now| core.receive(flow, message, checked, now));
        }));
        if stepped.is_err() {
            metrics::dropped("panic");
            tracing::error!("a SIP message made the core panic; it was dropped");
        }
    }

    /// A stream to this peer failed or closed.
    pub(in crate::sip) fn unreachable(&self, flow: Flow) {
        self.with(|core, now| core.unreachable(flow, now));
    }
}

/// Sleeps until the core's next deadline, again and again; ends when the core is gone.
async fn run_timers(shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let stepped = catch_unwind(AssertUnwindSafe(|| strong.with(|core, now| core.tick(now))));
        if stepped.is_err() {
            metrics::dropped("panic");
            tracing::error!("a SIP timer made the core panic");
        }
        let next = {
            let mut guarded = strong.core.lock().unwrap_or_else(PoisonError::into_inner);
            guarded.armed = guarded.core.next_deadline();
            guarded.armed
        };
        let wake = strong.wake.clone();
        // Not held while asleep: the last handle's end is the core's.
        drop(strong);
        // With nothing due, it is still looked after now and then whether the core is gone.
        let idle = Instant::now() + IDLE_LOOK;
        tokio::select! {
            () = tokio::time::sleep_until(next.map_or(idle, |next| next.min(idle))) => {}
            () = wake.notified() => {}
        }
    }
}

/// The real wire.
struct Sockets {
    sockets: HashMap<usize, Arc<UdpSocket>>,
    me: Weak<Shared>,
}

impl Wire for Sockets {
    fn send(&self, flow: Flow, octets: Bytes) {
        match flow.transport {
            Transport::Udp => match self.sockets.get(&flow.listener) {
                Some(socket) => udp::send(socket, flow.remote, &octets),
                None => metrics::dropped("no_socket"),
            },
            Transport::Tcp => {
                if let Some(shared) = self.me.upgrade() {
                    shared.connections.send(flow, octets, &self.me);
                }
            }
        }
    }
}

struct BoundListener {
    local: SocketAddr,
    udp: Option<UdpSocket>,
    tcp: Option<TcpListener>,
}

enum Bound {
    Udp(usize, tokio::net::UdpSocket),
    Tcp(usize, tokio::net::TcpListener),
}

fn bind(listener: &ListenerConfig) -> Result<BoundListener, SipStartError> {
    let (wants_udp, wants_tcp) =
        (listener.transports.contains(&Transport::Udp), listener.transports.contains(&Transport::Tcp));
    let mut tries = 0;
    loop {
        tries += 1;
        let id = || Some(listener.id.clone());
        let mut address = listener.bind;
        let udp = wants_udp.then(|| udp::bind(address)).transpose();
        let udp = udp.map_err(|error| bind_error(id(), address, "udp", error))?;
        if let Some(local) = udp.as_ref().and_then(|socket| socket.local_addr().ok()) {
            address = local;
        }
        let tcp = match wants_tcp.then(|| bind_tcp(address)).transpose() {
            Ok(tcp) => tcp,
            Err(error)
                if listener.bind.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES =>
            {
                continue;
            }
            Err(error) => return Err(bind_error(id(), address, "tcp", error)),
        };
        if let Some(local) = tcp.as_ref().and_then(|socket| socket.local_addr().ok()) {
            address = local;
        }
        return Ok(BoundListener { local: address, udp, tcp });
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last run's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn bind_error(
    listener: Option<ListenerId>,
    address: SocketAddr,
    transport: &'static str,
    error: io::Error,
) -> SipStartError {
    let remedy = if error.kind() == io::ErrorKind::AddrInUse {
        "; another program has the port: stop it, or choose another port"
    } else if error.kind() == io::ErrorKind::AddrNotAvailable {
        "; this machine has no such address"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need CAP_NET_BIND_SERVICE"
    } else {
        ""
    };
    match listener {
        Some(listener) => SipStartError::Bind { listener, address, transport, error, remedy },
        None => SipStartError::NoListener,
    }
}
