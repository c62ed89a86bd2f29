//! Refreshing sessions: by UPDATE where the peer allows it, else by a re-INVITE with the description that stands, `o=` line and
//! all (RFC 4028 §7.4, §10). Who refreshes and when is [`super::super::dialog::session_timer`]'s.

use tandem_actors::model::cause::{Blame, Cause};
use tokio::time::Instant;

use super::super::dialog::reoffer::{self, back_off};
use super::super::dialog::session_timer::{Due, Said, SessionPolicy, SessionTimer};
use super::reoffers::overlap;
use super::*;

impl Core {
    /// What is wanted of sessions with a trunk, or with anybody else.
    pub(super) fn session_policy(&self, trunk: Option<usize>) -> SessionPolicy {
        let own = trunk.and_then(|at| self.trunks.get(at)).and_then(|state| state.config.session);
        own.unwrap_or(self.config.session)
    }

    /// The Session-Expires of a request inside the dialog, where a timer runs.
    pub(super) fn session_headers(&mut self, id: DialogId) -> Vec<(HeaderName, String)> {
        let Some(established) = self.established_mut(id) else { return Vec::new() };
        let Some(timer) = established.session else { return Vec::new() };
        let mut headers = vec![(HeaderName::SessionExpires, timer.asked())];
        headers.extend(established.min_se.map(|least| (HeaderName::MinSe, least.to_string())));
        headers
    }

    pub(super) fn session_tick(&mut self, id: DialogId, now: Instant) {
        let Some(timer) = self.established_mut(id).and_then(|established| established.session) else { return };
        match timer.due(now) {
            Due::Nothing => {}
            Due::Refresh => self.refresh_session(id, now),
            Due::Expired => {
                let expired = Cause::new(408, Some(102), Blame::Upstream, "the session timer expired");
                self.bye(id, &expired, now);
                self.end(id, expired, now);
            }
        }
    }

    fn refresh_session(&mut self, id: DialogId, now: Instant) {
        let Some(established) = self.established_mut(id) else { return };
        if let Some(timer) = &mut established.session {
            timer.refreshing();
        }
        let (by_update, local) = (established.allows_update, self.dialogs.get(&id).and_then(|d| d.local.clone()));
        match local {
            // One that is out already, or waits for its turn, refreshes as well.
            Some(local) if !by_update => {
                self.reoffer(id, reoffer::Input::Refresh(local), now);
            }
            Some(_) | None => self.send_update(id, now),
        }
    }

    fn send_update(&mut self, id: DialogId, now: Instant) {
        let timer = self.session_headers(id);
        let Some(established) = self.established_mut(id) else { return };
        let contact = Some(established.contact.clone());
        let mut draft = Self::dialog_draft(&mut established.record, rsip::Method::Update, contact);
        let record = established.record.clone();
        draft.headers = vec![(HeaderName::Supported, SUPPORTED.into())];
        draft.headers.extend(timer);
        self.begin_in_dialog(draft, &record, Owner::Refresh { dialog: id }, now);
    }

    pub(super) fn refresh_heard(&mut self, id: DialogId, status: u16, response: Option<&Message>, now: Instant) {
        if status < 200 || self.is_over(id) {
            return;
        }
        if let (200..=299, Some(response)) = (status, response)
            && let Some(record) = self.established_record(id)
        {
            record.refresh(response);
        }
        self.refreshed(id, status, response, now);
    }

    /// What a final response to a request of ours that refreshes means for the session.
    pub(super) fn refreshed(&mut self, id: DialogId, status: u16, response: Option<&Message>, now: Instant) {
        let Some(established) = self.established_mut(id) else { return };
        let Some(timer) = &mut established.session else { return };
        let owner = established.record.owner;
        let overlap = response.and_then(overlap).map(|asked| asked + back_off(false));
        match (status, response) {
            (200..=299, Some(response)) => {
                established.session = SessionTimer::as_uac(Said::of(response), now);
            }
            (422, Some(response)) => match Said::of(response).least().filter(|least| *least > timer.interval) {
                Some(least) => {
                    timer.interval = least;
                    established.min_se = Some(least);
                    self.refresh_session(id, now);
                }
                None => timer.again(None, now),
            },
            (408 | 481, _) => {
                // RFC 4028 §10: the peer no longer has the session.
                let cause = Cause::from_sip(status, "the peer no longer knows the dialog");
                self.bye(id, &cause, now);
                self.end(id, cause, now);
            }
            (491, _) => timer.again(Some(back_off(owner)), now),
            (500, _) if overlap.is_some() => timer.again(overlap, now),
            (405 | 501, _) if established.allows_update => {
                established.allows_update = false;
                timer.again(Some(Duration::ZERO), now);
            }
            _ => timer.again(None, now),
        }
        self.arm_dialog(id);
    }
}
