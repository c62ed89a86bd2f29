//! Session-ID (RFC 7989): one name of a session on both of its legs, and on every hop before and behind us.
//!
//! A B2BUA is an intermediary here: each leg is told the UUID of the far party, as it came; for a party that says none of its own
//! one is made, and kept for as long as the dialog lives (§7). Not told: the new far party of a transfer, before its leg says
//! something of itself in a response.

use super::super::message::{HeaderName, Message};

/// Of nobody yet (RFC 7989 §4.2).
const NIL: &str = "00000000000000000000000000000000";

/// What a dialog says of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId {
    /// The far party's, in our messages.
    ours: String,
    /// The peer's own, once it said one.
    theirs: Option<String>,
    /// The peer's where it says none.
    stand_in: String,
}

impl SessionId {
    /// Of a dialog with a peer of which nothing was heard, on behalf of this party.
    pub fn new(far: Option<&str>) -> Self {
        let mut new = Self { ours: random(), theirs: None, stand_in: random() };
        new.speak_for(far);
        new
    }

    /// A message of the peer's came.
    pub fn hear(&mut self, message: &Message) {
        if let Some(theirs) = message.get(HeaderName::SessionId).as_deref().and_then(own_of) {
            self.theirs = Some(theirs);
        }
    }

    /// The far party is, or is now, this one.
    pub fn speak_for(&mut self, far: Option<&str>) {
        if let Some(far) = far.and_then(|far| own_of(far.as_bytes())) {
            self.ours = far;
        }
    }

    /// The peer, as the far party's leg is told of it.
    pub fn peer(&self) -> &str {
        self.theirs.as_deref().unwrap_or(&self.stand_in)
    }

    /// The value of the header.
    pub fn value(&self) -> String {
        format!("{};remote={}", self.ours, self.theirs.as_deref().unwrap_or(NIL))
    }
}

/// The sender's UUID; `None` where it is none, or nobody's.
fn own_of(value: &[u8]) -> Option<String> {
    let own = value.split(|octet| *octet == b';').next()?;
    let own = std::str::from_utf8(own).ok()?.trim().to_ascii_lowercase();
    let ok = own.len() == NIL.len() && own.bytes().all(|octet| octet.is_ascii_hexdigit()) && own != NIL;
    ok.then_some(own)
}

fn random() -> String {
    // RFC 4122 version 4, without dashes (RFC 7989 §4.1).
    let number = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    format!("{number:032x}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::message::Carried;
    use super::*;

    const A: &str = "ab30317f1a784dc48ff824d0d3715d86";
    const B: &str = "47755a9de7794ba387653f2099600ef2";

    fn says(value: &str) -> Message {
        let text = format!("SIP/2.0 200 OK\r\nSession-ID: {value}\r\n\r\n");
        Message::parse(Bytes::from(text), Carried::Datagram).expect("a message").0
    }

    #[test]
    fn each_leg_is_told_the_far_partys_uuid() {
        let (mut a, mut b) = (SessionId::new(None), SessionId::new(Some(A)));
        a.hear(&says(&format!("{A};remote={NIL}")));
        assert_eq!((a.peer(), b.value()), (A, format!("{A};remote={NIL}")));
        b.hear(&says(&format!("{B};remote={A}")));
        a.speak_for(Some(b.peer()));
        assert_eq!((a.value(), b.value()), (format!("{B};remote={A}"), format!("{A};remote={B}")));
    }

    #[test]
    fn who_says_none_is_given_one_that_stays() {
        let mut dialog = SessionId::new(None);
        let given = dialog.peer().to_owned();
        dialog.hear(&says("nonsense"));
        dialog.hear(&says(&format!("{NIL};remote={A}")));
        assert_eq!((dialog.peer(), given.len()), (given.as_str(), 32));
        assert!(dialog.value().ends_with(&format!(";remote={NIL}")));
    }

    #[test]
    fn an_old_peer_says_its_uuid_alone_and_a_new_one_replaces_the_last() {
        let mut dialog = SessionId::new(None);
        dialog.hear(&says(&A.to_uppercase()));
        assert_eq!(dialog.peer(), A);
        dialog.hear(&says(&format!("{B};remote={A}")));
        assert_eq!(dialog.peer(), B);
    }

    #[test]
    fn a_uuid_of_ours_is_of_version_4() {
        let made = random();
        assert_eq!((made.len(), made.as_bytes()[12]), (32, b'4'));
        assert!(matches!(made.as_bytes()[16], b'8' | b'9' | b'a' | b'b'), "{made}");
    }
}
