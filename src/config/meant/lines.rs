//! Lines of SIM gateways.

use std::time::Duration;

use tandem_actors::model::ids::{LineId, SubscriberId};
use tandem_actors::model::settings::{Line, LineReach, Lines};

use super::super::raw::{self, Raw};
use super::check::Checker;

/// Whether every line of a trunk registers with us, so that it needs no host.
pub(super) fn register_with_us(trunk: &raw::Trunk) -> bool {
    !trunk.lines.is_empty() && trunk.lines.iter().all(|line| !line.subscriber.is_empty())
}

/// The lines of trunk number `n`.
pub(super) fn lines(check: &mut Checker<'_>, n: usize, raw: &Raw, trunk: &raw::Trunk) -> Lines {
    check.seconds(format!("trunks[{n}].line_rest_s"), trunk.line_rest_s, 0);
    check.seconds(format!("trunks[{n}].line_failure_rest_s"), trunk.line_failure_rest_s, 1);
    let mut lines: Vec<Line> = Vec::new();
    for (m, line) in trunk.lines.iter().enumerate() {
        let key = |name: &str| format!("trunks[{n}].lines[{m}].{name}");
        let Some(id) = check.id(&key("name"), &line.name, LineId::new) else { continue };
        if lines.iter().any(|other| other.id == id) {
            check.wrong(key("name"), format!("another line is named \"{id}\" too"), "choose another name");
        }
        if !line.number.is_empty() && lines.iter().any(|other| other.number == line.number) {
            check.wrong(key("number"), "another line has the same number", "give each line its own, or \"\"");
        }
        let reach = match (line.subscriber.as_str(), line.prefix.as_str()) {
            ("", "") => {
                check.wrong(key("prefix"), "nothing says how to call by this line", "set subscriber or prefix");
                continue;
            }
            ("", prefix) => {
                let digits = prefix.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#');
                if !digits {
                    check.wrong(key("prefix"), format!("\"{prefix}\" cannot be dialled"), "write digits, * or #");
                }
                LineReach::Prefix(prefix.to_owned())
            }
            (subscriber, "") => {
                let Some(subscriber) = check.id(&key("subscriber"), subscriber, SubscriberId::new) else { continue };
                let taken = raw.trunks.iter().enumerate().flat_map(|(t, other)| {
                    other.lines.iter().enumerate().map(move |(l, other)| ((t, l), other.subscriber.as_str()))
                });
                if taken.into_iter().any(|(at, other)| at < (n, m) && other == subscriber.as_str()) {
                    let what = format!("another line registers as \"{subscriber}\" too");
                    check.wrong(key("subscriber"), what, "give each line a subscriber of its own");
                }
                LineReach::Subscriber(subscriber)
            }
            (_, _) => {
                check.wrong(key("prefix"), "there is a subscriber too", "keep one of them");
                continue;
            }
        };
        lines.push(Line { id, number: line.number.clone(), reach });
    }
    Lines {
        lines,
        rotation: trunk.line_rotation,
        rest: Duration::from_secs(trunk.line_rest_s),
        failure_rest: Duration::from_secs(trunk.line_failure_rest_s),
    }
}
