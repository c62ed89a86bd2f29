//! An IVR script: named steps, as the operator writes them in TOML.
//!
//! ```toml
//! [[services]]
//! id = "welcome"
//! numbers = ["9000"]
//! start = "greet"
//!
//! [services.steps.greet]
//! do = "play"
//! prompt = "welcome"
//! next = "menu"
//!
//! [services.steps.menu]
//! do = "menu"
//! prompt = "menu"
//! timeout_s = 5
//! retries = 2
//! choices = { "1" = "desk", "2" = "lobby" }
//! invalid_prompt = "invalid"
//! on_timeout = "bye"
//! on_invalid = "bye"
//!
//! [services.steps.desk]
//! do = "dial"
//! to = "subscriber:1001"
//! on_fail = "bye"
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::address::{SipUri, Target};
use crate::model::ids::{RoomId, SubscriberId, TrunkId, UserId};
use crate::model::media::Digit;

/// A checked script: every step it names exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The first step.
    pub start: String,
    /// Steps by name.
    pub steps: BTreeMap<String, Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Play a prompt, then go on. Digits typed meanwhile wait for the next menu.
    Play {
        /// Prompt name.
        prompt: String,
        /// Next step; without one the flow hangs up.
        #[serde(default)]
        next: Option<String>,
    },
    /// Play a prompt and take one digit; a digit interrupts the prompt, one typed ahead goes before it.
    Menu {
        /// Prompt name.
        prompt: String,
        /// Seconds to wait after the prompt.
        #[serde(default = "five")]
        timeout_s: u64,
        /// How often the menu is played again after a timeout or a wrong digit, both counted together.
        #[serde(default = "two")]
        retries: u32,
        /// Digit to step.
        choices: BTreeMap<Digit, String>,
        /// Played after a wrong digit, before the menu again.
        #[serde(default)]
        invalid_prompt: Option<String>,
        /// Where to go when the retries are used up and the last was a timeout; without one the flow hangs up.
        #[serde(default)]
        on_timeout: Option<String>,
        /// Where to go when the retries are used up and the last was a wrong digit; without one the flow hangs up.
        #[serde(default)]
        on_invalid: Option<String>,
    },
    /// Ring somebody and bridge. The flow ends when they answer.
    Dial {
        /// `user:alice`, `subscriber:1001`, `trunk:acme:+8613…`, or any `sip:` URI.
        to: DialTarget,
        /// Seconds to ring; the target's own limit without one.
        #[serde(default)]
        timeout_s: Option<u64>,
        /// Where to go when they do not answer; without one the flow hangs up.
        #[serde(default)]
        on_fail: Option<String>,
    },
    /// Enter a room. The flow ends.
    Room {
        /// Which.
        room: RoomId,
    },
    /// Hang up.
    Hangup {},
}

/// Whom a dial step rings, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DialTarget(pub Target);

impl TryFrom<String> for DialTarget {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bad = |e: crate::model::ids::IdError| e.to_string();
        let target = match text.split_once(':') {
            Some(("user", id)) => Target::User(UserId::new(id).map_err(bad)?),
            Some(("subscriber", id)) => Target::Subscriber(SubscriberId::new(id).map_err(bad)?),
            Some(("trunk", rest)) => {
                let (trunk, number) = rest.split_once(':').ok_or("write trunk:NAME:NUMBER")?;
                Target::Trunk { trunk: TrunkId::new(trunk).map_err(bad)?, number: number.into(), then: Vec::new() }
            }
            Some(("sip" | "sips", _)) => Target::Uri(SipUri(text)),
            _ => return Err("write user:ID, subscriber:ID, trunk:NAME:NUMBER, or a sip: URI".into()),
        };
        Ok(Self(target))
    }
}

impl From<DialTarget> for String {
    fn from(target: DialTarget) -> String {
        match target.0 {
            Target::User(id) => format!("user:{id}"),
            Target::Subscriber(id) => format!("subscriber:{id}"),
            // A script cannot name one: it is a Request-URI's.
            Target::Instance { subscriber, .. } => format!("subscriber:{subscriber}"),
            Target::Trunk { trunk, number, .. } => format!("trunk:{trunk}:{number}"),
            Target::Uri(uri) => uri.0,
            Target::Service(id) => format!("service:{id}"),
            Target::Room(id) => format!("room:{id}"),
        }
    }
}

/// What is wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step \"{step}\": {key} names the step \"{missing}\", which does not exist")]
pub struct ScriptError {
    /// Where.
    pub step: String,
    /// Which key.
    pub key: &'static str,
    /// What it names.
    pub missing: String,
}

impl Script {
    /// Checks that every step named exists.
    ///
    /// # Errors
    /// The first name that leads nowhere.
    pub fn check(&self) -> Result<(), ScriptError> {
        let exists = |step: &str, key, name: &Option<String>| match name {
            Some(name) if !self.steps.contains_key(name) => {
                Err(ScriptError { step: step.into(), key, missing: name.clone() })
            }
            _ => Ok(()),
        };
        exists("", "start", &Some(self.start.clone()))?;
        for (name, step) in &self.steps {
            match step {
                Step::Play { next, .. } => exists(name, "next", next)?,
                Step::Menu { choices, on_timeout, on_invalid, .. } => {
                    for choice in choices.values() {
                        exists(name, "choices", &Some(choice.clone()))?;
                    }
                    exists(name, "on_timeout", on_timeout)?;
                    exists(name, "on_invalid", on_invalid)?;
                }
                Step::Dial { on_fail, .. } => exists(name, "on_fail", on_fail)?,
                Step::Room { .. } | Step::Hangup {} => {}
            }
        }
        Ok(())
    }

    /// Every prompt the script plays, for the check that the files exist.
    pub fn prompts(&self) -> Vec<&str> {
        self.steps
            .values()
            .flat_map(|step| match step {
                Step::Play { prompt, .. } => vec![prompt.as_str()],
                Step::Menu { prompt, invalid_prompt, .. } => {
                    std::iter::once(prompt.as_str()).chain(invalid_prompt.as_deref()).collect()
                }
                Step::Dial { .. } | Step::Room { .. } | Step::Hangup {} => Vec::new(),
            })
            .collect()
    }
}

fn five() -> u64 {
    5
}

fn two() -> u32 {
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_leads_nowhere_is_named() {
        let steps = BTreeMap::from([("greet".into(), Step::Play { prompt: "hi".into(), next: Some("gone".into()) })]);
        let error = Script { start: "greet".into(), steps }.check().expect_err("a missing step");
        assert_eq!(error.to_string(), "step \"greet\": next names the step \"gone\", which does not exist");
    }

    #[test]
    fn dial_targets_read_as_written() {
        for text in ["user:alice", "subscriber:1001", "trunk:acme:+8613800000000", "sip:ivr@example.com"] {
            let target = DialTarget::try_from(text.to_owned()).expect("a target");
            assert_eq!(String::from(target), text);
        }
        assert!(DialTarget::try_from("1001".to_owned()).is_err());
    }
}
