//! The kernel side of UDP: several datagrams a system call, each with our own address that it came to or leaves from.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use bytes::Bytes;
use socket2::{SockAddr, SockAddrStorage, SockRef};

/// Datagrams a system call.
pub(super) const BATCH: usize = 32;
/// UDP's longest.
const DATAGRAM: usize = 65_535;

/// Room for one control message with a packet's address, of either family, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

fn zeroed<T: Copy>(n: usize) -> Box<[T]> {
    // SAFETY: used below with C structs of integers and pointers and arrays of octets only, for which all-zero is a valid value.
    (0..n).map(|_| unsafe { MaybeUninit::<T>::zeroed().assume_init() }).collect()
}

/// Has the kernel say which of our addresses each datagram came to.
pub(super) fn tell_destinations(socket: &UdpSocket, ipv6: bool) -> io::Result<()> {
    let (level, name) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    let on: libc::c_int = 1;
    // SAFETY: an open socket, and an int of ours with its length.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives up to [`BATCH`] datagrams a call. The headers point into the boxes, which never move or grow.
pub(super) struct Inbox {
    buffers: Box<[[u8; DATAGRAM]]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers inside point into boxes that the value owns; nothing else has them.
unsafe impl Send for Inbox {}

impl Inbox {
    pub(super) fn new() -> Self {
        let mut buffers = zeroed::<[u8; DATAGRAM]>(BATCH);
        let mut addresses = zeroed::<libc::sockaddr_storage>(BATCH);
        let mut controls = zeroed::<Control>(BATCH);
        let vectors: Box<[libc::iovec]> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: DATAGRAM })
            .collect();
        let mut headers = zeroed::<libc::mmsghdr>(BATCH);
        let places = addresses.iter_mut().zip(controls.iter_mut()).zip(vectors.iter());
        for (header, ((address, control), vector)) in headers.iter_mut().zip(places) {
            header.msg_hdr.msg_name = (address as *mut libc::sockaddr_storage).cast();
            header.msg_hdr.msg_control = (control as *mut Control).cast();
            header.msg_hdr.msg_iov = (vector as *const libc::iovec).cast_mut();
            header.msg_hdr.msg_iovlen = 1;
        }
        Self { buffers, addresses, controls, _vectors: vectors, headers }
    }

    /// Takes what has arrived; how many.
    pub(super) fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        let (headers, flags) = (self.headers.as_mut_ptr(), libc::MSG_DONTWAIT as _);
        // SAFETY: BATCH headers that point to buffers of the lengths stated; MSG_DONTWAIT: never blocks.
        let n = unsafe { libc::recvmmsg(socket, headers, BATCH as libc::c_uint, flags, std::ptr::null_mut()) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }

    /// One of the datagrams received, who sent it, and which of our addresses it came to, where the kernel says so.
    pub(super) fn datagram(&self, at: usize) -> Option<(&[u8], SocketAddr, Option<IpAddr>)> {
        let header = self.headers.get(at)?;
        let octets = self.buffers.get(at)?.get(..usize::try_from(header.msg_len).ok()?)?;
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: SockAddrStorage is a sockaddr_storage; the kernel wrote ours.
        unsafe { *storage.view_as::<libc::sockaddr_storage>() = *self.addresses.get(at)? };
        // SAFETY: of the length that the kernel gave.
        let from = unsafe { SockAddr::new(storage, header.msg_hdr.msg_namelen) }.as_socket()?;
        let has_control = self.controls.len() > at && header.msg_hdr.msg_controllen > 0;
        Some((octets, from, if has_control { destination(&header.msg_hdr) } else { None }))
    }
}

/// Our address out of the control messages (ip(7), ipv6(7)).
fn destination(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled the control buffer and its length; the macros stay inside it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so a whole cmsghdr, whose type says what follows it.
        unsafe {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(IpAddr::from(u32::from_be(info.ipi_spec_dst.s_addr).to_be_bytes()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    return Some(IpAddr::from(data.cast::<libc::in6_pktinfo>().read_unaligned().ipi6_addr.s6_addr));
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    None
}

/// A datagram to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub to: SocketAddr,
    /// The address of ours that it leaves from; `None`: what the kernel chooses.
    pub from: Option<IpAddr>,
    pub octets: Bytes,
}

/// Sends a batch without waiting; how many the kernel did not take, and the last reason. An error is one datagram's: the rest goes on.
pub(super) fn send(socket: &UdpSocket, batch: &[Outgoing]) -> (usize, Option<io::Error>) {
    let addresses: Vec<SockAddr> = batch.iter().map(|one| SockAddr::from(one.to)).collect();
    let vectors: Vec<libc::iovec> = batch
        .iter()
        .map(|one| libc::iovec { iov_base: one.octets.as_ptr().cast_mut().cast(), iov_len: one.octets.len() })
        .collect();
    let mut controls = zeroed::<Control>(batch.len());
    let mut headers = zeroed::<libc::mmsghdr>(batch.len());
    for (at, header) in headers.iter_mut().enumerate() {
        let (Some(address), Some(vector), Some(control)) = (addresses.get(at), vectors.get(at), controls.get_mut(at))
        else {
            continue;
        };
        let header = &mut header.msg_hdr;
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len();
        header.msg_iov = (vector as *const libc::iovec).cast_mut();
        header.msg_iovlen = 1;
        if let Some(from) = batch.get(at).and_then(|one| one.from) {
            leave_from(header, control, from);
        }
    }
    let (mut start, mut failed, mut why) = (0, 0, None);
    while let Some(rest) = headers.get_mut(start..).filter(|rest| !rest.is_empty()) {
        let (n, flags) = (rest.len() as libc::c_uint, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        // SAFETY: `n` headers that point to octets, addresses and controls which live until the end of this function.
        let sent = unsafe { libc::sendmmsg(SockRef::from(socket).as_raw_fd(), rest.as_mut_ptr(), n, flags as _) };
        match usize::try_from(sent) {
            Ok(sent) if sent > 0 => start += sent,
            Ok(_) | Err(_) => {
                why = Some(io::Error::last_os_error());
                failed += 1;
                start += 1;
            }
        }
    }
    (failed, why)
}

/// Writes the control message that chooses the source (ip(7), ipv6(7)).
fn leave_from(header: &mut libc::msghdr, control: &mut Control, from: IpAddr) {
    header.msg_control = (control as *mut Control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the buffer is aligned and larger than one control message with either struct; lengths are set to what is written.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        let data = libc::CMSG_DATA(message);
        let length = match from {
            IpAddr::V4(v4) => {
                (*message).cmsg_level = libc::IPPROTO_IP;
                (*message).cmsg_type = libc::IP_PKTINFO;
                let mut info: libc::in_pktinfo = MaybeUninit::zeroed().assume_init();
                info.ipi_spec_dst.s_addr = u32::from(v4).to_be();
                data.cast::<libc::in_pktinfo>().write_unaligned(info);
                size_of::<libc::in_pktinfo>()
            }
            IpAddr::V6(v6) => {
                (*message).cmsg_level = libc::IPPROTO_IPV6;
                (*message).cmsg_type = libc::IPV6_PKTINFO;
                let mut info: libc::in6_pktinfo = MaybeUninit::zeroed().assume_init();
                info.ipi6_addr.s6_addr = v6.octets();
                data.cast::<libc::in6_pktinfo>().write_unaligned(info);
                size_of::<libc::in6_pktinfo>()
            }
        } as libc::c_uint;
        (*message).cmsg_len = libc::CMSG_LEN(length) as _;
        header.msg_controllen = libc::CMSG_SPACE(length) as _;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn received(inbox: &mut Inbox, socket: &UdpSocket) -> Vec<(Vec<u8>, SocketAddr, Option<IpAddr>)> {
        let mut all = Vec::new();
        for _ in 0..200 {
            let n = inbox.receive(socket.as_raw_fd()).unwrap_or(0);
            all.extend(
                (0..n).filter_map(|at| inbox.datagram(at)).map(|(octets, from, to)| (octets.to_vec(), from, to)),
            );
            if n == 0 && !all.is_empty() {
                return all;
            }
            std::thread::sleep(Duration::from_millis(if n == 0 { 5 } else { 0 }));
        }
        all
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        for (any, asked) in [("0.0.0.0:0", "127.0.0.3"), ("[::]:0", "::1")] {
            let socket = UdpSocket::bind(any).expect("a free port");
            let asked: IpAddr = asked.parse().expect("an address");
            tell_destinations(&socket, asked.is_ipv6()).expect("told");
            let local = SocketAddr::new(asked, socket.local_addr().expect("an address").port());
            let peer = UdpSocket::bind((if asked.is_ipv6() { "::1" } else { "127.0.0.1" }, 0)).expect("a free port");
            peer.connect(local).expect("connected: hears from that address only");
            peer.send(b"ask").expect("sent");
            let mut inbox = Inbox::new();
            let heard = received(&mut inbox, &socket);
            assert_eq!(heard, [(b"ask".to_vec(), peer.local_addr().expect("an address"), Some(asked))]);
            let answer = Outgoing { to: heard[0].1, from: heard[0].2, octets: Bytes::from_static(b"answer") };
            assert_eq!(send(&socket, &[answer]).0, 0);
            peer.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
            let mut buffer = [0; 16];
            assert_eq!(peer.recv(&mut buffer).expect("the answer"), 6);
        }
    }

    #[test]
    fn a_batch_goes_and_comes_whole_and_one_that_cannot_be_sent_hinders_no_other() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").expect("a port"), UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let to = b.local_addr().expect("an address");
        let one = |n: usize| {
            // Nobody can be reached over IPv6 by an IPv4 socket.
            let to = if n == 20 { "[::1]:9".parse().expect("an address") } else { to };
            Outgoing { to, from: None, octets: Bytes::from(vec![b'x'; n]) }
        };
        let batch: Vec<Outgoing> = (1..=40).map(one).collect();
        let (failed, why) = send(&a, &batch);
        assert!(failed == 1 && why.is_some());
        let mut inbox = Inbox::new();
        let lengths: Vec<usize> = received(&mut inbox, &b).iter().map(|(octets, _, _)| octets.len()).collect();
        assert_eq!(lengths, (1..=40).filter(|n| *n != 20).collect::<Vec<_>>());
    }
}
