//! Somebody's cluster, reached by its kubeconfig alone, and left as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use nix::sys::signal::Signal;

use crate::clusters::{CLUSTER, NFTABLES, cases};
use crate::parity::same;
use crate::support::{Ended, Home, Running, eventually, run};

const CONTEXT: &str = "kind-onehop";
const PROXY: &str = "kube-proxy-nftables";
/// What an existing cluster does not have for a stranger.
const LACKS: [&str; 6] = [
    "clients outside of the cluster",
    "a load balancer",
    "second addresses of nodes",
    "external addresses",
    "nodes to taint",
    "zones",
];

/// The whole story, in the order in which a person would come to it.
pub(crate) fn an_existing_cluster() -> Result<(), Failed> {
    let home = Home::new();
    let config = output("kind", &["get", "kubeconfig", "--name", CLUSTER])?;
    fs::write(home.path().join("kubeconfig"), config)?;
    let before = objects()?;

    let ended = existing(&home, &["--out", "all"]);
    if ended.code != Some(0) {
        return Err(format!("{ended:?}").into());
    }
    same_verdicts(&home)?;
    unchanged(&before, "after a run")?;

    killed(&home, &before)?;
    job(&home, &before)
}

/// The subjects of which an existing cluster has something to be judged.
const JUDGED: [&str; 6] = [
    "affinity",
    "endpoints",
    "external",
    "hairpin",
    "internal",
    "udp",
];

/// What is judged gets the verdict that it has on kind, and what is not is for want of something that the
/// cluster does not have.
fn same_verdicts(home: &Home) -> Result<(), Failed> {
    let results = home.results("all");
    let kind = NFTABLES.lock().expect("no holder panics").clone();
    let kind = kind.ok_or("the test on kind has to come before")?;
    let verdicts = cases(&kind).iter().map(|case| {
        let text = |field: &str| case[field].as_str().unwrap_or_default().to_owned();
        (text("id"), text("verdict"))
    });
    let on_kind: BTreeMap<String, String> = verdicts.collect();
    let mut subjects = BTreeSet::new();
    let mut counted = BTreeMap::<String, u32>::new();
    for case in cases(&results) {
        let verdict = case["verdict"].as_str().unwrap_or_default();
        *counted.entry(verdict.to_owned()).or_default() += 1;
        let reason = case["reason"].as_str().unwrap_or_default();
        let id = case["id"].as_str().unwrap_or_default();
        let wanted = reason
            .strip_prefix("needs ")
            .and_then(|reason| reason.split_once(": "));
        let lacking = wanted.is_some_and(|(need, _)| LACKS.contains(&need));
        let declared = reason.starts_with(&format!("{PROXY} declares "));
        let on_kind = on_kind.get(id).cloned().unwrap_or_default();
        let right = match verdict {
            "skip" => lacking || declared,
            judged => same(id, judged, &on_kind),
        };
        if !right {
            return Err(format!("{id}: {verdict} ({reason}), {on_kind} on kind").into());
        }
        if verdict != "skip" {
            subjects.insert(id.split('/').next().unwrap_or_default().to_owned());
        }
    }
    let missing: Vec<_> = JUDGED
        .iter()
        .filter(|known| !subjects.contains(**known))
        .collect();
    if !missing.is_empty() {
        return Err(format!("nothing of {missing:?} was judged").into());
    }
    println!("{counted:?}");
    if counted.get("pass").is_none_or(|passed| *passed < 30) {
        return Err(format!("too little was judged: {counted:?}").into());
    }
    Ok(())
}

/// A second run is refused while one is under way; what a killed one leaves, `clean` removes.
fn killed(home: &Home, before: &str) -> Result<(), Failed> {
    let run_udp = ["udp", "--out", "killed"];
    let parameter_before = parameter()?;
    if parameter_before == CHANGED {
        return Err("the nodes are not as they were before any run".into());
    }
    let under_way = Running::start(&mut command(home, &run_udp));
    eventually("agents act on the nodes", || {
        parameter().is_ok_and(|value| value == CHANGED)
    })?;
    let second = existing(home, &["hairpin", "--out", "second"]);
    let refused = second
        .stdout
        .contains("another run of onehop uses the cluster");
    if (second.code, refused) != (Some(2), true) {
        return Err(format!("a second run was not refused: {second:?}").into());
    }
    under_way.signal(Signal::SIGKILL);
    drop(under_way);
    eventually("the nodes are as they were", || {
        parameter().is_ok_and(|value| value == parameter_before)
    })?;
    let clean = ["clean", "--context", CONTEXT, "--kubeconfig", "kubeconfig"];
    let cleaned = run(&mut home.onehop(&clean));
    if cleaned.code != Some(0) || !cleaned.stdout.contains("removed") {
        return Err(format!("{cleaned:?}").into());
    }
    unchanged(before, "after a killed run and `onehop clean`")
}

/// onehop as a Job of the cluster, with the rights that its manifest gives it and no others.
fn job(home: &Home, before: &str) -> Result<(), Failed> {
    let image = run(&mut home.onehop(&["image", "--name"])).stdout;
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/job.yaml"))?;
    let manifest = manifest
        .replace("IMAGE", image.trim())
        .replace("PROXY", PROXY)
        .replace(
            "            - run\n",
            "            - run\n            - hairpin\n",
        );
    let mut apply = kubectl(&["apply", "-f", "-"]);
    let mut applying = apply.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut stdin = applying.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, manifest.as_bytes())?;
    drop(stdin);
    if !applying.wait()?.success() {
        return Err("the manifest was refused".into());
    }
    let wait = [
        "wait",
        "-n",
        "onehop-job",
        "--for=condition=complete",
        "job/onehop",
        "--timeout=120s",
    ];
    let done = kubectl(&wait).output()?;
    if !done.status.success() {
        let log = kubectl(&["logs", "-n", "onehop-job", "job/onehop"]).output()?;
        return Err(String::from_utf8_lossy(&log.stdout).into_owned().into());
    }
    let read = [
        "get",
        "configmap",
        "-n",
        "onehop-job",
        "results",
        "-o",
        "jsonpath={.data.results\\.json}",
    ];
    let results = kubectl(&read).output()?.stdout;
    let results: serde_json::Value = serde_json::from_slice(&results)?;
    let summary = &results["summary"];
    if summary["passed"].as_u64().is_none_or(|passed| passed == 0) || summary["failed"] != 0 {
        return Err(format!("the Job's results: {summary}").into());
    }
    let kinds = [
        "namespace/onehop-job",
        "clusterrole/onehop",
        "clusterrole/onehop-namespace",
    ];
    let bindings = [
        "clusterrolebinding/onehop",
        "clusterrolebinding/onehop-namespace",
    ];
    let delete = [&["delete"][..], &kinds, &bindings].concat();
    let deleted = kubectl(&delete).output()?;
    if !deleted.status.success() {
        return Err(String::from_utf8_lossy(&deleted.stderr).into_owned().into());
    }
    unchanged(before, "after a Job")
}

fn command(home: &Home, arguments: &[&str]) -> Command {
    let first = ["run", "--provider", "existing", "--context", CONTEXT];
    let cluster = ["--kubeconfig", "kubeconfig", "--proxy", PROXY];
    home.onehop(&[&first[..], &cluster, arguments].concat())
}

fn existing(home: &Home, arguments: &[&str]) -> Ended {
    run(&mut command(home, arguments))
}

/// The objects of the cluster, by name.
fn objects() -> Result<String, Failed> {
    let kinds = "all,clusterrole,clusterrolebinding,role,rolebinding,serviceaccount,lease,namespace,\
                 configmap,secret,endpointslice";
    let labels =
        "jsonpath={range .items[*]}{.metadata.name}{.metadata.labels}{.spec.taints}{\"\\n\"}{end}";
    let asked: [&[&str]; 2] = [
        &["get", kinds, "-A", "-o", "name"],
        &["get", "nodes", "-o", labels],
    ];
    let mut objects = String::new();
    for asked in asked {
        let listed = kubectl(asked).output()?;
        if !listed.status.success() {
            return Err(String::from_utf8_lossy(&listed.stderr).into_owned().into());
        }
        objects += &String::from_utf8_lossy(&listed.stdout);
    }
    Ok(objects)
}

fn unchanged(before: &str, when: &str) -> Result<(), Failed> {
    // Controllers take a moment to remove what belongs to what is gone.
    let same = eventually("the cluster is as it was", || {
        objects().is_ok_and(|now| now == before)
    });
    same.map_err(|_| {
        let now = objects().unwrap_or_default();
        format!("the cluster is not as it was {when}:\n{before}\nand now\n{now}").into()
    })
}

/// The parameters of nodes while agents are used, as [`parameter`] reads them.
const CHANGED: &str = "0 128 0 128 0 128";

/// The parameters of all nodes that agents change for as long as they are used.
fn parameter() -> Result<String, Failed> {
    let nodes = ["worker", "worker2", "worker3"].map(|node| format!("{CLUSTER}-{node}"));
    let files = [
        "/proc/sys/net/ipv4/icmp_ratemask",
        "/proc/sys/net/ipv6/icmp/ratemask",
    ];
    let mut values = Vec::new();
    for node in &nodes {
        let read = [&["exec", node.as_str(), "cat"][..], &files].concat();
        values.extend(
            output("docker", &read)?
                .split_whitespace()
                .map(str::to_owned),
        );
    }
    Ok(values.join(" "))
}

/// The kubectl of the control plane's container.
fn kubectl(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    let node = format!("{CLUSTER}-control-plane");
    command.args([
        "exec",
        "-i",
        &node,
        "kubectl",
        "--kubeconfig",
        "/etc/kubernetes/admin.conf",
    ]);
    command.args(arguments);
    command
}

fn output(program: &str, arguments: &[&str]) -> Result<String, Failed> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
