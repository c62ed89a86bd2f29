//! The gate against scanners and floods: a token bucket a source address for requests outside dialogs. A failed proof of a
//! password costs more. Trunks' addresses are not counted. What is over budget is dropped in silence and counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// What a source may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Requests outside dialogs a second.
    pub per_second: f64,
    /// At once.
    pub burst: f64,
    /// What one wrong password costs, in requests.
    pub wrong_password: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { per_second: 500.0, burst: 1000.0, wrong_password: 50.0 }
    }
}

/// Most sources remembered; when full, those with a full bucket are forgotten.
const MAX_SOURCES: usize = 65_536;

/// The gate.
#[derive(Debug)]
pub struct Gate {
    budget: Budget,
    sources: HashMap<IpAddr, (f64, Instant)>,
}

impl Gate {
    /// A gate that has seen nobody.
    pub fn new(budget: Budget) -> Self {
        Self { budget, sources: HashMap::new() }
    }

    /// Whether a request of this source goes on.
    pub fn admits(&mut self, source: IpAddr, now: Instant) -> bool {
        self.spend(source, 1.0, now)
    }

    /// This source gave a wrong password.
    pub fn wrong_password(&mut self, source: IpAddr, now: Instant) {
        let cost = self.budget.wrong_password;
        self.spend(source, cost, now);
    }

    fn spend(&mut self, source: IpAddr, cost: f64, now: Instant) -> bool {
        let Budget { per_second, burst, .. } = self.budget;
        let refilled = |(tokens, at): (f64, Instant)| {
            (tokens + now.saturating_duration_since(at).as_secs_f64() * per_second).min(burst)
        };
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            let full = Duration::from_secs_f64(burst / per_second.max(0.001));
            self.sources.retain(|_, (_, at)| now.saturating_duration_since(*at) < full);
            if self.sources.len() >= MAX_SOURCES {
                // A flood from everywhere: strangers are refused, sources already known go on.
                return false;
            }
        }
        let entry = self.sources.entry(source).or_insert((burst, now));
        let tokens = refilled(*entry);
        let admitted = tokens >= 1.0;
        *entry = ((tokens - cost).max(0.0), now);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_to_its_rate_and_others_are_not() {
        let budget = Budget { per_second: 10.0, burst: 20.0, wrong_password: 10.0 };
        let mut gate = Gate::new(budget);
        let (flood, other) = ("192.0.2.1".parse().expect("an address"), "192.0.2.2".parse().expect("an address"));
        let now = Instant::now();
        assert_eq!((0..100).filter(|_| gate.admits(flood, now)).count(), 20);
        assert!(gate.admits(other, now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| gate.admits(flood, later)).count(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_passwords_use_the_budget_up() {
        let mut gate = Gate::new(Budget { per_second: 1.0, burst: 20.0, wrong_password: 10.0 });
        let source = "192.0.2.1".parse().expect("an address");
        let now = Instant::now();
        gate.wrong_password(source, now);
        gate.wrong_password(source, now);
        assert!(!gate.admits(source, now));
    }
}
