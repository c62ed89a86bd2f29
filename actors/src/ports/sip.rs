//! The SIP port. The SIP core owns transactions and the dialog record (tags, CSeq, routes, target, last offer and answer,
//! the un-ACKed 2xx and its timer); leg actors own decisions.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Fenced;
use crate::model::address::{
    AppHeaders, CallerId, Carried, Contact, InstanceId, MaxForwards, NameAddr, SipOrigin, SipUri, Transport,
};
use crate::model::cause::Cause;
use crate::model::ids::{CallId, DialogId, Epoch, LegId, ListenerId, SubscriberId, TrunkId};
use crate::model::media::Digit;
use crate::model::negotiate::{AudioAnswer, AudioOffer};

/// What the brain asks of the SIP core. Every method returns at once.
pub trait SipPort: Send + Sync + 'static {
    /// Orders one dialog. `order` counts the leg's orders from 1 across incarnations (it is checkpointed with the phase): an
    /// order already carried out is dropped silently, so a resumed leg may re-issue its last one.
    ///
    /// # Errors
    /// [`Fenced`] when a later epoch has spoken for this dialog.
    fn order(&self, dialog: DialogId, epoch: Epoch, order: u64, command: SipCommand) -> Result<(), Fenced>;
    /// What the core knows of a dialog, for the next incarnation of its leg; `None` once it is forgotten (an ended dialog is
    /// kept until [`SipCommand::Forget`], at most 64*T1). What waits for the leg (an INVITE it has not begun to answer, a
    /// re-INVITE, an UPDATE) is so delivered once more, and counted: after the second crash over it the core answers 500 itself,
    /// and the snapshot says so.
    fn snapshot(&self, dialog: DialogId) -> Option<DialogSnapshot>;
    /// The INVITEs that no leg has adopted yet. Asked by a CallSupervisor that was restarted, since events die with a mailbox.
    fn unadopted(&self) -> Vec<DialogId>;
    /// An INVITE of [`SipPort::unadopted`] once more; counted as [`SipPort::snapshot`] does. `None` when it was adopted or is
    /// over, or has just been answered 500 after the second crash over it.
    fn deliver_again(&self, dialog: DialogId) -> Option<Box<IncomingInvite>>;
    /// Answers a REGISTER that was delivered as [`SipEvent::Register`].
    fn answer_register(&self, request: u64, answer: RegisterAnswer);
    /// Answers a MESSAGE that was delivered as [`SipEvent::Message`]: sends it on, or refuses it with this status.
    fn answer_message(&self, request: u64, answer: Result<MessageRelay, u16>);
    /// Sends a registered contact what keeps its NAT open: OPTIONS, whose outcome comes as [`SipEvent::KeptAlive`] with this id;
    /// or, without an id, an empty line, of which nothing is heard.
    fn keep_alive(&self, contact: &Contact, id: Option<u64>);
    /// Sends a REGISTER of ours for a trunk (`expires` zero: un-register). The outcome comes as
    /// [`SipEvent::TrunkRegistration`]; the core does the digest and 423 rounds itself.
    fn register(&self, trunk: &TrunkId, epoch: Epoch, expires: Duration);
    /// Asks a trunk whether it lives; the outcome comes as [`SipEvent::TrunkOptions`].
    fn options(&self, trunk: &TrunkId, epoch: Epoch);
    /// How far a transfer asked for by REFER has come: 180, or the final status. The core tells the peer by NOTIFY, each
    /// thing once and nothing after the final status, so it may be said again.
    fn refer_outcome(&self, request: u64, status: u16);
    /// A trunk's targets as its names lead to them now, in an order that stays, and how each stands.
    fn trunk_targets(&self, trunk: &TrunkId) -> Vec<TrunkTarget>;
    /// The address to advertise in SDP towards a peer: `external_ip` unless the peer is in `local_net`; and the local
    /// address to bind media to, which serves every peer that is asked for.
    fn media_address(&self, toward: MediaToward) -> MediaAddress;
    /// Says which call a dialog is a leg of, before the leg's first order: for ladders and export, nothing else depends on it.
    fn belong(&self, _dialog: DialogId, _call: CallId) {}
    /// While draining, new INVITEs and OPTIONS get 503 with Retry-After from the core itself.
    fn set_draining(&self, draining: bool);
    /// While as many calls live as may (`limits.max_calls`), new INVITEs and OPTIONS get the same, before they cost the brain
    /// anything.
    fn set_full(&self, full: bool);
    /// Our listeners, in order of configuration.
    fn listeners(&self) -> Vec<ListenerId>;
    /// Makes sure that a listener hears: `true` when its socket or task was gone and it was opened again, on the same address;
    /// dialogs, transactions and streams go on. Asked every second by the listener's actor twin.
    ///
    /// # Errors
    /// Plain words why it cannot be opened, with the address and what to do; it is tried again at the next asking.
    fn keep_listening(&self, listener: &ListenerId) -> Result<bool, String>;
}

/// One address of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkTarget {
    /// Where.
    pub address: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// Whether it is not known to be down, and has not asked for rest.
    pub up: bool,
}

/// Whom an advertised address is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaToward {
    /// The source of an incoming INVITE.
    Peer(SocketAddr),
    /// Wherever destinations of ours lead; the address advertised is the first one's.
    Destinations(Vec<Destination>),
}

/// The addresses of a media session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaAddress {
    /// To bind sockets to.
    pub bind: IpAddr,
    /// To write into SDP.
    pub advertise: IpAddr,
}

/// A new leg's INVITE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingInvite {
    /// Who hears its events.
    pub leg: LegId,
    /// Where to. Several destinations are forked in parallel: the first 2xx wins, the others are cancelled.
    pub to: Vec<Destination>,
    /// The caller, as From shows it.
    pub caller: CallerId,
    /// Application headers.
    pub headers: AppHeaders,
    /// How far it may go.
    pub max_forwards: MaxForwards,
    /// What else goes on from the INVITE or REFER that led to it.
    pub carried: Carried,
    /// Our offer. The core writes each destination the address it should see in place of the offer's.
    pub offer: AudioOffer,
}

/// Where an INVITE goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// A registered contact of ours.
    Contact(Contact),
    /// A number through a trunk; the core knows its host, credentials and policy.
    Trunk {
        /// Which.
        trunk: TrunkId,
        /// Request-URI user.
        number: String,
        /// Another trunk is tried next: one that says nothing at all is not waited for as long as where it is the last.
        more: bool,
    },
    /// Any URI, resolved by RFC 3263 as far as the core does.
    Uri(SipUri),
}

/// An order to one dialog. What is not possible in the dialog's state is counted and ignored, except where stated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SipCommand {
    /// UAS: tells the core which leg decides for this incoming INVITE. Until then the core answers nothing but 100, and 500
    /// after 2 s.
    Adopt(LegId),
    /// UAC: send an INVITE.
    Invite(Box<OutgoingInvite>),
    /// UAS: 180, or 183 with an early answer.
    Progress {
        /// 180 or 183 (or another 1xx).
        status: u16,
        /// Early media. Where the INVITE had no offer this is one, and is sent only if [`IncomingInvite::reliable`];
        /// [`DialogEvent::Pracked`] brings the answer.
        answer: Option<Box<AudioAnswer>>,
        /// Application headers.
        headers: AppHeaders,
    },
    /// UAS: 200. The core retransmits it until the ACK, and sends BYE after 64*T1 without.
    Answer {
        /// Answer to the INVITE's offer; where the INVITE had none this is an *offer* and the ACK brings the answer.
        description: Box<AudioOffer>,
        /// Application headers.
        headers: AppHeaders,
    },
    /// UAS: a final failure response.
    Reject {
        /// Its status is sent, its q850 goes into Reason.
        cause: Cause,
        /// Warning code, where SDP was the trouble.
        warning: Option<u16>,
    },
    /// Confirmed: send a re-INVITE with this offer. 491 and its back-off are the core's.
    Reoffer(Box<AudioOffer>),
    /// Answer the pending re-INVITE, UPDATE or PRACK with 200.
    AnswerReoffer {
        /// Which request, as in the event.
        request: u64,
        /// The answer; an offer where the request had none.
        description: Box<AudioOffer>,
    },
    /// Refuse the pending re-INVITE, UPDATE or PRACK.
    RejectReoffer {
        /// Which request.
        request: u64,
        /// Usually 488.
        status: u16,
        /// Warning code, where SDP was the trouble.
        warning: Option<u16>,
    },
    /// Confirmed: send digits by INFO (`application/dtmf-relay`).
    Info(Vec<Digit>),
    /// End it whatever its state: reject (UAS early), CANCEL (UAC early, once a 1xx came), BYE (confirmed).
    Hangup(Cause),
    /// The leg is done with the record.
    Forget,
}

/// What the SIP core tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SipEvent {
    /// A new call. 100 has been sent, the source has passed gate and authentication.
    Incoming(Box<IncomingInvite>),
    /// Something happened in a dialog, for the leg that adopted or created it.
    Dialog {
        /// Who decides.
        leg: LegId,
        /// Where.
        dialog: DialogId,
        /// What.
        event: DialogEvent,
    },
    /// A REGISTER whose digest was right. Held by the core until answered (500 after 2 s).
    Register(Box<RegisterRequest>),
    /// A MESSAGE from a phone or trunk that proved who it is. Held by the core until answered (500 after 2 s).
    Message(Box<MessageRequest>),
    /// Whether a contact answered the OPTIONS of [`SipPort::keep_alive`], with whatever status.
    KeptAlive {
        /// As asked.
        id: u64,
        /// Whether.
        answered: bool,
    },
    /// A connection that somebody registered by is gone: nobody is reached by it any more (RFC 5626 §5.3).
    ConnectionGone {
        /// Our listener that accepted it.
        listener: ListenerId,
        /// Its transport.
        transport: Transport,
        /// Where it came from.
        source: SocketAddr,
    },
    /// How a REGISTER of ours went.
    TrunkRegistration {
        /// Which trunk.
        trunk: TrunkId,
        /// Epoch of the asker.
        epoch: Epoch,
        /// Granted lifetime, or the final status (408 for no answer, 503 for a transport error).
        outcome: Result<Duration, u16>,
    },
    /// How an OPTIONS of ours went: the round trip, or the final status (any response below 500, and 501, counts as alive).
    TrunkOptions {
        /// Which trunk.
        trunk: TrunkId,
        /// Epoch of the asker.
        epoch: Epoch,
        /// Outcome.
        outcome: Result<Duration, u16>,
    },
}

/// A new incoming call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingInvite {
    /// The dialog to be.
    pub dialog: DialogId,
    /// Call-ID, for logs and the CDR.
    pub call_id: String,
    /// The listener that heard it.
    pub listener: ListenerId,
    /// Where it came from.
    pub source: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// Who it is.
    pub origin: SipOrigin,
    /// Request-URI.
    pub request_uri: SipUri,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// P-Asserted-Identity, from trusted sources only.
    pub asserted: Option<NameAddr>,
    /// Application headers.
    pub headers: AppHeaders,
    /// How far it may still go; never 0.
    pub max_forwards: MaxForwards,
    /// What goes on to the other side as it came.
    pub carried: Carried,
    /// The leg of ours whose place it takes (RFC 3891): its Replaces was checked by the core.
    pub replaces: Option<LegId>,
    /// The offer; `None` asks us for one: in the 200, or in the first progress where that is reliable.
    pub offer: Option<AudioOffer>,
    /// Our progress is acknowledged (RFC 3262).
    pub reliable: bool,
}

/// What happens in a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialogEvent {
    /// UAC: a provisional response other than 100.
    Progress {
        /// 180, 183…
        status: u16,
        /// Early media.
        answer: Option<Box<AudioAnswer>>,
        /// Application headers.
        headers: AppHeaders,
    },
    /// UAC: answered. The core has ACKed, and has ended every other fork.
    Answered {
        /// The answer to our offer.
        answer: Box<AudioAnswer>,
        /// Application headers.
        headers: AppHeaders,
        /// Our media address as who answered was offered it; `None`: as in the order.
        advertised: Option<IpAddr>,
    },
    /// UAS: the ACK to our 200 came.
    Acked {
        /// The answer, where our 200 carried the offer.
        answer: Option<Box<AudioAnswer>>,
    },
    /// UAS: the answer to our offer in a reliable provisional response came.
    Pracked(Box<AudioAnswer>),
    /// A re-INVITE, UPDATE or PRACK waits for [`SipCommand::AnswerReoffer`] (500 with Retry-After after 2 s). UPDATE and PRACK may
    /// come before the final response.
    Reoffered {
        /// Names the request in the answer.
        request: u64,
        /// The offer; `None` asks for ours.
        offer: Option<Box<AudioOffer>>,
    },
    /// Our re-offer was answered.
    ReofferAnswered(Box<AudioAnswer>),
    /// Our re-offer failed; the session is as before.
    ReofferFailed(u16),
    /// A digit by INFO.
    Info(Digit),
    /// The party asks for a transfer (REFER); it has been told 202 and 100. Told again by the snapshot until
    /// [`SipPort::refer_outcome`] has said something of it.
    Referred(Box<Referral>),
    /// It is over: refused, cancelled, hung up, timed out, never acknowledged. The last event of a dialog; whatever the wire
    /// needed has been sent.
    Ended(Cause),
}

/// A transfer that a party asks for (RFC 3515, RFC 5589).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referral {
    /// Names it in [`SipPort::refer_outcome`].
    pub request: u64,
    /// Refer-To, without the headers in it.
    pub to: SipUri,
    /// Whose place the party it is given to is to take.
    pub replaces: Replaced,
    /// Referred-By (RFC 3892), as it came.
    pub referred_by: Option<String>,
}

/// Whose place is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replaced {
    /// Nobody's: a blind transfer.
    Nobody,
    /// That of a leg of ours.
    Leg(LegId),
    /// That of a dialog we have no part in: the value of a Replaces header to go there.
    Elsewhere(String),
}

/// What the core knows of a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogSnapshot {
    /// Whose it is.
    pub leg: Option<LegId>,
    /// Where it stands.
    pub phase: DialogPhase,
    /// A re-INVITE, UPDATE or PRACK that waits for us, as it came: a resumed leg steps it.
    pub pending: Option<(u64, Option<Box<AudioOffer>>)>,
    /// A REFER of which nothing has been said yet.
    pub referral: Option<Box<Referral>>,
    /// The last description the peer sent, offer or answer.
    pub remote: Option<Box<AudioOffer>>,
    /// UAC, answered: as in [`DialogEvent::Answered`].
    pub advertised: Option<IpAddr>,
    /// The last description we sent that stands: an offer of ours once it was answered.
    pub local: Option<Box<AudioOffer>>,
    /// An offer of ours is under way.
    pub offering: bool,
    /// UAC, answered: the application headers of the answer.
    pub headers: AppHeaders,
    /// Our last order that was carried out.
    pub last_order: u64,
}

/// Where a dialog stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialogPhase {
    /// No final response yet. `progress` is the last 1xx above 100.
    Early {
        /// Last provisional status.
        progress: Option<u16>,
    },
    /// UAS: 2xx sent, no ACK yet.
    Answering,
    /// 2xx and ACK exchanged. Kept: the ACK's answer, if the ACK carried one.
    Confirmed,
    /// Over.
    Ended(Cause),
}

/// A MESSAGE (RFC 3428) outside a call; the core keeps the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRequest {
    /// Names the request in the answer.
    pub request: u64,
    /// Who sends it; never a stranger.
    pub origin: SipOrigin,
    /// Request-URI.
    pub request_uri: SipUri,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// As in [`IncomingInvite`].
    pub asserted: Option<NameAddr>,
    /// As in [`IncomingInvite`].
    pub carried: Carried,
}

/// Where a MESSAGE goes on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRelay {
    /// All of these; the first that takes it answers for all.
    pub to: Vec<Contact>,
    /// The sender, as From shows it.
    pub caller: CallerId,
    /// The sender is to be nobody.
    pub hidden: bool,
}

/// A REGISTER from a phone or gateway that proved its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterRequest {
    /// Names the request in the answer.
    pub request: u64,
    /// The user part of the To URI (AOR) in our domain.
    pub subscriber: SubscriberId,
    /// The same as it was written, with its escapes.
    pub aor_user: String,
    /// Call-ID: ordering of updates (RFC 3261 §10.3 step 7).
    pub call_id: String,
    /// CSeq number.
    pub cseq: u32,
    /// Where it came from.
    pub source: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The listener that heard it.
    pub listener: ListenerId,
    /// Our address that it came to, where the listener has several.
    pub heard_at: Option<IpAddr>,
    /// What it wants.
    pub change: RegisterChange,
    /// The proxies it came through, nearest first, as Path has them (RFC 3327).
    pub path: Vec<String>,
    /// What it supports.
    pub supports: RegisterSupport,
    /// User-Agent, for the operator.
    pub user_agent: Option<String>,
}

/// Extensions that a REGISTER's Supported names, as far as the registrar does something for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RegisterSupport {
    /// GRUUs are wanted (RFC 5627).
    pub gruu: bool,
    /// Flows are named by reg-id (RFC 5626).
    pub outbound: Outbound,
}

/// Whether outbound (RFC 5626) can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outbound {
    /// Not asked for.
    #[default]
    NotWanted,
    /// The phone knows it, and so does what it reached first: we, or a proxy that put `ob` into its Path.
    Possible,
    /// The phone knows it, the proxy it reached first does not: 439 where it is used.
    FirstHopLacks,
}

/// What a REGISTER asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterChange {
    /// No Contact: list the bindings.
    Query,
    /// `Contact: *` with Expires 0: remove all.
    RemoveAll,
    /// Contacts to add, refresh or remove, all or nothing.
    Update(Vec<AskedContact>),
}

/// A contact of a REGISTER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedContact {
    /// Where.
    pub uri: SipUri,
    /// Seconds asked for, 0 to remove it; `None`: the default.
    pub expires: Option<u32>,
    /// q times 1000.
    pub q: u16,
    /// `+sip.instance`.
    pub instance: Option<InstanceId>,
    /// `reg-id`: which of the instance's flows (RFC 5626 §4.2).
    pub reg_id: Option<u32>,
    /// It is not where the request came from.
    pub behind_nat: bool,
}

impl AskedContact {
    /// One without extensions.
    pub fn plain(uri: impl Into<String>, expires: Option<u32>) -> Self {
        Self { uri: SipUri(uri.into()), expires, q: 1000, instance: None, reg_id: None, behind_nat: false }
    }
}

/// The registrar's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterAnswer {
    /// 200 with every current binding.
    Bindings {
        /// Those there are.
        bindings: Vec<ListedBinding>,
        /// Outbound was used: 200 says so, with this Flow-Timer (RFC 5626 §6).
        flow_timer: Option<Duration>,
        /// The wall clock: phones set theirs by it (RFC 3261 §10.3 step 8).
        date: SystemTime,
    },
    /// 423 with Min-Expires.
    TooBrief(u32),
    /// Any other failure (500 for a CSeq out of order, 403, 439).
    Refused(u16),
}

/// A binding as a 200 lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBinding {
    /// Where.
    pub uri: SipUri,
    /// Seconds it has left.
    pub seconds: u32,
    /// q times 1000.
    pub q: u16,
    /// Whose, where it said so.
    pub instance: Option<InstanceId>,
    /// Which of its flows.
    pub reg_id: Option<u32>,
    /// Public and temporary GRUU, where it has some and the phone wants them.
    pub gruus: Option<(String, String)>,
}
