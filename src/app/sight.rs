//! What passed the SIP wire, as the REST API asks for it.

use tandem_actors::model::ids::CallId;

use crate::http::deps::{LadderStep, Ladders};
use crate::sip::SipCore;
use crate::sip::sight::Step;

/// The SIP adapter's sight behind HTTP's own trait.
pub(super) struct Sight(pub SipCore);

impl Ladders for Sight {
    fn of_call(&self, call: CallId) -> Vec<LadderStep> {
        self.0.tap().of_call(call).into_iter().map(shown).collect()
    }
    fn of_call_id(&self, call_id: &str) -> (Option<CallId>, Vec<LadderStep>) {
        let (call, steps) = self.0.tap().of_call_id(call_id);
        (call, steps.into_iter().map(shown).collect())
    }
}

fn shown(step: Step) -> LadderStep {
    let Step { ago, sent, local, remote, transport, call_id, text } = step;
    LadderStep { ago, sent, local, remote, transport, call_id, text }
}
