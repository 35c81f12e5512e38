//! The `go` command: how it is run, and what it prints.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Progress, Step, ToolError, ToolRef};
use crate::error::last_lines;

/// How often a running command is looked at, and its step reported.
const POLL: Duration = Duration::from_millis(100);

/// The first Go that knows `go get -tool`.
const OLDEST: (u32, u32) = (1, 24);

/// The ordinary `go` command. It reads its own settings (proxies, caches, toolchains) as it always does.
pub(super) struct Go<'a> {
    tool: ToolRef,
    /// A folder for what go prints.
    logs: PathBuf,
    progress: &'a mut dyn FnMut(Progress),
}

/// What `go mod download -json` prints for a module.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Download {
    /// Why it failed.
    pub(super) error: Option<String>,
    /// The path of the module's own go.mod.
    pub(super) go_mod: Option<PathBuf>,
    /// The folder of its files, which may only be read.
    pub(super) dir: Option<PathBuf>,
}

/// The part of `go mod edit -json` that is needed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GoMod {
    #[serde(default)]
    replace: Option<Vec<Replace>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Replace {
    old: ModulePath,
    new: ModulePath,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModulePath {
    path: String,
}

/// What a command printed and how it ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl GoMod {
    /// The modules that are replaced by a folder of the same repository.
    pub(super) fn replaced_by_folders(&self) -> impl Iterator<Item = &str> {
        self.replace
            .iter()
            .flatten()
            .filter(|replace| replace.new.path.starts_with("./"))
            .map(|replace| replace.old.path.as_str())
    }
}

impl<'a> Go<'a> {
    /// Checks that there is a `go` command, and that it is new enough.
    pub(super) fn new(
        tool: ToolRef,
        logs: PathBuf,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Result<Go<'a>, ToolError> {
        fs::create_dir_all(&logs).map_err(ToolError::io("create", &logs))?;
        let go = Go {
            tool,
            logs,
            progress,
        };
        // What is asked is the version of the local toolchain, and not of one that a go.mod selects.
        let output = Command::new("go")
            .arg("version")
            .current_dir(&go.logs)
            .output();
        let output = output.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ToolError::NoGo { tool },
            _ => ToolError::io("run", "go")(error),
        })?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let found = printed.split_whitespace().nth(2).unwrap_or("unknown");
        match parse_go_version(found) {
            Some(version) if version < OLDEST => Err(ToolError::GoTooOld {
                tool,
                needed: format!("{}.{}", OLDEST.0, OLDEST.1),
                found: found.trim_start_matches("go").to_owned(),
            }),
            // A development version has no number; the build will tell.
            _ => Ok(go),
        }
    }

    /// Reports a step that is not a command of go.
    pub(super) fn report(&mut self, report: Progress) {
        (self.progress)(report);
    }

    /// Runs a command and returns what it prints; a failure is an error that quotes its last lines.
    pub(super) fn run(
        &mut self,
        step: Step,
        dir: &Path,
        arguments: &[&str],
    ) -> Result<String, ToolError> {
        let finished = self.try_run(step, dir, arguments)?;
        if finished.status.success() {
            return Ok(finished.stdout);
        }
        if let Some((needed, found)) = parse_too_old(&finished.stderr) {
            return Err(ToolError::GoTooOld {
                tool: self.tool,
                needed,
                found,
            });
        }
        Err(ToolError::Go {
            command: brief(arguments),
            status: finished.status.to_string(),
            said: last_lines(&finished.stderr),
        })
    }

    /// Runs a command to its end, whatever it is, and reports its step meanwhile.
    ///
    /// Its output goes to files: reading two pipes at once would need a thread.
    pub(super) fn try_run(
        &mut self,
        step: Step,
        dir: &Path,
        arguments: &[&str],
    ) -> Result<Finished, ToolError> {
        let stdout = self.logs.join("go.stdout");
        let stderr = self.logs.join("go.stderr");
        let create = |path: &Path| File::create(path).map_err(ToolError::io("create", path));
        let mut child = Command::new("go")
            .args(arguments)
            .current_dir(dir)
            .env("CGO_ENABLED", "0")
            // The cache may lie in somebody's workspace, which has nothing to say here.
            .env("GOWORK", "off")
            .stdin(std::process::Stdio::null())
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .spawn()
            .map_err(ToolError::io("run", "go"))?;

        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(ToolError::io("wait for", "go"))? {
                break status;
            }
            (self.progress)(Progress::Running(step, started.elapsed()));
            thread::sleep(POLL);
        };
        let read = |path: &Path| {
            let bytes = fs::read(path).map_err(ToolError::io("read", path))?;
            Ok::<_, ToolError>(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Finished {
            status,
            stdout: read(&stdout)?,
            stderr: read(&stderr)?,
        })
    }
}

/// Parses JSON that a command printed.
pub(super) fn parse_json<'de, T: Deserialize<'de>>(
    arguments: &[&str],
    printed: &'de str,
) -> Result<T, ToolError> {
    serde_json::from_str(printed).map_err(|source| ToolError::GoOutput {
        command: brief(arguments),
        source,
    })
}

/// A command's arguments, without the long tail that `go mod edit` has.
fn brief(arguments: &[&str]) -> String {
    const SHOWN: usize = 6;
    let shown = arguments[..arguments.len().min(SHOWN)].join(" ");
    if arguments.len() > SHOWN {
        format!("{shown} …")
    } else {
        shown
    }
}

/// `go1.26.8` → (1, 26).
fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("go")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?;
    // A release candidate is written `go1.27rc1`.
    let digits = minor
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(minor.len());
    Some((major, minor[..digits].parse().ok()?))
}

/// Finds `requires go >= 1.26.0 (running go 1.24.4; GOTOOLCHAIN=local)`: what is needed, and what there is.
fn parse_too_old(stderr: &str) -> Option<(String, String)> {
    let after = stderr.split_once("requires go >= ")?.1;
    let (needed, after) = after.split_once(" (running go ")?;
    let end = after.find([';', ')'])?;
    Some((needed.to_owned(), after[..end].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_read() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse_go_version("devel"), None);
        assert!(parse_go_version("go1.9.7").unwrap() < OLDEST);
    }

    #[test]
    fn a_toolchain_that_is_too_old_is_recognised() {
        let stderr = "go: k8s.io/kubernetes@v1.36.3 requires go >= 1.26.0 (running go 1.24.4; GOTOOLCHAIN=local)\n";
        assert_eq!(
            parse_too_old(stderr),
            Some(("1.26.0".to_owned(), "1.24.4".to_owned()))
        );
        assert_eq!(parse_too_old("go: no such host"), None);
    }

    #[test]
    fn a_download_tells_its_go_mod_or_its_error() {
        let parse = |text| parse_json::<Download>(&["mod", "download"], text).unwrap();
        let found =
            parse(r#"{"Path": "k8s.io/kubernetes", "GoMod": "/m/v1.36.3.mod", "Dir": "/m"}"#);
        assert_eq!(found.go_mod, Some(PathBuf::from("/m/v1.36.3.mod")));
        assert_eq!(found.dir, Some(PathBuf::from("/m")));
        let missing =
            parse(r#"{"Path": "k8s.io/kubernetes", "Error": "unknown revision v1.99.0"}"#);
        assert_eq!(missing.error.as_deref(), Some("unknown revision v1.99.0"));
    }

    #[test]
    fn only_modules_replaced_by_folders_are_taken() {
        let go_mod: GoMod = serde_json::from_str(
            r#"{"Replace": [
                {"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
                {"Old": {"Path": "example.com/a"}, "New": {"Path": "example.com/b", "Version": "v1.0.0"}}
            ]}"#,
        )
        .unwrap();
        assert_eq!(
            go_mod.replaced_by_folders().collect::<Vec<_>>(),
            ["k8s.io/api"]
        );
        let none: GoMod = serde_json::from_str(r#"{"Replace": null}"#).unwrap();
        assert_eq!(none.replaced_by_folders().count(), 0);
    }

    #[test]
    fn long_commands_are_shortened() {
        assert_eq!(brief(&["mod", "init", "x"]), "mod init x");
        assert_eq!(brief(&["1", "2", "3", "4", "5", "6", "7"]), "1 2 3 4 5 6 …");
    }
}
