//! The laws of the crate documentation that a compiler does not check. Each test is named as its law.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Who touches the world. They know the brain and the leaves, never each other.
const ADAPTERS: [&str; 5] = ["sip", "rtc", "media", "http", "store"];
/// What any adapter may import of this crate.
const LEAVES: [&str; 5] = ["sdp", "link", "pii", "tls", "origin"];

/// Rust files below a folder, with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a folder's entry").path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                into.push((path.strip_prefix(ROOT).expect("below the root").to_owned(), text));
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(ROOT).join(folder), &mut files);
    assert!(!files.is_empty(), "{folder} has no Rust files");
    files
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(ROOT).output().expect("it starts");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Names of the packages that a package of ours is built from, itself included.
fn built_from(package: &str) -> BTreeSet<String> {
    let tree = ["tree", "--offline", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"];
    run(env!("CARGO"), &tree).lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Code without comments and blanks, so that a rule is found however it is laid out.
fn dense(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).flat_map(str::split_whitespace).collect()
}

/// First path segments after `crate::`, groups opened.
fn imported(text: &str) -> BTreeSet<String> {
    imported_from("crate::", text)
}

fn imported_from(root: &str, text: &str) -> BTreeSet<String> {
    let text = dense(text);
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(root) {
        if text[..at].ends_with('$') {
            continue;
        }
        let rest = &text[at + root.len()..];
        let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => drop(names.insert(name(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut start = 0;
                for (n, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        ',' if depth == 0 => {
                            names.insert(name(&group[start..]));
                            start = n + 1;
                        }
                        '}' if depth == 0 => {
                            names.insert(name(&group[start..]));
                            break;
                        }
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::a::b;\nuse crate::{c::{d, e},\n f};\nlet x = crate::g::h(); // crate::no\n$crate::macros";
    assert_eq!(imported(text), ["a", "c", "f", "g"].map(str::to_owned).into());
}

#[test]
fn the_brain_is_built_without_sockets_codecs_and_protocol_stacks() {
    let world = [
        "mio",
        "socket2",
        "rsip",
        "rtc",
        "webrtc",
        "audiopus",
        "audiopus_sys",
        "rubato",
        "hound",
        "axum",
        "hyper",
        "sqlx",
        "rustls",
        "ring",
        "hickory-resolver",
        "tandem",
    ];
    let built = built_from("tandem-actors");
    let found: Vec<_> = world.iter().filter(|name| built.contains(**name)).collect();
    assert!(found.is_empty(), "tandem-actors is built from {found:?}");
}

#[test]
fn adapters_import_no_sibling() {
    let mut broken = Vec::new();
    for adapter in ADAPTERS {
        for (path, text) in sources(&format!("src/{adapter}")) {
            let foreign =
                imported(&text).into_iter().filter(|name| name != adapter && !LEAVES.contains(&name.as_str()));
            broken.extend(foreign.map(|name| format!("{} imports crate::{name}", path.display())));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn leaves_import_nothing_of_this_crate_but_themselves() {
    for leaf in ["sdp", "link", "tls"] {
        for (path, text) in sources(&format!("src/{leaf}")) {
            let foreign: Vec<_> = imported(&text).into_iter().filter(|name| name != leaf).collect();
            assert!(foreign.is_empty(), "{} imports {foreign:?}", path.display());
        }
    }
}

#[test]
fn the_media_threads_know_no_tokio() {
    for (path, text) in sources("src/media") {
        assert!(!dense(&text).contains("tokio"), "{}", path.display());
    }
}

/// Files of `src/media` that only other threads run, and tests. Every other file there, a new one too, is held to the law of the
/// media threads.
const BESIDE_THE_MEDIA_THREADS: [&str; 13] = [
    "mod", "engine", "plan", "crew", "reseat", "config", "ports", "clips", "metrics", "rig", "drills", "testing",
    "stories",
];

#[test]
fn the_media_threads_know_no_lock_log_and_metric() {
    let beside = |path: &Path| {
        let name = path.strip_prefix("src/media").ok()?.components().next()?.as_os_str().to_str()?;
        BESIDE_THE_MEDIA_THREADS.into_iter().find(|beside| *beside == name.trim_end_matches(".rs"))
    };
    let (others, mut threads): (Vec<_>, Vec<_>) =
        sources("src/media").into_iter().partition(|(path, _)| beside(path).is_some());
    let found: BTreeSet<_> = others.iter().filter_map(|(path, _)| beside(path)).collect();
    assert_eq!(found, BESIDE_THE_MEDIA_THREADS.into(), "the list names what is not there");
    threads.extend(sources("src/link"));
    let banned = [
        "Mutex",
        "RwLock",
        "Condvar",
        "Barrier",
        "OnceLock",
        "LazyLock",
        "parking_lot",
        "tracing::",
        "log::",
        "println!",
        "eprintln!",
        "print!",
        "dbg!",
        "metrics::",
    ];
    let mut broken = Vec::new();
    for (path, text) in threads {
        let (text, tests) = text.split_once("#[cfg(test)]").unwrap_or((&text, "\nmod tests"));
        assert!(tests.starts_with("\nmod tests"), "{}: what tests need stands at the end", path.display());
        let code = dense(text);
        let used = banned.into_iter().filter(|word| code.contains(word)).map(str::to_owned);
        broken.extend(used.map(|word| format!("{} has {word}", path.display())));
        // What it would call there may do all of that.
        let mut names = imported_from("super::", text);
        names.extend(imported_from("crate::media::", text));
        let foreign = names.into_iter().filter(|name| BESIDE_THE_MEDIA_THREADS.contains(&name.as_str()));
        broken.extend(foreign.map(|name| format!("{} imports {name}", path.display())));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn no_actor_has_a_registered_name() {
    // A restart of a named subtree fails while the old names are held.
    let files = sources("src").into_iter().chain(sources("actors/src"));
    for (path, text) in files {
        let text = dense(&text);
        for named in ["spawn(Some(", "spawn_linked(Some(", "spawn_instant(Some(", "ractor::registry"] {
            assert!(!text.contains(named), "{}: {named}", path.display());
        }
    }
}

#[test]
fn only_main_and_the_media_threads_may_read_clocks() {
    let rule = std::fs::read_to_string(Path::new(ROOT).join(".clippy.toml")).expect(".clippy.toml");
    assert!(rule.contains("std::time::Instant::now") && rule.contains("std::time::SystemTime::now"));
    for (path, text) in sources("src").into_iter().chain(sources("actors/src")) {
        let free = path == Path::new("src/main.rs") || path.starts_with("src/media");
        assert!(
            free || !dense(&text).contains("clippy::disallowed_methods"),
            "{} switches the rule off",
            path.display()
        );
    }
}

#[test]
fn the_named_crates_are_in_the_shipped_binary() {
    let built = built_from("tandem");
    for name in [
        "tandem-actors",
        "ractor",
        "tokio",
        "rsip",
        "rtc",
        "audiopus",
        "rubato",
        "dashmap",
        "metrics",
        "metrics-exporter-prometheus",
        "axum",
        "tower-http",
        "utoipa",
        "serde",
        "clap",
        "tracing",
        "thiserror",
        "sqlx",
        "rustls",
        "rtrb",
        "ring",
    ] {
        assert!(built.contains(name), "{name} is not built in");
    }
    for name in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"] {
        assert!(!built.contains(name), "{name} is built in: there is one crypto provider");
    }
}

#[test]
fn every_dependency_is_used_by_the_code_it_is_declared_for() {
    let metadata = run(env!("CARGO"), &["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("metadata");
    let mut unused = Vec::new();
    for (package, folder) in [("tandem", "src"), ("tandem-actors", "actors/src")] {
        let code: Vec<String> = sources(folder).iter().map(|(_, text)| dense(text)).collect();
        let declared = metadata["packages"].as_array().expect("packages");
        let declared = declared.iter().find(|found| found["name"] == package).expect("the package");
        for dependency in declared["dependencies"].as_array().expect("dependencies") {
            let name = dependency["rename"].as_str().or(dependency["name"].as_str()).expect("a name");
            // The library of md-5 is called md5.
            let library = if name == "md-5" { "md5".to_owned() } else { name.replace('-', "_") };
            let is_used = code.iter().any(|text| text.contains(&format!("{library}::")));
            if !is_used && dependency["kind"].is_null() {
                unused.push(format!("{package} declares {name}"));
            }
        }
    }
    assert!(unused.is_empty(), "declared and not used: {unused:#?}");
}

#[test]
fn the_top_level_has_the_agreed_entries_only() {
    let listed = run("git", &["ls-files"]);
    let entries: BTreeSet<&str> = listed.lines().filter_map(|path| path.split('/').next()).collect();
    let agreed = ["Cargo.toml", "Cargo.lock", "src", "actors", "tests", "benches", "config", "README.md"];
    for entry in entries {
        let known = agreed.contains(&entry) || entry.starts_with("LICENSE") || entry.starts_with('.');
        assert!(known, "{entry} does not belong at the top level");
    }
}
