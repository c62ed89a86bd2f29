//! How fast a trunk's calls begin, against `max_cps`: a token bucket, kept as the time at which it will be full again (the
//! generic cell rate algorithm). Pure.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// What has been taken of a trunk's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rate {
    /// Everything taken has come back then.
    full_at: Option<SystemTime>,
}

impl Rate {
    /// Takes one of `limit` a second; `false` where none is left. As many as a second brings may be taken at once.
    pub fn take(&mut self, limit: u32, now: SystemTime) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(limit) else { return false };
        let full_at = self.full_at.filter(|at| *at > now).unwrap_or(now) + each;
        let taken = full_at.duration_since(now).unwrap_or_default();
        // A second, but for what division lost.
        if taken > each * limit {
            return false;
        }
        self.full_at = Some(full_at);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn as_many_as_a_second_brings_may_begin_at_once_and_then_one_at_a_time() {
        let mut rate = Rate::default();
        let taken: Vec<bool> = (0..5).map(|_| rate.take(4, at(0))).collect();
        assert_eq!(taken, [true, true, true, true, false]);
        assert!(!rate.take(4, at(249)) && rate.take(4, at(250)) && !rate.take(4, at(251)));
        let taken = (0..9).filter(|_| rate.take(4, at(60_000))).count();
        assert_eq!(taken, 4, "a pause saves no more than a second up");
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_twice_the_limit_and_no_minute_more_than_its_share(
            limit in 1u32..50, steps in prop::collection::vec(0u64..200, 1..400),
        ) {
            let (mut rate, mut now) = (Rate::default(), 0);
            let mut taken = Vec::new();
            for step in steps {
                now += step;
                if rate.take(limit, at(now)) {
                    taken.push(now);
                }
            }
            for (n, from) in taken.iter().enumerate() {
                let within = |ms: u64| taken.iter().skip(n).filter(|at| **at < from + ms).count() as u64;
                prop_assert!(within(1000) <= 2 * u64::from(limit));
                prop_assert!(within(60_000) <= 61 * u64::from(limit));
            }
        }
    }
}
