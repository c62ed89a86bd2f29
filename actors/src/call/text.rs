//! Where a text goes (MESSAGE, RFC 3428): to the phones that a call of the same sender to the same number would ring, and to nobody
//! else.

use super::presented::caller;
use super::route::{self, SipDialled};
use super::{origin, toll};
use crate::ctx::Ctx;
use crate::model::address::{AppHeaders, Target};
use crate::ports::sip::{MessageRelay, MessageRequest};
use crate::registrar::{contacts, gruu};

/// The contacts of whom it is for.
///
/// # Errors
/// The status to refuse with: 480 for a phone that is away, 405 for who takes no texts, else what a call would hear.
pub(crate) fn relay(ctx: &Ctx, message: &MessageRequest) -> Result<MessageRelay, u16> {
    let dialled = SipDialled {
        origin: &message.origin,
        request_uri: &message.request_uri,
        to: &message.to.uri,
        headers: &AppHeaders::default(),
    };
    let goal = gruu::target(ctx, &message.request_uri)
        .unwrap_or_else(|| route::from_sip(&ctx.settings, dialled, origin::registered(ctx)));
    toll::watch(&goal);
    let to = match goal.map_err(|cause| cause.status)? {
        Target::Subscriber(subscriber) => contacts(ctx, &subscriber, None),
        Target::Instance { subscriber, instance } => contacts(ctx, &subscriber, Some(&instance)),
        Target::User(_) | Target::Trunk { .. } | Target::Uri(_) | Target::Service(_) | Target::Room(_) => {
            return Err(405);
        }
    };
    if to.is_empty() {
        return Err(480);
    }
    let mut carried = message.carried.clone();
    let caller = caller(&ctx.settings, (&message.origin, &message.from, message.asserted.as_ref()), &mut carried);
    Ok(MessageRelay { to, caller, hidden: carried.hides_caller() })
}
