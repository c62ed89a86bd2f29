//! Every stream connection of the switch, by whose it is: found, opened, bounded, forgotten.
//!
//! Responses and requests to a peer with an open connection use it; for others one is opened (RFC 3261 §18). What a peer opened is
//! used for what belongs to it alone (RFC 5626 §5.3), with two exceptions that the RFCs make: plain TCP from the very address and
//! port that we would call (RFC 3261 §18), and TLS whose client has shown a certificate for the host that we would call and asked for
//! it by `alias` (RFC 5923).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use tandem_actors::model::address::Transport;
use tandem_actors::model::net::Net;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

use super::super::endpoint::Shared;
use super::super::message::view::{self, Via};
use super::super::message::{HeaderName, Message, trim};
use super::super::metrics;
use super::connection::{self, Link, Outlet, link};
use super::handshake::{self, Failed};
use super::peers::Peers;
use super::{Flow, Party, websocket};

/// How long a TCP connection is tried: two repetitions of SYN, and well below timer F, so that another target has its chance.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Most connections a listener holds, those that are not through their handshake included.
const MAX_CONNECTIONS: usize = 10_000;
/// Most of one source (an address, or an IPv6 /64) outside the local networks.
const MAX_OF_SOURCE: usize = 256;
/// The kernel's own keep-alive: a peer that lost its power is noticed within two minutes, and a NAT is kept open.
const KERNEL_KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);
/// What was sent and is not acknowledged for this long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// What a listener is for streams.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where connections leave from.
    pub local: SocketAddr,
    /// What TLS is answered with.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whose connections are not counted by source.
    pub local_nets: Vec<Net>,
}

/// Every connection.
pub struct Streams {
    places: Vec<Place>,
    peers: Peers,
    origins: Vec<String>,
    table: Mutex<Table>,
    core: Weak<Shared>,
    runtime: Handle,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<Flow, (u64, Link)>,
    /// By listener, RFC 5923: where a client with a certificate listens.
    aliases: HashMap<(usize, SocketAddr), Alias>,
    of_listener: HashMap<usize, usize>,
    of_source: HashMap<IpAddr, usize>,
}

/// The connection of a client with a certificate, and the names it has proved.
type Alias = (Flow, Arc<[String]>);

impl Streams {
    /// None is open yet.
    pub fn new(places: Vec<Place>, peers: Peers, origins: Vec<String>, core: Weak<Shared>, runtime: Handle) -> Self {
        Self { places, peers, origins, table: Mutex::default(), core, runtime }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends by the connection that is there, or opens one.
    pub fn send(self: &Arc<Self>, flow: Flow, octets: Bytes) {
        let flow = flow.connection();
        let mut table = self.table();
        let key = self.known(&table, flow);
        if let Some(key) = key
            && let Entry::Occupied(known) = table.open.entry(key)
        {
            if !known.get().1.push(octets) {
                known.remove();
            }
            return;
        }
        if flow.is_callers() || flow.transport.is_websocket() {
            drop(table);
            metrics::dropped("connection_closed");
            let core = self.core.clone();
            // Not from inside the effect that sends.
            self.runtime.spawn(async move {
                if let Some(core) = core.upgrade() {
                    core.unreachable(flow);
                }
            });
            return;
        }
        let (link, outlet) = link();
        // A fresh queue has room.
        let _ = link.push(octets);
        let serial = rand::random();
        table.open.insert(flow, (serial, link));
        drop(table);
        let this = Arc::clone(self);
        self.runtime.spawn(async move { this.dial(flow, serial, outlet).await });
    }

    /// The connection that a flow may use.
    fn known(&self, table: &Table, flow: Flow) -> Option<Flow> {
        if table.open.contains_key(&flow) {
            return Some(flow);
        }
        match flow.transport {
            Transport::Tcp => {
                let accepted = Flow { party: Party::Caller, ..flow };
                table.open.contains_key(&accepted).then_some(accepted)
            }
            Transport::Tls => {
                let (accepted, proved) = table.aliases.get(&(flow.listener, flow.remote))?;
                let name = self.peers.name(flow.party)?;
                proved.iter().any(|proved| proved.eq_ignore_ascii_case(&name)).then_some(*accepted)
            }
            Transport::Udp | Transport::Ws | Transport::Wss => None,
        }
    }

    fn forget(&self, flow: Flow, serial: u64) {
        let mut table = self.table();
        if table.open.get(&flow).is_some_and(|(known, _)| *known == serial) {
            table.open.remove(&flow);
            table.aliases.retain(|_, (alias, _)| *alias != flow);
        }
    }

    async fn dial(self: Arc<Self>, flow: Flow, serial: u64, outlet: Outlet) {
        let why = match self.open(flow).await {
            Ok(opened) => {
                metrics::connections(flow.transport, 1.0);
                let why = match opened {
                    Opened::Plain(stream) => connection::serve(flow, true, stream, outlet, &self.core, |_| {}).await,
                    Opened::Secure(stream) => connection::serve(flow, true, stream, outlet, &self.core, |_| {}).await,
                };
                metrics::connections(flow.transport, -1.0);
                why
            }
            Err(failed) => {
                metrics::handshake_failed(flow.transport, failed.reason);
                let Failed { reason, what, remedy } = failed;
                let peer = self.peers.name(flow.party).unwrap_or_default();
                let transport = flow.transport.label();
                tracing::warn!(remote = %flow.remote, %peer, transport, reason, remedy, "a SIP connection cannot be opened: {what}");
                reason
            }
        };
        self.ended(flow, serial, why);
    }

    async fn open(&self, flow: Flow) -> Result<Opened, Failed> {
        let unknown =
            || Failed { what: "nobody knows whose certificate it must have".into(), ..Failed::new("no_name") };
        let tls = match flow.transport {
            Transport::Tls => Some(self.peers.tls(flow.party).ok_or_else(unknown)?),
            Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => None,
        };
        let from = self.places.get(flow.listener).map(|place| place.local.ip());
        let unreachable = |error: io::Error| Failed { what: error.to_string(), ..Failed::new("unreachable") };
        let stream = timeout(CONNECT_WITHIN, connect(from, flow.remote)).await;
        let stream = stream.map_err(|_| Failed::new("connect_timeout"))?.map_err(unreachable)?;
        tune(&stream);
        match tls {
            None => Ok(Opened::Plain(stream)),
            Some((config, name)) => {
                let stream = handshake::connect(config, name, stream).await?;
                Ok(Opened::Secure(Box::new(stream)))
            }
        }
    }

    /// Takes a connection that was accepted. Called inside the runtime.
    pub(super) fn accept(
        self: &Arc<Self>,
        listener: usize,
        transport: Transport,
        stream: TcpStream,
        remote: SocketAddr,
    ) {
        let Some(counted) = self.count(listener, remote.ip()) else {
            metrics::dropped("too_many_connections");
            return;
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _counted = counted;
            let flow = Flow::accepted(listener, transport, remote);
            if let Err(failed) = this.answer(flow, stream).await {
                metrics::handshake_failed(transport, failed.reason);
                let (reason, what) = (failed.reason, failed.what);
                tracing::debug!(%remote, transport = transport.label(), reason, "a SIP connection came to nothing: {what}");
            }
        });
    }

    async fn answer(self: &Arc<Self>, flow: Flow, stream: TcpStream) -> Result<(), Failed> {
        tune(&stream);
        let tls = || self.places.get(flow.listener).and_then(|place| place.tls.clone());
        let no_tls = || Failed::new("no_certificate_of_ours");
        match flow.transport {
            Transport::Udp => {}
            Transport::Tcp => {
                let carried = async |outlet| connection::serve(flow, false, stream, outlet, &self.core, |_| {}).await;
                self.carry(flow, carried).await;
            }
            Transport::Tls => {
                let (stream, proved) = handshake::accept(tls().ok_or_else(no_tls)?, stream).await?;
                let first = |message: &Message| self.alias(flow, message, proved.into());
                let carried = async |outlet| connection::serve(flow, false, stream, outlet, &self.core, first).await;
                self.carry(flow, carried).await;
            }
            Transport::Ws => {
                let socket = self.upgrade(stream).await?;
                self.carry(flow, async |outlet| websocket::serve(flow, socket, outlet, &self.core).await).await;
            }
            Transport::Wss => {
                let (stream, _) = handshake::accept(tls().ok_or_else(no_tls)?, stream).await?;
                let socket = self.upgrade(stream).await?;
                self.carry(flow, async |outlet| websocket::serve(flow, socket, outlet, &self.core).await).await;
            }
        }
        Ok(())
    }

    async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<WebSocketStream<S>, Failed> {
        let upgraded = timeout(handshake::WITHIN, websocket::accept(stream, &self.origins)).await;
        upgraded.map_err(|_| Failed::new("timeout"))?.map_err(Failed::new)
    }

    /// Has an accepted connection in the table while it is carried.
    async fn carry(&self, flow: Flow, carried: impl AsyncFnOnce(Outlet) -> &'static str) {
        let (link, outlet) = link();
        let serial = rand::random();
        self.table().open.insert(flow, (serial, link));
        metrics::connections(flow.transport, 1.0);
        let why = carried(outlet).await;
        metrics::connections(flow.transport, -1.0);
        self.ended(flow, serial, why);
    }

    fn ended(&self, flow: Flow, serial: u64, why: &'static str) {
        metrics::connection_closed(flow.transport, why);
        self.forget(flow, serial);
        if let Some(core) = self.core.upgrade() {
            core.unreachable(flow);
        }
    }

    /// RFC 5923 §8: a request by a connection whose client has proved who it is, and whose top Via has `alias`, makes the
    /// connection one to where that client listens.
    fn alias(&self, flow: Flow, message: &Message, proved: Arc<[String]>) {
        let Some(via) = message.get(HeaderName::Via).filter(|_| !proved.is_empty()) else { return };
        let Some(via) = view::split(&via, b',').next().and_then(|top| Via::parse(trim(top))) else { return };
        if via.parameter("alias").is_some() {
            let port = via.port.unwrap_or(flow.transport.default_port());
            let listens = SocketAddr::new(flow.remote.ip(), port);
            self.table().aliases.insert((flow.listener, listens), (flow, proved));
        }
    }

    /// A place for one more; `None` when there are too many.
    fn count(self: &Arc<Self>, listener: usize, source: IpAddr) -> Option<Counted> {
        let near =
            self.places.get(listener).is_some_and(|place| place.local_nets.iter().any(|net| net.contains(source)));
        let source = (!near && !source.is_loopback()).then(|| prefix(source));
        let mut table = self.table();
        let of_listener = table.of_listener.get(&listener).copied().unwrap_or_default();
        let of_source = source.and_then(|source| table.of_source.get(&source).copied()).unwrap_or_default();
        if of_listener >= MAX_CONNECTIONS || of_source >= MAX_OF_SOURCE {
            return None;
        }
        table.of_listener.insert(listener, of_listener + 1);
        if let Some(source) = source {
            table.of_source.insert(source, of_source + 1);
        }
        Some(Counted { streams: Arc::downgrade(self), listener, source })
    }
}

enum Opened {
    Plain(TcpStream),
    Secure(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// One connection in the counts.
struct Counted {
    streams: Weak<Streams>,
    listener: usize,
    source: Option<IpAddr>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(streams) = self.streams.upgrade() else { return };
        let mut table = streams.table();
        if let Some(count) = table.of_listener.get_mut(&self.listener) {
            *count = count.saturating_sub(1);
        }
        if let Some(source) = self.source
            && let Entry::Occupied(mut count) = table.of_source.entry(source)
        {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What counts as one source: nobody has an IPv6 /64 to themselves and uses one address of it.
fn prefix(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// Connects from a listener's own address, which is how a peer knows us.
async fn connect(from: Option<IpAddr>, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from.filter(|from| !from.is_unspecified() && from.is_ipv4() == remote.is_ipv4()) {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(remote).await
}

fn tune(stream: &TcpStream) {
    let (after, between, times) = KERNEL_KEEP_ALIVE;
    let keep_alive = socket2::TcpKeepalive::new().with_time(after).with_interval(between).with_retries(times);
    let socket = socket2::SockRef::from(stream);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keep_alive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a SIP connection stays as the system makes it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_source_is_its_64_and_a_mapped_address_is_ipv4() {
        let of = |text: &str| prefix(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
