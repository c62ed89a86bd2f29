use std::time::Duration;

use tandem_actors::Kind;
use tandem_actors::fakes::{FakeSip, World};
use tandem_actors::model::address::{InstanceId, SipOrigin, SipUri, Transport};
use tandem_actors::model::ids::{ListenerId, SubscriberId};
use tandem_actors::model::media::Codec;
use tandem_actors::model::settings::Settings;
use tandem_actors::ports::sip::{
    AskedContact, Destination, Outbound, RegisterAnswer, RegisterChange, RegisterRequest, RegisterSupport, SipCommand,
};
use tandem_actors::ports::store::{Record, SavedBinding};
use tandem_actors::registrar::{contacts, forget, remove};

const PHONE: &str = "sip:1001@192.0.2.7:5060";

fn desk() -> SubscriberId {
    SubscriberId::new("1001").expect("an id")
}

async fn register(world: &World, cseq: u32, seconds: u32) -> RegisterAnswer {
    register_at(world, cseq, vec![AskedContact::plain(PHONE, Some(seconds))]).await
}

async fn register_at(world: &World, cseq: u32, contacts: Vec<AskedContact>) -> RegisterAnswer {
    let request = world.sip.register_request(|request| RegisterRequest {
        request,
        subscriber: desk(),
        aor_user: "1001".into(),
        call_id: "a".into(),
        cseq,
        source: "192.0.2.7:5060".parse().expect("an address"),
        transport: Transport::Udp,
        listener: ListenerId::new("udp").expect("an id"),
        heard_at: None,
        change: RegisterChange::Update(contacts),
        path: Vec::new(),
        supports: RegisterSupport { gruu: true, outbound: Outbound::Possible },
        user_agent: None,
    });
    world.find("an answer", |world| world.sip.register_answer(request)).await
}

fn saved(world: &World) -> Vec<SavedBinding> {
    let last = world.store.records().into_iter().rev().find_map(|record| match record {
        Record::Bindings(_, bindings) => Some(bindings),
        Record::Cdr(_) => None,
    });
    last.expect("bindings were saved")
}

fn listed(answer: &RegisterAnswer) -> Vec<(&str, u32)> {
    match answer {
        RegisterAnswer::Bindings { bindings, .. } => {
            bindings.iter().map(|binding| (binding.uri.0.as_str(), binding.seconds)).collect()
        }
        other @ (RegisterAnswer::TooBrief(_) | RegisterAnswer::Refused(_)) => panic!("refused: {other:?}"),
    }
}

/// Over UDP from behind a NAT.
fn behind_nat() -> AskedContact {
    AskedContact { behind_nat: true, ..AskedContact::plain("sip:1001@10.0.0.7:5060", Some(3600)) }
}

#[tokio::test(start_paused = true)]
async fn a_binding_is_found_saved_and_runs_out() {
    let world = World::start(Settings::default()).await;
    assert_eq!(listed(&register(&world, 1, 120).await), [(PHONE, 120)]);
    assert_eq!(contacts(world.ctx(), &desk(), None).len(), 1);
    assert_eq!(saved(&world).len(), 1);
    world.pass(Duration::from_secs(119)).await;
    assert_eq!(contacts(world.ctx(), &desk(), None).len(), 1);
    world.pass(Duration::from_millis(1100)).await;
    assert!(contacts(world.ctx(), &desk(), None).is_empty());
    assert!(world.ctx().ledger.bindings.is_empty() && saved(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_bindings_their_order_and_their_end() {
    let world = World::start(Settings::default()).await;
    register(&world, 2, 120).await;
    assert_eq!(world.crash(Kind::Registrar).await, 1);
    assert_eq!(register(&world, 2, 0).await, RegisterAnswer::Refused(500));
    assert_eq!(contacts(world.ctx(), &desk(), None).len(), 1);
    world.pass(Duration::from_secs(121)).await;
    assert!(world.ctx().ledger.bindings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bindings_of_an_earlier_run_are_there_once_and_do_not_come_back() {
    let first = World::start(Settings::default()).await;
    register(&first, 1, 3600).await;
    let bindings = saved(&first);
    let second = World::start_with(Settings::default(), |store| store.save(bindings)).await;
    assert_eq!(contacts(second.ctx(), &desk(), None).len(), 1);
    assert!(listed(&register(&second, 2, 0).await).is_empty());
    second.crash(Kind::Registrar).await;
    assert!(contacts(second.ctx(), &desk(), None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc_5626_5_3_a_binding_goes_with_the_connection_it_was_made_by_and_with_no_other() {
    let world = World::start(Settings::default()).await;
    register(&world, 1, 3600).await;
    let gone = |transport, port: u16| {
        let listener = ListenerId::new("udp").expect("an id");
        world.sip.connection_gone(&listener, transport, ([192, 0, 2, 7], port).into());
    };
    gone(Transport::Udp, 5062);
    gone(Transport::Wss, 5060);
    world.pass(Duration::from_millis(100)).await;
    assert_eq!(contacts(world.ctx(), &desk(), None).len(), 1);
    gone(Transport::Udp, 5060);
    world.until("the end of the binding", |world| contacts(world.ctx(), &desk(), None).is_empty()).await;
    assert!(saved(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_binding_over_a_connection_does_not_outlive_the_process() {
    let first = World::start(Settings::default()).await;
    register(&first, 1, 3600).await;
    let mut bindings = saved(&first);
    bindings.iter_mut().for_each(|binding| binding.contact.transport = Transport::Ws);
    let second = World::start_with(Settings::default(), |store| store.save(bindings)).await;
    assert!(contacts(second.ctx(), &desk(), None).is_empty());
}

#[tokio::test(start_paused = true)]
async fn too_brief_is_423_with_min_expires() {
    let world = World::start(Settings::default()).await;
    assert_eq!(register(&world, 1, 59).await, RegisterAnswer::TooBrief(60));
    assert_eq!(world.meter.count("tandem_register_requests_total", Some(("outcome", "too_brief"))), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_tries_contacts_in_the_order_of_their_q() {
    let world = World::start(Settings { sip_codecs: vec![Codec::Pcmu], ..Settings::default() }).await;
    let uri = |port: u16| SipUri(format!("sip:1001@192.0.2.7:{port}"));
    let contacts = [(5060, 300), (5062, 1000), (5064, 700)];
    let asked = contacts.map(|(port, q)| AskedContact { q, ..AskedContact::plain(uri(port).0, None) });
    register_at(&world, 1, asked.into()).await;
    let origin = SipOrigin::Subscriber(SubscriberId::new("1002").expect("an id"));
    world.sip.incoming(FakeSip::invite_from(origin, "1002", "1001"));
    let out = world.find("the call to it", |world| world.sip.outgoing().first().copied()).await;
    let invite = world.sip.dialog(out).and_then(|record| record.invite).expect("an INVITE");
    let tried = invite.to.into_iter().filter_map(|to| match to {
        Destination::Contact(contact) => Some(contact.uri),
        Destination::Trunk { .. } | Destination::Uri(_) => None,
    });
    assert_eq!(tried.collect::<Vec<_>>(), [5062, 5064, 5060].map(uri));
}

#[tokio::test(start_paused = true)]
async fn bindings_of_a_removed_subscriber_are_dropped_and_not_kept() {
    let world = World::start(Settings::default()).await;
    register(&world, 1, 3600).await;
    let others = SubscriberId::new("1002").expect("an id");
    assert!(forget(world.ctx(), vec![others]).await);
    assert_eq!(contacts(world.ctx(), &desk(), None).len(), 1);
    world.crash(Kind::Registrar).await;
    assert!(forget(world.ctx(), vec![desk()]).await);
    assert!(world.ctx().ledger.bindings.is_empty() && saved(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_phone_behind_a_nat_is_kept_alive_and_dropped_when_it_falls_silent() {
    let world = World::start(Settings::default()).await;
    register_at(&world, 1, vec![behind_nat()]).await;
    world.pass(Duration::from_secs(26)).await;
    assert_eq!(world.sip.keep_alives().first().map(|(to, _)| to.to_string()), Some("192.0.2.7:5060".into()));
    world.pass(Duration::from_secs(300)).await;
    let sent = world.sip.keep_alives().len();
    assert!((12..=14).contains(&sent), "{sent}");
    world.crash(Kind::Registrar).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(contacts(world.ctx(), &desk(), None).len(), 1);
    world.sip.set_phones_silent(true);
    world.pass(Duration::from_secs(80)).await;
    assert!(contacts(world.ctx(), &desk(), None).is_empty() && saved(&world).is_empty());
    assert_eq!(world.meter.count("tandem_bindings_dropped_total", Some(("reason", "silent"))), 1);
}

#[tokio::test(start_paused = true)]
async fn the_operator_removes_one_contact_or_all() {
    let world = World::start(Settings::default()).await;
    let other = "sip:1001@192.0.2.7:5062";
    register_at(&world, 1, vec![AskedContact::plain(PHONE, None), AskedContact::plain(other, None)]).await;
    assert_eq!(remove(world.ctx(), desk(), Some(SipUri("sip:1001@h".into()))).await, Some(0));
    assert_eq!(remove(world.ctx(), desk(), Some(SipUri(PHONE.into()))).await, Some(1));
    assert_eq!(contacts(world.ctx(), &desk(), None).len(), 1);
    assert_eq!(remove(world.ctx(), desk(), None).await, Some(1));
    assert!(world.ctx().ledger.bindings.is_empty() && saved(&world).is_empty());
}

/// Where a call to this Request-URI goes; the status it is refused with.
async fn rings(world: &World, request_uri: String) -> Result<Vec<String>, u16> {
    let before = world.sip.outgoing();
    let origin = SipOrigin::Subscriber(SubscriberId::new("1002").expect("an id"));
    let mut invite = FakeSip::invite_from(origin, "1002", "1001");
    invite.request_uri = SipUri(request_uri);
    let came = invite.dialog;
    world.sip.incoming(invite);
    let refused = |world: &World| {
        let mut orders = world.sip.orders_of(came).into_iter();
        orders.find_map(|order| {
            if let SipCommand::Reject { cause, .. } | SipCommand::Hangup(cause) = order {
                Some(cause.status)
            } else {
                None
            }
        })
    };
    world
        .find("an outcome", |world| {
            let ended = refused(world);
            let out = world.sip.outgoing().into_iter().find(|dialog| !before.contains(dialog));
            let out = out.and_then(|out| world.sip.dialog(out));
            let to = out.and_then(|record| record.invite).map(|invite| invite.to);
            let uris = to.map(|to| {
                to.into_iter().filter_map(|to| match to {
                    Destination::Contact(contact) => Some(contact.uri.0),
                    Destination::Trunk { .. } | Destination::Uri(_) => None,
                })
            });
            uris.map(|uris| Ok(uris.collect())).or(ended.map(Err))
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_gruu_reaches_that_instance_alone() {
    let world =
        World::start(Settings { sip_codecs: vec![Codec::Pcmu], domain: "tandem.test".into(), ..Settings::default() })
            .await;
    let urn = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    let desk_phone = AskedContact { instance: Some(InstanceId(urn.into())), ..AskedContact::plain(PHONE, None) };
    let other = AskedContact::plain("sip:1001@192.0.2.9", None);
    let answer = register_at(&world, 1, vec![desk_phone, other]).await;
    let RegisterAnswer::Bindings { bindings, .. } = answer else { panic!("refused") };
    let (public, temporary) = bindings[0].gruus.clone().expect("GRUUs");
    assert_eq!(rings(&world, "sip:1001@tandem.test".into()).await.map(|to| to.len()), Ok(2));
    assert_eq!(rings(&world, public).await, Ok(vec![PHONE.to_owned()]));
    assert_eq!(rings(&world, temporary).await, Ok(vec![PHONE.to_owned()]));
    assert_eq!(rings(&world, "sip:1001@tandem.test;gr=urn:uuid:0".into()).await, Err(480));
    assert_eq!(rings(&world, "sip:tgruu.0@tandem.test;gr".into()).await, Err(404));
}
