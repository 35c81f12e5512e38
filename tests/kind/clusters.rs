//! Every built-in proxy on a cluster of its own, made and removed by the run.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::parity;
use crate::support::{Home, run};

/// The cluster that runs make.
pub(crate) const CLUSTER: &str = "onehop";

pub(crate) fn bundled() -> Result<(), Failed> {
    let home = Home::new();
    judged(&home, "bundled", &[])?;
    nothing_is_left()
}

/// By a third of the cases, some of every subject: each is judged in the embedded lab as well, and on kind beside nftables.
pub(crate) fn kube_proxy_iptables() -> Result<(), Failed> {
    let home = Home::new();
    judged(&home, "kube-proxy-iptables", &["--shard", "1/3"])?;
    nothing_is_left()
}

/// Its cluster stays, for the tests of an existing one.
pub(crate) fn kube_proxy_nftables() -> Result<(), Failed> {
    let home = Home::new();
    let kind = judged(&home, "kube-proxy-nftables", &["--keep"])?;
    // Kept first: what fails in the lab says nothing of an existing cluster.
    *NFTABLES.lock().expect("no holder panics") = Some(kind.clone());
    let ended = run(&mut home.onehop(&["run", "--proxy", "kube-proxy-nftables", "--out", "netns"]));
    if ended.code != Some(0) {
        let explained = run(&mut home.onehop(&["explain", "--failed", "--dir", "netns"]));
        return Err(format!("in the embedded lab: {ended:?}{explained:?}").into());
    }
    parity::compare(&home.results("netns"), &kind)
}

/// The results of nftables mode on kind, to which those on an existing cluster are held.
pub(crate) static NFTABLES: Mutex<Option<Value>> = Mutex::new(None);

/// Runs the suite on kind, all of which passes or is skipped for a reason that the profile
/// declares, and nine tenths of it are judged.
fn judged(home: &Home, proxy: &str, more: &[&str]) -> Result<Value, Failed> {
    let arguments = [
        "run",
        "--provider",
        "kind",
        "--proxy",
        proxy,
        "--out",
        "kind",
    ];
    let ended = run(&mut home.onehop(&[&arguments, more].concat()));
    if ended.code != Some(0) {
        return Err(format!("on kind: {ended:?}").into());
    }
    let results = home.results("kind");
    println!("{}", table(&results));
    let cases = cases(&results);
    let skipped: Vec<_> = cases
        .iter()
        .filter(|case| case["verdict"] == "skip")
        .collect();
    if skipped.len() * 10 > cases.len() {
        let (skipped, all) = (skipped.len(), cases.len());
        return Err(format!("{skipped} of {all} cases were not judged").into());
    }
    for case in skipped {
        let reason = case["reason"].as_str().unwrap_or_default();
        if !reason.starts_with(&format!("{proxy} declares ")) {
            return Err(format!("{}: {reason}", case["id"]).into());
        }
    }
    Ok(results)
}

/// The cases of a run's one proxy.
pub(crate) fn cases(results: &Value) -> &Vec<Value> {
    results["results"][0]["cases"]
        .as_array()
        .expect("a list of cases")
}

/// The verdicts of each subject, counted, and how long the phases took.
fn table(results: &Value) -> String {
    let mut subjects = BTreeMap::<&str, BTreeMap<&str, u32>>::new();
    for case in cases(results) {
        let id = case["id"].as_str().unwrap_or_default();
        let subject = id.split('/').next().unwrap_or_default();
        let verdict = case["verdict"].as_str().unwrap_or_default();
        *subjects
            .entry(subject)
            .or_default()
            .entry(verdict)
            .or_default() += 1;
    }
    let rows = subjects
        .iter()
        .map(|(subject, verdicts)| format!("  {subject:20} {verdicts:?}"));
    let rows: Vec<_> = rows.collect();
    let phases = &results["results"][0]["phases"];
    let seconds = phases
        .as_object()
        .into_iter()
        .flat_map(|phases| phases.values());
    let seconds: f64 = seconds.filter_map(Value::as_f64).sum();
    format!("{}\n  {seconds:.0} s: {phases}", rows.join("\n"))
}

/// No cluster and no container of onehop's is left.
pub(crate) fn nothing_is_left() -> Result<(), Failed> {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.expect("it was there before");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let clusters = output("kind", &["get", "clusters"]);
    let containers = output("docker", &["ps", "--all", "--format", "{{.Names}}"]);
    let left = clusters.lines().any(|line| line == CLUSTER) || containers.contains(CLUSTER);
    if left {
        return Err(format!("left behind: {clusters}{containers}").into());
    }
    Ok(())
}

/// Removes the cluster that a test has kept.
pub(crate) fn remove() {
    let removed = Command::new("kind")
        .args(["delete", "cluster", "--name", CLUSTER])
        .output();
    if let Err(error) = removed {
        eprintln!("the cluster {CLUSTER} may be left behind: {error}");
    }
}
