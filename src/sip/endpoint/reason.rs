//! The Reason header (RFC 3326): Q.850 causes, carried from one side of the switch to the other, and their SIP forms.

use tandem_actors::model::cause::Cause;

use super::super::message::view;
use super::super::message::{HeaderName, Message, trim};

/// The Reason value of a Q.850 cause (RFC 3326). Phones that lost to another know the SIP form of 26: no missed call.
pub(super) fn reason_value(q850: Option<u8>) -> Option<String> {
    q850.map(|cause| match cause {
        26 => "SIP;cause=200;text=\"Call completed elsewhere\", Q.850;cause=26".to_owned(),
        cause => format!("Q.850;cause={cause}"),
    })
}

/// The Q.850 cause of a Reason header; of a SIP status where it names nothing else (RFC 3326 §2).
pub(super) fn q850_of(message: &Message) -> Option<u8> {
    let cause = |wanted: &[u8], most: u64| {
        message.all(HeaderName::Reason).find_map(|header| {
            let value = message.value(header);
            view::split(&value, b',').find_map(|item| {
                let (protocol, parameters) = view::cut(item, b';')?;
                let cause =
                    view::parameter(parameters, "cause").filter(|_| trim(protocol).eq_ignore_ascii_case(wanted))?;
                view::number(cause, most)
            })
        })
    };
    let own = cause(b"Q.850", 127).and_then(|cause| u8::try_from(cause).ok());
    own.or_else(|| match u16::try_from(cause(b"SIP", 699)?).ok()? {
        // Answered elsewhere: what a forking proxy says in the CANCEL of the branches that lost.
        200 => Some(26),
        status => Cause::from_sip(status, "").q850,
    })
}
