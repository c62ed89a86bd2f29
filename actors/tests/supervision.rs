//! Restart, fencing and the last act, on the smallest tree there is: one supervisor, one kind of child.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tandem_actors::ledger::Table;
use tandem_actors::model::ids::{CallId, Epoch};
use tandem_actors::ports::Fenced;
use tandem_actors::supervision::{Fate, Kind, Policy, Restart, Roster, cast_after};

type Ledger = Arc<Table<CallId, u32>>;
const ONE: CallId = CallId(1);

/// Counts up, and keeps the count in the ledger.
struct Child;

enum ChildMsg {
    Add,
    Crash,
    Fail,
    Stop,
    Look(RpcReplyPort<(Epoch, u32)>),
}

impl Actor for Child {
    type Msg = ChildMsg;
    type State = (CallId, Ledger, Epoch, u32);
    type Arguments = (CallId, Ledger);

    async fn pre_start(
        &self,
        _: ActorRef<ChildMsg>,
        (id, ledger): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let (epoch, count) = ledger.next_epoch(&id).ok_or("there is nothing to resume")?;
        Ok((id, ledger, epoch, count))
    }

    async fn handle(
        &self,
        me: ActorRef<ChildMsg>,
        msg: ChildMsg,
        (id, ledger, epoch, count): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            ChildMsg::Add => {
                *count += 1;
                ledger.commit(id, *epoch, *count)?;
            }
            ChildMsg::Crash => panic!("a child's bug"),
            ChildMsg::Fail => return Err("a child's error".into()),
            ChildMsg::Stop => me.stop(None),
            ChildMsg::Look(reply) => {
                let _ = reply.send((*epoch, *count));
            }
        }
        Ok(())
    }
}

/// Restarts its child by the policy; its last act is to remove the row.
struct Parent;

enum ParentMsg {
    Spawn,
    Child(RpcReplyPort<Option<ActorRef<ChildMsg>>>),
}

struct ParentState {
    ledger: Ledger,
    children: Roster<CallId>,
    log: Log,
}

type Log = Arc<Mutex<Vec<Fate<CallId>>>>;

impl ParentState {
    fn follow(&self, me: &ActorRef<ParentMsg>, fate: Fate<CallId>) {
        if fate != Fate::Stranger {
            self.log.lock().unwrap().push(fate.clone());
        }
        match fate {
            Fate::Restart { after, .. } => cast_after(me, after, ParentMsg::Spawn),
            Fate::GaveUp { key, .. } | Fate::Ended { key, .. } => drop(self.ledger.remove(&key)),
            Fate::Stranger => {}
        }
    }
}

impl Actor for Parent {
    type Msg = ParentMsg;
    type State = ParentState;
    type Arguments = (Ledger, Policy, Log);

    async fn pre_start(
        &self,
        me: ActorRef<ParentMsg>,
        (ledger, policy, log): Self::Arguments,
    ) -> Result<ParentState, ActorProcessingErr> {
        me.cast(ParentMsg::Spawn)?;
        Ok(ParentState { ledger, children: Roster::new(|_| Kind::Call, policy), log })
    }

    async fn handle(
        &self,
        me: ActorRef<ParentMsg>,
        msg: ParentMsg,
        state: &mut ParentState,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            ParentMsg::Spawn => {
                let (arguments, now) = ((ONE, state.ledger.clone()), tokio::time::Instant::now().into_std());
                if let Err(fate) = state.children.spawn(ONE, Child, arguments, me.get_cell(), now).await {
                    state.follow(&me, fate);
                }
            }
            ParentMsg::Child(reply) => {
                let _ = reply.send(state.children.get(&ONE));
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<ParentMsg>,
        event: SupervisionEvent,
        state: &mut ParentState,
    ) -> Result<(), ActorProcessingErr> {
        let now = tokio::time::Instant::now().into_std();
        let fate = state.children.event(event, now);
        state.follow(&me, fate);
        Ok(())
    }
}

struct Family {
    ledger: Ledger,
    parent: ActorRef<ParentMsg>,
    log: Log,
}

impl Family {
    async fn new(policy: Policy) -> Self {
        let (ledger, log): (Ledger, Log) = (Arc::new(Table::new(Kind::Call, "calls")), Arc::default());
        ledger.insert(ONE, 0);
        let arguments = (ledger.clone(), policy, log.clone());
        let (parent, _) = Actor::spawn(None, Parent, arguments).await.expect("the parent starts");
        Self { ledger, parent, log }
    }

    /// The incarnation of this epoch, once it lives.
    async fn child(&self, epoch: u32) -> ActorRef<ChildMsg> {
        let looking = async {
            loop {
                if let Ok(ractor::rpc::CallResult::Success(Some(child))) =
                    self.parent.call(ParentMsg::Child, None).await
                    && let Ok(ractor::rpc::CallResult::Success((now, _))) = child.call(ChildMsg::Look, None).await
                    && now == Epoch(epoch)
                {
                    return child;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looking).await.expect("the child is back")
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let looking = async {
            while !what(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looking).await.expect("it comes to pass");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_panics_is_restarted_with_the_next_epoch_and_its_checkpoint() {
    let family = Family::new(Policy::transient(3, Duration::from_secs(10))).await;
    let first = family.child(1).await;
    first.cast(ChildMsg::Add).unwrap();
    first.cast(ChildMsg::Add).unwrap();
    first.cast(ChildMsg::Crash).unwrap();
    let second = family.child(2).await;
    assert_ne!(first.get_id(), second.get_id());
    assert_eq!(second.call(ChildMsg::Look, None).await.unwrap().unwrap(), (Epoch(2), 2));
    let log = family.log.lock().unwrap().clone();
    assert_eq!(log, [Fate::Restart { key: ONE, after: Duration::ZERO }]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_returns_an_error_or_is_killed_has_failed() {
    let family = Family::new(Policy::transient(3, Duration::from_secs(10))).await;
    family.child(1).await.cast(ChildMsg::Fail).unwrap();
    family.child(2).await.kill();
    family.child(3).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_lead_to_the_last_act() {
    let family = Family::new(Policy::transient(2, Duration::from_secs(30))).await;
    for epoch in 1..=3 {
        family.child(epoch).await.cast(ChildMsg::Crash).unwrap();
    }
    family.until(|family| family.ledger.is_empty()).await;
    let log = family.log.lock().unwrap();
    let Some(Fate::GaveUp { key: ONE, why }) = log.last() else { panic!("{log:?}") };
    assert!(why.contains("a child's bug"), "the last failure is told in words: {why}");
}

#[tokio::test(start_paused = true)]
async fn a_transient_child_that_stops_has_ended_and_a_permanent_one_is_restarted() {
    let transient = Family::new(Policy::transient(3, Duration::from_secs(10))).await;
    transient.child(1).await.cast(ChildMsg::Stop).unwrap();
    transient.until(|family| family.ledger.is_empty()).await;

    let permanent = Family::new(Policy::permanent(3, Duration::from_secs(10))).await;
    permanent.child(1).await.cast(ChildMsg::Stop).unwrap();
    permanent.child(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_is_not_restarted() {
    let policy = Policy { restart: Restart::Temporary, ..Policy::transient(3, Duration::from_secs(10)) };
    let family = Family::new(policy).await;
    family.child(1).await.cast(ChildMsg::Crash).unwrap();
    family.until(|family| family.ledger.is_empty()).await;
    assert!(matches!(family.log.lock().unwrap().as_slice(), [Fate::Ended { key: ONE, why: Some(_) }]));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_cannot_start_is_a_failure_and_not_tried_for_ever() {
    let family = Family::new(Policy::transient(2, Duration::from_secs(60))).await;
    let child = family.child(1).await;
    family.ledger.remove(&ONE);
    child.cast(ChildMsg::Crash).unwrap();
    family.until(|family| matches!(family.log.lock().unwrap().last(), Some(Fate::GaveUp { .. }))).await;
    assert_eq!(family.log.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_an_older_incarnation_is_refused() {
    let family = Family::new(Policy::transient(3, Duration::from_secs(10))).await;
    family.child(1).await.cast(ChildMsg::Crash).unwrap();
    family.child(2).await;
    assert_eq!(family.ledger.commit(&ONE, Epoch(1), 99), Err(Fenced));
    assert_eq!(family.ledger.get(&ONE), Some(0));
}
