//! Writing messages. Header values pass a filter that strips CR, LF and NUL, so that no value, wherever it came from, can
//! begin a header of its own.

use std::fmt::{self, Display, Write as _};
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::status::reason_phrase;
use super::view::{self, Via};
use super::{HeaderName, Message, trim};

/// A message being written.
#[derive(Debug)]
pub struct Writer {
    out: BytesMut,
}

/// Passes everything but line ends and NUL.
struct OneLine<'a>(&'a mut BytesMut);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split(['\r', '\n', '\0']) {
            self.0.put_slice(part.as_bytes());
        }
        Ok(())
    }
}

impl Writer {
    /// Begins a request.
    pub fn request(method: &str, uri: &str) -> Self {
        let mut writer = Self { out: BytesMut::with_capacity(1400) };
        writer.line(format_args!("{method} {uri} SIP/2.0"));
        writer
    }

    /// Begins a response.
    pub fn response(status: u16) -> Self {
        let mut writer = Self { out: BytesMut::with_capacity(1024) };
        writer.line(format_args!("SIP/2.0 {status} {}", reason_phrase(status)));
        writer
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = OneLine(&mut self.out).write_fmt(text);
        self.out.put_slice(b"\r\n");
    }

    /// A header.
    pub fn header(&mut self, name: HeaderName, value: impl Display) -> &mut Self {
        self.line(format_args!("{}: {value}", name.as_str()));
        self
    }

    /// A header of a name that the core does not know; the name is a token.
    pub fn named(&mut self, name: &str, value: &str) -> &mut Self {
        self.line(format_args!("{name}: {value}"));
        self
    }

    /// A header whose value is octets of a message that was read.
    pub fn copied(&mut self, name: HeaderName, value: &[u8]) -> &mut Self {
        self.out.put_slice(name.as_str().as_bytes());
        self.out.put_slice(b": ");
        self.octets(value);
        self.out.put_slice(b"\r\n");
        self
    }

    fn octets(&mut self, value: &[u8]) {
        for part in value.split(|c| matches!(c, b'\r' | b'\n' | 0)) {
            self.out.put_slice(part);
        }
    }

    /// Ends it with a body; an empty one has no Content-Type, nor has one whose type is among the headers.
    pub fn finish(mut self, content_type: &str, body: &[u8]) -> Bytes {
        if !body.is_empty() && !content_type.is_empty() {
            self.header(HeaderName::ContentType, content_type);
        }
        self.header(HeaderName::ContentLength, body.len());
        self.out.put_slice(b"\r\n");
        self.out.put_slice(body);
        self.out.freeze()
    }
}

/// Begins the response to a request: Via with `received` and `rport` filled in (RFC 3261 §18.2.1, RFC 3581 §4), From, To
/// with our tag unless it has one or the response is 100, Call-ID, CSeq, and the Record-Route of a response that makes a
/// dialog (RFC 3261 §8.2.6, §12.1.1).
pub fn response_to(request: &Message, status: u16, to_tag: &str, source: SocketAddr) -> Writer {
    let mut writer = Writer::response(status);
    let mut top = true;
    let dialog_making = (101..300).contains(&status);
    for header in request.headers() {
        let value = request.value(header);
        #[allow(clippy::wildcard_enum_match_arm, reason = "every other header is left out of a response")]
        match header.name {
            HeaderName::Via if top => {
                top = false;
                let mut items = view::split(&value, b',');
                if let Some(first) = items.next() {
                    writer.out.put_slice(b"Via: ");
                    write_top_via(&mut writer, trim(first), source);
                    for item in items {
                        writer.out.put_slice(b", ");
                        writer.octets(trim(item));
                    }
                    writer.out.put_slice(b"\r\n");
                }
            }
            HeaderName::Via | HeaderName::From | HeaderName::CallId | HeaderName::CSeq => {
                writer.copied(header.name, &value);
            }
            HeaderName::RecordRoute if dialog_making => {
                writer.copied(header.name, &value);
            }
            HeaderName::To => {
                let tagged = view::NameAddr::parse(&value).is_some_and(|to| to.tag().is_some());
                if tagged || status == 100 {
                    writer.copied(header.name, &value);
                } else {
                    writer.out.put_slice(b"To: ");
                    writer.octets(&value);
                    writer.line(format_args!(";tag={to_tag}"));
                }
            }
            _ => {}
        }
    }
    writer
}

fn write_top_via(writer: &mut Writer, value: &[u8], source: SocketAddr) {
    let Some(via) = Via::parse(value) else {
        writer.octets(value);
        return;
    };
    let (sent_by, _) = view::cut(value, b';').unwrap_or((value, b""));
    writer.octets(trim(sent_by));
    let rport = via.parameter("rport").is_some();
    if !via.parameters.is_empty() {
        for item in view::split(via.parameters, b';') {
            let (name, _) = view::cut(item, b'=').unwrap_or((item, b""));
            let name = trim(name);
            if !name.eq_ignore_ascii_case(b"rport") && !name.eq_ignore_ascii_case(b"received") {
                writer.out.put_slice(b";");
                writer.octets(trim(item));
            }
        }
    }
    let mut line = OneLine(&mut writer.out);
    if rport || super::uri::host_ip(via.host) != Some(source.ip()) {
        let _ = write!(line, ";received={}", source.ip());
    }
    if rport {
        let _ = write!(line, ";rport={}", source.port());
    }
}

/// Text as a quoted string (RFC 3261 §25.1), for display names and digest values.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::Carried;
    use super::*;

    #[test]
    fn no_value_can_begin_a_header() {
        let mut writer = Writer::request("INVITE", "sip:a@b\r\nX: y");
        writer.header(HeaderName::XCusData, "1\r\nX-Evil: 2\r\n\r\nbody");
        let bytes = writer.finish("", b"");
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.starts_with("INVITE sip:a@bX: y SIP/2.0\r\nX-CusData: 1X-Evil: 2body\r\nContent-Length: 0\r\n\r\n")
        );
    }

    #[test]
    fn rport_and_received_are_filled_in_and_other_vias_kept() {
        let request = b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1, SIP/2.0/TCP x;branch=z9hG4bK0\r\n\
            v: SIP/2.0/UDP y\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let (message, _) = Message::parse(Bytes::from_static(request), Carried::Datagram).expect("a request");
        let source = "192.0.2.9:6000".parse().expect("an address");
        let out = response_to(&message, 200, "t", source).finish("", b"");
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;received=192.0.2.9;rport=6000, SIP/2.0/TCP x;branch=z9hG4bK0\r\nVia: SIP/2.0/UDP y\r\n"));
        assert!(text.contains("To: <sip:c@d>;tag=t\r\n"));
    }
}
