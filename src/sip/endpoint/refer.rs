//! Transfers as the wire has them: REFER inside a dialog (RFC 3515, RFC 5589, RFC 7647), the NOTIFYs that say how it went, and
//! the dialog that a Replaces names (RFC 3891). Where the transfer leads is the brain's.
//!
//! A REFER is answered 202 and makes a subscription of its own (RFC 3515 §2.4.4), which outlives its dialog: `100` at once,
//! `180` when the target rings, and exactly one NOTIFY that ends it, sent one after the other. What nobody decides is ended by
//! time. `Refer-Sub: false` (RFC 4488) asks for none of it. Deliberately not: a REFER outside a dialog (403: there is nobody to
//! be transferred), methods other than INVITE in Refer-To (403), Join (RFC 3911: a bridge of three is a room), and what Refer-To
//! carries beside Replaces, since a peer must not write headers into our INVITE.

use tandem_actors::model::address::SipUri;
use tandem_actors::model::ids::LegId;
use tandem_actors::ports::sip::{DialogEvent, Referral, Replaced};
use tokio::time::Instant;

use super::super::dialog::Record;
use super::super::message::uri::unescape;
use super::super::message::view::NameAddr;
use super::established::Side;
use super::*;

/// How long a transfer may take: longer than anything rings.
const LASTS: Duration = Duration::from_secs(180);

/// What the sender of a REFER is told about it.
#[derive(Debug)]
pub(super) struct Subscription {
    dialog: DialogId,
    /// CSeq of the REFER: the `id` of its Event.
    id: u32,
    /// Kept once the dialog's own entry is gone.
    orphan: Option<Record>,
    contact: String,
    trunk: Option<usize>,
    /// The referral, until the brain has said something of it.
    referral: Option<Box<Referral>>,
    /// The last status that a NOTIFY has said or will say.
    last: u16,
    /// Waits until the NOTIFY before it is answered.
    next: Option<u16>,
    /// A NOTIFY is on its way.
    under_way: bool,
    /// Nobody wants to be told (RFC 4488).
    silent: bool,
    /// It is ended at this time.
    until: Instant,
}

/// The dialog that a Replaces names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replaces {
    call_id: String,
    to_tag: String,
    from_tag: String,
    early_only: bool,
}

impl Replaces {
    /// Reads `call-id;to-tag=…;from-tag=…;early-only` (RFC 3891 §6.1).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (call_id, parameters) = view::cut(value, b';')?;
        let tag = |name| {
            let tag = view::parameter(parameters, name).filter(|tag| !tag.is_empty())?;
            Some(String::from_utf8_lossy(tag).into_owned())
        };
        Some(Self {
            call_id: String::from_utf8_lossy(trim(call_id)).into_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: view::parameter(parameters, "early-only").is_some(),
        })
    }
}

/// What a Refer-To asks for.
#[derive(Debug, PartialEq, Eq)]
struct ReferTo {
    uri: SipUri,
    replaces: Option<Vec<u8>>,
}

impl ReferTo {
    /// Reads the header's value; the status to refuse it with.
    fn parse(value: &[u8]) -> Result<Self, u16> {
        let target = NameAddr::parse(value).ok_or(400u16)?;
        if !target.uri.is_sip() {
            let tel = target.uri.scheme.eq_ignore_ascii_case(b"tel");
            return if tel { Ok(Self { uri: SipUri(target.uri_string()), replaces: None }) } else { Err(416) };
        }
        if target.uri.parameter("method").is_some_and(|method| !method.eq_ignore_ascii_case(b"INVITE")) {
            return Err(403);
        }
        let uri = target.uri_text.split(|c| *c == b'?').next().unwrap_or_default();
        let header = target.uri.headers.split(|c| *c == b'&').find_map(|item| {
            let (name, value) = view::cut(item, b'=')?;
            name.eq_ignore_ascii_case(b"Replaces").then(|| unescape(value))
        });
        Ok(Self { uri: SipUri(String::from_utf8_lossy(uri).into_owned()), replaces: header })
    }
}

impl Core {
    /// REFER inside a dialog.
    pub(super) fn refer_asked(&mut self, id: DialogId, key: ServerKey, cseq: u32, now: Instant) {
        let Some(server) = self.servers.get(&key) else { return };
        let request = &server.request;
        let targets: Vec<_> = request.all(HeaderName::ReferTo).map(|header| request.value(header)).collect();
        let to = match targets.as_slice() {
            // RFC 3515 §2.4.2: exactly one.
            [one] => ReferTo::parse(one),
            _ => Err(400),
        };
        drop(targets);
        let referred_by = request.text(HeaderName::ReferredBy);
        let silent = request.get(HeaderName::ReferSub).is_some_and(|value| {
            view::split(&value, b';').next().is_some_and(|word| trim(word).eq_ignore_ascii_case(b"false"))
        });
        let to = match to {
            Ok(to) => to,
            Err(status) => {
                self.refuse(key, status, now);
                return;
            }
        };
        let replaces = match to.replaces {
            None => Replaced::Nobody,
            Some(value) => match Replaces::parse(&value).map(|replaces| self.dialog_of(&replaces)) {
                None => {
                    self.refuse(key, 400, now);
                    return;
                }
                Some(Some((_, leg))) => Replaced::Leg(leg),
                Some(None) => Replaced::Elsewhere(String::from_utf8_lossy(&value).into_owned()),
            },
        };
        let Some(Dialog { leg: Some(_), established: Some(established), ended: None, .. }) = self.dialogs.get(&id)
        else {
            // Nothing was answered yet that could be transferred; it may be soon.
            self.refuse(key, 500, now);
            return;
        };
        let (contact, trunk) = (established.contact.clone(), established.trunk);
        let (flow, sips) = (established.record.flow, established.record.sips);
        if self.refers.values().any(|other| other.dialog == id && other.last < 200) {
            self.refuse(key, 491, now);
            return;
        }
        let own = self.contact(flow, &contact, sips);
        self.respond(
            key,
            202,
            now,
            |writer| {
                writer.header(HeaderName::Contact, own).header(HeaderName::Supported, SUPPORTED);
                if silent {
                    writer.header(HeaderName::ReferSub, "false");
                }
            },
            "",
        );
        let request = self.next_serial();
        let referral = Box::new(Referral { request, to: to.uri, replaces, referred_by });
        tracing::info!(dialog = %id, "a transfer is asked for");
        self.refers.insert(
            request,
            Subscription {
                dialog: id,
                id: cseq,
                orphan: None,
                contact,
                trunk,
                referral: Some(referral.clone()),
                last: 100,
                next: Some(100),
                under_way: false,
                silent,
                until: now + LASTS,
            },
        );
        self.arm(now + LASTS, Due::Refer(request));
        self.notify_next(request, now);
        self.tell(id, DialogEvent::Referred(referral));
    }

    /// The brain says how far a transfer has come.
    pub(super) fn refer_outcome(&mut self, request: u64, status: u16, now: Instant) {
        let Some(subscription) = self.refers.get_mut(&request) else { return };
        subscription.referral = None;
        if status <= subscription.last || subscription.last >= 200 {
            return;
        }
        subscription.last = status;
        subscription.next = Some(status);
        self.notify_next(request, now);
    }

    /// Nobody decided in time.
    pub(super) fn refer_overdue(&mut self, request: u64, now: Instant) {
        if self.refers.get(&request).is_some_and(|subscription| now >= subscription.until) {
            self.refer_outcome(request, 503, now);
            // A NOTIFY that is not answered ends it as well.
            self.refers.retain(|id, subscription| *id != request || subscription.under_way);
        }
    }

    /// A NOTIFY was answered, or was not.
    pub(super) fn notify_heard(&mut self, request: u64, status: u16, now: Instant) {
        if status < 200 {
            return;
        }
        let Some(subscription) = self.refers.get_mut(&request) else { return };
        subscription.under_way = false;
        if !(200..300).contains(&status) {
            // RFC 6665 §4.2.2: whoever answers so wants no more of them.
            subscription.silent = true;
        }
        self.notify_next(request, now);
    }

    fn notify_next(&mut self, request: u64, now: Instant) {
        let Some(subscription) = self.refers.get_mut(&request) else { return };
        if subscription.under_way {
            return;
        }
        let status = subscription.next.take().filter(|_| !subscription.silent);
        let Some(status) = status else {
            if subscription.last >= 200 {
                self.refers.remove(&request);
            }
            return;
        };
        let (dialog, id, contact) = (subscription.dialog, subscription.id, subscription.contact.clone());
        let left = subscription.until.saturating_duration_since(now).as_secs().max(1);
        let established = self.dialogs.get_mut(&dialog).and_then(|dialog| dialog.established.as_mut());
        let record = match established {
            Some(established) => Some(&mut established.record),
            None => self.refers.get_mut(&request).and_then(|subscription| subscription.orphan.as_mut()),
        };
        let Some(record) = record else {
            self.refers.remove(&request);
            return;
        };
        let mut draft = Self::dialog_draft(record, rsip::Method::Notify, Some(contact));
        let record = record.clone();
        let state = match status {
            // RFC 3515 §2.4.7: the one that ends it says so.
            200.. => "terminated;reason=noresource".to_owned(),
            _ => format!("active;expires={left}"),
        };
        draft.headers = vec![
            (HeaderName::Event, format!("refer;id={id}")),
            (HeaderName::SubscriptionState, state),
            (HeaderName::Allow, ALLOW.into()),
        ];
        draft.content_type = "message/sipfrag;version=2.0";
        draft.body = format!("SIP/2.0 {status} {}\r\n", status::reason_phrase(status));
        let flow = self.dialog_flow(&record);
        if let Some(subscription) = self.refers.get_mut(&request) {
            subscription.under_way = true;
        }
        self.begin(draft, flow, Owner::Notify { refer: request }, false, now);
    }

    /// The next CSeq of a NOTIFY that is sent again with credentials.
    pub(super) fn notify_cseq(&mut self, request: u64) -> Option<u32> {
        let subscription = self.refers.get_mut(&request)?;
        match self.dialogs.get_mut(&subscription.dialog).and_then(|dialog| dialog.established.as_mut()) {
            Some(established) => Some(established.record.next_cseq()),
            None => subscription.orphan.as_mut().map(Record::next_cseq),
        }
    }

    pub(super) fn notify_trunk(&self, request: u64) -> Option<usize> {
        self.refers.get(&request)?.trunk
    }

    /// A dialog's entry goes: what its transfers still have to say needs the record.
    pub(super) fn keep_for_notify(&mut self, id: DialogId, record: &Record) {
        for subscription in self.refers.values_mut().filter(|subscription| subscription.dialog == id) {
            subscription.orphan = Some(record.clone());
        }
    }

    /// The referral of a dialog that the brain has said nothing of yet.
    pub(super) fn open_referral(&self, id: DialogId) -> Option<Box<Referral>> {
        self.refers.values().filter(|subscription| subscription.dialog == id).find_map(|s| s.referral.clone())
    }

    /// The dialog of ours that a Replaces names, with its leg. To-tag is the tag of who receives it: ours.
    fn dialog_of(&self, replaces: &Replaces) -> Option<(DialogId, LegId)> {
        let id = *self.names.get(&(replaces.call_id.clone(), replaces.to_tag.clone()))?;
        let dialog = self.dialogs.get(&id)?;
        let theirs = match (&dialog.established, &dialog.side) {
            (Some(established), _) => established.record.remote_tag == replaces.from_tag,
            (None, Side::Uas(incoming)) => incoming.record.remote_tag == replaces.from_tag,
            (None, Side::Uac(outgoing)) => outgoing.rings(&replaces.from_tag),
        };
        Some((id, dialog.leg?)).filter(|_| theirs)
    }

    /// The leg whose place an INVITE takes (RFC 3891 §3); `Some(None)` where it takes none, `None` once it was refused.
    pub(super) fn replaced_of(&mut self, key: ServerKey, now: Instant) -> Option<Option<LegId>> {
        let request = &self.servers.get(&key)?.request;
        let values: Vec<_> = request.all(HeaderName::Replaces).map(|header| request.value(header)).collect();
        let parsed = match values.as_slice() {
            [] => return Some(None),
            [one] => Replaces::parse(one),
            _ => None,
        };
        drop(values);
        let status = match parsed.map(|replaces| (self.dialog_of(&replaces), replaces.early_only)) {
            // More than one, or nonsense.
            None => 400,
            Some((None, _)) => 481,
            Some((Some((id, leg)), early_only)) => match self.dialogs.get(&id) {
                Some(Dialog { ended: Some(_), .. }) => 603,
                Some(Dialog { established: Some(_), .. }) if early_only => 486,
                Some(Dialog { established: Some(_), .. } | Dialog { side: Side::Uac(_), .. }) => {
                    return Some(Some(leg));
                }
                // An early dialog that we did not begin.
                Some(Dialog { side: Side::Uas(_), .. }) | None => 481,
            },
        };
        self.refuse(key, status, now);
        None
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn refer_to_carries_an_escaped_replaces_and_nothing_else_counts() {
        let value = b"<sip:bob@example.com;user=phone?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2&X-Evil=1>";
        let to = ReferTo::parse(value).expect("a target");
        assert_eq!(to.uri.0, "sip:bob@example.com;user=phone");
        let replaces = Replaces::parse(&to.replaces.expect("a Replaces")).expect("a dialog");
        assert_eq!(replaces.call_id, "a@b");
        assert_eq!((replaces.to_tag.as_str(), replaces.from_tag.as_str(), replaces.early_only), ("1", "2", false));
    }

    #[test]
    fn a_refer_to_that_is_no_invite_to_a_phone_is_refused_by_its_own_status() {
        let status = |value: &[u8]| ReferTo::parse(value).map(|to| to.uri.0);
        assert_eq!(status(b"tel:+8613800000000"), Ok("tel:+8613800000000".into()));
        assert_eq!(status(b"<http://example.com>"), Err(416));
        assert_eq!(status(b"<sip:a@b;method=BYE>"), Err(403));
        assert_eq!(status(b"nonsense"), Err(400));
    }

    #[test]
    fn a_replaces_needs_both_tags_in_any_order() {
        let replaces = Replaces::parse(b"98732@h ;from-tag=r33th4x0r;early-only;to-tag=ff87ff").expect("a dialog");
        assert_eq!((replaces.call_id.as_str(), replaces.early_only), ("98732@h", true));
        assert_eq!(Replaces::parse(b"98732;to-tag=1"), None);
    }
}
