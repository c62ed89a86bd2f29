//! Who the callee is shown as the caller, by whom the call comes from and by what the trunk takes.

use tandem_actors::client::protocol::Event;
use tandem_actors::fakes::FakeSip;
use tandem_actors::model::address::NameAddr;
use tandem_actors::model::diversion::{Diversion, DiversionReason};
use tandem_actors::model::plan::NumberFormat;
use tandem_actors::ports::sip::{Destination, IncomingInvite, OutgoingInvite};

use super::*;

const NUMBER: &str = "+8613800000000";

/// A phone of ours calls, and says of itself what its From says.
fn phone_calls(from: &str, to: &str) -> IncomingInvite {
    FakeSip::invite_from(SipOrigin::Subscriber(subscriber("1002")), from, to)
}

/// The INVITE that the trunk gets for it.
async fn by_trunk(amend: impl FnOnce(&mut Trunk), invite: IncomingInvite) -> OutgoingInvite {
    let mut settings = settings();
    settings.sip_to_rtc.user_prefix = None;
    settings.rtc_to_sip.allow.push("0".into());
    let trunk = settings.trunks.values_mut().next().expect("a trunk");
    trunk.caller_id = CallerIdPolicy::Pass;
    amend(trunk);
    let world = world_with(settings).await;
    world.sip.incoming(invite);
    let dialog = called(&world).await;
    world.sip.dialog(dialog).and_then(|dialog| dialog.invite).expect("an INVITE")
}

#[tokio::test(start_paused = true)]
async fn a_phone_is_its_subscriber_whatever_it_says() {
    let sent = by_trunk(|_| {}, phone_calls("+8690000000", NUMBER)).await;
    assert_eq!(sent.caller.number, "1002");
    assert_eq!(sent.carried.preferred, None, "a wish is nobody else's business");
}

#[tokio::test(start_paused = true)]
async fn a_number_that_the_trunk_allows_is_shown_where_a_phone_asks_for_it() {
    let allow = |trunk: &mut Trunk| {
        let allowed = NumberRules::parse("+862130[00-99]").expect("rules");
        trunk.caller_id = CallerIdPolicy::OneOf { allowed, default: "+86213000".into() };
    };
    assert_eq!(by_trunk(allow, phone_calls("+86213042", NUMBER)).await.caller.number, "+86213042");
    assert_eq!(by_trunk(allow, phone_calls("+86900000", NUMBER)).await.caller.number, "+86213000");
    let mut invite = phone_calls("1002", NUMBER);
    invite.carried.preferred = Some("+86213043".into());
    assert_eq!(by_trunk(allow, invite).await.caller.number, "+86213043", "P-Preferred-Identity");
}

#[tokio::test(start_paused = true)]
async fn numbers_are_written_as_the_trunk_wants_them_and_another_is_asserted_where_it_bills_by_it() {
    let sent = by_trunk(
        |trunk| {
            trunk.prefix = "9".into();
            trunk.caller_id = CallerIdPolicy::Fixed("+862130000".into());
            trunk.numbers.plan.country = "86".into();
            trunk.numbers.plan.national = "0".into();
            trunk.numbers.plan.international = "00".into();
            trunk.numbers.called = NumberFormat::E164;
            trunk.numbers.caller = NumberFormat::National;
            trunk.numbers.asserted = Some("pass".into());
        },
        phone_calls("1002", "013800000000"),
    )
    .await;
    assert_eq!(sent.caller.number, "02130000");
    assert_eq!(sent.carried.asserted.as_ref().map(|who| who.number.as_str()), Some("1002"));
    let Some(Destination::Trunk { number, .. }) = sent.to.first() else { panic!("a trunk: {:?}", sent.to) };
    assert_eq!(number, "9+8613800000000");
}

/// A call from the trunk, to a user who has an app.
fn trunk_calls(to: &str) -> IncomingInvite {
    let mut invite = FakeSip::invite_from(SipOrigin::Trunk(TrunkId::new("acme").expect("an id")), "013900000000", to);
    let uri = SipUri("tel:013800000001".into());
    invite.asserted = Some(NameAddr { display: "Al".into(), uri });
    invite
}

async fn invited(invite: IncomingInvite) -> String {
    let mut settings = settings();
    let trunk = settings.trunks.values_mut().next().expect("a trunk");
    trunk.numbers.plan.country = "86".into();
    trunk.numbers.plan.national = "0".into();
    let world = world_with(settings).await;
    let alice = login(&world, "alice").await;
    world.sip.incoming(invite);
    rung(&world, alice).await;
    let events = world.client.events(alice);
    let shown = events.iter().find(|event| matches!(event, Event::InvitationReceived { .. }));
    format!("{:?}", shown.expect("an invitation"))
}

#[tokio::test(start_paused = true)]
async fn an_app_user_sees_what_the_trunk_asserts_in_e164() {
    let shown = invited(trunk_calls("alice")).await;
    assert!(shown.contains("+8613800000001") && shown.contains("Al") && !shown.contains("13900000000"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn an_app_user_does_not_see_who_hides() {
    let mut invite = trunk_calls("alice");
    invite.carried.privacy = Some("id".into());
    let shown = invited(invite).await;
    assert!(!shown.contains("13800000001") && !shown.contains("\\\"Al\\\""), "{shown}");
    assert!(shown.contains("anonymous"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_calls_a_number_for_its_caller_has_sent_the_call_on() {
    let mut settings = settings();
    settings.trunks.values_mut().for_each(|trunk| trunk.max_calls = None);
    let target = DialTarget::try_from(format!("trunk:acme:{NUMBER}")).expect("a target");
    let on_fail = None;
    let steps = BTreeMap::from([("out".to_owned(), Step::Dial { to: target, timeout_s: None, on_fail })]);
    for service in settings.services.values_mut() {
        service.script = Script { start: "out".into(), steps: steps.clone() };
    }
    let world = world_with(settings).await;
    let mut invite = trunk_calls("9000");
    invite.carried.diverted = vec![Diversion::new("+861", DiversionReason::UserBusy)];
    world.sip.incoming(invite);
    let dialog = called(&world).await;
    let sent = world.sip.dialog(dialog).and_then(|dialog| dialog.invite).expect("an INVITE");
    let ours = Diversion::new("9000", DiversionReason::Unconditional);
    assert_eq!(sent.carried.diverted, [Diversion::new("+861", DiversionReason::UserBusy), ours]);
}
