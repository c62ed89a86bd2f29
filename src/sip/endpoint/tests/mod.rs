//! Whole cores: two of them over a lossy link on paused time, and single messages in, octets out. Here: the brain that all of
//! them are given, and a core for it.

mod abuse;
mod addresses;
mod early;
mod endurance;
mod failover;
mod fuzz;
mod identity;
mod listening;
mod loops;
mod outbound;
mod pair;
mod passing;
mod redelivery;
mod redirect;
mod refer;
mod registrar;
mod reliable;
mod requests;
mod sessions;
mod streams;
mod text;
mod torture;
mod trunks;
mod trust;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tandem_actors::model::address::{AppHeaders, CallerId, MaxForwards, SipOrigin, SipUri};
use tandem_actors::model::cause::Cause;
use tandem_actors::model::ids::LegId;
use tandem_actors::model::media::{Codec, Direction};
use tandem_actors::model::negotiate::{AudioOffer, Capabilities, Security};
use tandem_actors::ports::Brain;
use tandem_actors::ports::client::ClientInput;
use tandem_actors::ports::media::MediaEvent;
use tandem_actors::ports::rtc::RtcEvent;
use tandem_actors::ports::sip::{
    Destination, DialogEvent, DialogPhase, IncomingInvite, ListedBinding, Outbound, OutgoingInvite, RegisterAnswer,
    RegisterRequest, SipCommand, SipPort,
};

use super::super::config::TrunkConfig;
use super::super::digest::DigestAlgorithm;
use super::super::resolve::cache::Heard;
use super::super::resolve::{Answer, Question, RecordKind, Resolver};
use super::super::transport::Wire;
use super::*;

/// Knows bob, password zanzibar.
struct Bob;
impl Credentials for Bob {
    fn ha1(&self, subscriber: &str, realm: &str, algorithm: DigestAlgorithm) -> Option<String> {
        (subscriber == "bob").then(|| algorithm.ha1("bob", realm, "zanzibar"))
    }
}

/// What a scripted brain does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// 180, then 200.
    Answers,
    /// Busy.
    Rejects,
    /// 180 and nothing more.
    Rings,
    /// Answers calls, and leaves re-offers undecided.
    Stalls,
    /// Calls on to this core, as a switch that routes there would.
    Forwards(u8),
    /// Leaves everything undecided.
    Sleeps,
}

/// The core that a brain orders. The core holds the brain, so the brain must not hold the core: neither would ever end.
#[derive(Default)]
struct Known(OnceLock<Weak<Shared>>);

impl Known {
    fn set(&self, core: SipCore) -> Result<(), Weak<Shared>> {
        self.0.set(core.downgrade())
    }
    fn get(&self) -> Option<SipCore> {
        self.0.get()?.upgrade().map(SipCore::of)
    }
}

struct Scripted {
    manner: Manner,
    core: Known,
    events: Mutex<Vec<SipEvent>>,
    orders: Mutex<HashMap<DialogId, u64>>,
    /// By the dialog it calls on in, the dialog that came.
    through: Mutex<HashMap<DialogId, DialogId>>,
}

impl Scripted {
    fn new(manner: Manner) -> Arc<Self> {
        Arc::new(Self {
            manner,
            core: Known::default(),
            events: Mutex::default(),
            orders: Mutex::default(),
            through: Mutex::default(),
        })
    }
    fn order(&self, dialog: DialogId, command: SipCommand) {
        let order = {
            let mut orders = self.orders.lock().expect("the orders");
            let order = orders.entry(dialog).or_default();
            *order += 1;
            *order
        };
        let core = self.core.get().expect("a core");
        core.order(dialog, Epoch(1), order, command).expect("not fenced");
    }
    /// Orders an INVITE, in a dialog of its own.
    fn invite(&self, invite: OutgoingInvite) -> DialogId {
        let dialog = DialogId::random();
        self.order(dialog, SipCommand::Invite(Box::new(invite)));
        dialog
    }
    /// The first INVITE that came.
    fn incoming(&self) -> IncomingInvite {
        let events = self.events.lock().expect("the events");
        let Some(SipEvent::Incoming(invite)) = events.first() else { panic!("an INVITE: {events:?}") };
        (**invite).clone()
    }
    /// The last REGISTER that came.
    fn registering(&self) -> Option<RegisterRequest> {
        let events = self.events.lock().expect("the events");
        events.iter().rev().find_map(|event| match event {
            SipEvent::Register(register) => Some((**register).clone()),
            SipEvent::Incoming(_)
            | SipEvent::Dialog { .. }
            | SipEvent::KeptAlive { .. }
            | SipEvent::Message(_)
            | SipEvent::ConnectionGone { .. }
            | SipEvent::TrunkRegistration { .. }
            | SipEvent::TrunkOptions { .. } => None,
        })
    }
    fn ended(&self) -> Vec<(DialogId, Cause)> {
        let events = self.events.lock().expect("the events");
        events
            .iter()
            .filter_map(|event| match event {
                SipEvent::Dialog { dialog, event: DialogEvent::Ended(cause), .. } => Some((*dialog, cause.clone())),
                SipEvent::Dialog { .. }
                | SipEvent::Incoming(_)
                | SipEvent::Register(_)
                | SipEvent::KeptAlive { .. }
                | SipEvent::Message(_)
                | SipEvent::ConnectionGone { .. }
                | SipEvent::TrunkRegistration { .. }
                | SipEvent::TrunkOptions { .. } => None,
            })
            .collect()
    }
    fn saw(&self, wanted: impl Fn(&DialogEvent) -> bool) -> bool {
        let events = self.events.lock().expect("the events");
        events.iter().any(|event| matches!(event, SipEvent::Dialog { event, .. } if wanted(event)))
    }
}

impl Brain for Scripted {
    fn sip(&self, event: SipEvent) {
        self.events.lock().expect("the events").push(event.clone());
        if self.manner == Manner::Sleeps {
            return;
        }
        if let SipEvent::Incoming(invite) = &event {
            let (dialog, headers) = (invite.dialog, AppHeaders::default());
            self.order(dialog, SipCommand::Adopt(LegId(1)));
            match self.manner {
                Manner::Rejects => self.order(dialog, SipCommand::Reject { cause: Cause::busy(), warning: None }),
                Manner::Answers | Manner::Stalls | Manner::Rings => {
                    self.order(dialog, SipCommand::Progress { status: 180, answer: None, headers: headers.clone() });
                    if self.manner != Manner::Rings {
                        self.order(dialog, SipCommand::Answer { description: Box::new(offer(2)), headers });
                    }
                }
                Manner::Forwards(which) => {
                    let out = DialogId::random();
                    self.through.lock().expect("the way").insert(out, dialog);
                    let uri = SipUri(format!("sip:200@{}", address(which)));
                    let invite = OutgoingInvite {
                        leg: LegId(2),
                        to: vec![Destination::Uri(uri)],
                        caller: CallerId::default(),
                        headers,
                        max_forwards: invite.max_forwards.forwarded(),
                        carried: invite.carried.clone(),
                        offer: offer(2),
                    };
                    self.order(out, SipCommand::Invite(Box::new(invite)));
                }
                Manner::Sleeps => {}
            }
        }
        if let SipEvent::Dialog { dialog, event: DialogEvent::Reoffered { request, .. }, .. } = &event
            && self.manner != Manner::Stalls
        {
            let command = SipCommand::AnswerReoffer { request: *request, description: Box::new(offer(3)) };
            self.order(*dialog, command);
        }
        if let SipEvent::Dialog { dialog, event: DialogEvent::Ended(cause), .. } = &event {
            self.order(*dialog, SipCommand::Forget);
            let came = self.through.lock().expect("the way").remove(dialog);
            if let Some(came) = came {
                self.order(came, SipCommand::Reject { cause: cause.clone(), warning: None });
            }
        }
        if let SipEvent::Register(register) = &event {
            let bound = ListedBinding {
                uri: SipUri("sip:bob@192.0.2.1:5060".into()),
                seconds: 60,
                q: 1000,
                instance: None,
                reg_id: None,
                gruus: None,
            };
            let outbound = register.supports.outbound == Outbound::Possible;
            let answer = RegisterAnswer::Bindings {
                bindings: vec![bound],
                flow_timer: outbound.then_some(Duration::from_secs(120)),
                date: std::time::UNIX_EPOCH,
            };
            self.core.get().expect("a core").answer_register(register.request, answer);
        }
    }
    fn rtc(&self, _: RtcEvent) {}
    fn media(&self, _: MediaEvent) {}
    fn client(&self, _: ClientInput) {}
}

fn offer(version: u64) -> AudioOffer {
    AudioOffer::from_capabilities(&Capabilities {
        codecs: vec![Codec::Pcmu],
        rtp: "192.0.2.9:4000".parse().expect("an address"),
        direction: Direction::SendRecv,
        session_id: 1,
        session_version: version,
        security: Security::Plain,
    })
}

/// The TTL of what [`known`] tells.
const TTL: u64 = 60;

/// An INVITE to these with nothing remarkable about it.
fn plain_invite(to: Vec<Destination>) -> OutgoingInvite {
    OutgoingInvite {
        leg: LegId(9),
        to,
        caller: CallerId { display: String::new(), number: "100".into() },
        headers: AppHeaders::default(),
        max_forwards: MaxForwards::default(),
        carried: Default::default(),
        offer: offer(1),
    }
}

/// Tells a core all there is to know of a name: one address, and neither NAPTR nor SRV records.
fn known(core: &mut Core, name: &str, ip: [u8; 4], now: Instant) {
    let found = Heard::Found(Answer::Addresses(vec![ip.into()]), Duration::from_secs(TTL));
    let nothing = Heard::Nothing(Some(Duration::from_secs(TTL)));
    for service in ["_sip._udp.", "_sip._tcp."] {
        core.resolved(Question::new(&format!("{service}{name}"), RecordKind::Srv), nothing.clone(), now);
    }
    core.resolved(Question::new(name, RecordKind::Naptr), nothing.clone(), now);
    core.resolved(Question::new(name, RecordKind::Aaaa), nothing, now);
    core.resolved(Question::new(name, RecordKind::A), found, now);
}

fn address(which: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, which], 5060))
}

fn core_at(
    which: u8,
    config: SipConfig,
    brain: &Arc<Scripted>,
    wire: impl FnOnce(Weak<Shared>) -> Box<dyn Wire>,
) -> SipCore {
    let listener = Listener {
        id: ListenerId::new("udp").expect("a name"),
        transports: vec![Transport::Udp],
        local: address(which),
        external_ip: None,
        local_nets: Vec::new(),
    };
    let core = Core::new(config, vec![listener], Arc::new(Bob), Instant::now());
    let core = SipCore::assemble(core, brain.clone(), Resolver::default(), wire);
    assert!(brain.core.set(core.clone()).is_ok());
    core
}

fn open() -> SipConfig {
    SipConfig { anonymous: true, domain: "example.com".into(), ..SipConfig::default() }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
