//! Programs that are run, and what they say.

use std::io;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::KindError;
use crate::error::last_lines;

/// A program and its arguments, about to be run. What it prints is kept.
pub(super) struct Run {
    program: &'static str,
    command: Command,
    what: String,
    input: Vec<u8>,
}

impl Run {
    /// Will run `program`, in order to do what `what` says.
    pub(super) fn new(program: &'static str, path: &std::path::Path, what: &str) -> Self {
        let mut command = Command::new(path);
        command.kill_on_drop(true);
        Self {
            program,
            command,
            what: what.to_owned(),
            input: Vec::new(),
        }
    }

    pub(super) fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        self.command.args(args);
        self
    }

    pub(super) fn arg_path(mut self, name: &str, path: &std::path::Path) -> Self {
        self.command.arg(name).arg(path);
        self
    }

    pub(super) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs it to its end; what it printed.
    ///
    /// # Errors
    /// When it is not there, or does not succeed.
    pub(super) async fn output(self) -> Result<String, KindError> {
        let (program, what) = (self.program, self.what.clone());
        said(program, what, &self.raw().await?)
    }

    /// The same, at once and without any input.
    ///
    /// # Errors
    /// As [`Self::output`].
    pub(super) fn output_now(mut self) -> Result<String, KindError> {
        let command = self.command.as_std_mut().stdin(Stdio::null());
        let output = command.output().map_err(failed(self.program))?;
        said(self.program, self.what, &output)
    }

    /// Runs it to its end, however that is.
    pub(super) async fn raw(mut self) -> Result<Output, KindError> {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(failed(self.program))?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = self.input;
        let feeding = async move {
            // One that ends without reading it all says so by its status.
            let _ = stdin.write_all(&input).await;
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feeding);
        output.map_err(failed(self.program))
    }
}

fn failed(program: &'static str) -> impl FnOnce(io::Error) -> KindError {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => KindError::missing(program),
        _ => KindError::Run { program, source },
    }
}

/// What a program printed, if it succeeded.
fn said(program: &'static str, what: String, output: &Output) -> Result<String, KindError> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = match text(&output.stderr) {
        said if said.trim().is_empty() => text(&output.stdout),
        said => said,
    };
    Err(KindError::Failed {
        program,
        what,
        status: output.status.to_string(),
        said: last_lines(&said),
    })
}
