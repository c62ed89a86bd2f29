//! What the database did not take yet, in a file of the data folder: a switch that dies while its database is away loses
//! nothing that was said before the last failed attempt. The next start writes it before it asks the database anything.
//!
//! One JSON value a line. The file is there only while records wait for a database that failed; it is replaced whole at each
//! failed attempt, so it is never larger than the queue. A crash in the moments between the database's return and the removal of
//! the file may write bindings of then once more: they end by their own time, or with the phone's next REGISTER.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tandem_actors::ports::store::Record;

use super::private::write_private;
use super::queue::Queue;
use super::{StoreError, metrics};

/// The file's name.
pub(super) const FILE: &str = "unwritten.jsonl";

/// The file, and what of the queue is in it.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    /// The queue's revision that was kept last; 0: there is no file.
    kept: AtomicU64,
    /// The number of the last record in it.
    last: AtomicU64,
    /// A failure was logged and none succeeded since.
    failing: AtomicBool,
}

impl Spool {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE),
            kept: AtomicU64::new(0),
            last: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }
    }

    /// What an earlier run left, oldest first.
    pub(super) fn left(&self) -> Result<Vec<Record>, StoreError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StoreError::File { path: self.path.clone(), source }),
        };
        let read = |line: &str| {
            let record = serde_json::from_str(line);
            record.inspect_err(|error| tracing::error!(%error, "a line of the spool cannot be read: left out")).ok()
        };
        let records: Vec<Record> = text.lines().filter_map(read).collect();
        if !records.is_empty() {
            tracing::info!(records = records.len(), "records of an earlier run that the database had not taken");
            self.kept.store(u64::MAX, Ordering::Relaxed);
        }
        Ok(records)
    }

    /// Keeps what waits now, where it is not kept already. Blocks on the disk.
    pub(super) fn keep(&self, queue: &Queue) {
        let (revision, last, records) = queue.all();
        if self.kept.load(Ordering::Relaxed) == revision {
            return;
        }
        let lines: Vec<String> = records.iter().filter_map(|record| serde_json::to_string(record).ok()).collect();
        let mut text = lines.join("\n");
        text.push('\n');
        match write_private(&self.path, &text) {
            Ok(()) => {
                self.kept.store(revision, Ordering::Relaxed);
                self.last.store(last, Ordering::Relaxed);
                self.failing.store(false, Ordering::Relaxed);
                metrics::spooled(records.len());
            }
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, source, "records that wait for the database are in memory only");
            }
            Err(_) => {}
        }
    }

    /// Removes the file once everything in it is in the database; `oldest` is the number of what waits longest.
    pub(super) fn written(&self, oldest: Option<u64>) {
        if oldest.is_none_or(|oldest| oldest > self.last.load(Ordering::Relaxed)) {
            self.clear();
        }
    }

    /// Everything is in the database.
    pub(super) fn clear(&self) {
        if self.kept.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        metrics::spooled(0);
        if let Err(error) = std::fs::remove_file(&self.path) {
            // Written again at the next start, which changes nothing: a CDR is kept once, bindings are replaced.
            tracing::warn!(%error, path = %self.path.display(), "the spool is not needed any more, and cannot be removed");
        }
    }
}
