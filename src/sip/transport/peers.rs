//! Who has to be at the other end of a TLS connection that we open.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::super::config::{SipConfig, TlsPeer};
use super::Party;

/// Most hosts of `sips:` URIs that are remembered; a switch calls a handful.
const MAX_NAMES: usize = 1024;

/// Hosts of `sips:` URIs, by index: a [`super::Flow`] is copied with every message, a name is not.
#[derive(Debug, Default)]
pub struct Names(Mutex<Vec<Arc<str>>>);

impl Names {
    /// The party of a host; `None` when there are too many.
    pub fn party(&self, host: &str) -> Option<Party> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|name| name.eq_ignore_ascii_case(host));
        known.map(Party::Named).or_else(|| {
            (names.len() < MAX_NAMES).then(|| {
                names.push(host.into());
                Party::Named(names.len() - 1)
            })
        })
    }

    fn get(&self, at: usize) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(at).cloned()
    }
}

/// Everyone who may be called over TLS.
#[derive(Debug, Default)]
pub struct Peers {
    trunks: Vec<Option<TlsPeer>>,
    anyone: Option<Arc<ClientConfig>>,
    names: Arc<Names>,
}

impl Peers {
    /// Those of a configuration.
    pub fn new(config: &SipConfig, names: Arc<Names>) -> Self {
        let trunks = config.trunks.iter().map(|trunk| trunk.tls.clone()).collect();
        Self { trunks, anyone: config.tls.clone(), names }
    }

    /// The name that a certificate must have; `None` where nobody is known by it.
    pub fn name(&self, party: Party) -> Option<Arc<str>> {
        match party {
            Party::Trunk(at) => self.trunks.get(at)?.as_ref().map(|peer| peer.name.as_str().into()),
            Party::Named(at) => self.names.get(at),
            Party::Caller | Party::Anyone => None,
        }
    }

    /// What a connection is opened with, and to whom.
    pub fn tls(&self, party: Party) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let config = match party {
            Party::Trunk(at) => self.trunks.get(at)?.as_ref()?.config.clone(),
            Party::Named(_) => self.anyone.clone()?,
            Party::Caller | Party::Anyone => return None,
        };
        let name = self.name(party)?;
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        Some((config, ServerName::try_from(bare.to_owned()).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_party_whatever_its_case_and_names_are_bounded() {
        let names = Names::default();
        assert_eq!(names.party("Example.com"), Some(Party::Named(0)));
        assert_eq!(names.party("example.COM"), Some(Party::Named(0)));
        for n in 1..MAX_NAMES {
            assert_eq!(names.party(&format!("host{n}")), Some(Party::Named(n)));
        }
        assert_eq!(names.party("one.more"), None);
    }
}
