//! Who is due when: setting and taking cost the logarithm of how many there are, so that ten thousand phones that register every
//! minute do not cost each other anything.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::SystemTime;

/// At most one moment a key.
#[derive(Debug)]
pub struct Agenda<K> {
    of: HashMap<K, SystemTime>,
    order: BTreeSet<(SystemTime, K)>,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Self { of: HashMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + Hash> Agenda<K> {
    /// Due then, and not when it was before; `None`: never.
    pub fn set(&mut self, key: &K, at: Option<SystemTime>) {
        let before = match at {
            Some(at) => self.of.insert(key.clone(), at),
            None => self.of.remove(key),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.order.insert((at, key.clone()));
        }
    }

    /// One that is due; it is on the agenda no more.
    pub fn take_due(&mut self, now: SystemTime) -> Option<K> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.of.remove(&key);
        Some(key)
    }

    /// When the next is due.
    pub fn next_at(&self) -> Option<SystemTime> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u8) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
    }

    proptest! {
        #[test]
        fn it_is_a_map_from_which_the_earliest_are_taken(
            steps in prop::collection::vec((0_u8..6, prop::option::of(0_u8..20), prop::option::of(0_u8..20)), 0..60)
        ) {
            let (mut agenda, mut model) = (Agenda::default(), HashMap::<u8, SystemTime>::new());
            for (key, when, look) in steps {
                agenda.set(&key, when.map(at));
                match when {
                    Some(when) => drop(model.insert(key, at(when))),
                    None => drop(model.remove(&key)),
                }
                if let Some(now) = look.map(at) {
                    let mut taken = Vec::new();
                    while let Some(key) = agenda.take_due(now) {
                        taken.push(key);
                    }
                    let order: Vec<_> = taken.iter().map(|key| model.remove(key).expect("it was there")).collect();
                    prop_assert!(order.is_sorted() && order.iter().all(|at| *at <= now));
                    prop_assert!(model.values().all(|at| *at > now));
                }
                prop_assert_eq!(agenda.next_at(), model.values().min().copied());
            }
        }
    }
}
