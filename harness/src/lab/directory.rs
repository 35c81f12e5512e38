//! Directories that onehop makes, and may therefore empty.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file by which a directory is known that onehop made.
const MARKER: &str = ".onehop";
const MARKER_TEXT: &str = "onehop made this directory, and empties it before it is used again.\n";

/// A directory that cannot be made empty.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It holds what is not known to be onehop's.
    #[error(
        "{path} holds something, and has no file .onehop, which onehop puts into every directory \
         that it makes; it is left as it is: remove it yourself, or name another with --out"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// It is a file or a link.
    #[error("{path} is not a directory; remove it yourself, or name another with --out")]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("failed to make an empty directory of {path}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Makes an empty directory, marked as onehop's own. What was in it is removed, if it was onehop's
/// own before.
///
/// # Errors
/// When there is something else than an empty directory or one of onehop's own, or the file system
/// refuses.
pub fn make_empty(path: &Path) -> Result<(), DirectoryError> {
    let failed = |source| DirectoryError::Io {
        path: path.to_owned(),
        source,
    };
    // A link is not followed: what it leads to is somebody else's.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.is_dir() => {
            let path = path.to_owned();
            return Err(DirectoryError::NoDirectory { path });
        }
        Ok(_) if path.join(MARKER).is_file() => fs::remove_dir_all(path).map_err(failed)?,
        Ok(_) => {
            if fs::read_dir(path).map_err(failed)?.next().is_some() {
                let path = path.to_owned();
                return Err(DirectoryError::Foreign { path });
            }
        }
    }
    fs::create_dir_all(path).map_err(failed)?;
    fs::write(path.join(MARKER), MARKER_TEXT).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_of_its_own_is_emptied() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = root.path().join("out/lab");
        make_empty(&dir).expect("it is not there");
        fs::write(dir.join("old"), "text").expect("written");
        make_empty(&dir).expect("it is onehop's own");
        assert!(!dir.join("old").exists() && dir.join(MARKER).exists());

        let empty = root.path().join("empty");
        fs::create_dir(&empty).expect("made");
        make_empty(&empty).expect("it is empty");

        let foreign = root.path().join("foreign");
        fs::create_dir(&foreign).expect("made");
        fs::write(foreign.join("precious"), "text").expect("written");
        let error = make_empty(&foreign).expect_err("it is somebody else's");
        assert!(matches!(error, DirectoryError::Foreign { .. }), "{error}");
        assert!(foreign.join("precious").exists());

        let link = root.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).expect("made");
        for file in [link, foreign.join("precious")] {
            let error = make_empty(&file).expect_err("it is no directory");
            assert!(
                matches!(error, DirectoryError::NoDirectory { .. }),
                "{error}"
            );
        }
        assert!(dir.join(MARKER).exists());
    }
}
