//! What passes from one leg to the other beside sound: application headers, headers by name, Session-IDs.

use tandem_actors::model::address::{AppHeaders, Further};

use super::super::message::passed::HeaderList;
use super::inbound::app_headers;
use super::*;

/// What a message says beside the application's headers.
pub(super) fn further(passed: Vec<(String, String)>, session_id: Option<String>) -> Option<Box<Further>> {
    Some(Box::new(Further { passed, session_id }))
}

impl Core {
    /// Which headers of a trunk's, or of a phone's, go on.
    pub(super) fn passed_in(&self, trunk: Option<usize>) -> &HeaderList {
        let trunk = trunk.and_then(|at| self.trunks.get(at));
        trunk.map_or(&self.config.pass_headers, |trunk| &trunk.config.pass_headers_in)
    }

    /// Which headers a trunk, or a phone, is sent.
    pub(super) fn passed_out(&self, trunk: Option<usize>) -> &HeaderList {
        let trunk = trunk.and_then(|at| self.trunks.get(at));
        trunk.map_or(&self.config.pass_headers, |trunk| &trunk.config.pass_headers_out)
    }

    /// What a response to an INVITE of ours says to the other side.
    pub(super) fn headers_of(&mut self, id: DialogId, response: &Message) -> AppHeaders {
        let passed = self.passed_in(self.dialog_trunk(id)).of(response);
        let session_id = self.dialogs.get_mut(&id).map(|dialog| {
            dialog.session_id.hear(response);
            dialog.session_id.peer().to_owned()
        });
        AppHeaders { further: further(passed, session_id), ..app_headers(response) }
    }

    /// What the callee's headers say to a caller: those that pass; the dialog speaks for the callee from now on.
    pub(super) fn passed_back(&mut self, id: DialogId, headers: &AppHeaders) -> Vec<(String, String)> {
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            dialog.session_id.speak_for(headers.session_id());
        }
        self.passed_out(self.dialog_trunk(id)).from(headers).cloned().collect()
    }
}
