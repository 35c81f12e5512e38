//! The program of a profile: where it is, and which version it has. This is checked before anything starts.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Origin, Profile, ProfileError};
use crate::tools::{self, find_in_path, locate};

/// The program of a proxy on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its absolute path.
    pub path: PathBuf,
    /// The version for the report, if the profile says how to ask for it.
    pub version: Option<String>,
}

impl Profile {
    /// Finds the program of this profile.
    ///
    /// The explicit path (`--proxy-binary`) comes first. A profile with a tool takes it from where tools are
    /// [located](locate). The program `onehop` is this one. Any other is looked for in PATH, or, if the profile
    /// names it with a `/`, relative to the profile's own folder.
    ///
    /// # Errors
    /// It is not there, or its version command does not work.
    pub fn find_program(&self, explicit: Option<&Path>) -> Result<Program, ProfileError> {
        if let Some(tool) = self.tool {
            let located = locate(tool, explicit)?;
            return Ok(Program {
                path: located.path,
                version: Some(located.version),
            });
        }
        let named = self.netns.command[0].as_str();
        let (path, searched) = match explicit {
            Some(path) => (is_program(path), "(from --proxy-binary)".to_owned()),
            None => self.search(named),
        };
        let Some(path) = path else {
            return Err(ProfileError::NoProgram {
                profile: self.name.clone(),
                program: explicit.map_or(named.to_owned(), |path| path.display().to_string()),
                searched,
            });
        };
        let version = match self.version_command(&path) {
            Some(command) => Some(read_version(&self.name, &command)?),
            None => None,
        };
        Ok(Program { path, version })
    }

    /// The version command, with the program that was found in place of the name by which the profile calls it.
    #[must_use]
    pub fn version_command(&self, program: &Path) -> Option<Vec<String>> {
        let first = self.version.first()?;
        let mut command = self.version.clone();
        if *first == self.netns.command[0] {
            command[0] = program.display().to_string();
        }
        Some(command)
    }

    fn search(&self, named: &str) -> (Option<PathBuf>, String) {
        if named == ITSELF {
            let found = itself(env::current_exe().ok().as_deref());
            let searched = found
                .as_ref()
                .map_or(String::new(), |path| path.display().to_string());
            return (
                found.as_deref().and_then(is_program),
                format!("(looked at {searched})"),
            );
        }
        if !named.contains('/') {
            let path = env::var_os("PATH").unwrap_or_default();
            return (find_in_path(named, &path), "in PATH".to_owned());
        }
        let folder = match &self.origin {
            Origin::File(profile) => profile.parent().unwrap_or(Path::new("")),
            Origin::BuiltIn => Path::new(""),
        };
        let candidate = folder.join(named);
        let searched = format!("(looked at {})", candidate.display());
        (is_program(&candidate), searched)
    }
}

/// How a profile names the program that reads it.
const ITSELF: &str = "onehop";

/// The program `onehop`, given the one that runs. They are the same, except in tests and examples: those run from the folders
/// `deps` and `examples` beside it, where cargo puts them.
fn itself(running: Option<&Path>) -> Option<PathBuf> {
    let running = running?;
    let folder = running.parent()?;
    let beside = ["deps", "examples"].map(OsStr::new);
    if folder
        .file_name()
        .is_some_and(|name| beside.contains(&name))
    {
        return Some(folder.parent()?.join(ITSELF));
    }
    Some(running.to_owned())
}

/// The absolute path of a program, if it is one.
fn is_program(path: &Path) -> Option<PathBuf> {
    tools::is_executable(path)
        .then(|| std::path::absolute(path).ok())
        .flatten()
}

/// Runs a version command and takes the first line that it prints.
///
/// # Errors
/// It does not run, fails, or prints nothing.
pub fn read_version(profile: &str, command: &[String]) -> Result<String, ProfileError> {
    let failed = |problem: String| ProfileError::NoVersion {
        profile: profile.to_owned(),
        command: command.join(" "),
        problem,
    };
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| failed("is empty".to_owned()))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| failed(format!("does not run: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("failed ({})", output.status)));
    }
    // Some programs print their version to stderr.
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut lines = stdout.lines().chain(stderr.lines()).map(str::trim);
    match lines.find(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(failed("printed nothing".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::testing::script;
    use std::fs;

    /// A profile in a folder of its own, with a program beside it.
    fn profile(folder: &Path, program: &str) -> Profile {
        let path = folder.join("mine.yaml");
        let text = format!(
            "name: mine\nversion: [{program}, --version]\nnetns:\n  command: [{program}, run]\n  \
             ready: {{ http: \"http://{{node_ip}}:80/\" }}\n"
        );
        fs::write(&path, text).unwrap();
        Profile::load(path.to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_program_with_a_slash_is_beside_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let profile = profile(folder.path(), "./proxy.sh");
        let error = profile.find_program(None).unwrap_err().to_string();
        assert!(
            error.starts_with("profile mine: there is no program `./proxy.sh` (looked at "),
            "{error}"
        );
        script(&folder.path().join("proxy.sh"), "echo; echo mine 2.1");
        let program = profile.find_program(None).unwrap();
        assert!(program.path.is_absolute());
        assert_eq!(program.version.as_deref(), Some("mine 2.1"));
    }

    #[test]
    fn a_program_without_a_slash_is_in_path() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            profile(folder.path(), "no-such-proxy")
                .find_program(None)
                .unwrap_err()
                .to_string(),
            "profile mine: there is no program `no-such-proxy` in PATH"
        );
        // Every machine has `env`, and coreutils' and busybox's both know the argument or fail with a status.
        let profile = profile(folder.path(), "sh");
        assert_eq!(profile.search("sh").0.unwrap().file_name().unwrap(), "sh");
    }

    #[test]
    fn onehop_is_the_program_that_runs_or_the_one_beside_a_test() {
        for (running, found) in [
            ("/opt/bin/onehop", "/opt/bin/onehop"),
            ("/opt/bin/onehop-1.2", "/opt/bin/onehop-1.2"),
            (
                "/w/target/debug/deps/conformance-0123",
                "/w/target/debug/onehop",
            ),
            (
                "/w/target/debug/examples/conformance",
                "/w/target/debug/onehop",
            ),
        ] {
            assert_eq!(
                itself(Some(Path::new(running))).as_deref(),
                Some(Path::new(found))
            );
        }
        assert_eq!(itself(None), None);
    }

    #[test]
    fn an_explicit_program_replaces_the_profiles_own() {
        let folder = tempfile::tempdir().unwrap();
        let profile = profile(folder.path(), "no-such-proxy");
        let path = folder.path().join("local-build");
        assert_eq!(
            profile
                .find_program(Some(Path::new("/no/such")))
                .unwrap_err()
                .to_string(),
            "profile mine: there is no program `/no/such` (from --proxy-binary)"
        );
        script(&path, "echo local $1");
        let program = profile.find_program(Some(&path)).unwrap();
        assert_eq!(program.version.as_deref(), Some("local --version"));
    }

    #[test]
    fn a_version_command_that_fails_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let profile = profile(folder.path(), "./proxy.sh");
        script(&folder.path().join("proxy.sh"), "exit 3");
        let error = profile.find_program(None).unwrap_err().to_string();
        assert!(
            error.ends_with("proxy.sh --version` failed (exit status: 3)"),
            "{error}"
        );
    }
}
