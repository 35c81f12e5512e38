//! What a lab leaves behind when one of its processes is killed: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Home, Running, eventually, run};

/// Which of a lab's two processes is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Outer,
    Inner,
}

pub(crate) fn killed(which: Which) -> Result<(), Failed> {
    let home = Home::new();
    let before = Machine::now();
    let mut lab = Running::start(&mut home.onehop(&["lab", "up", "--no-proxy"]));
    lab.wait_for("KUBECONFIG")?;
    kill_and_look(lab, which, &before, 2)
}

pub(crate) fn run_killed(which: Which) -> Result<(), Failed> {
    let home = Home::new();
    let before = Machine::now();
    let mut run = Running::start(&mut home.onehop(&["run", "--jobs", "2"]));
    run.wait_for("PASS")?;
    // The two of onehop, and kube-proxy on each of three nodes.
    kill_and_look(run, which, &before, 5)
}

/// Kills one of the two processes and looks for anything that is left.
fn kill_and_look(
    running: Running,
    which: Which,
    before: &Machine,
    processes: usize,
) -> Result<(), Failed> {
    let all = descendants(running.id());
    assert!(all.len() >= processes, "only {all:?}");
    let inner = all[1];
    let namespaces = namespaces_of(&all);
    // One for each of 21 hosts, and the sandbox's own.
    assert!(namespaces.len() >= 20, "only {namespaces:?}");
    match which {
        Which::Outer => kill(running.id(), Signal::SIGKILL)?,
        Which::Inner => kill(inner.pid, Signal::SIGKILL)?,
    }
    let ended = running.end();
    match which {
        Which::Outer => assert_eq!(ended.code, None),
        Which::Inner => {
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(ended.stderr.contains("ended by SIGKILL"), "{ended:?}");
        }
    }
    eventually("its processes are gone", || {
        !all.iter().any(Process::is_there)
    })?;
    eventually("its network namespaces are held by nobody", || {
        held_namespaces().is_disjoint(&namespaces)
    })?;
    assert_eq!(Machine::now(), *before);
    Ok(())
}

/// A process: an id alone may be given anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pid: Pid,
    started: u64,
}

impl Process {
    /// The process with this id and its parent, if it is there.
    fn read(pid: i32) -> Option<(Self, i32)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let process = Self {
            pid: Pid::from_raw(pid),
            started: fields[19].parse().ok()?,
        };
        Some((process, fields[1].parse().ok()?))
    }

    pub(crate) fn is_there(&self) -> bool {
        Self::read(self.pid.as_raw()).is_some_and(|(now, _)| now == *self)
    }
}

/// A process and all that came of it, parents first.
pub(crate) fn descendants(root: Pid) -> Vec<Process> {
    let every: Vec<_> = pids().filter_map(Process::read).collect();
    let root = every.iter().find(|(process, _)| process.pid == root);
    let mut found = vec![root.expect("it is there").0];
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| process.pid.as_raw()) {
        found.extend(
            every
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(p, _)| *p),
        );
        next += 1;
    }
    found
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The network namespaces that these processes made: those that they are in or hold open, without
/// this process's own.
fn namespaces_of(processes: &[Process]) -> BTreeSet<String> {
    let own = fs::read_link("/proc/self/ns/net").expect("every process has one");
    let of = processes.iter().flat_map(|p| held_by(p.pid.as_raw()));
    of.filter(|namespace| Path::new(namespace) != own).collect()
}

/// Every network namespace that any process is in or holds open.
fn held_namespaces() -> BTreeSet<String> {
    pids().flat_map(held_by).collect()
}

fn held_by(pid: i32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let links = descriptors.flatten().map(|entry| entry.path());
    let links = links.chain([format!("/proc/{pid}/ns/net").into()]);
    let targets = links.filter_map(|link| {
        fs::read_link(link)
            .ok()?
            .into_os_string()
            .into_string()
            .ok()
    });
    targets
        .filter(|target| target.starts_with("net:["))
        .collect()
}

/// What a lab must leave as it was.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    interfaces: BTreeSet<String>,
    rules: String,
    named_namespaces: BTreeSet<String>,
    mounts: BTreeSet<String>,
}

impl Machine {
    fn now() -> Self {
        let names = |path: &str| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.collect()
        };
        let rules = run(Command::new("nft").args(["--stateless", "list", "ruleset"]));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
        // The first columns are numbers of the kernel's own.
        let place = |line: &str| line.splitn(4, ' ').nth(3).map(str::to_owned);
        Self {
            interfaces: names("/sys/class/net"),
            rules: rules.stdout,
            named_namespaces: names("/run/netns"),
            mounts: mounts.lines().filter_map(place).collect(),
        }
    }
}
