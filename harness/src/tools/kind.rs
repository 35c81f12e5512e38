//! kind, and the files of its node images.
//!
//! kind's module contains the files that its own node images are made of: entrypoint, units, containerd's
//! configuration. They belong to its version, so they are kept beside the program.

use std::fs;
use std::path::{Path, PathBuf};

use super::build::{compile, download, timed};
use super::go::Go;
use super::{Project, Step, ToolError, Version};

/// Where the files of a node image are in kind's module.
const IMAGE_FILES: &str = "images/base/files";

/// Where they are in the tool's folder.
const IMAGE: &str = "image";

/// Builds kind, and copies the files of its node images.
pub(super) fn build(
    go: &mut Go<'_>,
    module: &Path,
    version: Version,
    out: &Path,
) -> Result<(), ToolError> {
    let package = Project::Kind.module();
    let downloading = Step::Downloading(Project::Kind, version);
    let files = timed(go, downloading, |go| {
        fs::create_dir_all(module).map_err(ToolError::io("create", module))?;
        if !module.join("go.mod").exists() {
            go.run(
                downloading,
                module,
                &["mod", "init", "onehop/third-party/kind"],
            )?;
        }
        let downloaded = download(go, downloading, module, Project::Kind, version)?;
        Ok(downloaded.dir.unwrap_or_default().join(IMAGE_FILES))
    })?;
    let resolving = Step::Resolving("kind");
    timed(go, resolving, |go| {
        let wanted = format!("{package}@{version}");
        go.run(resolving, module, &["get", "-tool", &wanted])
    })?;
    copy_dir(&files, &out.join(IMAGE))?;
    compile(go, module, "kind", package, "-s -w", out)
}

/// Copies a folder with all that is in it. Files of the module cache may only be read, and the copies may be written.
fn copy_dir(from: &Path, to: &Path) -> Result<(), ToolError> {
    let mut waiting: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        fs::create_dir_all(&to).map_err(ToolError::io("create", &to))?;
        for entry in fs::read_dir(&from).map_err(ToolError::io("list", &from))? {
            let entry = entry.map_err(ToolError::io("list", &from))?;
            let (path, copy) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                waiting.push((path, copy));
            } else {
                let contents = fs::read(&path).map_err(ToolError::io("read", &path))?;
                fs::write(&copy, contents).map_err(ToolError::io("write", &copy))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn copies_of_files_that_may_only_be_read_may_be_written() {
        let home = tempfile::tempdir().unwrap();
        let from = home.path().join("from");
        fs::create_dir_all(from.join("etc/systemd")).unwrap();
        let file = from.join("etc/systemd/unit");
        fs::write(&file, "[Unit]").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();

        let to = home.path().join("to");
        copy_dir(&from, &to).unwrap();
        let copy = to.join("etc/systemd/unit");
        assert_eq!(fs::read_to_string(&copy).unwrap(), "[Unit]");
        let mode = fs::metadata(&copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o200, 0o200);
    }
}
