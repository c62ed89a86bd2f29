//! A ladder as text, for a person with a terminal.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::super::deps::LadderStep as Step;

/// Width of a column, characters.
const COLUMN: usize = 34;

/// Draws it: a column a party, a line a message, bodies where they are wanted. `when` gives a step's time of day.
pub(super) fn draw(steps: &[Step], bodies: bool, when: impl Fn(&Step) -> String) -> String {
    let mut parties: Vec<SocketAddr> = Vec::new();
    for step in steps {
        if !parties.contains(&step.remote) {
            parties.push(step.remote);
        }
    }
    // We stand behind the first who spoke, as most drawings have it: caller, switch, callees.
    let ours = usize::from(!parties.is_empty());
    let mut heads: Vec<String> = parties.iter().map(ToString::to_string).collect();
    heads.insert(ours, "tandem".into());
    let column = |step: &Step| {
        let at = parties.iter().position(|party| *party == step.remote).unwrap_or_default();
        if at >= ours { at + 1 } else { at }
    };
    let times: Vec<String> = steps.iter().map(when).collect();
    let margin = times.iter().map(|time| time.chars().count()).max().unwrap_or_default() + 1;
    let mut out = " ".repeat(margin);
    for head in &heads {
        let _ = write!(out, "{head:^COLUMN$}");
    }
    out = format!("{}\n", out.trim_end());
    for (step, time) in steps.iter().zip(&times) {
        let _ = write!(out, "{time:<margin$}");
        out.push_str(line(step, column(step), ours, heads.len()).trim_end());
        out.push('\n');
        let body = step.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if bodies && !body.is_empty() {
            for text in body.lines() {
                let _ = writeln!(out, "{:margin$}    {text}", "");
            }
        }
    }
    out
}

/// One message between a party's column and ours.
fn line(step: &Step, party: usize, ours: usize, columns: usize) -> String {
    let middle = |column: usize| column * COLUMN + COLUMN / 2;
    let (left, right) = (party.min(ours), party.max(ours));
    let mut cells = vec![' '; columns * COLUMN];
    let mut set = |at: usize, c: char| {
        if let Some(cell) = cells.get_mut(at) {
            *cell = c;
        }
    };
    (0..columns).for_each(|column| set(middle(column), '|'));
    let span = (middle(left) + 1)..middle(right);
    span.clone().for_each(|at| set(at, '-'));
    // To the right: who sends it stands on the left.
    let rightward = step.sent == (party > ours);
    if rightward {
        set(span.end - 1, '>')
    } else {
        set(span.start, '<')
    }
    let first: String = title(&step.text).chars().take(span.len().saturating_sub(4)).collect();
    let begin = span.start + (span.len() - first.chars().count()) / 2;
    first.chars().enumerate().for_each(|(n, c)| set(begin + n, c));
    cells.into_iter().collect()
}

/// The first line, without what all of them have; with a mark where there is a description.
fn title(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let first = first.strip_prefix("SIP/2.0 ").or_else(|| first.strip_suffix(" SIP/2.0")).unwrap_or(first);
    let has_sdp = text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.starts_with("v=0"));
    format!(" {first}{} ", if has_sdp { " (SDP)" } else { "" })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn step(ms: u64, sent: bool, remote: &str, text: &str) -> Step {
        Step {
            ago: Duration::from_millis(ms),
            sent,
            local: "192.0.2.1:5060".parse().expect("an address"),
            remote: remote.parse().expect("an address"),
            transport: "udp",
            call_id: "c".into(),
            text: text.into(),
        }
    }

    #[test]
    fn both_legs_are_drawn_in_one_ladder() {
        let (a, b) = ("192.0.2.7:5060", "192.0.2.9:5060");
        let steps = [
            step(9, false, a, "INVITE sip:200@h SIP/2.0\r\nTo: x\r\n\r\nv=0\r\n"),
            step(8, true, b, "INVITE sip:200@192.0.2.9 SIP/2.0\r\n\r\n"),
            step(7, false, b, "SIP/2.0 200 OK\r\n\r\n"),
            step(6, true, a, "SIP/2.0 200 OK\r\n\r\n"),
        ];
        let drawn = draw(&steps, true, |step| format!("-{}", step.ago.as_millis()));
        assert_eq!(drawn.lines().count(), 6, "{drawn}");
        let lines: Vec<_> = drawn.lines().collect();
        assert!(lines[1].contains(" INVITE sip:200@h (SDP) ") && lines[1].contains(">|"), "{drawn}");
        assert!(lines[1].find('>') < lines[3].find('>'), "the second leg is to the right of us: {drawn}");
        assert!(lines[2].trim() == "v=0", "{drawn}");
        assert!(lines[4].contains("|<") && lines[5].contains("|<"), "{drawn}");
        assert!(lines[5].find('<') < lines[4].find('<'), "{drawn}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(draw(&[], true, |_| String::new()).trim(), "tandem");
    }
}
