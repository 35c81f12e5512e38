//! The built program, run as a person would run it, in a directory of its own.
//!
//! Each test target uses its own part of this.
#![allow(dead_code, reason = "every test target uses a part of it")]

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take. It decides nothing but when a test that hangs has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// An empty directory to run the program in. Labs that are brought up in it are found by commands
/// that are run in it, and by no others.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The program with these arguments.
    pub(crate) fn onehop(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onehop"));
        self.settle(command.args(arguments));
        command
    }

    /// Makes a command run here, with nothing on its input.
    pub(crate) fn settle(&self, command: &mut Command) {
        command
            .current_dir(self.path())
            .env("TMPDIR", self.path())
            .env_remove("KUBEBUILDER_ASSETS")
            .env_remove("ONEHOP_LOG")
            .stdin(Stdio::null());
    }

    /// Writes a profile whose program is this shell script, and says how to name it.
    pub(crate) fn profile(&self, script: &str) -> &'static str {
        self.profile_with(script, "mayRestart: false")
    }

    /// The same, with a line more below `netns`.
    pub(crate) fn profile_with(&self, script: &str, line: &str) -> &'static str {
        self.program(script);
        let text = format!(
            "name: mine\nnetns:\n  command: [./proxy.sh]\n  {line}\n  ready: {{ http: \
             \"http://{{node_ip}}:10256/healthz\" }}\n"
        );
        fs::write(self.path().join("mine.yaml"), text).expect("written");
        "./mine.yaml"
    }

    /// Writes this shell script to `proxy.sh`, beside a profile.
    pub(crate) fn program(&self, script: &str) {
        let program = self.path().join("proxy.sh");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    /// `results.json` in this directory below, which is as the published schema says.
    pub(crate) fn results(&self, out: &str) -> serde_json::Value {
        let path = self.path().join(out).join("results.json");
        let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let results = serde_json::from_slice(&text).expect("results.json is JSON");
        if let Err(error) = schema().validate(&results) {
            panic!("{}: {error} at {}", path.display(), error.instance_path());
        }
        results
    }
}

/// The published schema of `results.json`.
fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = include_str!("../../docs/results.schema.json");
        let schema = serde_json::from_str(text).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    })
}

/// How a command ended, and what it said.
pub(crate) struct Ended {
    /// The exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// In one line: with the marks and line ends of a report replaced by single spaces.
    pub(crate) stderr: String,
}

/// For the message of a failed test: what the command said without the cases that a run was content with, so that where only the
/// beginning of a message is kept, it says what failed.
impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit code {:?}, {:?}", self.code, self.stderr)?;
        let content = ["PASS  ", "SKIP  "];
        let said = self.stdout.lines();
        said.filter(|line| !content.iter().any(|verdict| line.starts_with(verdict)))
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().expect("the command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: in_one_line(&text(&output.stderr)),
    }
}

fn in_one_line(report: &str) -> String {
    let words = report.split(|c: char| c.is_whitespace() || "│×╰─▶├".contains(c));
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// A command under way, whose output is read as it comes. It is killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    /// Every line read so far.
    pub(crate) said: Vec<String>,
}

impl Running {
    /// Starts a command in a process group of its own, as a shell does.
    pub(crate) fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt;
        let command = command.process_group(0);
        let started = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = started.spawn().expect("the command starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Self {
            child,
            stdout,
            said: Vec::new(),
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// Reads its output up to a line that contains this text, and returns that line.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<String, String> {
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line);
            if read.map_err(|error| error.to_string())? == 0 {
                let mut stderr = String::new();
                let pipe = self.child.stderr.as_mut();
                // Whatever is there is better than nothing.
                let _ = pipe.map(|pipe| pipe.read_to_string(&mut stderr));
                let said = self.said.join("");
                return Err(format!("ended without a word of {text}: {said}{stderr}"));
            }
            self.said.push(line.clone());
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.id(), signal).expect("the process is there until it is waited for");
    }

    /// Sends a signal to its whole process group, as a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        nix::sys::signal::killpg(self.id(), signal).expect("the group is there");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let mut stdout = self.said.join("");
        let mut stderr = String::new();
        let read = self.stdout.read_to_string(&mut stdout);
        read.expect("its output can be read");
        let pipe = self.child.stderr.as_mut().expect("a pipe");
        pipe.read_to_string(&mut stderr)
            .expect("its errors can be read");
        let status = self.child.wait().expect("it can be waited for");
        Ended {
            code: status.code(),
            stdout,
            stderr: in_one_line(&stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("not within {PATIENCE:?}: {what}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Copies a file with its mode.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<PathBuf> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to)?;
    Ok(to.to_owned())
}
