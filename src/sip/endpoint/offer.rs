//! What an INVITE, re-INVITE or UPDATE must pass before anybody decides on its offer.

use tandem_actors::model::negotiate::AudioOffer;
use tokio::time::Instant;

use super::session_timer::SessionTimer;
use super::*;

/// The SDP body of a message, read; `None` when there is none.
pub(super) fn description_of(message: &Message) -> Option<Result<Box<AudioOffer>, crate::sdp::SdpError>> {
    if message.body().is_empty() || !is_type(message, SDP) {
        return None;
    }
    let text = String::from_utf8_lossy(message.body());
    Some(crate::sdp::parse(&text).map(|description| Box::new(AudioOffer(description))))
}

/// Whether the body is of this media type.
pub(super) fn is_type(message: &Message, media_type: &str) -> bool {
    message.get(HeaderName::ContentType).is_some_and(|value| {
        let bare = view::split(&value, b';').next().unwrap_or_default();
        trim(bare).eq_ignore_ascii_case(media_type.as_bytes())
    })
}

impl Core {
    /// The offer of a request, `Some(None)` where it has none; `None` once it was refused: 422 (RFC 4028 §9), 415 (RFC 3261
    /// §8.2.3), 406 where our answer could not be read (§21.4.7), or what its SDP deserves, with a Warning.
    pub(super) fn offer_of(&mut self, key: ServerKey, now: Instant) -> Option<Option<Box<AudioOffer>>> {
        let request = &self.servers.get(&key)?.request;
        let refusal = if SessionTimer::too_small(request) {
            422
        } else if !request.body().is_empty() && (encoded(request) || !is_type(request, SDP)) {
            415
        } else if !takes_sdp(request) {
            406
        } else {
            match description_of(request).transpose() {
                Ok(offer) => return Some(offer),
                Err(error) => {
                    tracing::debug!(%error, "an offer is refused");
                    let warning = self.warning(error.warning(), &error.to_string());
                    let warn = |writer: &mut Writer| {
                        writer.header(HeaderName::Warning, warning);
                    };
                    self.respond(key, error.status(), now, warn, "");
                    return None;
                }
            }
        };
        self.refuse(key, refusal, now);
        None
    }
}

/// Whether a description of ours may come back: Accept names it, or is not there (RFC 3261 §20.1).
fn takes_sdp(request: &Message) -> bool {
    let mut ranges = request.all(HeaderName::Accept).peekable();
    let takes = |range: &[u8]| {
        let bare = trim(view::split(range, b';').next().unwrap_or_default());
        [SDP, "application/*", "*/*"].into_iter().any(|wanted| bare.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    ranges.peek().is_none() || ranges.any(|header| view::split(&request.value(header), b',').any(takes))
}

fn encoded(request: &Message) -> bool {
    request.get(HeaderName::ContentEncoding).is_some_and(|value| !value.eq_ignore_ascii_case(b"identity"))
}
