//! What every check shares: problems with the place each key was written at.

use std::net::SocketAddr;

use tandem_actors::model::ids::IdError;

use super::super::problem::Problem;
use super::super::read::Places;
use tandem_actors::model::net::Net;

/// A hundred years of seconds overflow no clock; beyond, a timer's arithmetic would.
const MOST_SECONDS: u64 = 100 * 366 * 86_400;

/// Collects problems with the place each key was written at.
pub(super) struct Checker<'a> {
    pub(super) places: &'a Places,
    pub(super) problems: Vec<Problem>,
    /// What may stay as it is, but should be known.
    pub(super) warnings: Vec<Problem>,
}

impl Checker<'_> {
    pub(super) fn wrong(&mut self, key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        let key = key.into();
        let place = self.places.of(&key);
        self.problems.push(Problem { place, key, what: what.into(), remedy: remedy.into() });
    }

    pub(super) fn warn(&mut self, key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        let key = key.into();
        let place = self.places.of(&key);
        self.warnings.push(Problem { place, key, what: what.into(), remedy: remedy.into() });
    }

    /// An id, or a problem.
    pub(super) fn id<T>(&mut self, key: &str, text: &str, make: impl FnOnce(&str) -> Result<T, IdError>) -> Option<T> {
        make(text).map_err(|error| self.wrong(key, format!("\"{text}\" is no name: {error}"), "choose another")).ok()
    }

    /// Seconds of a timer, at least `least`.
    pub(super) fn seconds(&mut self, key: impl Into<String>, value: u64, least: u64) {
        if !(least..=MOST_SECONDS).contains(&value) {
            self.wrong(key, format!("{value} s"), format!("write {least} to {MOST_SECONDS}"));
        }
    }

    pub(super) fn nets(&mut self, key: &str, texts: &[String]) -> Vec<Net> {
        let mut nets = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            match text.parse() {
                Ok(net) => nets.push(net),
                Err(error) => {
                    self.wrong(
                        format!("{key}[{n}]"),
                        format!("{error}"),
                        "write it as \"192.0.2.0/24\" or \"192.0.2.1\"",
                    );
                }
            }
        }
        nets
    }

    pub(super) fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        if text.is_empty() {
            return None;
        }
        text.parse()
            .map_err(|_| {
                let what = format!("\"{text}\" is no address with a port");
                self.wrong(key, what, "write ADDRESS:PORT, as \"127.0.0.1:8080\", or \"\" for none");
            })
            .ok()
    }

    pub(super) fn no_repeat<'t, T: PartialEq + std::fmt::Debug + 't>(
        &mut self,
        key: &str,
        list: impl Iterator<Item = &'t T>,
    ) {
        let mut seen: Vec<&T> = Vec::new();
        for (n, item) in list.enumerate() {
            if seen.contains(&item) {
                self.wrong(format!("{key}[{n}]"), "it is in the list twice", "remove one");
            }
            seen.push(item);
        }
    }
}
