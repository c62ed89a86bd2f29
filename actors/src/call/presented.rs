//! As whom a trunk is shown the caller, and what else of the call it is told, in the numbers that it writes.
//!
//! A phone of ours is its subscriber whatever its From says (RFC 3325 §9.1: what is asserted was proved); what From, or
//! P-Preferred-Identity, names instead is a wish, which a trunk's `caller_id_allowed` may grant.

use super::origin::shown;
use super::phase::{CallCheckpoint, Phase};
use crate::model::address::{CallerId, Carried, NameAddr, SipOrigin, Target};
use crate::model::diversion::{Diversion, DiversionReason};
use crate::model::settings::{Settings, Trunk};

/// Who calls, by origin, From and what is asserted, as everybody is shown it; what it would rather be shown as is left in `carried`.
pub(super) fn caller(
    settings: &Settings,
    (origin, from, asserted): (&SipOrigin, &NameAddr, Option<&NameAddr>),
    carried: &mut Carried,
) -> CallerId {
    let from = shown(from);
    match origin {
        SipOrigin::Subscriber(subscriber) if from.number != subscriber.as_str() => {
            carried.preferred.get_or_insert(from.number);
            let display = if carried.hides_caller() { String::new() } else { from.display };
            CallerId { display, number: subscriber.to_string() }
        }
        SipOrigin::Subscriber(_) | SipOrigin::Anonymous => from,
        SipOrigin::Trunk(trunk) => {
            let caller = asserted.map_or(from, shown);
            let plan = settings.trunks.get(trunk).map(|trunk| &trunk.numbers.plan);
            // So that whoever calls back dials what is known here.
            let number = plan.and_then(|plan| plan.e164(&caller.number)).unwrap_or(caller.number);
            CallerId { number, ..caller }
        }
    }
}

/// The caller as From shows it to a trunk, the number called as the trunk wants it, and what else goes with it.
pub(super) fn to_trunk(call: &CallCheckpoint, trunk: &Trunk, number: &str) -> (CallerId, String, Carried) {
    let numbers = &trunk.numbers;
    let mut carried = call.carried.clone();
    let preferred = carried.preferred.take();
    let own = call.from.number.as_str();
    let chosen = trunk.caller_id.choose(&numbers.plan, preferred.as_deref(), own);
    let as_number = |number: &str| CallerId {
        display: call.from.display.clone(),
        number: numbers.plan.write(number, numbers.caller),
    };
    carried.asserted = numbers.asserted.as_deref().map(|asserted| match asserted {
        "pass" => as_number(own),
        fixed => as_number(fixed),
    });
    carried.diverted.extend(diverted_by_us(call));
    for diversion in &mut carried.diverted {
        diversion.number = numbers.plan.write(&diversion.number, numbers.caller);
    }
    let dialled = number.strip_prefix(trunk.prefix.as_str()).unwrap_or(number);
    carried.portability = carried.portability.filter(|ported| ported.number == dialled);
    let prefix = number.strip_suffix(dialled).unwrap_or_default();
    let called = format!("{prefix}{}", numbers.plan.write(dialled, numbers.called));
    (as_number(chosen), called, carried)
}

/// A service that calls a number for whoever called it has sent the call on.
fn diverted_by_us(call: &CallCheckpoint) -> Option<Diversion> {
    let Phase::Ringing(ringing) = &call.phase else { return None };
    let from_outside = call.a.as_ref().is_some_and(|a| a.kind() == "sip");
    let by_service = ringing.flow.is_some() && matches!(ringing.target, Target::Trunk { .. });
    (by_service && from_outside).then(|| Diversion::new(call.to.clone(), DiversionReason::Unconditional))
}
