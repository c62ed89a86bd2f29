use std::time::Duration;

use tandem_actors::Kind;
use tandem_actors::fakes::{FakeSip, World};
use tandem_actors::model::address::{SipOrigin, SipUri, Transport};
use tandem_actors::model::ids::{ListenerId, SubscriberId};
use tandem_actors::model::media::Codec;
use tandem_actors::model::settings::Settings;
use tandem_actors::ports::sip::{Destination, RegisterAnswer, RegisterChange, RegisterRequest};
use tandem_actors::ports::store::{Record, SavedBinding};
use tandem_actors::registrar::{contacts, forget};

const PHONE: &str = "sip:1001@192.0.2.7:5060";

fn desk() -> SubscriberId {
    SubscriberId::new("1001").expect("an id")
}

async fn register(world: &World, cseq: u32, seconds: u32) -> RegisterAnswer {
    register_at(world, cseq, vec![(SipUri(PHONE.into()), Some(seconds), 1000)]).await
}

async fn register_at(world: &World, cseq: u32, contacts: Vec<(SipUri, Option<u32>, u16)>) -> RegisterAnswer {
    let request = world.sip.register_request(|request| RegisterRequest {
        request,
        subscriber: desk(),
        call_id: "a".into(),
        cseq,
        source: "192.0.2.7:5060".parse().expect("an address"),
        transport: Transport::Udp,
        listener: ListenerId::new("udp").expect("an id"),
        change: RegisterChange::Update(contacts),
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

fn listed(seconds: u32) -> RegisterAnswer {
    RegisterAnswer::Bindings(vec![(SipUri(PHONE.into()), seconds)])
}

#[tokio::test(start_paused = true)]
async fn a_binding_is_found_saved_and_runs_out() {
    let world = World::start(Settings::default()).await;
    assert_eq!(register(&world, 1, 120).await, listed(120));
    assert_eq!(contacts(world.ctx(), &desk()).len(), 1);
    assert_eq!(saved(&world).len(), 1);
    world.pass(Duration::from_secs(119)).await;
    assert_eq!(contacts(world.ctx(), &desk()).len(), 1);
    world.pass(Duration::from_millis(1100)).await;
    assert!(contacts(world.ctx(), &desk()).is_empty());
    assert!(world.ctx().ledger.bindings.is_empty() && saved(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_bindings_their_order_and_their_end() {
    let world = World::start(Settings::default()).await;
    register(&world, 2, 120).await;
    assert_eq!(world.crash(Kind::Registrar).await, 1);
    assert_eq!(register(&world, 2, 0).await, RegisterAnswer::Refused(500));
    assert_eq!(contacts(world.ctx(), &desk()).len(), 1);
    world.pass(Duration::from_secs(121)).await;
    assert!(world.ctx().ledger.bindings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bindings_of_an_earlier_run_are_there_once_and_do_not_come_back() {
    let first = World::start(Settings::default()).await;
    register(&first, 1, 3600).await;
    let bindings = saved(&first);
    let second = World::start_with(Settings::default(), |store| store.save(bindings)).await;
    assert_eq!(contacts(second.ctx(), &desk()).len(), 1);
    assert_eq!(register(&second, 2, 0).await, RegisterAnswer::Bindings(vec![]));
    second.crash(Kind::Registrar).await;
    assert!(contacts(second.ctx(), &desk()).is_empty());
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
    assert_eq!(contacts(world.ctx(), &desk()).len(), 1);
    gone(Transport::Udp, 5060);
    world.until("the end of the binding", |world| contacts(world.ctx(), &desk()).is_empty()).await;
    assert!(saved(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_binding_over_a_connection_does_not_outlive_the_process() {
    let first = World::start(Settings::default()).await;
    register(&first, 1, 3600).await;
    let mut bindings = saved(&first);
    bindings.iter_mut().for_each(|binding| binding.contact.transport = Transport::Ws);
    let second = World::start_with(Settings::default(), |store| store.save(bindings)).await;
    assert!(contacts(second.ctx(), &desk()).is_empty());
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
    register_at(&world, 1, contacts.map(|(port, q)| (uri(port), None, q)).into()).await;
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
    assert_eq!(contacts(world.ctx(), &desk()).len(), 1);
    world.crash(Kind::Registrar).await;
    assert!(forget(world.ctx(), vec![desk()]).await);
    assert!(world.ctx().ledger.bindings.is_empty() && saved(&world).is_empty());
}
