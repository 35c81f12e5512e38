//! Live progress of a run: a bar on a terminal, plain lines elsewhere.

use std::time::Duration;

use crate::output::say;
use console::style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use onehop_harness::run::{CaseResult, Verdict};

/// How far something is that consists of many, and how long the rest may take.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// Whether lines go beside the output, which is for a tool.
    aside: bool,
}

impl Progress {
    /// Progress over so many of what is counted by this name.
    pub(crate) fn start(title: &str, count: usize, what: &str) -> Self {
        Self::new(title, count, what, false)
    }

    /// The same where nothing but what is asked for may be in the output.
    pub(crate) fn start_aside(title: &str, count: usize, what: &str) -> Self {
        Self::new(title, count, what, true)
    }

    fn new(title: &str, count: usize, what: &str, aside: bool) -> Self {
        let bar = console::user_attended_stderr().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{prefix} {bar:30} {pos}/{len} {elapsed}, {eta} left {msg}",
            );
            bar.set_style(style.expect("a valid template"));
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let progress = Self { bar, aside };
        if progress.bar.is_none() {
            progress.say(&format!("{title}: {count} {what}"));
        }
        progress
    }

    fn say(&self, line: &str) {
        if self.aside {
            eprintln!("{line}");
        } else {
            say!("{line}");
        }
    }

    /// Tells that a case is done.
    pub(crate) fn finished(&self, result: &CaseResult) {
        let is_news = result.verdict != Verdict::Pass;
        self.done(&result.id, &line(result), is_news);
    }

    /// Tells that one is done, by its name and in a line. On a terminal the line stays if it is news.
    pub(crate) fn done(&self, name: &str, line: &str, is_news: bool) {
        let Some(bar) = &self.bar else {
            return self.say(line);
        };
        if is_news {
            bar.println(line);
        }
        bar.set_message(name.to_owned());
        bar.inc(1);
    }

    /// Ends the progress.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(result: &CaseResult) -> String {
    let verdict = match result.verdict {
        Verdict::Pass => style("PASS ").green(),
        Verdict::Fail => style("FAIL ").red(),
        Verdict::Known => style("KNOWN").yellow(),
        Verdict::Skip => style("SKIP ").yellow(),
        Verdict::Error => style("ERROR").magenta(),
    };
    let reason = result
        .reason
        .as_ref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    format!("{verdict} {} ({:.2} s){reason}", result.id, result.seconds)
}
