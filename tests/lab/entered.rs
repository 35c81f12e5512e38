//! Labs that are entered, called from outside, and ended; also by an ordinary user.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use onehop_harness::profile::Profile;
use onehop_harness::run::unsupported;
use onehop_harness::tools::{Tool, ToolRef, Version, locate};

use crate::leftovers::{Process, descendants};
use crate::support::{Ended, Home, Running, copy, eventually, run};

/// A user that owns nothing.
const NOBODY: u32 = 65534;

pub(crate) fn kubectl_path() -> Option<std::path::PathBuf> {
    let tool = ToolRef {
        tool: Tool::ControlPlane,
        version: Version::DEFAULT,
    };
    Some(locate(tool, None).ok()?.path.join("kubectl"))
}

/// Runs a command on a host of the lab.
fn exec(home: &Home, host: &str, command: &[&str]) -> Ended {
    let arguments = [&["lab", "exec", host, "--"], command].concat();
    run(&mut home.onehop(&arguments))
}

pub(crate) fn entered() -> Result<(), Failed> {
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
pub(crate) fn hung_up() -> Result<(), Failed> {
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

pub(crate) fn kubectl_outside() -> Result<(), Failed> {
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

/// Everything again as a user that has no rights, may open few files, and can read nothing of this one's.
pub(crate) fn as_nobody() -> Result<(), Failed> {
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
        // Fewer files than a lab opens: it raises the limit, and is not told to.
        let mut command = Command::new("prlimit");
        let user = [
            "--nofile=256:".to_owned(),
            "setpriv".to_owned(),
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
    let judged = "kube-proxy-nftables";
    let ended = run(&mut as_nobody(&[
        "run",
        "external/local",
        "--proxy",
        judged,
        "--out",
        "out",
    ]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let results = home.results("out");
    let cases = onehop_suites::matching(&["external/local".to_owned()]);
    let profile = Profile::load(judged).expect("a built-in profile");
    let cases = cases.expect("the pattern matches").into_iter();
    let cases = cases.filter(|case| unsupported(case, &profile).is_none());
    let known = |id: &String| profile.known.iter().any(|known| known.cases.contains(id));
    let (known, others): (Vec<_>, Vec<_>) = cases.partition(|case| known(&case.id));
    assert_eq!(results["summary"]["passed"], others.len());
    assert_eq!(results["summary"]["known"], known.len());
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
