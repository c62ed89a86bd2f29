//! A link between two cores in memory, seeded: it loses, doubles and delays datagrams, and so reorders them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::config::BindError;
use super::super::endpoint::Shared;
use super::{Flow, Wire};

/// What the link does to a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Chance of a loss, 0 to 1.
    pub loss: f64,
    /// Chance of a second copy.
    pub twice: f64,
    /// Longest delay.
    pub delay: Duration,
}

/// Every core on the link by its address; filled in once all exist.
pub type Peers = Arc<OnceLock<Vec<(SocketAddr, Weak<Shared>)>>>;

/// One side's end of the link.
pub struct MemoryWire {
    weather: Weather,
    random: Mutex<StdRng>,
    from: SocketAddr,
    peers: Peers,
}

impl MemoryWire {
    /// An end at this address; `peers` is filled in once every core exists.
    pub fn new(seed: u64, weather: Weather, from: SocketAddr, peers: Peers) -> Self {
        Self { weather, random: Mutex::new(StdRng::seed_from_u64(seed)), from, peers }
    }
}

impl Wire for MemoryWire {
    fn keep_listening(&self, _: usize) -> Result<bool, BindError> {
        Ok(false)
    }
    fn send(&self, flow: Flow, octets: Bytes) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = self.peers.get().and_then(|peers| peers.iter().find(|(at, _)| *at == flow.remote));
        let Some((_, peer)) = peer else { return };
        let copies = if random.random_bool(self.weather.twice) { 2 } else { 1 };
        for _ in 0..copies {
            if random.random_bool(self.weather.loss) {
                continue;
            }
            let longest = u64::try_from(self.weather.delay.as_millis()).unwrap_or(u64::MAX);
            let delay = Duration::from_millis(random.random_range(0..=longest));
            let (peer, octets, from) = (peer.clone(), octets.clone(), self.from);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                if let Some(peer) = peer.upgrade() {
                    peer.datagram(Flow::udp(0, from), octets);
                }
            });
        }
    }
}
