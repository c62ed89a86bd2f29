//! A phone calls a phone.

use tandem_actors::model::address::AppHeaders;
use tandem_actors::model::cause::Cause;

use super::*;

#[tokio::test(start_paused = true)]
async fn what_the_callees_ringing_says_of_the_app_the_callers_says_too() {
    let world = world().await;
    let caller = dial(&world, "1001");
    let phone = called(&world).await;
    let said = AppHeaders { app: Some("shop".into()), ..AppHeaders::default() };
    world.sip.ring_with(phone, said.clone());
    world.until("it rings", |world| statuses(world, caller) == [180]).await;
    let orders = world.sip.orders_of(caller);
    let passed = orders.iter().any(|order| matches!(order, SipCommand::Progress { headers, .. } if *headers == said));
    assert!(passed, "{orders:?}");
    world.sip.end(caller, Cause::cancelled());
    nothing_left(&world).await;
}
