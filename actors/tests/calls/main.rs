//! Calls over fakes, on virtual time: the three modes, rooms, the API's phone calls, and every actor of a call crashing in turn.

mod crashes;
mod endurance;
mod hops;
mod identity;
mod ivr;
mod lines;
mod phone_to_phone;
mod posted;
mod redelivery;
mod rooms;
mod rtc_to_sip;
mod sip_to_rtc;
mod texts;
mod tolls;
mod transfers;

use std::collections::BTreeMap;
use std::time::Duration;

use tandem_actors::client::protocol::{Event, Reply, Request};
use tandem_actors::fakes::{FakeSip, World};
use tandem_actors::flow::script::{DialTarget, Script, Step};
use tandem_actors::model::address::{Contact, SipOrigin, SipUri, Transport};
use tandem_actors::model::ids::{
    CallId, ClientId, DialogId, Epoch, InvitationId, ListenerId, MediaId, RoomId, ServiceId, SubscriberId, TrunkId,
    UserId,
};
use tandem_actors::model::media::{Codec, Digit};
use tandem_actors::model::plan::{CallerIdPolicy, TrunkNumbers};
use tandem_actors::model::settings::{
    InboundRoute, Lines, Modes, NumberRules, RtcToSip, Service, Settings, SipToRtc, Trunk,
};
use tandem_actors::model::srtp::MediaEncryption;
use tandem_actors::ports::rtc::Sdp;
use tandem_actors::ports::sip::SipCommand;
use tandem_actors::ports::store::{Cdr, SavedBinding};

fn user(id: &str) -> UserId {
    UserId::new(id).expect("an id")
}

fn subscriber(id: &str) -> SubscriberId {
    SubscriberId::new(id).expect("an id")
}

fn sdp() -> Sdp {
    Sdp("offer".into())
}

/// All modes on, an IVR at 9000, numbers 1001 to 1003, a trunk.
fn settings() -> Settings {
    let name = |text: &str| Some(text.to_owned());
    let digit = |c| Digit::new(c).expect("a digit");
    let steps = BTreeMap::from([
        (
            "menu".to_owned(),
            Step::Menu {
                prompt: "menu".into(),
                timeout_s: 5,
                retries: 1,
                choices: BTreeMap::from([
                    (digit('1'), "desk".to_owned()),
                    (digit('2'), "lobby".to_owned()),
                    (digit('3'), "alice".to_owned()),
                ]),
                invalid_prompt: name("invalid"),
                on_timeout: name("bye"),
                on_invalid: name("bye"),
            },
        ),
        (
            "desk".to_owned(),
            Step::Dial {
                to: DialTarget::try_from("subscriber:1001".to_owned()).expect("a target"),
                timeout_s: Some(20),
                on_fail: name("sorry"),
            },
        ),
        (
            "alice".to_owned(),
            Step::Dial {
                to: DialTarget::try_from("user:alice".to_owned()).expect("a target"),
                timeout_s: None,
                on_fail: name("sorry"),
            },
        ),
        ("lobby".to_owned(), Step::Room { room: RoomId::new("lobby").expect("an id") }),
        ("sorry".to_owned(), Step::Play { prompt: "sorry".into(), next: name("bye") }),
        ("bye".to_owned(), Step::Hangup {}),
    ]);
    let service = ServiceId::new("welcome").expect("an id");
    let acme = TrunkId::new("acme").expect("an id");
    let script = Script { start: "menu".into(), steps };
    Settings {
        modes: Modes { ivr: true, sip_to_rtc: true, rtc_to_sip: true },
        domain: "tandem.test".into(),
        services: BTreeMap::from([(service.clone(), Service { id: service, numbers: vec!["9000".into()], script })]),
        sip_to_rtc: SipToRtc { user_prefix: Some("0".into()), by_request_uri: true, ..SipToRtc::default() },
        rtc_to_sip: RtcToSip {
            numbers: NumberRules::parse("100[1-3]").expect("rules"),
            pstn_trunk: Some(acme.clone()),
            allow: vec!["+86".into()],
            ..RtcToSip::default()
        },
        trunks: BTreeMap::from([(
            acme.clone(),
            Trunk {
                id: acme,
                register: false,
                register_expires: Duration::from_secs(600),
                options_interval: None,
                codecs: vec![Codec::Pcma, Codec::Pcmu],
                media_encryption: MediaEncryption::None,
                routes: BTreeMap::new(),
                prefix: String::new(),
                caller_id: CallerIdPolicy::Fixed("+8621".into()),
                numbers: TrunkNumbers::default(),
                max_calls: Some(1),
                calls_per_minute: None,
                max_cps: None,
                ring_timeout: Duration::from_secs(30),
                lines: Lines::default(),
            },
        )]),
        sip_codecs: vec![Codec::Pcmu, Codec::Pcma],
        rtc_codecs: vec![Codec::Opus, Codec::Pcmu, Codec::Pcma],
        ..Settings::default()
    }
}

/// A world with the phone 1001 registered.
async fn world() -> World {
    world_with(settings()).await
}

async fn world_with(settings: Settings) -> World {
    let world = World::start(settings).await;
    register(&world, "1001", 5070);
    world
}

/// A phone is at this port of loopback.
fn register(world: &World, phone: &str, port: u16) {
    let contact = Contact {
        uri: SipUri(format!("sip:{phone}@127.0.0.1:{port}")),
        source: ([127, 0, 0, 1], port).into(),
        transport: Transport::Udp,
        listener: ListenerId::new("udp").expect("a name"),
        path: Vec::new(),
        behind_nat: false,
        heard_at: None,
    };
    let binding = SavedBinding {
        subscriber: subscriber(phone),
        contact,
        expires_at: world.ctx().wall() + Duration::from_secs(36_000),
        q: 1000,
        call_id: "reg".into(),
        cseq: 1,
        user_agent: None,
        instance: None,
        reg_id: None,
        temp_gruus: Vec::new(),
    };
    let put = world.ctx().ledger.bindings.put(subscriber(phone), Epoch(1000), vec![binding]);
    assert_eq!(put, Ok(()));
}

/// An app user logs in.
async fn login(world: &World, id: &str) -> ClientId {
    let client = world.client.connect(&user(id), None);
    world.until("the client is in", |world| world.client.reply(client, "login").is_some()).await;
    client
}

/// The phone 1002 calls.
fn dial(world: &World, to: &str) -> DialogId {
    world.sip.incoming(FakeSip::invite_from(SipOrigin::Subscriber(subscriber("1002")), "1002", to))
}

/// The call an app user began, by its reply.
async fn call(world: &World, client: ClientId, to: &str) -> CallId {
    let request = Request::Call {
        to: to.into(),
        sdp: sdp(),
        pstn: false,
        display_name: String::new(),
        headers: Default::default(),
        sip_number: None,
    };
    begun(world, client, request).await
}

async fn begun(world: &World, client: ClientId, request: Request) -> CallId {
    let request = world.client.request(client, request);
    world
        .find("the call's id", |world| {
            let reply = world.client.reply(client, &request)?;
            let Reply::Call { call } = reply else { panic!("no call: {reply:?}") };
            Some(call)
        })
        .await
}

/// The invitation a client was handed.
async fn rung(world: &World, client: ClientId) -> InvitationId {
    let found = world.find("an invitation", |world| {
        let received =
            |event| if let Event::InvitationReceived { invitation, .. } = event { Some(invitation) } else { None };
        world.client.events(client).into_iter().rev().find_map(received)
    });
    let invitation = found.await;
    world.client.request(client, Request::InviteAck { invitation });
    invitation
}

/// The dialog of the one phone that is called.
async fn called(world: &World) -> DialogId {
    world.find("a phone is called", |world| world.sip.outgoing().first().copied()).await
}

/// Statuses and answers sent in a dialog that came in: 180, 200, or the failure's.
fn statuses(world: &World, dialog: DialogId) -> Vec<u16> {
    let status = |command: &SipCommand| {
        if let SipCommand::Progress { status, .. } = command {
            Some(*status)
        } else if let SipCommand::Answer { .. } = command {
            Some(200)
        } else if let SipCommand::Reject { cause, .. } | SipCommand::Hangup(cause) = command {
            Some(cause.status)
        } else {
            None
        }
    };
    world.sip.orders_of(dialog).iter().filter_map(status).collect()
}

async fn answered(world: &World, dialog: DialogId) {
    world.until("the caller is answered", |world| statuses(world, dialog).contains(&200)).await;
}

/// Whether two sessions are joined with each other, by the engine itself.
fn bridged(world: &World) -> bool {
    use tandem_actors::ports::media::Attachment;
    let sessions = world.media.sessions();
    sessions.len() == 2
        && sessions.iter().all(|(id, session)| {
            matches!(session.attachment, Attachment::Bridge(other)
                if other != *id && sessions.iter().any(|(there, _)| *there == other))
        })
}

/// The session of the leg whose dialog came in or goes out.
fn media_of(world: &World, dialog: DialogId) -> MediaId {
    let leg = world.sip.dialog(dialog).and_then(|dialog| dialog.snapshot.leg).expect("a leg");
    world.media.sessions().into_iter().find(|(_, session)| session.spec.leg == leg).expect("a session").0
}

/// Waits until nothing is left of any call, and gives the CDRs.
async fn nothing_left(world: &World) -> Vec<Cdr> {
    world
        .until("nothing is left", |world| {
            let ledger = &world.ctx().ledger;
            ledger.calls.is_empty()
                && ledger.legs.is_empty()
                && ledger.flows.is_empty()
                && ledger.rooms.is_empty()
                && ledger.media.is_empty()
                && world.sip.dialogs().is_empty()
                && world.rtc.peers().is_empty()
                && world.media.sessions().is_empty()
                && ledger.trunks.rows().iter().all(|(_, _, trunk)| trunk.calls.is_empty())
                && world.ctx().directory.calls.is_empty()
                && world.ctx().directory.sip_legs.is_empty()
                && world.ctx().directory.rtc_legs.is_empty()
                && world.ctx().directory.flows.is_empty()
        })
        .await;
    world.store.cdrs()
}

/// The end a client was told of.
fn ended(world: &World, client: ClientId, call: CallId) -> Option<u16> {
    let over = |event| if let Event::CallEnded { call, cause } = event { Some((call, cause.status)) } else { None };
    let mut ends = world.client.events(client).into_iter().filter_map(over);
    ends.find(|(which, _)| *which == call).map(|(_, status)| status)
}
