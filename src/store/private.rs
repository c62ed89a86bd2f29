//! Files and folders that only our user may read.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::StoreError;

fn wrong(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { path, source }
}

/// Makes the folder, and those above it, of mode 0700 where it is missing; one that is there keeps its mode.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(wrong(path))
}

/// Makes an empty file of mode 0600 where it is missing.
pub(super) fn make_file(path: &Path) -> Result<(), StoreError> {
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop).map_err(wrong(path))
}

/// Writes a file of mode 0600, whole or not at all: a temporary file is renamed over it.
///
/// # Errors
/// [`StoreError::File`].
pub fn write_private(path: &Path, text: &str) -> Result<(), StoreError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        // A temporary file that an earlier crash left keeps its old mode without this.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(wrong(path))
}
