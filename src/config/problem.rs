//! What is wrong with a configuration: file, line, key, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a key was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file; the line where it is known.
    File(Option<usize>),
    /// In this environment variable.
    Environment(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Which key, as `trunks[0].host`; empty for the file itself.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// Everything that is wrong, printed a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// In order of line; never empty.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Sorted by line, the environment's last.
    pub(super) fn new(file: &Path, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| match problem.place {
            Place::File(line) => line.unwrap_or_default(),
            Place::Environment(_) => usize::MAX,
        });
        Self { file: file.to_owned(), list }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            match &problem.place {
                Place::File(Some(line)) => write!(f, "{}:{line}: ", self.file.display())?,
                Place::File(None) => write!(f, "{}: ", self.file.display())?,
                Place::Environment(name) => write!(f, "environment {name}: ")?,
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            write!(f, "{}; {}", problem.what, problem.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The name nearest to `wrong`, where one is near enough to be meant.
pub(super) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(wrong.len()) / 4)
        .min()
        .map(|(_, name)| name)
}

/// Insertions, removals and replacements that make one word the other (Levenshtein), one row kept.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let best = (diagonal + usize::from(x != *y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_two_words_is_levenshteins() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("listen", "listne", 2), ("a", "a", 0)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let names = ["listen", "ports", "threads"];
        assert_eq!(nearest("lisen", names), Some("listen"));
        assert_eq!(nearest("password", names), None);
    }
}
