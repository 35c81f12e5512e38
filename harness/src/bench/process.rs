//! What a process and its children use: CPU time and memory, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Pause between two readings of memory.
const SAMPLE: Duration = Duration::from_millis(10);
/// A process that uses less than a tick (10 ms) of CPU time in this is at rest.
const REST: Duration = Duration::from_millis(250);
/// How long it is waited for at most: a proxy that never rests is measured all the same.
const REST_LIMIT: Duration = Duration::from_secs(20);

/// User and system time of a process and of all its children that have ended and were waited for.
/// `None` when there is no such process.
pub(super) fn cpu_time(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    ticks(&stat).map(of_ticks)
}

/// `utime`, `stime`, `cutime` and `cstime`: fields 14 to 17, counted after the name, which may
/// contain anything.
fn ticks(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let times: Vec<u64> = fields
        .skip(11)
        .take(4)
        .map_while(|t| t.parse().ok())
        .collect();
    (times.len() == 4).then(|| times.iter().sum())
}

fn of_ticks(ticks: u64) -> Duration {
    let rate = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let rate = rate
        .and_then(|rate| u64::try_from(rate).ok())
        .unwrap_or(100);
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000) / rate.max(1))
}

/// Waits until a process and its children do nothing any more.
pub(super) async fn at_rest(process: u32) {
    let deadline = Instant::now() + REST_LIMIT;
    let mut before = cpu_time(process);
    while Instant::now() < deadline {
        tokio::time::sleep(REST).await;
        let now = cpu_time(process);
        if now == before && family_of(process).len() <= 1 {
            return;
        }
        before = now;
    }
}

/// The process and all that descend from it, as of now.
fn family_of(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for id in ids {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"));
        if let Some(parent) = stat.ok().as_deref().and_then(parent) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(member) = family.get(next) {
        family.extend(children.remove(member).unwrap_or_default());
        next += 1;
    }
    family
}

fn parent(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    fields.nth(1)?.parse().ok()
}

/// The proportional set size of a process, in KiB: pages that several share count by their part.
fn proportional_set_size(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    kibibytes(&text, "Pss:")
}

/// The largest resident set that a process ever had, in KiB.
pub(super) fn high_water_mark(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    kibibytes(&text, "VmHWM:")
}

fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Reads the memory of a process and its children again and again, until it is asked for the peak
/// or dropped.
#[derive(Debug)]
pub(super) struct MemorySampler {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl MemorySampler {
    /// Starts on a thread of its own.
    pub(super) fn start(process: u32) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut peak = 0;
            while !asked.load(Ordering::Relaxed) {
                let family = family_of(process).into_iter();
                peak = peak.max(family.filter_map(proportional_set_size).sum());
                thread::sleep(SAMPLE);
            }
            peak
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }

    /// Ends, and says what the most was, in KiB.
    pub(super) fn peak(mut self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken once");
        thread.join().expect("reading files does not panic")
    }
}

impl Drop for MemorySampler {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// Stops a process and its children, so that they use nothing while another proxy is measured.
pub(super) fn freeze(process: u32) {
    signal(process, Signal::SIGSTOP);
}

/// Lets them go on.
pub(super) fn thaw(process: u32) {
    signal(process, Signal::SIGCONT);
}

fn signal(process: u32, signal: Signal) {
    for member in family_of(process) {
        let member = i32::try_from(member).expect("a process id fits an i32");
        // A child may have ended since, and a proxy that has is found out by its supervisor.
        let _ = kill(Pid::from_raw(member), signal);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const STAT: &str = "77 (a) b) (c) S 5 77 77 0 -1 4194304 500 900 0 0 11 22 33 44 20 0 7 0 99";

    #[test]
    fn children_count_and_names_do_not_confuse() {
        assert_eq!(ticks(STAT), Some(11 + 22 + 33 + 44));
        assert_eq!(parent(STAT), Some(5));
        assert_eq!(ticks("77 (short) S 5"), None);
    }

    #[test]
    fn fields_in_kibibytes_are_read() {
        let text = "Name:\tx\nVmHWM:\t  1234 kB\nPss:  9 kB\nPss_Dirty: 8 kB\n";
        assert_eq!(kibibytes(text, "VmHWM:"), Some(1234));
        assert_eq!(kibibytes(text, "Pss:"), Some(9));
        assert_eq!(kibibytes(text, "Rss:"), None);
    }

    #[test]
    fn a_child_is_found_and_its_time_and_memory_counted() {
        let this = std::process::id();
        let mut child = Command::new("sh")
            .args([
                "-c",
                "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo; read line",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh is there");
        let mut line = [0];
        let out = child.stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(out, &mut line).expect("it says when it is done");
        assert!(family_of(this).contains(&child.id()));
        assert!(proportional_set_size(child.id()).is_some_and(|size| size > 0));
        assert!(high_water_mark(child.id()).is_some_and(|size| size > 0));
        let used = cpu_time(child.id()).expect("it lives");
        assert!(used > Duration::ZERO);
        let before = cpu_time(this).expect("it lives");
        drop(child.stdin.take());
        child.wait().expect("it ends");
        let after = cpu_time(this).expect("it lives");
        assert!(after >= before + used, "{before:?} {used:?} {after:?}");
        assert_eq!(cpu_time(child.id()), None);
    }
}
