//! STUN Binding as far as an ICE-lite agent answers it (RFC 8489 §5, §14; RFC 8445 §7.3). Pure; reads what anybody may send.
//!
//! Not here: what a check changes (`ice`), sending checks of our own (a lite agent sends none, RFC 8445 §2.5).

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

/// Attributes with this bit may be ignored when unknown (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Why a datagram is not a Binding request that can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotARequest {
    /// Not STUN of RFC 8489, or its attributes do not fill it exactly, or its FINGERPRINT is wrong.
    Malformed,
    /// STUN, but an indication, a response or another method: nothing for a lite agent.
    Other,
    /// A Binding request without USERNAME or MESSAGE-INTEGRITY.
    Anonymous,
}

/// A well-formed Binding request, not yet authenticated.
#[derive(Debug)]
pub struct Request<'a> {
    bytes: &'a [u8],
    transaction: [u8; 12],
    username: &'a str,
    integrity: &'a [u8],
    /// Offset of the MESSAGE-INTEGRITY attribute.
    integrity_at: usize,
    /// USE-CANDIDATE: the sender nominates this path.
    pub nominates: bool,
    /// ICE-CONTROLLED: the sender believes that we are controlling, which a lite agent never is.
    pub role_conflict: bool,
    unknown: Vec<u16>,
}

impl<'a> Request<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`NotARequest`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotARequest> {
        let (header, body) = bytes.split_at_checked(HEADER).ok_or(NotARequest::Malformed)?;
        let (head, transaction) = header.split_at(8);
        let &[t0, t1, l0, l1, ref cookie @ ..] = head else { return Err(NotARequest::Malformed) };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if cookie != COOKIE || length != body.len() || length % 4 != 0 {
            return Err(NotARequest::Malformed);
        }
        if u16::from_be_bytes([t0, t1]) != BINDING_REQUEST {
            return Err(NotARequest::Other);
        }
        let mut username = None;
        let mut integrity = None;
        let mut request = Request {
            bytes,
            transaction: transaction.try_into().map_err(|_| NotARequest::Malformed)?,
            username: "",
            integrity: &[],
            integrity_at: 0,
            nominates: false,
            role_conflict: false,
            unknown: Vec::new(),
        };
        let mut at = HEADER;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (kind, value, next) = attribute(rest).ok_or(NotARequest::Malformed)?;
            match kind {
                FINGERPRINT => {
                    // RFC 8489 §14.7: the last attribute.
                    let sent: [u8; 4] = value.try_into().map_err(|_| NotARequest::Malformed)?;
                    let covered = bytes.get(..at).ok_or(NotARequest::Malformed)?;
                    if u32::from_be_bytes(sent) != fingerprint(covered) || at + next != bytes.len() {
                        return Err(NotARequest::Malformed);
                    }
                }
                // RFC 8489 §14.5: nothing else counts behind MESSAGE-INTEGRITY.
                _ if integrity.is_some() => {}
                USERNAME => username = Some(std::str::from_utf8(value).map_err(|_| NotARequest::Malformed)?),
                MESSAGE_INTEGRITY if value.len() == 20 => {
                    integrity = Some(value);
                    request.integrity_at = at;
                }
                MESSAGE_INTEGRITY => return Err(NotARequest::Malformed),
                USE_CANDIDATE => request.nominates = true,
                ICE_CONTROLLED => request.role_conflict = true,
                PRIORITY => {}
                other if other & OPTIONAL != 0 => {}
                other if request.unknown.len() < 8 => request.unknown.push(other),
                _ => {}
            }
            at += next;
        }
        request.username = username.ok_or(NotARequest::Anonymous)?;
        request.integrity = integrity.ok_or(NotARequest::Anonymous)?;
        Ok(request)
    }

    /// USERNAME parted at the colon: our user fragment, the sender's (RFC 8445 §7.2.2). `None` without a colon.
    pub fn ufrags(&self) -> Option<(&'a str, &'a str)> {
        self.username.split_once(':')
    }

    /// Whether MESSAGE-INTEGRITY was made with our password (RFC 8489 §14.5). In constant time.
    pub fn is_authentic(&self, pwd: &str) -> bool {
        let Some(signed) = self.bytes.get(..self.integrity_at) else { return false };
        let Ok(length) = u16::try_from(self.integrity_at - HEADER + 24) else { return false };
        mac(pwd, signed, length).verify_slice(self.integrity).is_ok()
    }

    /// Whether it has attributes that must be understood and are not (RFC 8489 §6.3.1).
    pub fn is_understood(&self) -> bool {
        self.unknown.is_empty()
    }

    /// The success response: where the request came from.
    pub fn success(&self, from: SocketAddr, pwd: &str) -> Vec<u8> {
        let mut response = self.response(BINDING_SUCCESS);
        let key: Vec<u8> = COOKIE.iter().chain(&self.transaction).copied().collect();
        let mut value = vec![0, if from.is_ipv4() { 1 } else { 2 }];
        value.extend(from.port().to_be_bytes().iter().zip(&key).map(|(byte, key)| byte ^ key));
        match from.ip() {
            IpAddr::V4(ip) => value.extend(ip.octets().iter().zip(&key).map(|(byte, key)| byte ^ key)),
            IpAddr::V6(ip) => value.extend(ip.octets().iter().zip(&key).map(|(byte, key)| byte ^ key)),
        }
        push(&mut response, XOR_MAPPED_ADDRESS, &value);
        sealed(response, pwd)
    }

    /// 487 Role Conflict (RFC 8445 §7.3.1.1).
    pub fn conflict(&self, pwd: &str) -> Vec<u8> {
        let mut response = self.response(BINDING_ERROR);
        push(&mut response, ERROR_CODE, b"\0\0\x04\x57Role Conflict");
        sealed(response, pwd)
    }

    /// 420 Unknown Attribute (RFC 8489 §6.3.1).
    pub fn not_understood(&self, pwd: &str) -> Vec<u8> {
        let mut response = self.response(BINDING_ERROR);
        push(&mut response, ERROR_CODE, b"\0\0\x04\x14Unknown Attribute");
        let unknown: Vec<u8> = self.unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        push(&mut response, UNKNOWN_ATTRIBUTES, &unknown);
        sealed(response, pwd)
    }

    fn response(&self, kind: u16) -> Vec<u8> {
        let mut response = Vec::with_capacity(128);
        response.extend(kind.to_be_bytes());
        response.extend([0, 0]);
        response.extend(COOKIE);
        response.extend(self.transaction);
        response
    }
}

/// The first attribute of `rest`: type, value, and length with header and padding.
fn attribute(rest: &[u8]) -> Option<(u16, &[u8], usize)> {
    let (&[t0, t1, l0, l1], body) = rest.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let padded = length.next_multiple_of(4);
    (padded <= body.len()).then_some(())?;
    Some((u16::from_be_bytes([t0, t1]), body.get(..length)?, 4 + padded))
}

fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    // Only what this file writes comes here: short.
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Adds MESSAGE-INTEGRITY and FINGERPRINT and sets the length.
fn sealed(mut message: Vec<u8>, pwd: &str) -> Vec<u8> {
    let length = (message.len() - HEADER + 24) as u16;
    let tag = mac(pwd, &message, length).finalize().into_bytes();
    push(&mut message, MESSAGE_INTEGRITY, &tag);
    let length = (message.len() - HEADER + 8) as u16;
    message.splice(2..4, length.to_be_bytes());
    let crc = fingerprint(&message);
    push(&mut message, FINGERPRINT, &crc.to_be_bytes());
    message
}

/// The HMAC over a message up to MESSAGE-INTEGRITY, as if `length` stood in its header.
fn mac(pwd: &str, message: &[u8], length: u16) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(pwd.as_bytes()).expect("an HMAC key may have any length");
    mac.update(message.get(..2).unwrap_or_default());
    mac.update(&length.to_be_bytes());
    mac.update(message.get(4..).unwrap_or_default());
    mac
}

/// FINGERPRINT over everything before it (RFC 8489 §14.7).
fn fingerprint(covered: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in covered {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc ^ FINGERPRINT_XOR
}

/// A request as a controlling full agent sends it, for tests.
#[cfg(test)]
pub fn request(username: &str, pwd: &str, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(BINDING_REQUEST.to_be_bytes());
    message.extend([0, 0]);
    message.extend(COOKIE);
    message.extend(rand::random::<[u8; 12]>());
    push(&mut message, USERNAME, username.as_bytes());
    push(&mut message, PRIORITY, &1u32.to_be_bytes());
    for (kind, value) in attributes {
        push(&mut message, *kind, value);
    }
    sealed(message, pwd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769 §2.1: password `VOkJxbRl1RmTxUk/WvJxBt`, username `evtj:h6vY`.
    const RFC5769: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
        \x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\
        \x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    const PWD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_request_of_rfc_5769_is_authentic_with_its_password_only() {
        let request = Request::parse(RFC5769).expect("a request");
        assert_eq!(request.ufrags(), Some(("evtj", "h6vY")));
        assert!(request.is_authentic(PWD));
        assert!(!request.is_authentic("VOkJxbRl1RmTxUk/WvJxBu"));
        assert!(request.role_conflict && !request.nominates && request.is_understood());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        // But for the type of FINGERPRINT: another attribute behind the integrity does not count.
        let fingerprint_type = (RFC5769.len() - 8) * 8..(RFC5769.len() - 6) * 8;
        for at in (0..RFC5769.len() * 8).filter(|at| !fingerprint_type.contains(at)) {
            let mut bytes = RFC5769.to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            let accepted = Request::parse(&bytes).is_ok_and(|request| request.is_authentic(PWD));
            assert!(!accepted, "bit {at}");
        }
    }

    #[test]
    fn a_request_without_fingerprint_is_taken_and_one_without_integrity_is_not() {
        let mut bytes = request("us:them", PWD, &[]);
        bytes.truncate(bytes.len() - 8);
        let length = (bytes.len() - HEADER) as u16;
        bytes.splice(2..4, length.to_be_bytes());
        assert!(Request::parse(&bytes).expect("a request").is_authentic(PWD));
        bytes.truncate(bytes.len() - 24);
        let length = (bytes.len() - HEADER) as u16;
        bytes.splice(2..4, length.to_be_bytes());
        assert_eq!(Request::parse(&bytes).expect_err("nobody's"), NotARequest::Anonymous);
    }

    #[test]
    fn what_stands_behind_the_integrity_does_not_count() {
        let mut bytes = request("us:them", PWD, &[]);
        bytes.truncate(bytes.len() - 8);
        push(&mut bytes, USE_CANDIDATE, &[]);
        let length = (bytes.len() - HEADER) as u16;
        bytes.splice(2..4, length.to_be_bytes());
        let request = Request::parse(&bytes).expect("a request");
        assert!(request.is_authentic(PWD) && !request.nominates);
    }

    #[test]
    fn the_success_response_says_where_the_request_came_from() {
        for from in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let bytes = request("us:them", PWD, &[(USE_CANDIDATE, &[])]);
            let request = Request::parse(&bytes).expect("a request");
            assert!(request.nominates);
            let from: SocketAddr = from.parse().expect("an address");
            let response = request.success(from, PWD);
            let (kind, value, _) = attribute(&response[HEADER..]).expect("an attribute");
            assert_eq!((kind, value[2..4].to_vec()), (XOR_MAPPED_ADDRESS, vec![0xa1, 0x47]));
            assert_eq!(u16::from_be_bytes([response[2], response[3]]) as usize, response.len() - HEADER);
            let crc_at = response.len() - 8;
            assert_eq!(response[crc_at + 4..], fingerprint(&response[..crc_at]).to_be_bytes());
        }
    }

    #[test]
    fn an_attribute_that_must_be_understood_is_answered_420() {
        let bytes = request("us:them", PWD, &[(0x7777, &[1]), (0xc057, &[0; 4])]);
        let request = Request::parse(&bytes).expect("a request");
        assert!(!request.is_understood());
        assert!(request.not_understood(PWD).windows(4).any(|four| four == [0x00, 0x02, 0x77, 0x77]));
    }

    #[test]
    fn responses_and_indications_are_nothing_for_a_lite_agent() {
        let bytes = request("us:them", PWD, &[]);
        let response =
            Request::parse(&bytes).expect("a request").success("192.0.2.1:9".parse().expect("an address"), PWD);
        assert_eq!(Request::parse(&response).expect_err("a response"), NotARequest::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&bytes).map(|request| request.is_authentic(PWD));
        }

        #[test]
        fn damaged_requests_never_panic(at in 0usize..108, put in any::<[u8; 4]>(), keep in 0usize..109) {
            let mut bytes = RFC5769.to_vec();
            for (offset, byte) in put.into_iter().enumerate() {
                if let Some(place) = bytes.get_mut(at + offset) { *place = byte; }
            }
            bytes.truncate(keep);
            if let Some(length) = bytes.len().checked_sub(HEADER) {
                bytes.splice(2..4, (length as u16).to_be_bytes());
            }
            let _ = Request::parse(&bytes).map(|request| request.is_authentic(PWD));
        }
    }
}
