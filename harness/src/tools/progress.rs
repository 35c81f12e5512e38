//! What an installation is doing, for a terminal and for the plain lines of CI alike.

use std::fmt;
use std::time::Duration;

use super::{Project, Version};

/// One step of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another process builds the same version.
    Waiting,
    /// The source of a project is fetched.
    Downloading(Project, Version),
    /// The modules that a program needs are found and fetched.
    Resolving(&'static str),
    /// A program is compiled.
    Compiling(&'static str),
}

impl Step {
    /// The step once it is over.
    fn past(self) -> String {
        match self {
            Step::Waiting => "waited for another build".to_owned(),
            Step::Downloading(project, version) => {
                format!("downloaded {} {version}", project.name())
            }
            Step::Resolving(binary) => format!("resolved the modules of {binary}"),
            Step::Compiling(binary) => format!("compiled {binary}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Waiting => f.write_str("waiting for another build"),
            Step::Downloading(project, version) => {
                write!(f, "downloading {} {version}", project.name())
            }
            Step::Resolving(binary) => write!(f, "resolving the modules of {binary}"),
            Step::Compiling(binary) => write!(f, "compiling {binary}"),
        }
    }
}

/// A report from an installation. Its text is one line without an end.
///
/// A terminal redraws on every report; a log prints those that are [milestones](Progress::is_milestone).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A step begins.
    Started(Step),
    /// The step goes on; sent several times a second, so that a spinner can turn without a thread.
    Running(Step, Duration),
    /// The step is over.
    Finished(Step, Duration),
}

impl Progress {
    /// Whether the report is worth a line of its own in a log.
    #[must_use]
    pub const fn is_milestone(&self) -> bool {
        !matches!(self, Progress::Running(..))
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Started(step) => write!(f, "{step}"),
            Progress::Running(step, elapsed) => write!(f, "{step} ({} s)", elapsed.as_secs()),
            Progress::Finished(step, elapsed) => {
                write!(f, "{} in {:.1} s", step.past(), elapsed.as_secs_f64())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_as_plain_lines() {
        let step = Step::Compiling("kube-proxy");
        let lines = [
            Progress::Started(step),
            Progress::Running(step, Duration::from_millis(61_900)),
            Progress::Finished(step, Duration::from_millis(92_340)),
            Progress::Finished(
                Step::Downloading(Project::Kubernetes, Version::DEFAULT),
                Duration::ZERO,
            ),
        ]
        .map(|report| report.to_string());
        assert_eq!(
            lines,
            [
                "compiling kube-proxy",
                "compiling kube-proxy (61 s)",
                "compiled kube-proxy in 92.3 s",
                "downloaded Kubernetes v1.36.3 in 0.0 s",
            ]
        );
    }
}
