//! Configuration in two stages: as written ([`raw`]: serde, unknown keys refused, a comment a key) and as meant ([`meant`]:
//! typed, cross-checked). All of it is checked before a port is bound, and every mistake is told at once, with file, line,
//! key and remedy.
//!
//! What it is not: it opens nothing but the file itself and looks at the prompts and certificates it names.

pub mod meant;
mod problem;
mod profiles;
pub mod raw;
mod read;

use std::path::Path;

pub use meant::Config;
pub use problem::{Place, Problem, Problems};
pub use raw::Secret;

/// Reads, checks and resolves a configuration. `environment` is the process's, or a test's: `TANDEM_SECTION__KEY` overrides a
/// key.
///
/// # Errors
/// [`Problems`]: everything that is wrong, in order of line.
pub fn load(file: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, Problems> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let what = format!("cannot be read: {error}");
        let remedy = "name an existing file with --config, as config/tandem.toml".into();
        Problems::new(file, vec![Problem { place: Place::File(None), key: String::new(), what, remedy }])
    })?;
    parse(file, &text, environment)
}

/// As [`load`], of a text that was read already; `file` is where relative paths start and what messages name.
///
/// # Errors
/// [`Problems`].
pub fn parse(
    file: &Path,
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Problems> {
    let (raw, places, problems) = read::read(text, environment);
    match raw {
        // Keys that were wrong are missing from `raw`: checking it further would blame their absence.
        Some(raw) if problems.is_empty() => {
            meant::resolve(raw, file, &places).map_err(|problems| Problems::new(file, problems))
        }
        Some(_) | None => Err(Problems::new(file, problems)),
    }
}

#[cfg(test)]
mod table;
