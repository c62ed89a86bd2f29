//! Texts (MESSAGE): to a phone's contacts, or the status that says why not.

use tandem_actors::model::address::{Carried, NameAddr};
use tandem_actors::ports::sip::{MessageRelay, MessageRequest};

use super::*;

/// Where a text goes, from this origin to this number.
async fn goes(world: &World, origin: SipOrigin, to: &str, carried: Carried) -> Result<MessageRelay, u16> {
    let named = |user: &str| NameAddr { display: String::new(), uri: SipUri(format!("sip:{user}@tandem.test")) };
    let request = world.sip.message(|request| MessageRequest {
        request,
        origin,
        request_uri: named(to).uri,
        from: named("1002"),
        to: named(to),
        asserted: None,
        carried,
    });
    world.find("an answer", |world| world.sip.message_answer(request)).await
}

fn phone() -> SipOrigin {
    SipOrigin::Subscriber(subscriber("1002"))
}

#[tokio::test(start_paused = true)]
async fn a_text_goes_to_the_contacts_that_a_call_would_ring() {
    let world = world().await;
    let relay = goes(&world, phone(), "1001", Carried::default()).await.expect("contacts");
    assert_eq!((relay.to.len(), relay.caller.number.as_str(), relay.hidden), (1, "1002", false));
    let hidden = Carried { privacy: Some("id".into()), ..Carried::default() };
    let trunk = SipOrigin::Trunk(TrunkId::new("acme").expect("an id"));
    assert!(goes(&world, trunk, "1001", hidden).await.expect("contacts").hidden);
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_texts_is_405_and_who_is_away_480() {
    let world = world().await;
    for (to, status) in [("1003", 480), ("alice", 405), ("9000", 405), ("+8613800000000", 405)] {
        assert_eq!(goes(&world, phone(), to, Carried::default()).await, Err(status), "{to}");
    }
}
