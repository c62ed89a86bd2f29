//! The range of RTP ports: pairs, RTP on the even one and RTCP on the next (RFC 3550 §11). A released pair rests before it is
//! used again, so that a late packet of the old call is not heard in a new one.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Kernel buffer of an RTP socket, bytes: a second of audio, so that a stalled thread loses nothing.
const SOCKET_BUFFER: usize = 64 * 1024;

/// Why no pair was bound.
#[derive(Debug)]
pub enum Unavailable {
    /// All are used, resting, or taken by other programs.
    Exhausted,
    /// The system refused for another reason.
    Refused(io::Error),
}

/// Hands out pairs, the longest unused first.
#[derive(Debug)]
pub struct Ports {
    free: VecDeque<u16>,
    resting: VecDeque<(Instant, u16)>,
    rest: Duration,
}

impl Ports {
    /// Of a range; a lone odd port at either end is left out.
    pub fn new(range: RangeInclusive<u16>, rest: Duration) -> Self {
        let last = *range.end();
        let free = range.filter(|p| p % 2 == 0 && *p < last).collect();
        Self { free, resting: VecDeque::new(), rest }
    }

    /// Binds a pair on `address`.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn bind(&mut self, address: IpAddr, now: Instant) -> Result<(u16, UdpSocket, UdpSocket), Unavailable> {
        while let Some(&(_, port)) = self.resting.front().filter(|(until, _)| *until <= now) {
            self.resting.pop_front();
            self.free.push_back(port);
        }
        for _ in 0..self.free.len() {
            let Some(port) = self.free.pop_front() else { break };
            match bind_socket(SocketAddr::new(address, port))
                .and_then(|rtp| Ok((rtp, bind_socket(SocketAddr::new(address, port + 1))?)))
            {
                Ok((rtp, rtcp)) => return Ok((port, rtp, rtcp)),
                Err(error) => {
                    self.free.push_back(port);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(Unavailable::Refused(error));
                    }
                }
            }
        }
        Err(Unavailable::Exhausted)
    }

    /// The pair's session is closed.
    pub fn release(&mut self, port: u16, now: Instant) {
        self.resting.push_back((now + self.rest, port));
    }
}

/// A non-blocking UDP socket with a roomy buffer.
///
/// # Errors
/// As the system words it.
pub fn bind_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Four even ports that are free now.
    fn range() -> RangeInclusive<u16> {
        let probe = UdpSocket::bind((HERE, 0)).expect("a port").local_addr().expect("bound").port();
        let first = (probe & !1).min(60_000);
        first..=first + 7
    }

    #[test]
    fn rtp_is_even_and_rtcp_the_next() {
        let mut ports = Ports::new(range(), Duration::ZERO);
        let (port, rtp, rtcp) = ports.bind(HERE, Instant::now()).expect("a pair");
        assert_eq!(port % 2, 0);
        assert_eq!(rtp.local_addr().expect("bound").port(), port);
        assert_eq!(rtcp.local_addr().expect("bound").port(), port + 1);
    }

    #[test]
    fn a_released_pair_rests_and_a_used_up_range_says_so() {
        let (mut ports, now) = (Ports::new(range(), Duration::from_secs(10)), Instant::now());
        let mut bound = Vec::new();
        while let Ok(pair) = ports.bind(HERE, now) {
            bound.push(pair);
        }
        assert!(matches!(ports.bind(HERE, now), Err(Unavailable::Exhausted)));
        let (port, ..) = bound.pop().expect("at least one pair is free");
        ports.release(port, now);
        assert!(matches!(ports.bind(HERE, now + Duration::from_secs(9)), Err(Unavailable::Exhausted)));
        assert_eq!(ports.bind(HERE, now + Duration::from_secs(10)).expect("rested").0, port);
    }

    #[test]
    fn an_odd_range_uses_only_whole_pairs() {
        assert_eq!(Ports::new(10_001..=10_006, Duration::ZERO).free, [10_002, 10_004]);
    }
}
