//! TOML text and environment to [`Raw`], with every mistake found on the way: a key that is wrong is reported and taken out,
//! and the rest is read again.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::problem::{Place, Problem, nearest};
use super::profiles;
use super::raw::Raw;

/// Mistakes after which we stop looking: a file that is no configuration of ours at all.
const MOST_PROBLEMS: usize = 50;
/// What every variable that overrides a key begins with.
const PREFIX: &str = "TANDEM_";

/// Where each key was written.
#[derive(Debug, Default)]
pub(super) struct Places {
    lines: BTreeMap<String, usize>,
    variables: BTreeMap<String, String>,
}

impl Places {
    /// Where a key is, or the nearest table around it.
    pub(super) fn of(&self, key: &str) -> Place {
        let mut key = key;
        loop {
            if let Some(name) = self.variables.get(key) {
                return Place::Environment(name.clone());
            }
            if let Some(line) = self.lines.get(key) {
                return Place::File(Some(*line));
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = key.get(..end).unwrap_or_default(),
                None => return Place::File(None),
            }
        }
    }
}

/// Reads the text, with the variables over it.
pub(super) fn read(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> (Option<Raw>, Places, Vec<Problem>) {
    let mut places = Places::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| Problem {
            place: Place::File(error.span().map(|span| line_of(text, span.start))),
            key: String::new(),
            what: error.message().replace('\n', ", "),
            remedy: "mend the TOML there (https://toml.io)".into(),
        };
        return (None, places, errors.iter().map(problem).collect());
    }
    note_lines(text, "", document.get_ref(), &mut places.lines);
    let Ok(mut table) = text.parse::<Table>() else {
        // The same text was parsed above; kept as an error, not a panic, since it is input.
        let what = "the TOML cannot be read".into();
        let remedy = "mend it (https://toml.io)".into();
        return (None, places, vec![Problem { place: Place::File(None), key: String::new(), what, remedy }]);
    };
    override_keys(&mut table, environment, &mut places);
    let mut problems = profiles::apply(&mut table, &places);
    let (raw, wrong) = recover(table, &places);
    problems.extend(wrong);
    (raw, places, problems)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn child(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

fn note_lines(text: &str, path: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table.iter() {
        let path = child(path, key.get_ref());
        lines.insert(path.clone(), line_of(text, key.span().start));
        note_value(text, &path, value, lines);
    }
}

fn note_value(text: &str, path: &str, value: &Spanned<DeValue<'_>>, lines: &mut BTreeMap<String, usize>) {
    match value.get_ref() {
        DeValue::Table(table) => note_lines(text, path, table, lines),
        DeValue::Array(array) => {
            for (n, item) in array.iter().enumerate() {
                let path = format!("{path}[{n}]");
                lines.insert(path.clone(), line_of(text, item.span().start));
                note_value(text, &path, item, lines);
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// `TANDEM_HTTP__LISTEN` sets `http.listen`; `TANDEM_TRUNKS__ACME__PASSWORD` the password of the trunk named acme;
/// `TANDEM_DOMAIN` a key of no section. A name without `__` that is no key is none of ours.
fn override_keys(table: &mut Table, environment: impl IntoIterator<Item = (String, String)>, places: &mut Places) {
    let known = Table::try_from(Raw::default()).unwrap_or_default();
    for (name, text) in environment {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let path = path.to_lowercase();
        let steps: Vec<&str> = path.split("__").collect();
        let top = steps.first().copied().unwrap_or_default();
        // `external_ip` has no default and so is not in the table of defaults.
        if steps.len() == 1 && !known.contains_key(top) && top != "external_ip" {
            continue;
        }
        let value = text
            .parse::<Value>()
            .or_else(|_| {
                format!("v = {text}").parse::<Table>().map(|mut t| t.remove("v").unwrap_or(Value::Boolean(false)))
            })
            .unwrap_or_else(|_| Value::String(text.clone()));
        if let Some(key) = set(table, &steps, value, String::new()) {
            places.variables.insert(key, name);
        }
    }
}

/// Sets the value at a path, making tables on the way; an array's element is found by its `name` or `id`. Returns the path of
/// the key; `None` where there is no such element.
fn set(table: &mut Table, steps: &[&str], value: Value, path: String) -> Option<String> {
    let (step, rest) = steps.split_first()?;
    let path = child(&path, step);
    if rest.is_empty() {
        table.insert((*step).to_owned(), value);
        return Some(path);
    }
    let inner = table.entry((*step).to_owned()).or_insert_with(|| Value::Table(Table::new()));
    match inner {
        Value::Table(table) => set(table, rest, value, path),
        Value::Array(items) => {
            let (wanted, rest) = rest.split_first()?;
            let named = |item: &Value| {
                let name = item.get("name").or_else(|| item.get("id")).and_then(Value::as_str);
                name.is_some_and(|name| name.to_lowercase().replace('-', "_") == *wanted)
            };
            let n = items.iter().position(named)?;
            set(items.get_mut(n)?.as_table_mut()?, rest, value, format!("{path}[{n}]"))
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => None,
    }
}

/// Reads the table; takes out what is wrong and reads again.
fn recover(mut table: Table, places: &Places) -> (Option<Raw>, Vec<Problem>) {
    let mut problems = Vec::new();
    while problems.len() < MOST_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, Raw>(Value::Table(table.clone())) {
            Ok(raw) => return (Some(raw), problems),
            Err(error) => error,
        };
        let key = error.path().to_string();
        let inner = error.into_inner();
        let message = inner.message().to_owned();
        // A variable has no quotes: what should have been text may look like a number.
        if let Place::Environment(name) = places.of(&key)
            && places.variables.contains_key(&key)
            && let Some(value) = at(&mut table, &key)
            && !value.is_str()
            && !problems.iter().any(|problem: &Problem| problem.place == Place::Environment(name.clone()))
            && message.contains("expected a string")
        {
            *value = Value::String(value.to_string());
            continue;
        }
        problems.push(problem(places.of(&key), &key, &message));
        // A step without its kind would be blamed once more: the whole step goes.
        if !remove(&mut table, key.strip_suffix(".do").unwrap_or(&key)) {
            break;
        }
    }
    (None, problems)
}

/// Steps of a path as serde_path_to_error prints it: `trunks[0].routes.*`.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty())
}

fn at<'t>(table: &'t mut Table, path: &str) -> Option<&'t mut Value> {
    let mut steps = steps(path);
    let mut value = table.get_mut(steps.next()?)?;
    for step in steps {
        value = match value {
            Value::Table(table) => table.get_mut(step)?,
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?)?,
            Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
                return None;
            }
        };
    }
    Some(value)
}

/// Takes a key out; of an array the whole key, so that the others keep their places. Whether there was one.
fn remove(table: &mut Table, path: &str) -> bool {
    let mut path = path.trim_end_matches(|c: char| c == ']' || c.is_ascii_digit());
    path = path.strip_suffix('[').unwrap_or(path);
    // A key may have dots in it (`"sip.example"` as a route): the longest parent that exists is searched for it.
    let mut parents = path.rmatch_indices('.').map(|(dot, _)| path.split_at(dot)).collect::<Vec<_>>();
    if parents.is_empty() {
        return table.remove(path).is_some();
    }
    parents.push(("", path));
    for (parent, key) in parents {
        let key = key.strip_prefix('.').unwrap_or(key);
        let removed = if parent.is_empty() {
            table.remove(key)
        } else {
            at(table, parent).and_then(Value::as_table_mut).and_then(|table| table.remove(key))
        };
        if removed.is_some() {
            return true;
        }
    }
    // Last: the value whose inside is wrong, where serde could not say which key of it.
    at(table, path).is_some_and(|value| {
        let wrong = !matches!(value, Value::Table(inner) if inner.is_empty());
        *value = Value::Table(Table::new());
        wrong
    })
}

/// Serde's words as ours. They are English sentences of a fixed form; what is not recognised is passed on whole.
fn problem(place: Place, key: &str, message: &str) -> Problem {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (what, remedy) = if message.starts_with("unknown field") || message.starts_with("unknown variant") {
        let (wrong, known) = quoted.split_first().map(|(w, k)| (*w, k)).unwrap_or_default();
        let kind = if message.starts_with("unknown field") { "key" } else { "value" };
        let remedy = match nearest(wrong, known.iter().copied()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None if known.is_empty() => "remove it".into(),
            None => format!("known here: {}", known.join(", ")),
        };
        (format!("unknown {kind} \"{wrong}\""), remedy)
    } else if message.starts_with("missing field") {
        let name = quoted.first().copied().unwrap_or_default();
        (format!("the key \"{name}\" is missing"), format!("write {name} = …"))
    } else {
        let remedy = match message {
            m if m.contains("socket address") => "write ADDRESS:PORT, as \"0.0.0.0:5060\"",
            m if m.contains("IP address") => "write an address, as \"192.0.2.1\"",
            m if m.contains("expected a string") => "put it in quotes",
            m if m.contains("expected a boolean") => "write true or false, without quotes",
            m if m.contains("expected u") => "write a whole number in range, without quotes",
            m if m.contains("expected a sequence") => "write a list, as [\"a\", \"b\"]",
            _ => "see this key in the README's table",
        };
        (message.replace('\n', ", "), remedy.to_owned())
    };
    Problem { place, key: key.to_owned(), what, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let (raw, _, list) = read(text, []);
        let list: Vec<_> = super::super::problem::Problems::new("t.toml".as_ref(), list)
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect();
        assert!(raw.is_some() || !list.is_empty());
        list
    }

    fn with(text: &str, name: &str, value: &str) -> (Option<Raw>, Vec<Problem>) {
        let (raw, _, problems) = read(text, [(name.to_owned(), value.to_owned())]);
        (raw, problems)
    }

    #[test]
    fn every_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let list =
            problems("domian = \"x\"\n[http]\nlisten = \"\"\nhttps_lisen = \"\"\n[[trunks]]\nname = \"a\"\nfoo = 1\n");
        assert_eq!(list.len(), 3, "{list:#?}");
        assert_eq!(list[0], "t.toml:1: domian: unknown key \"domian\"; did you mean \"domain\"?");
        assert_eq!(list[1], "t.toml:4: http.https_lisen: unknown key \"https_lisen\"; did you mean \"https_listen\"?");
        assert!(
            list[2].starts_with("t.toml:7: trunks[0].foo: unknown key \"foo\"; known here: name, profile"),
            "{}",
            list[2]
        );
    }

    #[test]
    fn every_wrong_type_is_named_with_a_remedy() {
        let list = problems(
            "[limits]\nmax_calls = \"many\"\nring_timeout_s = -1\n[sip]\nlisteners = [{ listen = \"5060\" }]\n",
        );
        assert_eq!(list.len(), 3, "{list:#?}");
        assert!(list[0].starts_with("t.toml:2: limits.max_calls: invalid type"), "{}", list[0]);
        assert!(list[0].ends_with("; write a whole number in range, without quotes"));
        assert!(list[1].starts_with("t.toml:3: limits.ring_timeout_s: invalid value"), "{}", list[1]);
        assert!(list[2].starts_with("t.toml:5: sip.listeners[0].listen: "), "{}", list[2]);
        assert!(list[2].ends_with("as \"0.0.0.0:5060\""), "{}", list[2]);
    }

    #[test]
    fn toml_that_is_none_is_named_by_line() {
        let list = problems("domain = \"x\"\nlisten = \n");
        assert!(list[0].starts_with("t.toml:2: "), "{list:#?}");
    }

    #[test]
    fn a_wrong_step_of_a_flow_is_named() {
        let list = problems("[[services]]\nid = \"a\"\n[services.steps.greet]\ndo = \"pley\"\nprompt = \"x\"\n");
        assert_eq!(list, ["t.toml:4: services[0].steps.greet.do: unknown value \"pley\"; did you mean \"play\"?"]);
    }

    #[test]
    fn a_variable_overrides_a_key_of_the_file() {
        let (raw, problems) = with("[http]\nlisten = \"\"\n", "TANDEM_HTTP__LISTEN", "127.0.0.1:9999");
        assert_eq!((raw.expect("read").http.listen.as_str(), problems.len()), ("127.0.0.1:9999", 0));
        let (raw, _) = with("", "TANDEM_LIMITS__MAX_CALLS", "7");
        assert_eq!(raw.expect("read").limits.max_calls, 7);
        let (raw, _) = with("", "TANDEM_EXTERNAL_IP", "192.0.2.1");
        assert_eq!(raw.expect("read").external_ip, Some([192, 0, 2, 1].into()));
        let (raw, _) = with("", "TANDEM_SIP__CODECS", "[\"pcmu\"]");
        assert_eq!(raw.expect("read").sip.codecs.len(), 1);
    }

    #[test]
    fn a_trunks_password_may_be_a_variable_even_of_digits() {
        let (raw, problems) = with("[[trunks]]\nname = \"Ac-me\"\n", "TANDEM_TRUNKS__AC_ME__PASSWORD", "123456");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(raw.expect("read").trunks[0].password.expose(), "123456");
    }

    #[test]
    fn a_variable_that_is_wrong_is_named() {
        let (_, problems) = with("", "TANDEM_HTTP__LISTN", "x");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].place, Place::Environment("TANDEM_HTTP__LISTN".into()));
        assert_eq!(problems[0].remedy, "did you mean \"listen\"?");
        let (raw, problems) = with("", "TANDEM_SOAK", "1");
        assert!(raw.is_some() && problems.is_empty());
    }
}
