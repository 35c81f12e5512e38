//! A child process with a log file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::{ControlPlaneError, POLL};
use crate::error::last_lines;

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    program: &'static str,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `assets/program`, with everything that it prints in `dir/program.log`.
    pub(super) fn spawn(
        assets: &Path,
        dir: &Path,
        program: &'static str,
        arguments: &[String],
        prepare: &impl Fn(&mut Command),
    ) -> Result<Process, ControlPlaneError> {
        let log = dir.join(format!("{program}.log"));
        let file = File::create(&log).map_err(ControlPlaneError::io("create", &log))?;
        let stdout = file
            .try_clone()
            .map_err(ControlPlaneError::io("open", &log))?;
        let path = assets.join(program);
        let mut command = Command::new(&path);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .kill_on_drop(true);
        prepare(&mut command);
        die_with_parent(&mut command);
        match command.spawn() {
            Ok(child) => Ok(Process {
                program,
                log,
                child,
            }),
            Err(source) => Err(ControlPlaneError::Spawn { path, source }),
        }
    }

    /// Fails if the process has ended.
    pub(super) fn check(&mut self) -> Result<(), ControlPlaneError> {
        let status = self.child.try_wait();
        match status.map_err(ControlPlaneError::io("wait for", self.program))? {
            None => Ok(()),
            Some(status) => Err(ControlPlaneError::Ended {
                program: self.program,
                status: status.to_string(),
                said: self.last_lines(),
            }),
        }
    }

    /// Its process id, while it runs.
    #[cfg(test)]
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until its log has a text, and gives up without an error after some time.
    ///
    /// A log can be read from any network namespace, which a port of the process cannot.
    pub(super) async fn wait_for_line(
        &mut self,
        text: &str,
        at_most: Duration,
    ) -> Result<(), ControlPlaneError> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            self.check()?;
            let log = fs::read(&self.log).map_err(ControlPlaneError::io("read", &self.log))?;
            if String::from_utf8_lossy(&log).contains(text) {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The end of its log.
    pub(super) fn last_lines(&self) -> String {
        match fs::read(&self.log) {
            Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes)),
            Err(error) => format!("  ({} cannot be read: {error})", self.log.display()),
        }
    }

    /// Asks the process to end, and kills it if it has not done so in time.
    pub(super) async fn end(&mut self, grace: Duration) -> Result<(), ControlPlaneError> {
        let failed = |error| ControlPlaneError::io("end", self.program)(error);
        // Without an id it has ended and was waited for.
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else {
            return Ok(());
        };
        kill(Pid::from_raw(id), Signal::SIGTERM).map_err(|errno| failed(errno.into()))?;
        match tokio::time::timeout(grace, self.child.wait()).await {
            Ok(status) => status.map(drop).map_err(failed),
            Err(_) => self.child.kill().await.map_err(failed),
        }
    }
}

/// Has the kernel kill the process when the thread that spawns it ends, which it does however this process ends.
#[expect(unsafe_code, reason = "a closure that runs between fork and exec")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is one system call, which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
}
