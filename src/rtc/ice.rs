//! An ICE-lite agent of one peer (RFC 8445 §2.5, RFC 8839): credentials, restarts, the nominated path. Pure.
//!
//! It is always controlled, has one host candidate and sends no checks: the peer's authenticated checks decide everything, the
//! latest nomination wins (RFC 8445 §8.1.1 lets a full agent nominate again only by a restart; browsers do it without).

use std::net::SocketAddr;

use rand::distr::{Alphanumeric, SampleString};
use tandem_actors::model::ids::WorkerId;
use tandem_actors::model::negotiate::Dtls;

/// Where a datagram came from, and by whose shared port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The media worker whose port it came to.
    pub worker: WorkerId,
    /// The peer's address.
    pub address: SocketAddr,
}

/// Our half of the credentials of one ICE generation, and whom they are for.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Our user fragment: finds the peer.
    pub ufrag: String,
    /// Our password: authenticates its checks.
    pub pwd: String,
    /// The peer's user fragment.
    pub theirs: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}:{})", self.ufrag, self.theirs)
    }
}

impl Credentials {
    /// Fresh ones: 48 and 143 bits of randomness (RFC 8445 §5.3 wants 24 and 128).
    pub fn new(theirs: &str) -> Self {
        let mut random = rand::rng();
        Self {
            ufrag: Alphanumeric.sample_string(&mut random, 8),
            pwd: Alphanumeric.sample_string(&mut random, 24),
            theirs: theirs.to_owned(),
        }
    }

    fn of(dtls: &Dtls) -> Self {
        Self { ufrag: dtls.ours.ufrag.clone(), pwd: dtls.ours.pwd.clone(), theirs: dtls.theirs.ufrag.clone() }
    }
}

/// The agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    current: Credentials,
    /// Of the generation before a restart: valid until the new one has nominated (RFC 8445 §9).
    previous: Option<Credentials>,
    path: Option<Path>,
}

impl Agent {
    /// For a peer with this user fragment.
    pub fn new(theirs: &str) -> Self {
        Self { current: Credentials::new(theirs), previous: None, path: None }
    }

    /// For a peer whose credentials went another way, both halves.
    pub fn agreed(dtls: &Dtls) -> Self {
        Self { current: Credentials::of(dtls), previous: None, path: None }
    }

    /// What our answer says.
    pub fn current(&self) -> &Credentials {
        &self.current
    }

    /// The nominated path.
    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// Our user fragments that are valid now.
    pub fn ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current).chain(&self.previous).map(|credentials| credentials.ufrag.as_str())
    }

    /// The credentials that a check with this USERNAME must be made with.
    pub fn find(&self, ours: &str, theirs: &str) -> Option<&Credentials> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .find(|credentials| credentials.ufrag == ours && credentials.theirs == theirs)
    }

    /// An offer with this user fragment: another one than before restarts ICE (RFC 8839 §4.4.1.1), media keeps its path meanwhile.
    #[must_use]
    pub fn offered(self, theirs: &str) -> Self {
        if self.current.theirs == theirs {
            return self;
        }
        Self { previous: Some(self.current), current: Credentials::new(theirs), path: self.path }
    }

    /// The same, where both halves went another way.
    #[must_use]
    pub fn agreed_anew(self, dtls: &Dtls) -> Self {
        let current = Credentials::of(dtls);
        if self.current == current {
            return self;
        }
        Self { previous: Some(self.current), current, path: self.path }
    }

    /// An authenticated check that nominates its path. Whether that changes the path is seen by comparing [`Agent::path`].
    #[must_use]
    pub fn nominated(self, ours: &str, from: Path) -> Self {
        let previous = if self.current.ufrag == ours { None } else { self.previous };
        Self { current: self.current, previous, path: Some(from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(address: &str) -> Path {
        Path { worker: WorkerId(0), address: address.parse().expect("an address") }
    }

    #[test]
    fn credentials_are_long_enough_and_never_the_same() {
        let (one, other) = (Credentials::new("abcd"), Credentials::new("abcd"));
        assert!(one.ufrag.len() >= 4 && one.pwd.len() >= 22);
        assert!(one.ufrag != other.ufrag && one.pwd != other.pwd);
    }

    #[test]
    fn the_latest_nomination_wins() {
        let agent = Agent::new("abcd");
        let ours = agent.current().ufrag.clone();
        let agent = agent.nominated(&ours, path("192.0.2.1:1")).nominated(&ours, path("192.0.2.2:2"));
        assert_eq!(agent.path(), Some(path("192.0.2.2:2")));
    }

    #[test]
    fn a_restart_keeps_the_old_credentials_and_path_until_the_new_nominate() {
        let agent = Agent::new("abcd");
        let old = agent.current().ufrag.clone();
        let agent = agent.nominated(&old, path("192.0.2.1:1")).offered("efgh");
        let new = agent.current().ufrag.clone();
        assert_eq!(agent.path(), Some(path("192.0.2.1:1")));
        assert!(agent.find(&old, "abcd").is_some() && agent.find(&new, "efgh").is_some());
        assert!(agent.find(&old, "efgh").is_none(), "the halves belong together");
        let agent = agent.nominated(&old, path("192.0.2.3:3"));
        assert!(agent.find(&old, "abcd").is_some(), "a nomination of the old generation ends nothing");
        let agent = agent.nominated(&new, path("192.0.2.2:2"));
        assert!(agent.find(&old, "abcd").is_none());
        assert_eq!(agent.path(), Some(path("192.0.2.2:2")));
    }

    #[test]
    fn the_same_user_fragment_is_no_restart() {
        let agent = Agent::new("abcd");
        assert_eq!(agent.clone().offered("abcd"), agent);
    }
}
