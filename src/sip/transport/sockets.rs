//! The real wire: each listener's sockets and the tasks that hear by them, opened again when one is gone.
//!
//! A task that panicked leaves its socket as it was, with whatever waits in it: the next task goes on there, and peers notice
//! nothing but the wait. A task that ended by itself found its socket broken: another is bound to the same address. Streams
//! have tasks of their own ([`Streams`]) and outlive both.

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
use super::peers::Peers;
use super::streams::{Place, Streams};
use super::udp::Outbox;
use super::{Flow, Wire, tcp, udp};

/// How often a port of the system's choice is tried, when UDP got one whose TCP twin is taken.
const PORT_TRIES: usize = 16;

/// Every listener's sockets, in order of configuration.
pub struct Sockets {
    listeners: Vec<Listening>,
    streams: Arc<Streams>,
    core: Weak<Shared>,
    runtime: Handle,
}

/// What is bound and serves nobody yet.
pub struct Bound {
    listeners: Vec<Listening>,
    places: Vec<Place>,
}

/// One listener's.
struct Listening {
    local: SocketAddr,
    udp: Option<(Mutex<Ear<UdpSocket>>, Arc<Outbox>)>,
    stream: Option<(Transport, Mutex<Ear<TcpListener>>)>,
}

/// A socket and the task that hears by it.
struct Ear<S> {
    /// `None` while its address cannot be had.
    socket: Option<Arc<S>>,
    task: Option<JoinHandle<()>>,
}

impl<S> Ear<S> {
    fn new(socket: S) -> Self {
        Self { socket: Some(Arc::new(socket)), task: None }
    }

    /// Makes sure that the task runs; `true` when it had to be begun.
    fn keep(
        &mut self,
        (transport, address): (Transport, SocketAddr),
        bind: impl FnOnce(SocketAddr) -> io::Result<S>,
        hear: impl FnOnce(&Arc<S>) -> io::Result<JoinHandle<()>>,
    ) -> Result<bool, BindError> {
        let transport = transport.label();
        let failed = |error| BindError { address, transport, error };
        if let Some(task) = &mut self.task {
            if !task.is_finished() {
                return Ok(false);
            }
            match Pin::new(task).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => {
                    tracing::error!(%address, transport, "a SIP socket broke");
                    self.socket = None;
                }
                Poll::Ready(Err(why)) => {
                    tracing::error!(%address, transport, %why, "a SIP socket lost its task");
                }
                // The caller's share of the runtime is used up: it looks again.
                Poll::Pending => return Ok(false),
            }
            self.task = None;
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Arc::new(bind(address).map_err(failed)?),
        };
        let socket = self.socket.insert(socket);
        self.task = Some(hear(socket).map_err(failed)?);
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

impl Bound {
    /// Binds every listener; nobody hears yet.
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
        let bound: Vec<Listening> = bound.collect::<Result<_, _>>()?;
        let places = listeners.iter().zip(&bound).map(|(listener, bound)| Place {
            local: bound.local,
            tls: listener.tls.clone(),
            local_nets: listener.local_nets.clone(),
        });
        Ok(Self { places: places.collect(), listeners: bound })
    }

    /// The addresses that are bound.
    pub fn locals(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listening| listening.local)
    }

    /// The wire of this core: what is heard from now on is told to it. Must be called inside a tokio runtime.
    pub fn serving(self, peers: Peers, origins: Vec<String>, core: Weak<Shared>) -> Sockets {
        let runtime = Handle::current();
        let streams = Arc::new(Streams::new(self.places, peers, origins, core.clone(), runtime.clone()));
        Sockets { listeners: self.listeners, streams, core, runtime }
    }
}

impl Listening {
    fn bind(config: &ListenerConfig) -> Result<Self, BindError> {
        let stream = config.transports.iter().copied().find(|transport| transport.is_stream());
        let mut tries = 0;
        loop {
            tries += 1;
            let mut local = config.bind;
            let failed =
                |address, transport: Transport| move |error| BindError { address, transport: transport.label(), error };
            let udp = config.transports.contains(&Transport::Udp).then(|| udp::bind(local)).transpose();
            let udp = udp.map_err(failed(local, Transport::Udp))?;
            if let Some(bound) = udp.as_ref().and_then(|socket| socket.local_addr().ok()) {
                local = bound;
            }
            let stream = match stream.map(|transport| tcp::bind(local).map(|socket| (transport, socket))).transpose() {
                Ok(stream) => stream,
                Err(error)
                    if config.bind.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES =>
                {
                    continue;
                }
                Err(error) => return Err(failed(local, stream.unwrap_or(Transport::Tcp))(error)),
            };
            if let Some(bound) = stream.as_ref().and_then(|(_, socket)| socket.local_addr().ok()) {
                local = bound;
            }
            return Ok(Self {
                local,
                udp: udp.map(|socket| (Mutex::new(Ear::new(socket)), Arc::default())),
                stream: stream.map(|(transport, socket)| (transport, Mutex::new(Ear::new(socket)))),
            });
        }
    }
}

impl Wire for Sockets {
    fn send(&self, flow: Flow, octets: Bytes) {
        if flow.transport.is_stream() {
            self.streams.send(flow, octets);
            return;
        }
        let udp = self.listeners.get(flow.listener).and_then(|listening| listening.udp.as_ref());
        match udp.and_then(|(ear, outbox)| Some((lock(ear).socket.clone()?, outbox))) {
            Some((socket, outbox)) => outbox.send(&socket, flow, octets),
            None => metrics::dropped("no_socket"),
        }
    }

    fn keep_listening(&self, listener: usize) -> Result<bool, BindError> {
        let Some(listening) = self.listeners.get(listener) else { return Ok(false) };
        let _inside = self.runtime.enter();
        let at = |transport| (transport, listening.local);
        let udp = listening.udp.as_ref().map(|(ear, outbox)| {
            lock(ear).keep(at(Transport::Udp), udp::bind, |socket| {
                let reader = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
                let (out, core) = (Arc::clone(socket), self.core.clone());
                Ok(tokio::spawn(udp::run(listener, reader, out, Arc::clone(outbox), core)))
            })
        });
        let stream = listening.stream.as_ref().map(|(transport, ear)| {
            lock(ear).keep(at(*transport), tcp::bind, |socket| {
                let socket = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
                let streams = Arc::clone(&self.streams);
                Ok(tokio::spawn(tcp::run(listener, *transport, socket, streams, self.core.clone())))
            })
        });
        Ok(udp.transpose()?.unwrap_or(false) | stream.transpose()?.unwrap_or(false))
    }

    #[cfg(test)]
    fn deafen(&self, listener: usize, transport: Transport, broken: bool) {
        let listening = self.listeners.get(listener).expect("a listener");
        match transport {
            Transport::Udp => {
                let mut ear = lock(&listening.udp.as_ref().expect("UDP").0);
                ear.task.as_ref().expect("a task").abort();
                if broken {
                    // No kernel lets an unconnected UDP socket be broken from here: as if its reader had found it so.
                    ear.task = Some(tokio::spawn(async {}));
                }
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                let ear = lock(&listening.stream.as_ref().expect("streams").1);
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
