//! Fault injection for in-process stories: an armed actor panics at its next message. `main` passes [`Faults::none`]; there is
//! no configuration key and no route that arms one.

use std::fmt::Display;
use std::sync::Arc;

use dashmap::DashSet;

use super::Kind;

/// The switch. Clones share what is armed.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<DashSet<(Kind, String)>>>);

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
        self.0.as_ref().is_some_and(|armed| armed.insert((kind, id.to_string())))
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
fn fire(armed: &DashSet<(Kind, String)>, kind: Kind, id: &dyn Display) {
    if !armed.is_empty() && armed.remove(&(kind, id.to_string())).is_some() {
        panic!("fault injected into {kind} {id}");
    }
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
    fn nothing_can_be_armed_in_production() {
        assert!(!Faults::none().arm(Kind::Call, &"call-1"));
    }
}
