//! Fault injection for in-process stories: an armed actor panics at its next message. `main` passes [`Faults::none`]; there is
//! no configuration key and no route that arms one.

use std::fmt::Display;
use std::sync::Arc;

use dashmap::DashMap;

use super::Kind;

/// The switch. Clones share what is armed.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<DashMap<(Kind, String), u32>>>);

impl Faults {
    /// Nothing can ever be armed: [`Faults::check`] costs one branch.
    pub fn none() -> Self {
        Self(None)
    }

    /// A switch a test may arm.
    pub fn armable() -> Self {
        Self(Some(Arc::default()))
    }

    /// Makes the actor of this kind and id panic at its next message, once. `false` where nothing can be armed.
    pub fn arm(&self, kind: Kind, id: &dyn Display) -> bool {
        self.arm_times(kind, id, 1)
    }

    /// As [`Faults::arm`], at each of its next `times` messages, whichever incarnation hears them.
    pub fn arm_times(&self, kind: Kind, id: &dyn Display, times: u32) -> bool {
        self.0.as_ref().is_some_and(|armed| armed.insert((kind, id.to_string()), times).is_none())
    }

    /// The first thing every `handle` does.
    ///
    /// # Panics
    /// When armed for this actor: that is what it is for.
    #[inline]
    pub fn check(&self, kind: Kind, id: &dyn Display) {
        if let Some(armed) = &self.0 {
            fire(armed, kind, id);
        }
    }
}

#[cold]
fn fire(armed: &DashMap<(Kind, String), u32>, kind: Kind, id: &dyn Display) {
    if armed.is_empty() {
        return;
    }
    let key = (kind, id.to_string());
    match armed.get_mut(&key) {
        Some(mut left) => *left = left.saturating_sub(1),
        None => return,
    }
    armed.remove_if(&key, |_, left| *left == 0);
    panic!("fault injected into {kind} {id}");
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use super::*;

    #[test]
    fn an_armed_actor_panics_once() {
        let faults = Faults::armable();
        assert!(faults.arm(Kind::Call, &"call-1"));
        faults.check(Kind::Call, &"call-2");
        faults.check(Kind::SipLeg, &"call-1");
        assert!(std::panic::catch_unwind(AssertUnwindSafe(|| faults.check(Kind::Call, &"call-1"))).is_err());
        faults.check(Kind::Call, &"call-1");
    }

    #[test]
    fn an_actor_armed_twice_panics_twice() {
        let faults = Faults::armable();
        assert!(faults.arm_times(Kind::Call, &"call-1", 2));
        let panics = || std::panic::catch_unwind(AssertUnwindSafe(|| faults.check(Kind::Call, &"call-1"))).is_err();
        assert_eq!([panics(), panics(), panics()], [true, true, false]);
    }

    #[test]
    fn nothing_can_be_armed_in_production() {
        assert!(!Faults::none().arm(Kind::Call, &"call-1"));
    }
}
