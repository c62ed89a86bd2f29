//! The gate against scanners, floods and guessed passwords.
//!
//! ```text
//!   octets --> Blocks (before they are read) --> scanner's User-Agent? --> Buckets --> challenge --> Strikes
//!                ^                                        |                                            |
//!                '---------- a growing time --------------'------------- too many wrong passwords -----'
//! ```
//!
//! A source is an IPv4 address or the /64 of an IPv6 one. Trunks, and what `never_block` names, are not counted at all. What is
//! dropped is dropped in silence; what is blocked is said in one line that fail2ban reads (`config/fail2ban`), and counted.
//!
//! Nobody is locked out by what others do: a source that proved a password lately (an office with one wrong phone in it) is
//! not blocked whole, only the name that it gets wrong is no longer looked at; and an account that is guessed at from
//! everywhere still opens to the sources that it was opened from. A nonce is good at the source it
//! was sent to ([`super::digest::guard`]), so that nobody has another blocked for wrong passwords by packets in his name. A scanner's name can be forged so; what that
//! blocks is a source that proved nothing, for the first time shortly.
//!
//! Every table here is bounded, and a flood from made-up addresses costs constant time a packet.

pub mod blocks;
mod buckets;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tandem_actors::model::net::Net;
use tokio::time::Instant;

use self::blocks::{Blocks, Reason};
use self::buckets::{Buckets, Generations};

/// What one source may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Requests outside dialogs a second.
    pub per_second: f64,
    /// At once.
    pub burst: f64,
    /// Wrong passwords in a row, a minute apart at most, that block a source.
    pub wrong_passwords: u32,
    /// How long it is blocked the first time; each further time twice as long.
    pub block: Duration,
    /// The longest.
    pub block_most: Duration,
    /// Pieces of a User-Agent that tell a scanner, lower case.
    pub scanners: Vec<String>,
    /// Who is never blocked and never counted.
    pub never: Vec<Net>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            per_second: 500.0,
            burst: 1000.0,
            wrong_passwords: 10,
            block: Duration::from_secs(300),
            block_most: Duration::from_secs(86_400),
            scanners: Vec::new(),
            never: Vec::new(),
        }
    }
}

/// Who sends, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            // A provider gives each customer a /64 at least: an address of it costs nothing.
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// A wrong password is forgiven after this.
const FORGIVEN: Duration = Duration::from_secs(60);
/// How long a source is known for the password it proved. A phone that registers does so within the hour.
const KNOWN: Duration = Duration::from_secs(3600);
/// Sources remembered for an account: its phones, at home, at work and on the road.
const PLACES: usize = 4;
/// An account that was guessed at this many times more than one source may is looked at for known sources only.
const ACCOUNT_FACTOR: u32 = 2;
/// Most entries of each table. // overflow: strangers' requests are DROPPED, counted; known sources go on
const MOST: usize = 65_536;

/// Wrong passwords, each forgiven after a while.
#[derive(Debug, Clone, Copy)]
struct Strikes {
    count: f64,
    at: Instant,
}

impl Strikes {
    fn left(self, now: Instant) -> f64 {
        (self.count - now.saturating_duration_since(self.at).as_secs_f64() / FORGIVEN.as_secs_f64()).max(0.0)
    }

    /// Whether they are so many; what was forgiven meanwhile of the last one does not count.
    fn reach(self, most: u32, now: Instant) -> bool {
        self.left(now) > f64::from(most) - 0.5
    }
}

/// A subscriber that somebody guesses at, or that proved its password.
#[derive(Debug, Default)]
struct Account {
    wrong: Option<Strikes>,
    /// Where it proved its password last.
    places: Vec<(Source, Instant)>,
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    budget: Budget,
    buckets: Buckets,
    /// By source, or by source and user where the source is known.
    strikes: Generations<(Source, Option<u64>), Strikes>,
    /// Real ones only: nobody without a password makes an entry.
    accounts: HashMap<String, Account>,
    known: HashMap<Source, Instant>,
    blocks: Arc<Blocks>,
    hasher: RandomState,
}

impl Gate {
    /// A gate that has seen nobody.
    pub fn new(budget: Budget, now: Instant) -> Self {
        Self {
            buckets: Buckets::new(budget.per_second, budget.burst, now),
            strikes: Generations::new(
                FORGIVEN.saturating_mul(budget.wrong_passwords.saturating_mul(ACCOUNT_FACTOR)),
                now,
            ),
            budget,
            accounts: HashMap::new(),
            known: HashMap::new(),
            blocks: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    /// What is blocked; asked before anything is read.
    pub fn blocks(&self) -> Arc<Blocks> {
        Arc::clone(&self.blocks)
    }

    fn exempt(&self, address: IpAddr) -> bool {
        self.budget.never.iter().any(|net| net.contains(address))
    }

    fn is_known(&self, source: Source, now: Instant) -> bool {
        self.known.get(&source).is_some_and(|at| now.saturating_duration_since(*at) < KNOWN)
    }

    /// Whether a request of this source goes on.
    pub fn admits(&mut self, address: IpAddr, now: Instant) -> bool {
        let source = Source::from(address);
        if self.exempt(address) || self.buckets.spend(source, self.is_known(source, now), now) {
            return true;
        }
        if self.buckets.just_emptied(source) {
            tracing::warn!("abuse: source {address} over budget: flood");
        }
        false
    }

    /// Whether this User-Agent is a scanner's: nothing is answered, and its source is blocked.
    pub fn scans(&mut self, address: IpAddr, user_agent: &[u8], now: Instant) -> bool {
        let holds = |piece: &String| {
            let piece = piece.as_bytes();
            !piece.is_empty() && user_agent.windows(piece.len()).any(|window| window.eq_ignore_ascii_case(piece))
        };
        if self.exempt(address) || !self.budget.scanners.iter().any(holds) {
            return false;
        }
        if !self.is_known(address.into(), now) {
            self.block(address, Reason::Scanner, now);
        }
        true
    }

    /// Whether this user's answers from this source are not looked at: they were wrong too often.
    pub fn distrusts(&self, address: IpAddr, user: &str, now: Instant) -> bool {
        let source = Source::from(address);
        if self.exempt(address) {
            return false;
        }
        let pair = (source, Some(self.hasher.hash_one(user)));
        if self.strikes.get(&pair).is_some_and(|strikes| strikes.reach(self.budget.wrong_passwords, now)) {
            return true;
        }
        self.accounts.get(user).is_some_and(|account| {
            let most = self.budget.wrong_passwords.saturating_mul(ACCOUNT_FACTOR);
            let guessed = account.wrong.is_some_and(|wrong| wrong.reach(most, now));
            guessed && !account.places.iter().any(|(place, _)| *place == source)
        })
    }

    /// This source gave a wrong password for a user, who exists or does not.
    pub fn wrong_password(&mut self, address: IpAddr, user: &str, exists: bool, now: Instant) {
        if self.exempt(address) {
            return;
        }
        let source = Source::from(address);
        let known = self.is_known(source, now);
        let key = (source, known.then(|| self.hasher.hash_one(user)));
        // Bounded, so that it is forgiven in bounded time.
        let most = f64::from(self.budget.wrong_passwords.saturating_mul(ACCOUNT_FACTOR));
        let strike = |before: Option<Strikes>| {
            let count = (before.map_or(0.0, |strikes| strikes.left(now)) + 1.0).min(most);
            Strikes { count, at: now }
        };
        let strikes = strike(self.strikes.get(&key).copied());
        self.strikes.put(key, strikes, now);
        // Of a known source's wrong phone the others at its address do not suffer; and it shows an account under attack no less.
        if exists {
            let account = self.accounts.entry(user.to_owned()).or_default();
            account.wrong = Some(strike(account.wrong));
        }
        if !known && strikes.reach(self.budget.wrong_passwords, now) {
            self.block(address, Reason::WrongPassword, now);
        }
    }

    /// This source proved a user's password.
    pub fn proved(&mut self, address: IpAddr, user: &str, now: Instant) {
        let source = Source::from(address);
        if self.known.len() >= MOST {
            self.known.retain(|_, at| now.saturating_duration_since(*at) < KNOWN);
        }
        if self.known.len() < MOST || self.known.contains_key(&source) {
            self.known.insert(source, now);
        }
        let account = match self.accounts.get_mut(user) {
            Some(account) => account,
            None => self.accounts.entry(user.to_owned()).or_default(),
        };
        account.places.retain(|(place, _)| *place != source);
        if account.places.len() >= PLACES {
            account.places.remove(0);
        }
        account.places.push((source, now));
    }

    fn block(&mut self, address: IpAddr, reason: Reason, now: Instant) {
        self.strikes.forget(&(address.into(), None));
        self.blocks.add(address, reason, self.budget.block, self.budget.block_most, now);
    }

    /// How many entries the tables hold: sources, strikes, known sources, blocks.
    #[cfg(test)]
    pub fn sizes(&self) -> [usize; 4] {
        [self.buckets.len(), self.strikes.len(), self.known.len(), self.blocks.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn gate(now: Instant) -> Gate {
        let scanners = vec!["friendly-scanner".into()];
        let never = vec!["192.0.2.99".parse().expect("a network")];
        Gate::new(
            Budget { per_second: 10.0, burst: 20.0, wrong_passwords: 3, scanners, never, ..Budget::default() },
            now,
        )
    }

    fn guess(gate: &mut Gate, source: &str, user: &str, times: usize, now: Instant) {
        (0..times).for_each(|_| gate.wrong_password(ip(source), user, user == "bob", now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_to_its_rate_and_others_are_not() {
        let now = Instant::now();
        let mut gate = gate(now);
        let (flood, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!((0..100).filter(|_| gate.admits(flood, now)).count(), 20);
        assert!(gate.admits(other, now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| gate.admits(flood, later)).count(), 10);
        assert!((0..100).all(|_| gate.admits(ip("192.0.2.99"), now)), "never counted");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_source_is_its_network_of_64_bits() {
        let now = Instant::now();
        let mut gate = gate(now);
        let admitted = (0..100u32).filter(|n| gate.admits(ip(&format!("2001:db8::{n:x}:1")), now)).count();
        assert_eq!(admitted, 20);
        assert!(gate.admits(ip("2001:db8:0:1::1"), now));
        assert_eq!(Source::from(ip("::ffff:192.0.2.1")), Source::from(ip("192.0.2.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_guesser_is_blocked_for_a_time_that_doubles() {
        let now = Instant::now();
        let mut gate = gate(now);
        let blocks = gate.blocks();
        guess(&mut gate, "192.0.2.1", "bob", 2, now);
        assert!(!blocks.holds(ip("192.0.2.1"), now));
        guess(&mut gate, "192.0.2.1", "carl", 1, now);
        assert!(blocks.holds(ip("192.0.2.1"), now) && !blocks.holds(ip("192.0.2.2"), now));
        let second = now + Duration::from_secs(300);
        assert!(!blocks.holds(ip("192.0.2.1"), second), "the time is over");
        guess(&mut gate, "192.0.2.1", "bob", 3, second);
        assert!(blocks.holds(ip("192.0.2.1"), second + Duration::from_secs(599)));
        assert!(!blocks.holds(ip("192.0.2.1"), second + Duration::from_secs(600)));
        assert!(!blocks.lift(ip("192.0.2.7")) && blocks.lift(ip("192.0.2.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_phone_that_asks_once_a_minute_with_an_old_password_is_not_blocked() {
        let mut now = Instant::now();
        let mut gate = gate(now);
        for _ in 0..100 {
            guess(&mut gate, "192.0.2.1", "bob", 1, now);
            now += FORGIVEN;
        }
        assert!(!gate.blocks().holds(ip("192.0.2.1"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn one_wrong_phone_in_an_office_locks_itself_out_and_no_other() {
        let now = Instant::now();
        let mut gate = gate(now);
        gate.proved(ip("192.0.2.1"), "anna", now);
        guess(&mut gate, "192.0.2.1", "carl", 10, now);
        assert!(!gate.blocks().holds(ip("192.0.2.1"), now));
        assert!(gate.distrusts(ip("192.0.2.1"), "carl", now) && !gate.distrusts(ip("192.0.2.1"), "anna", now));
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_guessed_at_from_everywhere_still_opens_to_its_own_phone() {
        let now = Instant::now();
        let mut gate = gate(now);
        gate.proved(ip("192.0.2.1"), "bob", now);
        for n in 0..6 {
            guess(&mut gate, &format!("198.51.100.{n}"), "bob", 1, now);
        }
        assert!(gate.distrusts(ip("198.51.100.77"), "bob", now), "a stranger's guess is not even looked at");
        assert!(!gate.distrusts(ip("192.0.2.1"), "bob", now));
        let calm = now + FORGIVEN * 6;
        assert!(!gate.distrusts(ip("198.51.100.77"), "bob", calm));
    }

    #[tokio::test(start_paused = true)]
    async fn a_scanner_is_known_by_its_name_in_any_case_and_blocked_unless_it_proved_a_password() {
        let now = Instant::now();
        let mut gate = gate(now);
        assert!(gate.scans(ip("192.0.2.1"), b"Friendly-Scanner 1.0", now));
        assert!(
            !gate.scans(ip("192.0.2.2"), b"Yealink T46", now)
                && !gate.scans(ip("192.0.2.99"), b"friendly-scanner", now)
        );
        assert!(gate.blocks().holds(ip("192.0.2.1"), now));
        gate.proved(ip("192.0.2.3"), "bob", now);
        assert!(gate.scans(ip("192.0.2.3"), b"friendly-scanner", now), "silence");
        assert!(!gate.blocks().holds(ip("192.0.2.3"), now), "and no more: its name may be forged");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_everywhere_fills_no_table_and_known_sources_go_on() {
        let now = Instant::now();
        let mut gate = gate(now);
        gate.proved(ip("192.0.2.1"), "bob", now);
        for n in 0..300_000u32 {
            let address = IpAddr::V4((0x0a00_0000 + n).into());
            gate.admits(address, now);
            gate.wrong_password(address, "x", false, now);
            gate.scans(address, b"friendly-scanner", now);
        }
        assert!(gate.sizes().iter().all(|size| *size <= 2 * MOST), "{:?}", gate.sizes());
        assert!(gate.admits(ip("192.0.2.1"), now), "a phone that is known");
        assert!(!gate.admits(ip("192.0.2.2"), now), "a stranger waits");
        assert!(gate.admits(ip("192.0.2.2"), now + Duration::from_secs(4)));
    }
}
