//! The kernel side of a media thread: batched receive and send (recvmmsg, sendmmsg), epoll over the RTP ports. Nothing here
//! allocates after it was made, and nothing blocks.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use super::seat::Station;

/// Datagrams in one system call.
pub const BATCH: usize = 64;
/// Longest datagram taken or sent, bytes.
pub const DATAGRAM: usize = 2048;

type Storage = libc::sockaddr_storage;

/// Writes an address as the kernel wants it; returns its length.
fn to_storage(address: SocketAddr, storage: &mut Storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is at least as large as, and aligned for, every sockaddr.
            unsafe { (storage as *mut Storage).cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (storage as *mut Storage).cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Reads an address the kernel wrote. An IPv4 address on an IPv6 socket becomes an IPv4 address.
fn from_storage(storage: &Storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which sockaddr the kernel wrote.
            let raw = unsafe { (storage as *const Storage).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let raw = unsafe { (storage as *const Storage).cast::<libc::sockaddr_in6>().read() };
            let (ip, port) = (Ipv6Addr::from(raw.sin6_addr.s6_addr), u16::from_be(raw.sin6_port));
            Some(ip.to_ipv4_mapped().map_or_else(
                || SocketAddr::V6(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id)),
                |v4| SocketAddr::V4(SocketAddrV4::new(v4, port)),
            ))
        }
        _ => None,
    }
}

fn zeroed<T: Copy>(n: usize) -> Box<[T]> {
    // SAFETY: used below with C structs of integers and pointers only, for which all-zero is a valid value.
    (0..n).map(|_| unsafe { MaybeUninit::<T>::zeroed().assume_init() }).collect()
}

/// Buffers with their headers; the headers point into the boxes, which never move or grow.
struct Batch {
    buffers: Box<[[u8; DATAGRAM]]>,
    addresses: Box<[Storage]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Batch {
    fn new() -> Self {
        let mut batch =
            Self { buffers: zeroed(BATCH), addresses: zeroed(BATCH), vectors: zeroed(BATCH), headers: zeroed(BATCH) };
        for i in 0..BATCH {
            batch.vectors[i] = libc::iovec { iov_base: batch.buffers[i].as_mut_ptr().cast(), iov_len: DATAGRAM };
            let header = &mut batch.headers[i].msg_hdr;
            header.msg_name = (&raw mut batch.addresses[i]).cast();
            header.msg_namelen = size_of::<Storage>() as libc::socklen_t;
            header.msg_iov = &raw mut batch.vectors[i];
            header.msg_iovlen = 1;
        }
        batch
    }
}

/// Receives up to [`BATCH`] datagrams a call.
pub struct Inbox(Batch);

// SAFETY: the raw pointers inside point into boxes the value owns; nothing else has them.
unsafe impl Send for Inbox {}

impl Default for Inbox {
    fn default() -> Self {
        Self(Batch::new())
    }
}

impl Inbox {
    /// Takes what has arrived, at most `most`; returns how many datagrams.
    pub fn receive(&mut self, socket: RawFd, most: usize) -> usize {
        let most = most.min(BATCH);
        for header in &mut self.0.headers[..most] {
            header.msg_hdr.msg_namelen = size_of::<Storage>() as libc::socklen_t;
        }
        // SAFETY: `most` headers are valid and point to buffers of the lengths stated; MSG_DONTWAIT: never blocks.
        let n = unsafe {
            libc::recvmmsg(
                socket,
                self.0.headers.as_mut_ptr(),
                most as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(n).unwrap_or(0)
    }
    /// One of the datagrams received and who sent it.
    pub fn datagram(&mut self, i: usize) -> Option<(&mut [u8], SocketAddr)> {
        let len = usize::try_from(self.0.headers.get(i)?.msg_len).ok()?;
        let from = from_storage(&self.0.addresses[i])?;
        Some((self.0.buffers[i].get_mut(..len)?, from))
    }
}

/// Collects datagrams of one tick and sends them in batches.
pub struct Outbox {
    batch: Batch,
    sockets: Box<[RawFd]>,
    used: usize,
    epoch: u64,
}

// SAFETY: as for `Inbox`.
unsafe impl Send for Outbox {}

impl Outbox {
    /// For one incarnation of a thread.
    pub fn new(epoch: u64) -> Self {
        Self { batch: Batch::new(), sockets: vec![-1; BATCH].into(), used: 0, epoch }
    }

    /// Adds a datagram: `write` fills the buffer and returns the length, or `None` to send nothing. Flushes a full batch.
    pub fn push(
        &mut self,
        station: &Station,
        socket: RawFd,
        to: SocketAddr,
        write: impl FnOnce(&mut [u8; DATAGRAM]) -> Option<usize>,
    ) -> bool {
        if self.used == BATCH {
            self.flush(station);
        }
        let i = self.used;
        let Some(len) = write(&mut self.batch.buffers[i]).filter(|len| *len <= DATAGRAM) else { return false };
        self.batch.vectors[i].iov_len = len;
        self.batch.headers[i].msg_hdr.msg_namelen = to_storage(to, &mut self.batch.addresses[i]);
        self.sockets[i] = socket;
        self.used += 1;
        true
    }

    /// Sends what was collected, one system call for each run of one socket. A fenced thread sends nothing. What the kernel
    /// does not take is dropped and counted: late audio is worth nothing.
    pub fn flush(&mut self, station: &Station) {
        let mut start = 0;
        while start < self.used {
            if !station.owned_by(self.epoch) {
                break;
            }
            let socket = self.sockets[start];
            let run = self.sockets[start..self.used].iter().take_while(|s| **s == socket).count();
            // SAFETY: `run` headers from `start` are valid and point to buffers of the lengths stated.
            let sent = unsafe {
                libc::sendmmsg(
                    socket,
                    self.batch.headers[start..].as_mut_ptr(),
                    run as libc::c_uint,
                    (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
                )
            };
            // On an error the first datagram is the culprit (a refused port, a full queue): skip it, go on with the rest.
            let sent = usize::try_from(sent).unwrap_or(0);
            if sent == 0 {
                station.stats.unsent.fetch_add(1, Ordering::Relaxed);
            }
            start += sent.max(1);
        }
        self.used = 0;
    }
}

/// Readiness of many sockets, level-triggered.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// A new, empty one.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; the descriptor it returns is owned by nobody else.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a fresh, valid descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
    /// Watches a socket; it leaves by being closed.
    ///
    /// # Errors
    /// As the system words it.
    pub fn add(&self, socket: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: one epoll_event of ours, copied by the kernel.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
    /// Fills `ready` without waiting; returns how many.
    pub fn poll(&self, ready: &mut [libc::epoll_event]) -> usize {
        let most = i32::try_from(ready.len()).unwrap_or(i32::MAX);
        // SAFETY: `ready` is valid for as many events as are asked for.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), ready.as_mut_ptr(), most, 0) };
        usize::try_from(n).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ports::bind_socket;
    use crate::media::testing::{allocations_in, station};

    #[test]
    fn a_batch_arrives_whole_with_its_senders_and_without_an_allocation() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(receiver) = bind_socket(host.parse().expect("an address")) else {
                continue; // a machine without IPv6
            };
            let station = station(host);
            let (mut inbox, mut outbox) = (Inbox::default(), Outbox::new(1));
            let to = receiver.local_addr().expect("bound");
            let from = station.shared.local_addr().expect("bound");
            let mut got = 0;
            let allocations = allocations_in(|| {
                for n in 0..100u8 {
                    assert!(outbox.push(&station, station.shared.as_raw_fd(), to, |buffer| {
                        buffer[0] = n;
                        Some(1)
                    }));
                }
                outbox.flush(&station);
                while let n @ 1.. = inbox.receive(receiver.as_raw_fd(), BATCH) {
                    for i in 0..n {
                        let (bytes, sender) = inbox.datagram(i).expect("a datagram");
                        assert_eq!((&*bytes, sender), (&[got][..], from));
                        got += 1;
                    }
                }
            });
            assert_eq!((got, allocations), (100, 0));
        }
    }

    #[test]
    fn a_fenced_thread_sends_nothing() {
        let station = station("127.0.0.1:0");
        let receiver = bind_socket("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let mut outbox = Outbox::new(1);
        station.epoch.store(2, Ordering::Release);
        outbox.push(&station, station.shared.as_raw_fd(), receiver.local_addr().expect("bound"), |_| Some(1));
        outbox.flush(&station);
        assert_eq!(Inbox::default().receive(receiver.as_raw_fd(), 1), 0);
    }
}
