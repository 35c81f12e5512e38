//! The whole program from outside: what it leaves behind when it is killed, interrupted or given a
//! proxy that does not start, and that an ordinary user can do all of it.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use onehop_harness::netns;
use onehop_harness::tools::{Tool, ToolRef, Version, find_in_path, locate};
use support::{Ended, Home, Running, copy, eventually, run};

/// Set in the child of this test program that tries the sandbox: entering it moves the process.
const TRY_SANDBOX: &str = "ONEHOP_TEST_TRIES_SANDBOX";
/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// What this machine lacks, as reasons to ignore tests.
#[derive(Clone, Debug)]
struct Missing {
    lab: Option<String>,
    kube_proxy: Option<String>,
    kubectl: Option<String>,
    root: Option<String>,
    unshare: Option<String>,
}

fn main() -> ExitCode {
    if std::env::var_os(TRY_SANDBOX).is_some() {
        return match netns::enter(false) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        };
    }
    let arguments = Arguments::from_args();
    let missing = Missing::on_this_machine();
    let Missing {
        lab,
        kube_proxy,
        kubectl,
        root,
        unshare,
    } = &missing;
    let trials = vec![
        trial("the_outer_process_is_killed", &[lab], || {
            killed(Which::Outer)
        }),
        trial("the_inner_process_is_killed", &[lab], || {
            killed(Which::Inner)
        }),
        trial("a_run_is_killed_outside", &[lab, kube_proxy], || {
            run_killed(Which::Outer)
        }),
        trial("a_run_is_killed_inside", &[lab, kube_proxy], || {
            run_killed(Which::Inner)
        }),
        trial("a_run_is_interrupted", &[lab, kube_proxy], || {
            interrupted(false)
        }),
        trial(
            "a_run_is_interrupted_at_a_terminal",
            &[lab, kube_proxy],
            || interrupted(true),
        ),
        trial("a_run_is_interrupted_before_it_judges", &[lab], too_early),
        trial("a_lab_is_entered_and_ended", &[lab], entered),
        trial("a_lab_ends_with_its_terminal", &[lab], hung_up),
        trial(
            "kubectl_reaches_the_api_from_outside",
            &[lab, kubectl],
            kubectl_outside,
        ),
        trial("a_proxy_that_exits_is_reported", &[lab], proxy_exits),
        trial("a_proxy_that_hangs_is_reported", &[lab], proxy_hangs),
        trial("phases_are_recorded", &[lab, kube_proxy], phases),
        trial(
            "an_ordinary_user_runs_it",
            &[lab, kube_proxy, root],
            as_nobody,
        ),
        trial(
            "forbidden_namespaces_are_explained",
            &[lab, unshare],
            forbidden,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(
    name: &str,
    needs: &[&Option<String>],
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    match needs.iter().copied().flatten().next().cloned() {
        None => Trial::test(name, test),
        // Whoever runs ignored tests all the same gets the reason as a failure.
        Some(reason) => Trial::test(name, {
            let failure = Failed::from(reason.clone());
            move || Err(failure)
        })
        .with_kind(reason)
        .with_ignored_flag(true),
    }
}

impl Missing {
    fn on_this_machine() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = |name: &str| {
            let there = find_in_path(name, &path).is_some();
            (!there).then(|| format!("{name} is not in PATH"))
        };
        let this = std::env::current_exe().expect("this program has a path");
        let tried = run(Command::new(this).env(TRY_SANDBOX, "1"));
        let sandbox = (tried.code != Some(0)).then_some(tried.stderr);
        let tool = |tool| {
            let version = Version::DEFAULT;
            let located = locate(ToolRef { tool, version }, None);
            located.err().map(|error| error.to_string())
        };
        let kubectl = tool(Tool::ControlPlane).or_else(|| {
            let there = kubectl_path().is_some_and(|path| path.exists());
            (!there).then(|| "no kubectl beside the control plane".to_owned())
        });
        let root = (!nix::unistd::Uid::effective().is_root()).then(|| "not root".to_owned());
        let unshared = Command::new("unshare").args(["-Ur", "true"]).status();
        let unshare = (!unshared.is_ok_and(|status| status.success()))
            .then(|| "unshare -Ur does not work".to_owned());
        Self {
            lab: sandbox.or_else(|| program("nft")),
            kube_proxy: tool(Tool::KubeProxy),
            kubectl,
            root: root.or_else(|| program("setpriv")),
            unshare,
        }
    }
}

fn kubectl_path() -> Option<std::path::PathBuf> {
    let tool = ToolRef {
        tool: Tool::ControlPlane,
        version: Version::DEFAULT,
    };
    Some(locate(tool, None).ok()?.path.join("kubectl"))
}

/// Which of a lab's two processes is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Outer,
    Inner,
}

fn killed(which: Which) -> Result<(), Failed> {
    let home = Home::new();
    let before = Machine::now();
    let mut lab = Running::start(&mut home.onehop(&["lab", "up", "--no-proxy"]));
    lab.wait_for("KUBECONFIG")?;
    kill_and_look(lab, which, &before, 2)
}

fn run_killed(which: Which) -> Result<(), Failed> {
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
struct Process {
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

    fn is_there(&self) -> bool {
        Self::read(self.pid.as_raw()).is_some_and(|(now, _)| now == *self)
    }
}

/// A process and all that came of it, parents first.
fn descendants(root: Pid) -> Vec<Process> {
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

/// An interrupted run judges what it has begun, skips the rest, and writes its results. At a
/// terminal, the signal goes to the whole process group.
fn interrupted(at_terminal: bool) -> Result<(), Failed> {
    let home = Home::new();
    let mut run = Running::start(&mut home.onehop(&["run", "--jobs", "1"]));
    run.wait_for("PASS")?;
    if at_terminal {
        run.signal_group(Signal::SIGINT);
    } else {
        run.signal(Signal::SIGINT);
    }
    let ended = run.end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stderr.matches("interrupted").count(), 1, "{ended:?}");
    let results = home.results("onehop-out");
    let cases = results["results"][0]["cases"].as_array().expect("a list");
    assert_eq!(cases.len(), onehop_suites::catalogue().len());
    let verdict = |wanted: &str| cases.iter().filter(|c| c["verdict"] == wanted).count();
    let (passed, skipped) = (verdict("pass"), verdict("skip"));
    // The one under way was judged to its end: the proxy did not die of the interrupt.
    assert_eq!(passed + skipped, cases.len(), "{ended:?}");
    assert!(
        passed >= 1 && skipped >= 1,
        "{passed} passed, {skipped} skipped"
    );
    for case in cases.iter().filter(|case| case["verdict"] == "skip") {
        assert_eq!(case["reason"], "the run was interrupted");
    }
    assert_eq!(results["results"][0]["proxy"]["restarts"], 0);
    assert_eq!(results["summary"]["skipped"], skipped);
    Ok(())
}

/// Interrupted while the proxy is still expected to get ready, for which it would have 1000 s.
fn too_early() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("touch started; exec sleep 1000");
    let arguments = ["run", "--proxy", profile, "--proxy-ready-seconds", "1000"];
    let run = Running::start(&mut home.onehop(&arguments));
    eventually("the proxy runs", || home.path().join("started").exists())?;
    run.signal(Signal::SIGTERM);
    let ended = run.end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let results = home.results("onehop-out");
    assert_eq!(
        results["summary"]["skipped"],
        onehop_suites::catalogue().len()
    );
    Ok(())
}

fn proxy_exits() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("echo broken config >&2; exit 3");
    for command in [&["run"][..], &["lab", "up"], &["trace", "--to", "vip"]] {
        let arguments = [command, &["--proxy", profile]].concat();
        let ended = run(&mut home.onehop(&arguments));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let said = [ended.stdout, ended.stderr].concat();
        for text in [
            "exited 4 times and was never ready, last with exit status: 3",
            "broken config",
        ] {
            assert!(said.contains(text), "{command:?}: {said}");
        }
    }
    let results = home.results("onehop-out");
    let error = results["results"][0]["error"].as_str().expect("a text");
    assert!(error.starts_with("the proxy on vm"), "{error}");
    assert!(error.contains("exit status: 3") && error.contains("broken config"));
    assert_eq!(
        results["summary"]["errors"],
        onehop_suites::catalogue().len()
    );
    Ok(())
}

fn proxy_hangs() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("echo thinking; exec sleep 1000");
    let arguments = ["run", "--proxy", profile, "--proxy-ready-seconds", "1"];
    let ended = run(&mut home.onehop(&arguments));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let results = home.results("onehop-out");
    let error = results["results"][0]["error"].as_str().expect("a text");
    for text in [
        "was not ready after 1 s",
        "is refused",
        "it runs",
        "thinking",
    ] {
        assert!(error.contains(text), "no `{text}` in: {error}");
        assert!(
            ended.stdout.contains(text),
            "no `{text}` in: {}",
            ended.stdout
        );
    }
    Ok(())
}

/// Every phase of a lab's start is in the results. How long they take is for the benchmarks.
fn phases() -> Result<(), Failed> {
    let home = Home::new();
    let ended = run(&mut home.onehop(&["run", "internal/cluster/no-endpoint-refused"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let results = home.results("onehop-out");
    let phases = results["results"][0]["phases"].as_object().expect("a map");
    let names: Vec<_> = phases.keys().map(String::as_str).collect();
    let expected = [
        "api", "baseline", "cases", "network", "objects", "proxy", "taps",
    ];
    assert_eq!(names, expected);
    let seconds: Vec<_> = phases
        .values()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    assert!(seconds.len() == names.len() && seconds.iter().all(|&s| s > 0.0));
    let total = results["run"]["seconds"].as_f64().expect("a number");
    assert!(
        seconds.iter().sum::<f64>() <= total,
        "{phases:?} in {total} s"
    );
    Ok(())
}

/// Runs a command on a host of the lab.
fn exec(home: &Home, host: &str, command: &[&str]) -> Ended {
    let arguments = [&["lab", "exec", host, "--"], command].concat();
    run(&mut home.onehop(&arguments))
}

fn entered() -> Result<(), Failed> {
    let home = Home::new();
    let mut lab = Running::start(&mut home.onehop(&["lab", "up", "--no-proxy"]));
    lab.wait_for("KUBECONFIG")?;

    // Rules that are made on a host are on that host, and on no other.
    let tables = exec(&home, "vm1", &["nft", "list", "tables"]);
    assert_eq!((tables.code, &*tables.stdout), (Some(0), ""), "{tables:?}");
    let added = exec(&home, "vm1", &["nft", "add", "table", "inet", "seen"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    let tables = exec(&home, "vm1", &["nft", "list", "tables"]);
    assert_eq!(tables.stdout.trim(), "table inet seen");
    let tables = exec(&home, "vm2", &["nft", "list", "tables"]);
    assert_eq!((tables.code, &*tables.stdout), (Some(0), ""), "{tables:?}");

    let addresses = exec(&home, "client-public", &["cat", "/proc/net/fib_trie"]);
    assert!(addresses.stdout.contains("203.0.113.10"), "{addresses:?}");

    // A command finds itself in the lab's `/proc`, as iptables and others need to.
    let itself = exec(&home, "vm3", &["cat", "/proc/self/comm"]);
    assert_eq!(itself.stdout, "cat\n", "{itself:?}");

    // The code and the directory are those of the command and of the caller.
    assert_eq!(exec(&home, "web-0", &["sh", "-c", "exit 7"]).code, Some(7));
    let directory = exec(&home, "web-0", &["pwd"]);
    assert_eq!(
        Path::new(directory.stdout.trim()),
        home.path().canonicalize()?
    );
    let kubeconfig = exec(&home, "vm2", &["sh", "-c", "cat $KUBECONFIG"]);
    assert!(
        kubeconfig.stdout.contains("http://172.18.0.2:6443"),
        "{kubeconfig:?}"
    );
    let nobody = exec(&home, "vm9", &["true"]);
    assert_eq!(nobody.code, Some(2));
    assert!(nobody.stderr.contains("no host vm9") && nobody.stderr.contains("client-private"));
    let missing = exec(&home, "vm1", &["no-such-command"]);
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.contains("run no-such-command"),
        "{missing:?}"
    );

    let down = run(&mut home.onehop(&["lab", "down"]));
    assert_eq!(down.code, Some(0), "{down:?}");
    let again = run(&mut home.onehop(&["lab", "down"]));
    assert!(again.stderr.contains("no lab is up"), "{again:?}");
    let ended = lab.end();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    Ok(())
}

/// A lab whose terminal is closed has nobody left to end it.
fn hung_up() -> Result<(), Failed> {
    let home = Home::new();
    let mut lab = Running::start(&mut home.onehop(&["lab", "up", "--no-proxy"]));
    lab.wait_for("KUBECONFIG")?;
    let all = descendants(lab.id());
    lab.signal(Signal::SIGHUP);
    lab.end();
    eventually("it is gone", || !all.iter().any(Process::is_there))?;
    let state = run(&mut home.onehop(&["lab", "exec", "vm1", "--", "true"]));
    assert!(state.stderr.contains("no lab is up"), "{state:?}");
    Ok(())
}

fn kubectl_outside() -> Result<(), Failed> {
    let home = Home::new();
    let mut lab = Running::start(&mut home.onehop(&["lab", "up", "--no-proxy"]));
    let line = lab.wait_for("KUBECONFIG=")?;
    let kubeconfig = line.trim().rsplit('=').next().expect("a path").to_owned();
    let kubectl = kubectl_path().expect("asked for before");
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(&kubectl);
        home.settle(command.args(arguments));
        run(command
            .env("KUBECONFIG", &kubeconfig)
            .env("HOME", home.path()))
    };
    let nodes = ask(&["get", "nodes", "-o", "name"]);
    assert_eq!(nodes.stdout, "node/vm1\nnode/vm2\nnode/vm3\n", "{nodes:?}");
    let service = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mine"},
        "spec": {"ports": [{"port": 80}]}}"#;
    fs::write(home.path().join("service.json"), service)?;
    let created = ask(&["apply", "-f", "service.json"]);
    assert_eq!(created.code, Some(0), "{created:?}");
    let service = ask(&["get", "service", "mine", "-o", "jsonpath={.spec.clusterIP}"]);
    assert!(service.stdout.starts_with("10.96."), "{service:?}");
    lab.signal(Signal::SIGINT);
    assert_eq!(lab.end().code, Some(0));
    Ok(())
}

/// Everything again as a user that has no rights and can read nothing of this one's.
fn as_nobody() -> Result<(), Failed> {
    let home = Home::new();
    let version = Version::DEFAULT;
    let tool = ToolRef {
        tool: Tool::KubeProxy,
        version,
    };
    let located = locate(tool, None)?;
    let cached = format!("cache/onehop/tools/kube-proxy/{version}/kube-proxy");
    copy(&located.path, &home.path().join(cached))?;
    let program = Path::new(env!("CARGO_BIN_EXE_onehop"));
    let program = copy(program, &home.path().join("onehop"))?;
    let give = Command::new("chown")
        .args(["-R", &format!("{NOBODY}:{NOBODY}")])
        .arg(home.path())
        .status()?;
    assert!(give.success());
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        let user = [
            format!("--reuid={NOBODY}"),
            format!("--regid={NOBODY}"),
            "--clear-groups".to_owned(),
            "--inh-caps=-all".to_owned(),
            "--bounding-set=-all".to_owned(),
        ];
        home.settle(command.args(user).arg(&program).args(arguments));
        command
            .env("HOME", home.path())
            .env("XDG_CACHE_HOME", home.path().join("cache"));
        command
    };
    let ended = run(&mut as_nobody(&["run", "external/local", "--out", "out"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let results = home.results("out");
    let cases = onehop_suites::matching(&["external/local".to_owned()]);
    let cases = cases.expect("the pattern matches").len();
    assert_eq!(results["summary"]["passed"], cases);
    assert_eq!(
        results["results"][0]["proxy"]["version"],
        version.to_string()
    );

    let mut lab = Running::start(&mut as_nobody(&["lab", "up", "--no-proxy"]));
    lab.wait_for("KUBECONFIG")?;
    let arguments = ["lab", "exec", "vm1", "--", "nft"];
    for command in [&["add", "table", "inet", "seen"][..], &["list", "tables"]] {
        let ended = run(&mut as_nobody(&[&arguments[..], command].concat()));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout.contains("seen"), command[0] == "list");
    }
    let down = run(&mut as_nobody(&["lab", "down"]));
    assert_eq!(down.code, Some(0), "{down:?}");
    assert_eq!(lab.end().code, Some(0));
    Ok(())
}

fn forbidden() -> Result<(), Failed> {
    let home = Home::new();
    let profile = home.profile("exit 0");
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_onehop");
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", script, "sh", program]);
    home.settle(command.args(["run", "external/local", "--proxy", profile]));
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let advice = "user namespaces are off: run 'sysctl user.max_user_namespaces=10000' as root";
    assert!(ended.stderr.contains(advice), "{ended:?}");
    let results = home.results("onehop-out");
    let error = results["results"][0]["error"].as_str().expect("a text");
    assert!(error.contains(advice), "{error}");
    Ok(())
}
