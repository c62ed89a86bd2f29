//! Which user agent a GRUU names (RFC 5627 §5.3): `sip:1001@DOMAIN;gr=urn:uuid:…`, or a temporary one, whose user part is one
//! that we gave.

use crate::ctx::Ctx;
use crate::model::address::{InstanceId, SipUri, Target};
use crate::model::cause::Cause;
use crate::model::ids::SubscriberId;

/// Where a Request-URI that is a GRUU leads; `None` for one that is none.
///
/// # Errors
/// 404 where we never gave such a one, or not any more; 480 where its instance is not registered now.
pub fn target(ctx: &Ctx, uri: &SipUri) -> Option<Result<Target, Cause>> {
    let named = uri.parameter("gr")?;
    let user = uri.user().unwrap_or_default();
    Some(if named.is_empty() { temporary(ctx, user) } else { public(ctx, user, named) })
}

fn public(ctx: &Ctx, user: &str, urn: &str) -> Result<Target, Cause> {
    let subscriber = SubscriberId::new(user).map_err(|error| Cause::not_found(error.to_string()))?;
    let instance = InstanceId(urn.to_owned());
    let here = ctx.ledger.bindings.read(&subscriber, |all| {
        all.iter().any(|binding| binding.instance.as_ref().is_some_and(|known| known.is(urn)))
    });
    if here.unwrap_or(false) { Ok(Target::Instance { subscriber, instance }) } else { Err(Cause::offline()) }
}

fn temporary(ctx: &Ctx, user: &str) -> Result<Target, Cause> {
    // Nobody guesses one, so this is asked seldom.
    let found = ctx.ledger.bindings.find(|all| {
        let binding = all.iter().find(|binding| binding.temp_gruus.iter().any(|given| given == user))?;
        binding.instance.clone()
    });
    match found {
        Some((subscriber, instance)) => Ok(Target::Instance { subscriber, instance }),
        None => Err(Cause::not_found("no such GRUU, or not any more")),
    }
}
