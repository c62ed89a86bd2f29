//! The zero-copy wire core: one pass over the octets gives a start line and header spans; everything typed is a lazy view
//! that borrows from the datagram (RFC 3261 §7, §25).
//!
//! It is not a full grammar check (that is [`validate`]), it never decodes `%` escapes in tokens, never assumes UTF-8, and
//! keeps headers it does not know. A message costs one allocation, its header list.

pub mod frame;
pub mod header;
pub mod passed;
pub mod status;
pub mod tel;
#[cfg(test)]
pub(in crate::sip) mod torture;
pub mod uri;
pub mod validate;
pub mod view;
pub mod write;

use std::borrow::Cow;

use bytes::Bytes;

pub use header::HeaderName;

/// Longest start line and headers together, octets.
pub const MAX_HEAD: usize = 64 * 1024;
/// Longest Request-URI, octets.
pub const MAX_URI: usize = 8 * 1024;
/// Most header lines; those beyond are not read.
pub const MAX_HEADERS: usize = 256;
/// Longest body, octets; a longer one is not kept.
pub const MAX_BODY: usize = 256 * 1024;

/// A range of the message's octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        // Messages are bounded by MAX_HEAD + MAX_BODY long before u32 ends.
        Self { start: u32::try_from(start).unwrap_or(0), end: u32::try_from(end).unwrap_or(0) }
    }
    fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One header line.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Which header.
    pub name: HeaderName,
    folded: bool,
    spelled: Span,
    value: Span,
}

/// A request's method: rsip's vocabulary for the ones the RFCs define, compared by exact case (RFC 3261 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One of the RFCs.
    Known(rsip::Method),
    /// Any other token.
    Other,
}

impl Method {
    /// INVITE.
    pub const INVITE: Self = Self::Known(rsip::Method::Invite);
    /// ACK.
    pub const ACK: Self = Self::Known(rsip::Method::Ack);
    /// CANCEL.
    pub const CANCEL: Self = Self::Known(rsip::Method::Cancel);

    /// The method a token names.
    pub fn of(token: &[u8]) -> Self {
        use rsip::Method as M;
        Self::Known(match token {
            b"INVITE" => M::Invite,
            b"ACK" => M::Ack,
            b"BYE" => M::Bye,
            b"CANCEL" => M::Cancel,
            b"OPTIONS" => M::Options,
            b"REGISTER" => M::Register,
            b"INFO" => M::Info,
            b"UPDATE" => M::Update,
            b"PRACK" => M::PRack,
            b"MESSAGE" => M::Message,
            b"NOTIFY" => M::Notify,
            b"SUBSCRIBE" => M::Subscribe,
            b"PUBLISH" => M::Publish,
            b"REFER" => M::Refer,
            _ => return Self::Other,
        })
    }

    /// A low-cardinality name for metrics.
    pub fn label(self) -> &'static str {
        use rsip::Method as M;
        match self {
            Self::Known(M::Invite) => "INVITE",
            Self::Known(M::Ack) => "ACK",
            Self::Known(M::Bye) => "BYE",
            Self::Known(M::Cancel) => "CANCEL",
            Self::Known(M::Options) => "OPTIONS",
            Self::Known(M::Register) => "REGISTER",
            Self::Known(M::Info) => "INFO",
            Self::Known(M::Update) => "UPDATE",
            Self::Known(M::PRack) => "PRACK",
            Self::Known(M::Message) => "MESSAGE",
            Self::Known(M::Notify) => "NOTIFY",
            Self::Known(M::Subscribe) => "SUBSCRIBE",
            Self::Known(M::Publish) => "PUBLISH",
            Self::Known(M::Refer) => "REFER",
            Self::Other => "other",
        }
    }
}

/// The first line.
#[derive(Debug, Clone, Copy)]
enum Start {
    Request { method: Method, token: Span, uri: Span },
    Response { status: u16 },
}

/// What the first line says.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// A request.
    Request {
        /// Its method.
        method: Method,
        /// The method as spelled.
        token: &'a [u8],
        /// Request-URI, unread.
        uri: &'a [u8],
    },
    /// A response.
    Response {
        /// Its status code, 100-699.
        status: u16,
    },
}

/// A message: its octets and where things are in them.
#[derive(Debug, Clone)]
pub struct Message {
    buffer: Bytes,
    start: Start,
    headers: Vec<Header>,
    body: Span,
    fault: Option<&'static str>,
}

/// Why octets are not a message at all; such a datagram can only be dropped, such a stream only be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The headers do not end.
    #[error("the message is incomplete")]
    Incomplete,
    /// The first line is neither a request line nor a status line.
    #[error("the start line is malformed")]
    StartLine,
    /// Longer than [`MAX_HEAD`] before the headers end.
    #[error("the message is too large")]
    TooLarge,
    /// Content-Length is missing on a stream, not a number, or given twice with different values.
    #[error("Content-Length is missing or malformed")]
    ContentLength,
}

/// How the octets came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// A datagram is one message: octets after Content-Length are discarded, without it the body runs to the end
    /// (RFC 3261 §18.3).
    Datagram,
    /// A stream needs Content-Length (RFC 3261 §18.3).
    Stream,
}

impl Message {
    /// Reads one message and says how many octets it took. A malformed header line, too many of them, or a body beyond
    /// [`MAX_BODY`] do not lose the message: that is remembered as [`Message::fault`], so that a request can still be answered
    /// 400 or 513.
    ///
    /// # Errors
    /// [`ParseError`] where nothing can be answered.
    pub fn parse(buffer: Bytes, carried: Carried) -> Result<(Self, usize), ParseError> {
        let Head { start, headers, mut fault, end, content_length, bad_length } = Head::read(&buffer)?;
        let available = buffer.len() - end.min(buffer.len());
        let length = match (carried, content_length) {
            (Carried::Stream, None) => return Err(ParseError::ContentLength),
            (Carried::Stream, Some(_)) if bad_length => return Err(ParseError::ContentLength),
            (Carried::Stream | Carried::Datagram, Some(n)) if n > MAX_BODY => {
                fault = fault.or(Some(validate::TOO_LARGE));
                available
            }
            (Carried::Stream, Some(n)) if n > available => return Err(ParseError::Incomplete),
            (Carried::Datagram, Some(n)) if n > available => {
                fault = fault.or(Some("the body is shorter than Content-Length"));
                available
            }
            (Carried::Stream | Carried::Datagram, Some(n)) => n,
            (Carried::Datagram, None) => available,
        };
        if bad_length {
            fault = fault.or(Some("Content-Length is malformed"));
        }
        let used = end + length;
        Ok((Self { start, headers, body: Span::new(end, used), fault, buffer }, used))
    }

    /// How many octets the head and the body of the message take that begins a stream's buffer; its headers must be complete.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn measure(octets: &[u8]) -> Result<(usize, usize), ParseError> {
        let head = Head::read(octets)?;
        match head.content_length {
            Some(n) if !head.bad_length => Ok((head.end, n)),
            Some(_) | None => Err(ParseError::ContentLength),
        }
    }

    /// What the first line says.
    pub fn kind(&self) -> Kind<'_> {
        match self.start {
            Start::Request { method, token, uri } => {
                Kind::Request { method, token: token.of(&self.buffer), uri: uri.of(&self.buffer) }
            }
            Start::Response { status } => Kind::Response { status },
        }
    }

    /// All of it as it came, what followed its body in a datagram included.
    pub fn octets(&self) -> &Bytes {
        &self.buffer
    }

    /// What was wrong with it while reading, if it could be read on.
    pub fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.body.of(&self.buffer)
    }

    /// Every header in order.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// Every header of one name, in order.
    pub fn all(&self, name: HeaderName) -> impl Iterator<Item = &Header> + '_ {
        self.headers.iter().filter(move |header| header.name == name)
    }

    /// A header's value, unfolded where it has to be.
    pub fn value(&self, header: &Header) -> Cow<'_, [u8]> {
        let value = header.value.of(&self.buffer);
        if header.folded { Cow::Owned(unfold(value)) } else { Cow::Borrowed(value) }
    }

    /// A header's name as it was spelled.
    pub fn spelled(&self, header: &Header) -> &[u8] {
        header.spelled.of(&self.buffer)
    }

    /// The first header of this name.
    pub fn get(&self, name: HeaderName) -> Option<Cow<'_, [u8]>> {
        self.headers.iter().find(|header| header.name == name).map(|header| self.value(header))
    }

    /// The first header of this name as text; octets that are not UTF-8 are replaced.
    pub fn text(&self, name: HeaderName) -> Option<String> {
        self.get(name).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// Whether a comma-separated token list (Require, Supported, Allow) names this token, in any case.
    pub fn lists(&self, name: HeaderName, token: &str) -> bool {
        self.all(name).any(|header| {
            view::split(&self.value(header), b',').any(|item| trim(item).eq_ignore_ascii_case(token.as_bytes()))
        })
    }
}

/// Everything before the body.
struct Head {
    start: Start,
    headers: Vec<Header>,
    fault: Option<&'static str>,
    end: usize,
    content_length: Option<usize>,
    bad_length: bool,
}

impl Head {
    fn read(octets: &[u8]) -> Result<Self, ParseError> {
        let mut at = 0;
        // RFC 3261 §7.5: empty lines before the start line are ignored.
        while octets.get(at..at + 2) == Some(b"\r\n".as_slice()) {
            at += 2;
        }
        let (line, mut end) = line_at(octets, at).ok_or(ParseError::Incomplete)?;
        let (start, mut fault) = start_line(line.of(octets), line.start as usize)?;
        let mut headers = Vec::with_capacity(24);
        let mut content_length: Option<usize> = None;
        let mut bad_length = false;
        loop {
            if end > MAX_HEAD {
                return Err(ParseError::TooLarge);
            }
            let (line, folded, after) = folded_line_at(octets, end).ok_or(ParseError::Incomplete)?;
            end = after;
            if line.start == line.end {
                break;
            }
            let Some(header) = header_line(octets, line, folded) else {
                fault = fault.or(Some("a header line is malformed"));
                continue;
            };
            if header.name == HeaderName::ContentLength {
                let length = view::number(trim(header.value.of(octets)), u64::from(u32::MAX));
                match (length.and_then(|n| usize::try_from(n).ok()), content_length) {
                    (Some(n), None) => content_length = Some(n),
                    // Two values, equal or not, are a smuggler's tool and never a phone's.
                    (Some(_), Some(_)) | (None, _) => bad_length = true,
                }
            }
            if headers.len() < MAX_HEADERS {
                headers.push(header);
            } else {
                fault = fault.or(Some(validate::TOO_LARGE));
            }
        }
        Ok(Self { start, headers, fault, end, content_length, bad_length })
    }
}

/// The line that begins at `from` without its CRLF, and where the next begins.
fn line_at(octets: &[u8], from: usize) -> Option<(Span, usize)> {
    let rest = octets.get(from..)?;
    let newline = from + memchr::memchr(b'\n', rest)?;
    let end = if newline > from && octets.get(newline - 1) == Some(&b'\r') { newline - 1 } else { newline };
    Some((Span::new(from, end), newline + 1))
}

/// Like [`line_at`], continued over lines that begin with white space (RFC 3261 §7.3.1).
fn folded_line_at(octets: &[u8], from: usize) -> Option<(Span, bool, usize)> {
    let (mut line, mut next) = line_at(octets, from)?;
    let mut folded = false;
    while line.start != line.end && matches!(octets.get(next), Some(b' ' | b'\t')) {
        let (more, after) = line_at(octets, next)?;
        line.end = more.end;
        next = after;
        folded = true;
    }
    Some((line, folded, next))
}

fn header_line(octets: &[u8], line: Span, folded: bool) -> Option<Header> {
    let text = line.of(octets);
    let colon = memchr::memchr(b':', text)?;
    let (name, value) = (text.get(..colon)?, text.get(colon + 1..)?);
    // HCOLON allows white space before the colon (RFC 3261 §25.1).
    let name = trim_end(name);
    if !view::is_token(name) {
        return None;
    }
    let start = line.start as usize;
    let leading = value.len() - trim_start(value).len();
    let value_start = start + colon + 1 + leading;
    let value_length = trim(value).len();
    Some(Header {
        name: HeaderName::identify(name),
        folded,
        spelled: Span::new(start, start + name.len()),
        value: Span::new(value_start, value_start + value_length),
    })
}

fn start_line(line: &[u8], offset: usize) -> Result<(Start, Option<&'static str>), ParseError> {
    let is_version = |text: &[u8]| text.get(..4).is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/"));
    let first = memchr::memchr(b' ', line).ok_or(ParseError::StartLine)?;
    let (head, rest) = (line.get(..first).unwrap_or_default(), line.get(first + 1..).unwrap_or_default());
    if is_version(head) {
        let digits = rest.get(..3).ok_or(ParseError::StartLine)?;
        let status = view::number(digits, 699).and_then(|n| u16::try_from(n).ok()).filter(|status| *status >= 100);
        let separated = matches!(rest.get(3), None | Some(b' '));
        return match status {
            Some(status) if separated && head.eq_ignore_ascii_case(b"SIP/2.0") => {
                Ok((Start::Response { status }, None))
            }
            _ => Err(ParseError::StartLine),
        };
    }
    let ended = trim_end(rest);
    let last = memchr::memrchr(b' ', ended).ok_or(ParseError::StartLine)?;
    let (uri, version) = (ended.get(..last).unwrap_or_default(), ended.get(last + 1..).unwrap_or_default());
    if !view::is_token(head) || !is_version(version) {
        return Err(ParseError::StartLine);
    }
    let fault = if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        Some(validate::VERSION)
    } else if ended.len() != rest.len() {
        Some("white space after the version")
    } else if uri.len() > MAX_URI {
        Some(validate::URI_TOO_LONG)
    } else if uri.is_empty() || uri.iter().any(|c| c.is_ascii_whitespace() || matches!(c, b'<' | b'>' | b'"')) {
        Some("the Request-URI is malformed")
    } else {
        None
    };
    let start = Start::Request {
        method: Method::of(head),
        token: Span::new(offset, offset + first),
        uri: Span::new(offset + first + 1, offset + first + 1 + last),
    };
    Ok((start, fault))
}

fn blank(c: &u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text {
        if !blank(first) {
            break;
        }
        text = rest;
    }
    text
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text {
        if !blank(last) {
            break;
        }
        text = rest;
    }
    text
}

/// Without linear white space at either end.
pub fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Folds replaced by one space (RFC 3261 §7.3.1).
fn unfold(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        if matches!(first, b'\r' | b'\n') {
            rest = trim_start(rest);
            out.push(b' ');
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}
