//! Messages out of a stream (RFC 3261 §18.3), with the keep-alive of RFC 5626 §3.5.1.

use bytes::{Bytes, BytesMut};

use super::{Carried, MAX_BODY, MAX_HEAD, Message, ParseError};

/// What came out of a stream.
#[derive(Debug)]
pub enum Framed {
    /// A message.
    Message(Box<Message>),
    /// A double CRLF between messages: a ping, to be answered by one CRLF.
    Ping,
}

/// Cuts a stream into messages. Octets already looked at are not scanned again. Of a message with too long a body only the head
/// comes out, to be answered 513; its body is passed over, so that the connection's other calls go on.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    scanned: usize,
    needed: Option<usize>,
    pass_over: usize,
}

impl Framer {
    /// Where octets are read into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next complete message; `None` when more octets are needed.
    ///
    /// # Errors
    /// [`ParseError`]: the stream has lost its framing and must be closed.
    pub fn pull(&mut self) -> Result<Option<Framed>, ParseError> {
        let passed = self.pass_over.min(self.buffer.len());
        let _ = self.buffer.split_to(passed);
        self.pass_over -= passed;
        if self.needed.is_none() && self.scanned == 0 {
            if self.buffer.starts_with(b"\r\n\r\n") {
                let _ = self.buffer.split_to(4);
                return Ok(Some(Framed::Ping));
            }
            // A single CRLF may be the first half of a ping.
            if matches!(&self.buffer[..], [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r']) {
                return Ok(None);
            }
            while self.buffer.starts_with(b"\r\n") {
                let _ = self.buffer.split_to(2);
            }
        }
        let needed = match self.needed {
            Some(needed) => needed,
            None => {
                let from = self.scanned.saturating_sub(3);
                let tail = self.buffer.get(from..).unwrap_or_default();
                match memchr::memmem::find(tail, b"\r\n\r\n") {
                    Some(at) => {
                        let head = self.buffer.get(..from + at + 4).unwrap_or_default();
                        let (head, body) = Message::measure(head)?;
                        let kept = if body > MAX_BODY { 0 } else { body };
                        self.pass_over = body - kept;
                        let needed = head + kept;
                        self.needed = Some(needed);
                        needed
                    }
                    None if self.buffer.len() > MAX_HEAD => return Err(ParseError::TooLarge),
                    None => {
                        self.scanned = self.buffer.len();
                        return Ok(None);
                    }
                }
            }
        };
        if self.buffer.len() < needed {
            return Ok(None);
        }
        self.needed = None;
        self.scanned = 0;
        let octets: Bytes = self.buffer.split_to(needed).freeze();
        let (message, _) = Message::parse(octets, Carried::Stream)?;
        Ok(Some(Framed::Message(Box::new(message))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::validate::TOO_LARGE;
    use super::*;

    const ONE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bK1\r\nl : 3\r\n\r\nabc";

    fn all(framer: &mut Framer) -> (usize, usize) {
        let (mut messages, mut pings) = (0, 0);
        while let Some(framed) = framer.pull().expect("a framed stream") {
            match framed {
                Framed::Message(message) => {
                    assert!(matches!(message.kind(), Kind::Request { .. }));
                    assert_eq!(message.body(), b"abc");
                    messages += 1;
                }
                Framed::Ping => pings += 1,
            }
        }
        (messages, pings)
    }

    #[test]
    fn messages_and_pings_come_out_whatever_the_pieces() {
        let mut stream = b"\r\n\r\n".to_vec();
        stream.extend_from_slice(ONE);
        stream.extend_from_slice(b"\r\n\r\n");
        stream.extend_from_slice(ONE);
        stream.extend_from_slice(ONE);
        for piece in [1, 2, 7, 64, 1000] {
            let mut framer = Framer::default();
            let mut total = (0, 0);
            for chunk in stream.chunks(piece) {
                framer.buffer().extend_from_slice(chunk);
                let (messages, pings) = all(&mut framer);
                total = (total.0 + messages, total.1 + pings);
            }
            assert_eq!(total, (3, 2), "in pieces of {piece}");
        }
    }

    #[test]
    fn too_long_a_body_is_passed_over_and_the_next_message_comes_out() {
        let mut stream = format!("INVITE sip:a@b SIP/2.0\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1).into_bytes();
        stream.resize(stream.len() + MAX_BODY + 1, b'x');
        stream.extend_from_slice(ONE);
        for piece in [100, 70_000, stream.len()] {
            let mut framer = Framer::default();
            let mut faults = Vec::new();
            for chunk in stream.chunks(piece) {
                framer.buffer().extend_from_slice(chunk);
                while let Some(Framed::Message(message)) = framer.pull().expect("a framed stream") {
                    faults.push(message.fault());
                }
                assert!(framer.buffer().len() < 2 * piece, "the body is kept");
            }
            assert_eq!(faults, [Some(TOO_LARGE), None], "in pieces of {piece}");
        }
    }

    #[test]
    fn a_second_content_length_closes_the_stream() {
        let mut framer = Framer::default();
        framer.buffer().extend_from_slice(b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 3\r\nl: 0\r\n\r\nabc");
        assert_eq!(framer.pull().map(|_| ()), Err(ParseError::ContentLength));
    }

    #[test]
    fn a_stream_without_content_length_is_closed() {
        let mut framer = Framer::default();
        framer.buffer().extend_from_slice(b"OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n\r\n");
        assert_eq!(framer.pull().map(|_| ()), Err(ParseError::ContentLength));
    }
}
