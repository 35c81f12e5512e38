//! The cache: `<cache home>/onehop/tools/<tool>/<version>/<program>`.
//!
//! A version's folder appears by rename once it is whole, so what is there can be trusted. Builds happen in
//! `<cache home>/onehop/build`, which may be deleted at any time: it only makes the next build faster.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Tool, ToolError, ToolRef, Version};

/// Where tools are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

/// A tool that is in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Which tool and version.
    pub tool: ToolRef,
    /// The folder of its programs.
    pub dir: PathBuf,
    /// The size of its programs together.
    pub bytes: u64,
}

/// The tools in this user's cache, by name and version.
///
/// # Errors
/// There is no cache home, or it cannot be read.
pub fn list() -> Result<Vec<Installed>, ToolError> {
    Cache::from_environment()?.list()
}

impl Cache {
    /// The cache of this user: `$XDG_CACHE_HOME/onehop`, or else `$HOME/.cache/onehop`.
    ///
    /// # Errors
    /// Neither variable is set.
    pub fn from_environment() -> Result<Cache, ToolError> {
        // The XDG specification says that a relative path is to be ignored.
        let absolute = |variable: &str| {
            env::var_os(variable)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let home = absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .ok_or(ToolError::NoCacheHome)?;
        Ok(Cache::at(&home))
    }

    /// The cache in a cache home.
    #[must_use]
    pub fn at(cache_home: &Path) -> Cache {
        Cache {
            root: cache_home.join("onehop"),
        }
    }

    /// The folder of everything that onehop keeps.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that a tool has once it is installed.
    #[must_use]
    pub fn dir(&self, tool: ToolRef) -> PathBuf {
        self.tool_dir(tool.tool).join(tool.version.to_string())
    }

    /// The folder of an installed tool, or none if a program of it is missing.
    #[must_use]
    pub fn installed(&self, tool: ToolRef) -> Option<PathBuf> {
        let dir = self.dir(tool);
        is_complete(tool.tool, &dir).then_some(dir)
    }

    /// The folder in which builds keep their modules and their locks.
    #[must_use]
    pub fn build_dir(&self) -> PathBuf {
        self.root.join("build")
    }

    /// The folder of all versions of a tool.
    pub(super) fn tool_dir(&self, tool: Tool) -> PathBuf {
        self.root.join("tools").join(tool.name())
    }

    /// What is installed, by name and version.
    ///
    /// # Errors
    /// A folder of the cache cannot be read.
    pub fn list(&self) -> Result<Vec<Installed>, ToolError> {
        let mut found = Vec::new();
        for tool in Tool::ALL {
            for version in versions(&self.tool_dir(tool))? {
                let tool = ToolRef { tool, version };
                if let Some(dir) = self.installed(tool) {
                    let bytes = size(tool.tool, &dir)?;
                    found.push(Installed { tool, dir, bytes });
                }
            }
        }
        Ok(found)
    }
}

/// Whether a path is a file that may be executed.
pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether a folder has every program of a tool.
pub(super) fn is_complete(tool: Tool, dir: &Path) -> bool {
    tool.binaries()
        .iter()
        .all(|binary| is_executable(&dir.join(binary)))
}

/// The versions that a tool's folder is named after, in order. Unfinished builds and other files are not.
fn versions(dir: &Path) -> Result<Vec<Version>, ToolError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ToolError::io("list", dir)(error)),
    };
    let mut versions = Vec::new();
    for entry in entries {
        let name = entry.map_err(ToolError::io("list", dir))?.file_name();
        versions.extend(name.to_str().and_then(|name| name.parse::<Version>().ok()));
    }
    versions.sort();
    Ok(versions)
}

fn size(tool: Tool, dir: &Path) -> Result<u64, ToolError> {
    tool.binaries().iter().try_fold(0, |sum, binary| {
        let path = dir.join(binary);
        let file = fs::metadata(&path).map_err(ToolError::io("read", path))?;
        Ok(sum + file.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, binary: &str, mode: u32) {
        fs::create_dir_all(dir).unwrap();
        let path = dir.join(binary);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_whole_versions_are_listed_in_order() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path());
        let proxy = cache.tool_dir(Tool::KubeProxy);
        put(&proxy.join("v1.36.10"), "kube-proxy", 0o755);
        put(&proxy.join("v1.36.9"), "kube-proxy", 0o755);
        put(&proxy.join(".v1.37.2.partial"), "kube-proxy", 0o755);
        put(&proxy.join("v1.35.0"), "kube-proxy", 0o644);
        let control_plane = cache.tool_dir(Tool::ControlPlane);
        put(&control_plane.join("v1.36.3"), "etcd", 0o755);

        let listed: Vec<(String, u64)> = cache
            .list()
            .unwrap()
            .into_iter()
            .map(|installed| (installed.tool.to_string(), installed.bytes))
            .collect();
        let expected =
            ["kube-proxy@v1.36.9", "kube-proxy@v1.36.10"].map(|name| (name.to_owned(), 10));
        assert_eq!(listed, expected);
    }

    #[test]
    fn an_empty_cache_lists_nothing() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Cache::at(home.path()).list().unwrap(), Vec::new());
    }
}
