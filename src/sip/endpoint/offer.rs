//! What an INVITE, re-INVITE or UPDATE must pass before anybody decides on its offer.

use tandem_actors::model::negotiate::AudioOffer;
use tokio::time::Instant;

use super::super::dialog::session_timer::{SHORTEST, Said};
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

/// Whether its sender takes UPDATE (RFC 3311 §4).
pub(super) fn allows_update(message: &Message) -> bool {
    message.lists(HeaderName::Allow, "UPDATE")
}

impl Core {
    /// The offer of a request, `Some(None)` where it has none; `None` once it was refused: 422 (RFC 4028 §9), 415 (RFC 3261
    /// §8.2.3), 493 (§23.2), 406 where our answer could not be read (§21.4.7), or what its SDP deserves, with a Warning.
    pub(super) fn offer_of(
        &mut self,
        key: ServerKey,
        trunk: Option<usize>,
        now: Instant,
    ) -> Option<Option<Box<AudioOffer>>> {
        let policy = self.session_policy(trunk);
        let request = &self.servers.get(&key)?.request;
        if Said::of(request).too_small(policy) {
            let least = policy.min_se.max(SHORTEST);
            let fill = |writer: &mut Writer| {
                writer.header(HeaderName::MinSe, least);
            };
            self.respond(key, 422, now, fill, "");
            return None;
        }
        let must_be_read = !request.body().is_empty() && !is_optional(request);
        let refusal = if must_be_read && is_type(request, "application/pkcs7-mime") {
            493
        } else if must_be_read && (encoded(request) || !is_type(request, SDP)) {
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

    /// 488 with the Warning that says what was wrong with the description (RFC 3261 §20.43).
    pub(super) fn refuse_media(&mut self, key: ServerKey, code: u16, now: Instant) {
        let warning = self.warning(code, "incompatible session description");
        let warn = |writer: &mut Writer| {
            writer.header(HeaderName::Warning, warning);
        };
        self.respond(key, 488, now, warn, "");
    }
}

/// Whether a body that is no session description may be ignored: `handling=optional` (RFC 3261 §20.11).
fn is_optional(request: &Message) -> bool {
    let value = request.get(HeaderName::ContentDisposition);
    let handling = value.as_deref().and_then(|value| view::parameter(value, "handling"));
    !is_type(request, SDP) && handling.is_some_and(|how| how.eq_ignore_ascii_case(b"optional"))
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
