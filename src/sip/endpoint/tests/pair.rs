//! Two cores over a link: calls, forks, re-offers, digits and fencing.

use super::super::super::transport::memory::{MemoryWire, Weather};
use super::*;

pub(super) const FINE: Weather = Weather { loss: 0.0, twice: 0.0, delay: Duration::from_millis(5) };

pub(super) struct Pair {
    pub a: (SipCore, Arc<Scripted>),
    pub b: (SipCore, Arc<Scripted>),
}

pub(super) fn pair(seed: u64, weather: Weather, manner: Manner, config_a: SipConfig, config_b: SipConfig) -> Pair {
    pair_of(seed, weather, [Manner::Answers, manner], config_a, config_b)
}

pub(super) fn pair_of(
    seed: u64,
    weather: Weather,
    [a, b]: [Manner; 2],
    config_a: SipConfig,
    config_b: SipConfig,
) -> Pair {
    let peers = Arc::new(OnceLock::new());
    let (brain_a, brain_b) = (Scripted::new(a), Scripted::new(b));
    let wire = |seed, which| {
        let peers = peers.clone();
        move |_: Weak<Shared>| Box::new(MemoryWire::new(seed, weather, address(which), peers)) as Box<dyn Wire>
    };
    let a = core_at(1, config_a, &brain_a, wire(seed, 1));
    let b = core_at(2, config_b, &brain_b, wire(seed ^ 0x5555, 2));
    let known = vec![(address(1), a.downgrade()), (address(2), b.downgrade())];
    assert!(peers.set(known).is_ok());
    Pair { a: (a, brain_a), b: (b, brain_b) }
}

pub(super) fn call(pair: &Pair, to: Vec<Destination>) -> DialogId {
    let dialog = DialogId::random();
    let invite = OutgoingInvite {
        leg: LegId(9),
        to,
        caller: CallerId { display: "Al \"x\"\r\nEvil: 1".into(), number: "100".into() },
        headers: AppHeaders { number: Some("<sip:u@example.com>".into()), ..AppHeaders::default() },
        max_forwards: MaxForwards(9),
        carried: Default::default(),
        offer: offer(1),
    };
    pair.a.1.order(dialog, SipCommand::Invite(Box::new(invite)));
    dialog
}

pub(super) fn to_b(user: &str) -> Vec<Destination> {
    vec![Destination::Uri(SipUri(format!("sip:{user}@192.0.2.2")))]
}

pub(super) fn confirmed(core: &SipCore, dialog: DialogId) -> bool {
    core.snapshot(dialog).is_some_and(|snapshot| snapshot.phase == DialogPhase::Confirmed)
}

pub(super) fn empty(core: &SipCore) -> bool {
    core.shared().with(|core, _| {
        core.clients.is_empty()
            && core.servers.is_empty()
            && core.dialogs.is_empty()
            && core.names.is_empty()
            && core.merged.is_empty()
            && core.unsent.is_empty()
            && core.registers.is_empty()
            && core.refers.is_empty()
    })
}

pub(super) async fn both_empty(pair: &Pair) {
    until("an empty table", || empty(&pair.a.0) && empty(&pair.b.0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_acknowledged_reoffered_and_hung_up() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the ACK", || pair.b.1.saw(|event| matches!(event, DialogEvent::Acked { answer: None }))).await;
    assert!(pair.a.1.saw(|event| matches!(event, DialogEvent::Progress { status: 180, .. })));
    let incoming = {
        let events = pair.b.1.events.lock().expect("the events");
        match events.first() {
            Some(SipEvent::Incoming(invite)) => invite.clone(),
            other => panic!("expected an INVITE, found {other:?}"),
        }
    };
    assert_eq!(incoming.origin, SipOrigin::Anonymous);
    assert_eq!(incoming.from.display, "Al \"x\"Evil: 1");
    assert_eq!(incoming.from.uri.0, "sip:100@example.com");
    assert_eq!(incoming.max_forwards, MaxForwards(9));
    assert_eq!(incoming.headers.number.as_deref(), Some("<sip:u@example.com>"));
    pair.a.1.order(dialog, SipCommand::Reoffer(Box::new(offer(5))));
    until("the answer", || pair.a.1.saw(|event| matches!(event, DialogEvent::ReofferAnswered(_)))).await;
    pair.a.1.order(dialog, SipCommand::Info(vec![]));
    pair.b.1.order(incoming.dialog, SipCommand::Hangup(Cause::hangup()));
    until("the BYE", || !pair.a.1.ended().is_empty()).await;
    assert_eq!(pair.a.1.ended().first().map(|(_, cause)| cause.q850), Some(Some(16)));
    both_empty(&pair).await;
}

#[tokio::test(start_paused = true)]
async fn digits_arrive_in_order_by_info() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let digits: Vec<_> = "12*#".chars().filter_map(tandem_actors::model::media::Digit::new).collect();
    pair.a.1.order(dialog, SipCommand::Info(digits.clone()));
    let heard = || -> Vec<_> {
        let events = pair.b.1.events.lock().expect("the events");
        events
            .iter()
            .filter_map(|event| match event {
                SipEvent::Dialog { event: DialogEvent::Info(digit), .. } => Some(*digit),
                SipEvent::Dialog { .. }
                | SipEvent::Incoming(_)
                | SipEvent::Register(_)
                | SipEvent::ConnectionGone { .. }
                | SipEvent::KeptAlive { .. }
                | SipEvent::Message(_)
                | SipEvent::TrunkRegistration { .. }
                | SipEvent::TrunkOptions { .. } => None,
            })
            .collect()
    };
    until("four digits", || heard().len() == 4).await;
    assert_eq!(heard(), digits);
}

#[tokio::test(start_paused = true)]
async fn crossing_reoffers_meet_491_and_both_get_through() {
    let pair = pair(7, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the ACK", || pair.b.1.saw(|event| matches!(event, DialogEvent::Acked { .. }))).await;
    let theirs = *pair.b.1.orders.lock().expect("the orders").keys().next().expect("a dialog");
    pair.a.1.order(dialog, SipCommand::Reoffer(Box::new(offer(5))));
    pair.b.1.order(theirs, SipCommand::Reoffer(Box::new(offer(6))));
    let answered = |brain: &Scripted| brain.saw(|event| matches!(event, DialogEvent::ReofferAnswered(_)));
    until("both answers", || answered(&pair.a.1) && answered(&pair.b.1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_undecided_invite_gets_500_after_2_s() {
    let pair = pair(1, FINE, Manner::Sleeps, open(), open());
    let began = Instant::now();
    call(&pair, to_b("200"));
    until("the end", || !pair.a.1.ended().is_empty()).await;
    assert_eq!(pair.a.1.ended().first().map(|(_, cause)| cause.status), Some(500));
    assert!(began.elapsed() >= Duration::from_secs(2) && began.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn the_first_of_several_contacts_wins_and_the_others_are_cancelled() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let mut to = to_b("200");
    to.extend(to_b("201"));
    // Nobody is there: this fork hears nothing, so no CANCEL may be sent for it.
    to.push(Destination::Uri(SipUri("sip:x@192.0.2.3".into())));
    let dialog = call(&pair, to);
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    until("the loser's end", || pair.b.1.ended().len() == 1).await;
    pair.a.1.order(dialog, SipCommand::Hangup(Cause::hangup()));
    until("the winner's end", || pair.b.1.ended().len() == 2).await;
    both_empty(&pair).await;
}

#[tokio::test(start_paused = true)]
async fn orders_of_an_older_epoch_are_fenced_and_repeats_dropped() {
    let pair = pair(1, FINE, Manner::Answers, open(), open());
    let dialog = call(&pair, to_b("200"));
    until("the answer", || confirmed(&pair.a.0, dialog)).await;
    let core = &pair.a.0;
    assert_eq!(core.order(dialog, Epoch(2), 1, SipCommand::Hangup(Cause::hangup())), Ok(()), "order 1 was carried out");
    assert!(confirmed(core, dialog));
    let fenced = core.order(dialog, Epoch(1), 9, SipCommand::Hangup(Cause::hangup()));
    assert_eq!(fenced, Err(tandem_actors::ports::Fenced));
    assert_eq!(core.order(dialog, Epoch(2), 2, SipCommand::Hangup(Cause::hangup())), Ok(()));
    assert!(!confirmed(core, dialog));
}
