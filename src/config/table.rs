//! The README's table of keys, made of the comments in `raw`, and the test that neither lies: every key has its default
//! and its reason, every default named is the one in the code, and the README has the table as it is.
//! `TANDEM_WRITE_README=1 cargo test config::table` writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::{Table, Value};

use super::raw;

const SOURCE: &str = concat!(
    include_str!("raw/mod.rs"),
    include_str!("raw/limits.rs"),
    include_str!("raw/media.rs"),
    include_str!("raw/modes.rs"),
    include_str!("raw/registrar.rs"),
    include_str!("raw/sight.rs"),
    include_str!("raw/sip.rs"),
    include_str!("raw/trunk.rs"),
);
const BEGIN: &str = "<!-- configuration: written by `TANDEM_WRITE_README=1 cargo test config::table` -->";
const END: &str = "<!-- end of configuration -->";

struct Key {
    name: String,
    what: String,
    default: String,
    why: String,
}

/// Every public field of a struct of `raw` with its comment.
fn fields(of: &str) -> Vec<Key> {
    let start = SOURCE.find(&format!("pub struct {of} {{")).unwrap_or_else(|| panic!("no struct {of}"));
    let body = &SOURCE[start..start + SOURCE[start..].find("\n}").expect("its end")];
    let mut keys = Vec::new();
    let mut comment = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|l| l.split_once(": ")) {
            let text = std::mem::take(&mut comment);
            let (what, rest) = text.split_once(" Default: ").unwrap_or((text.as_str(), ""));
            let (default, why) = rest.split_once(" Why: ").unwrap_or((rest, ""));
            let trim = |text: &str| text.trim().trim_end_matches('.').to_owned();
            keys.push(Key { name: name.to_owned(), what: trim(what), default: trim(default), why: trim(why) });
        }
    }
    keys
}

/// Sections by their heading, the struct behind each, and its default.
fn sections() -> Vec<(&'static str, &'static str, Table)> {
    fn table<T: serde::Serialize + Default>() -> Table {
        Table::try_from(T::default()).expect("a default is a table")
    }
    vec![
        ("", "Raw", table::<raw::Raw>()),
        ("[store]", "Store", table::<raw::Store>()),
        ("[log]", "Log", table::<raw::Log>()),
        ("[sip]", "Sip", table::<raw::Sip>()),
        ("[sip.abuse]", "Abuse", table::<raw::Abuse>()),
        ("[[sip.listeners]]", "Listener", table::<raw::Listener>()),
        ("[registrar]", "Registrar", table::<raw::Registrar>()),
        ("[rtp]", "Rtp", table::<raw::Rtp>()),
        ("[rtc]", "Rtc", table::<raw::Rtc>()),
        ("[http]", "Http", table::<raw::Http>()),
        ("[hep]", "Hep", table::<raw::Hep>()),
        ("[limits]", "Limits", table::<raw::Limits>()),
        ("[modes.ivr]", "Ivr", table::<raw::Ivr>()),
        ("[modes.sip_to_rtc]", "SipToRtc", table::<raw::SipToRtc>()),
        ("[modes.rtc_to_sip]", "RtcToSip", table::<raw::RtcToSip>()),
        ("[[services]]", "Service", table::<raw::Service>()),
        ("[[trunks]]", "Trunk", table::<raw::Trunk>()),
        ("[[trunks.targets]]", "TrunkTarget", table::<raw::TrunkTarget>()),
        ("[[trunks.lines]]", "Line", table::<raw::Line>()),
    ]
}

/// Keys that are sections of their own.
fn is_section(of: &str, key: &Key) -> bool {
    let of_raw =
        ["store", "log", "sip", "registrar", "rtp", "rtc", "http", "hep", "limits", "modes", "services", "trunks"];
    of == "Raw" && of_raw.contains(&key.name.as_str()) || of == "Sip" && key.name == "abuse"
}

fn keys() -> Vec<(&'static str, Table, Vec<Key>)> {
    sections()
        .into_iter()
        .map(|(heading, name, defaults)| {
            let keys = fields(name).into_iter().filter(|key| !is_section(name, key)).collect();
            (heading, defaults, keys)
        })
        .collect()
}

#[test]
fn every_key_says_its_default_and_why() {
    for (heading, _, keys) in keys() {
        assert!(!keys.is_empty(), "{heading}");
        for key in keys {
            assert!(!key.what.is_empty() && !key.default.is_empty() && !key.why.is_empty(), "{heading} {}", key.name);
            let timed = key.name.ends_with("_s");
            assert_eq!(timed, key.what.contains("Unit: seconds"), "{heading} {}: the unit", key.name);
        }
    }
}

#[test]
fn every_default_named_in_a_comment_is_the_one_in_the_code() {
    let empty: BTreeMap<&str, Value> =
        BTreeMap::from([("none", Value::String(String::new())), ("none, required", Value::String(String::new()))]);
    for (heading, defaults, keys) in keys() {
        for key in keys {
            // `"", none` and `[], nothing` explain themselves after the value.
            let named = key.default.strip_prefix('`').and_then(|rest| rest.split('`').next());
            let real = defaults.get(&key.name);
            match (named, real) {
                (Some(named), Some(real)) => {
                    let named = format!("v = {named}").parse::<Table>().unwrap_or_else(|e| panic!("{}: {e}", key.name));
                    assert_eq!(named.get("v"), Some(real), "{heading} {}", key.name);
                }
                (None, None) => {}
                (None, Some(real)) => {
                    let is_empty = empty.get(key.default.as_str()) == Some(real)
                        || real.as_table().is_some_and(Table::is_empty)
                        || real.as_array().is_some_and(Vec::is_empty)
                        || key.name == "listeners";
                    assert!(is_empty, "{heading} {}: the comment names no value, the code has {real}", key.name);
                }
                (Some(named), None) => panic!("{heading} {}: {named} is not in the code", key.name),
            }
        }
    }
}

#[test]
fn the_readme_has_this_table() {
    let mut table = String::new();
    for (heading, _, keys) in keys() {
        let heading = if heading.is_empty() { "before any section".to_owned() } else { format!("`{heading}`") };
        let _ = write!(table, "\n| {heading} | default | what, and why |\n|---|---|---|\n");
        for key in keys {
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(
                table,
                "| `{}` | {} | {}. *{}.* |",
                key.name,
                cell(&key.default),
                cell(&key.what),
                cell(&key.why)
            );
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).expect("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("where the table begins");
    let (_, after) = rest.split_once(END).expect("where the table ends");
    let wanted = format!("{before}{BEGIN}\n{table}\n{END}{after}");
    if std::env::var_os("TANDEM_WRITE_README").is_some() {
        std::fs::write(path, wanted).expect("README.md");
    } else {
        assert!(readme == wanted, "README.md is not up to date: TANDEM_WRITE_README=1 cargo test config::table");
    }
}
