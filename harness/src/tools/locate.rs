//! Finds a tool that is already on this machine.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{is_complete, is_executable};
use super::{Cache, Tool, ToolError, ToolRef, Version};

/// Where a tool was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was named on the command line.
    Explicit,
    /// `KUBEBUILDER_ASSETS` names its folder.
    Assets,
    /// `onehop tools install` had built it.
    Cache,
    /// It is in PATH.
    Path,
}

/// A tool that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The program (kube-proxy, kind), or the folder of the programs (control plane, node).
    pub path: PathBuf,
    /// The version as the program itself tells it, or as the cache knows it.
    pub version: String,
    /// Where it was found.
    pub source: Source,
}

/// Where to look, apart from an explicit path.
#[derive(Clone, Debug)]
pub struct Search {
    /// The cache.
    pub cache: Cache,
    /// The folder of control plane programs, by the convention of envtest (`KUBEBUILDER_ASSETS`).
    pub assets: Option<PathBuf>,
    /// The value of `PATH`.
    pub path: OsString,
}

/// Finds a tool: the explicit path, `KUBEBUILDER_ASSETS` (control plane only), the cache, and `PATH` if the
/// version there is the wanted one.
///
/// # Errors
/// It is in none of them (the error names the command that installs it), or an explicit one is unusable.
pub fn locate(tool: ToolRef, explicit: Option<&Path>) -> Result<Located, ToolError> {
    Search::from_environment()?.locate(tool, explicit)
}

/// The first executable file of that name in a value of `PATH`.
#[must_use]
pub fn find_in_path(program: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|candidate| is_executable(candidate))
}

/// The version that a program of Kubernetes or kind reports: `v1.36.3` for `Kubernetes v1.36.3`.
///
/// # Errors
/// The program does not run, fails, or prints something else.
pub fn reported_version(program: &Path) -> Result<String, ToolError> {
    let failed = |problem: String| ToolError::NoVersion {
        path: program.to_owned(),
        problem,
    };
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|error| failed(format!("does not run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed ({})", output.status)));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    match parse_version_line(&printed) {
        Some(version) => Ok(version),
        None => Err(failed(format!("printed `{}`", printed.trim()))),
    }
}

/// Reads `Kubernetes v1.36.3` and `kind version 0.33.0`. A local build may call itself
/// `v1.38.0-alpha.0.12+abcdef`, which is kept.
fn parse_version_line(printed: &str) -> Option<String> {
    let printed = printed.trim();
    let version = match printed.strip_prefix("kind version ") {
        Some(number) => format!("v{number}"),
        None => printed.strip_prefix("Kubernetes ")?.to_owned(),
    };
    let is_version = version.starts_with('v') && !version.contains(char::is_whitespace);
    is_version.then_some(version)
}

impl Search {
    /// The places that this process's environment names.
    ///
    /// # Errors
    /// There is no cache home.
    pub fn from_environment() -> Result<Search, ToolError> {
        Ok(Search {
            cache: Cache::from_environment()?,
            assets: env::var_os("KUBEBUILDER_ASSETS")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            path: env::var_os("PATH").unwrap_or_default(),
        })
    }

    /// As [`locate`], in these places.
    ///
    /// # Errors
    /// As [`locate`].
    pub fn locate(&self, tool: ToolRef, explicit: Option<&Path>) -> Result<Located, ToolError> {
        if let Some(path) = explicit {
            return named(tool.tool, path, Source::Explicit, "--proxy-binary");
        }
        if let (Tool::ControlPlane, Some(assets)) = (tool.tool, &self.assets) {
            return named(tool.tool, assets, Source::Assets, "KUBEBUILDER_ASSETS");
        }
        if let Some(dir) = self.cache.installed(tool) {
            return Ok(Located {
                path: path_of(tool.tool, &dir),
                version: tool.version.to_string(),
                source: Source::Cache,
            });
        }
        self.locate_in_path(tool)
    }

    fn locate_in_path(&self, tool: ToolRef) -> Result<Located, ToolError> {
        let not_installed = |seen: String| ToolError::NotInstalled { tool, seen };
        let Some(program) = find_in_path(tool.tool.versioned_binary(), &self.path) else {
            return Err(not_installed(String::new()));
        };
        let dir = program.parent().unwrap_or(Path::new("/"));
        let seen = |what: String| not_installed(format!(" ({} in PATH {what})", program.display()));
        let version = match reported_version(&program) {
            Ok(version) => version,
            Err(_) => return Err(seen("does not tell its version".to_owned())),
        };
        if version.parse::<Version>().ok() != Some(tool.version) {
            return Err(seen(format!("is {version}")));
        }
        if !is_complete(tool.tool, dir) {
            let needed = tool.tool.binaries().join(", ");
            return Err(seen(format!("is alone: {needed} are needed in one folder")));
        }
        Ok(Located {
            path: path_of(tool.tool, dir),
            version,
            source: Source::Path,
        })
    }
}

/// A tool at a path that somebody chose: any version will do, but it must be usable.
fn named(
    tool: Tool,
    path: &Path,
    source: Source,
    origin: &'static str,
) -> Result<Located, ToolError> {
    let programs: Vec<PathBuf> = if tool.is_one_program() {
        vec![path.to_owned()]
    } else {
        tool.binaries().iter().map(|name| path.join(name)).collect()
    };
    if let Some(missing) = programs.iter().find(|program| !is_executable(program)) {
        return Err(ToolError::NotExecutable {
            path: missing.clone(),
            origin,
        });
    }
    let version = if tool.is_one_program() {
        reported_version(path)?
    } else {
        reported_version(&path.join(tool.versioned_binary()))?
    };
    // A process in the lab has another working directory.
    let path = std::path::absolute(path).map_err(ToolError::io("resolve", path))?;
    Ok(Located {
        path,
        version,
        source,
    })
}

/// The path by which a tool in a folder is used.
pub(super) fn path_of(tool: Tool, dir: &Path) -> PathBuf {
    match tool.binaries() {
        [program] => dir.join(program),
        _ => dir.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::testing::script;
    use std::fs;

    /// A machine made of folders: a cache home, a folder in PATH.
    struct Machine {
        home: tempfile::TempDir,
        search: Search,
    }

    impl Machine {
        fn new() -> Machine {
            let home = tempfile::tempdir().unwrap();
            let search = Search {
                cache: Cache::at(home.path()),
                assets: None,
                path: home.path().join("bin").into_os_string(),
            };
            Machine { home, search }
        }

        fn program(&self, dir: impl AsRef<Path>, name: &str, prints: &str) -> PathBuf {
            let dir = self.home.path().join(dir);
            fs::create_dir_all(&dir).unwrap();
            let path = dir.join(name);
            script(&path, &format!("echo '{prints}'"));
            path
        }

        fn locate(&self, tool: &str) -> Result<Located, String> {
            self.search
                .locate(tool.parse().unwrap(), None)
                .map_err(|error| error.to_string().replace(&self.prefix(), ""))
        }

        fn prefix(&self) -> String {
            format!("{}/", self.home.path().display())
        }
    }

    #[test]
    fn a_missing_tool_names_the_command_that_installs_it() {
        assert_eq!(
            Machine::new().locate("kube-proxy@v1.34.4").unwrap_err(),
            "kube-proxy@v1.34.4 is not on this machine; \
             install it with: onehop tools install kube-proxy@v1.34.4"
        );
    }

    #[test]
    fn the_cache_comes_before_path() {
        let machine = Machine::new();
        machine.program("bin", "kube-proxy", "Kubernetes v1.36.3");
        let in_path = machine.locate("kube-proxy@v1.36.3").unwrap();
        assert_eq!(in_path.source, Source::Path);

        machine.program("onehop/tools/kube-proxy/v1.36.3", "kube-proxy", "anything");
        let cached = machine.locate("kube-proxy@v1.36.3").unwrap();
        assert_eq!(
            (cached.source, cached.version.as_str()),
            (Source::Cache, "v1.36.3")
        );
        assert!(cached.path.ends_with("tools/kube-proxy/v1.36.3/kube-proxy"));
    }

    #[test]
    fn another_version_in_path_is_told_and_not_taken() {
        let machine = Machine::new();
        machine.program("bin", "kube-proxy", "Kubernetes v1.35.4");
        assert_eq!(
            machine.locate("kube-proxy@v1.36.3").unwrap_err(),
            "kube-proxy@v1.36.3 is not on this machine; \
             install it with: onehop tools install kube-proxy@v1.36.3 (bin/kube-proxy in PATH is v1.35.4)"
        );
    }

    #[test]
    fn kind_tells_its_version_in_its_own_way() {
        let machine = Machine::new();
        let path = machine.program("bin", "kind", "kind version 0.33.0");
        let located = machine
            .search
            .locate("kind".parse().unwrap(), None)
            .unwrap();
        assert_eq!(located.version, "v0.33.0");
        assert_eq!((located.path, located.source), (path, Source::Path));
    }

    #[test]
    fn an_explicit_program_may_have_any_version() {
        let machine = Machine::new();
        let path = machine.program("own", "my-proxy", "Kubernetes v1.38.0-alpha.0.12+abcdef");
        let tool = "kube-proxy@v1.36.3".parse().unwrap();
        let located = machine.search.locate(tool, Some(&path)).unwrap();
        assert_eq!(located.version, "v1.38.0-alpha.0.12+abcdef");
        assert_eq!((located.path, located.source), (path, Source::Explicit));
    }

    #[test]
    fn an_explicit_program_that_is_not_there_is_an_error() {
        let machine = Machine::new();
        let tool = "kube-proxy".parse().unwrap();
        let error = machine
            .search
            .locate(tool, Some(Path::new("/no/such")))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "/no/such (from --proxy-binary) is not an executable file"
        );
    }

    #[test]
    fn an_explicit_program_that_is_no_kube_proxy_is_an_error() {
        let machine = Machine::new();
        let path = machine.program("own", "other", "something 2.0");
        let tool = "kube-proxy".parse().unwrap();
        let error = machine.search.locate(tool, Some(&path)).unwrap_err();
        assert_eq!(
            error.to_string().replace(&machine.prefix(), ""),
            "own/other --version printed `something 2.0`"
        );
    }

    #[test]
    fn kubebuilder_assets_must_be_whole() {
        let mut machine = Machine::new();
        machine.program("assets", "etcd", "etcd");
        machine.program("assets", "kube-apiserver", "Kubernetes v1.35.4");
        machine.search.assets = Some(machine.home.path().join("assets"));
        assert_eq!(
            machine.locate("control-plane").unwrap_err(),
            "assets/kubectl (from KUBEBUILDER_ASSETS) is not an executable file"
        );
        machine.program("assets", "kubectl", "kubectl");
        let located = machine.locate("control-plane").unwrap();
        assert_eq!(
            (located.source, located.version.as_str()),
            (Source::Assets, "v1.35.4")
        );
    }

    #[test]
    fn a_control_plane_in_path_must_be_in_one_folder() {
        let machine = Machine::new();
        machine.program("bin", "kube-apiserver", "Kubernetes v1.36.3");
        let error = machine.locate("control-plane@v1.36.3").unwrap_err();
        assert!(
            error.contains("is alone: etcd, kube-apiserver, kubectl are needed"),
            "{error}"
        );
    }
}
