//! The real wire: each listener's sockets and the tasks that hear by them, opened again when one is gone.
//!
//! A task that panicked leaves its socket as it was, with whatever waits in it: the next task goes on there, and peers notice
//! nothing but the wait. A task that ended by itself found its socket broken: another is bound to the same address. Streams
//! have tasks of their own ([`tcp::Connections`]) and outlive both.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tandem_actors::model::address::Transport;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::super::config::{BindError, ListenerConfig, SipStartError};
use super::super::endpoint::Shared;
use super::super::metrics;
use super::{Flow, Wire, tcp, udp};

/// How often a port of the system's choice is tried, when UDP got one whose TCP twin is taken.
const PORT_TRIES: usize = 16;

/// Every listener's sockets, in order of configuration.
pub struct Sockets {
    listeners: Vec<Listening>,
    core: Weak<Shared>,
    runtime: Handle,
}

/// One listener's.
struct Listening {
    local: SocketAddr,
    udp: Option<Mutex<Ear<UdpSocket>>>,
    tcp: Option<Mutex<Ear<TcpListener>>>,
}

/// A socket and the task that hears by it.
struct Ear<S> {
    /// `None` while its address cannot be had.
    socket: Option<Arc<S>>,
    task: Option<JoinHandle<()>>,
}

/// What an [`Ear`] is made of.
trait Hears: Sized {
    const TRANSPORT: &'static str;
    fn bind(address: SocketAddr) -> io::Result<Self>;
    /// Spawns the task, on a descriptor of its own. Called inside the runtime.
    fn hear(&self, listener: usize, core: Weak<Shared>) -> io::Result<JoinHandle<()>>;
}

impl Hears for UdpSocket {
    const TRANSPORT: &'static str = "udp";
    fn bind(address: SocketAddr) -> io::Result<Self> {
        udp::bind(address)
    }
    fn hear(&self, listener: usize, core: Weak<Shared>) -> io::Result<JoinHandle<()>> {
        let socket = tokio::net::UdpSocket::from_std(self.try_clone()?)?;
        Ok(tokio::spawn(udp::run(listener, socket, core)))
    }
}

impl Hears for TcpListener {
    const TRANSPORT: &'static str = "tcp";
    fn bind(address: SocketAddr) -> io::Result<Self> {
        tcp::bind(address)
    }
    fn hear(&self, listener: usize, core: Weak<Shared>) -> io::Result<JoinHandle<()>> {
        let socket = tokio::net::TcpListener::from_std(self.try_clone()?)?;
        Ok(tokio::spawn(tcp::run(listener, socket, core)))
    }
}

impl<S: Hears> Ear<S> {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: Some(Arc::new(S::bind(address)?)), task: None })
    }

    /// Makes sure that the task runs; `true` when it had to be begun.
    fn keep(&mut self, listener: usize, address: SocketAddr, core: &Weak<Shared>) -> Result<bool, BindError> {
        let failed = |error| BindError { address, transport: S::TRANSPORT, error };
        if let Some(task) = &mut self.task {
            if !task.is_finished() {
                return Ok(false);
            }
            match Pin::new(task).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => {
                    tracing::error!(%address, transport = S::TRANSPORT, "a SIP socket broke");
                    self.socket = None;
                }
                Poll::Ready(Err(why)) => {
                    tracing::error!(%address, transport = S::TRANSPORT, %why, "a SIP socket lost its task");
                }
                // The caller's share of the runtime is used up: it looks again.
                Poll::Pending => return Ok(false),
            }
            self.task = None;
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Arc::new(S::bind(address).map_err(failed)?),
        };
        let socket = self.socket.insert(socket);
        self.task = Some(socket.hear(listener, core.clone()).map_err(failed)?);
        Ok(true)
    }
}

impl<S> Drop for Ear<S> {
    /// A task that waits for its peers would hold the port for ever.
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Sockets {
    /// Binds every listener; nobody hears yet. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`SipStartError`]; nothing is left bound.
    pub fn bind(listeners: &[ListenerConfig]) -> Result<Self, SipStartError> {
        if listeners.is_empty() {
            return Err(SipStartError::NoListener);
        }
        let bound = listeners.iter().map(|listener| {
            Listening::bind(listener).map_err(|why| SipStartError::Bind { listener: listener.id.clone(), why })
        });
        Ok(Self { listeners: bound.collect::<Result<_, _>>()?, core: Weak::new(), runtime: Handle::current() })
    }

    /// The addresses that are bound.
    pub fn locals(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listening| listening.local)
    }

    /// The same, for this core: what is heard from now on is told to it.
    pub fn serving(self, core: Weak<Shared>) -> Self {
        Self { core, ..self }
    }
}

impl Listening {
    fn bind(config: &ListenerConfig) -> Result<Self, BindError> {
        let wants = |transport| config.transports.contains(&transport);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut local = config.bind;
            let failed = |address, transport| move |error| BindError { address, transport, error };
            let udp = wants(Transport::Udp).then(|| Ear::<UdpSocket>::bind(local)).transpose();
            let udp = udp.map_err(failed(local, UdpSocket::TRANSPORT))?;
            if let Some(bound) = udp.as_ref().and_then(|ear| ear.socket.as_ref()?.local_addr().ok()) {
                local = bound;
            }
            let tcp = match wants(Transport::Tcp).then(|| Ear::<TcpListener>::bind(local)).transpose() {
                Ok(tcp) => tcp,
                Err(error)
                    if config.bind.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES =>
                {
                    continue;
                }
                Err(error) => return Err(failed(local, TcpListener::TRANSPORT)(error)),
            };
            if let Some(bound) = tcp.as_ref().and_then(|ear| ear.socket.as_ref()?.local_addr().ok()) {
                local = bound;
            }
            return Ok(Self { local, udp: udp.map(Mutex::new), tcp: tcp.map(Mutex::new) });
        }
    }
}

impl Wire for Sockets {
    fn send(&self, flow: Flow, octets: Bytes) {
        match flow.transport {
            Transport::Udp => {
                let listening = self.listeners.get(flow.listener);
                match listening.and_then(|listening| lock(listening.udp.as_ref()?).socket.clone()) {
                    Some(socket) => udp::send(&socket, flow.remote, &octets),
                    None => metrics::dropped("no_socket"),
                }
            }
            Transport::Tcp => {
                if let Some(shared) = self.core.upgrade() {
                    shared.connections.send(flow, octets, &self.core);
                }
            }
        }
    }

    fn keep_listening(&self, listener: usize) -> Result<bool, BindError> {
        let Some(listening) = self.listeners.get(listener) else { return Ok(false) };
        let _inside = self.runtime.enter();
        let udp = listening.udp.as_ref().map(|ear| lock(ear).keep(listener, listening.local, &self.core));
        let tcp = listening.tcp.as_ref().map(|ear| lock(ear).keep(listener, listening.local, &self.core));
        Ok(udp.transpose()?.unwrap_or(false) | tcp.transpose()?.unwrap_or(false))
    }

    #[cfg(test)]
    fn deafen(&self, listener: usize, transport: Transport, broken: bool) {
        let listening = self.listeners.get(listener).expect("a listener");
        match transport {
            Transport::Udp => {
                let mut ear = lock(listening.udp.as_ref().expect("UDP"));
                ear.task.as_ref().expect("a task").abort();
                if broken {
                    // No kernel lets an unconnected UDP socket be broken from here: as if its reader had found it so.
                    ear.task = Some(tokio::spawn(async {}));
                }
            }
            Transport::Tcp => {
                let ear = lock(listening.tcp.as_ref().expect("TCP"));
                if broken {
                    let socket = ear.socket.as_ref().expect("a socket");
                    socket2::SockRef::from(&**socket).shutdown(std::net::Shutdown::Both).expect("shut down");
                } else {
                    ear.task.as_ref().expect("a task").abort();
                }
            }
        }
    }
}

fn lock<T>(ear: &Mutex<T>) -> MutexGuard<'_, T> {
    ear.lock().unwrap_or_else(PoisonError::into_inner)
}
