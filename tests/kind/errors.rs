//! What goes wrong gets one clear message and exit code 2, and leaves nothing.

use std::fs;
use std::process::Command;

use libtest_mimic::Failed;
use nix::sys::signal::Signal;

use crate::NODE_IMAGE;
use crate::clusters::{CLUSTER, nothing_is_left};
use crate::support::{Ended, Home, Running, eventually, run};

/// A run of one case on kind.
const RUN: [&str; 4] = ["run", "hairpin/cluster-ip", "--provider", "kind"];

/// Results say why nothing was judged, and the exit code is 2.
fn expect(home: &Home, ended: &Ended, text: &str) -> Result<(), Failed> {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    if ended.code != Some(2) || !said.contains(text) {
        return Err(format!("expected exit code 2 and \"{text}\": {ended:?}").into());
    }
    let error = &home.results("onehop-out")["results"][0]["error"];
    if !error.as_str().is_some_and(|error| error.contains(text)) {
        return Err(format!("the results say {error}").into());
    }
    Ok(())
}

/// The folder of a program in `PATH`.
fn folder_of(program: &str) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders = path.split(':').filter(|folder| fs::exists(format!("{folder}/{program}")).unwrap_or(false));
    folders.next().unwrap_or_default().to_owned()
}

pub(crate) fn a_missing_program_is_named() -> Result<(), Failed> {
    let home = Home::new();
    // Not even what onehop has installed itself.
    let mut without = home.onehop(&RUN);
    let without = without.env("PATH", "/nowhere").env("XDG_CACHE_HOME", home.path());
    expect(&home, &run(without), "kind is not in PATH; install it: onehop tools install kind")?;

    let only = home.path().join("bin");
    fs::create_dir(&only)?;
    std::os::unix::fs::symlink(format!("{}/kind", folder_of("kind")), only.join("kind"))?;
    let mut without = home.onehop(&RUN);
    expect(&home, &run(without.env("PATH", &only)), "docker is not in PATH; install a Docker engine")?;

    let mut silent = home.onehop(&RUN);
    let silent = silent.env("DOCKER_HOST", "unix:///nowhere.sock");
    expect(&home, &run(silent), "no Docker engine answers: start it")
}

pub(crate) fn an_image_that_is_no_node_leaves_nothing() -> Result<(), Failed> {
    let home = Home::new();
    let mut unknown = home.onehop(&RUN);
    let unknown = run(unknown.args(["--node-image", "kindest/node:no-such-version"]));
    expect(&home, &unknown, "failed to make the kind cluster onehop of kindest/node:no-such-version")?;
    nothing_is_left()
}

pub(crate) fn a_full_disk_is_told_and_leaves_nothing() -> Result<(), Failed> {
    let home = Home::new();
    let out = home.path().join("onehop-out");
    fs::create_dir(&out)?;
    // A file system of one page, for this command alone.
    let script = format!(
        "mount -t tmpfs -o size=4k none {out} && head -c 4096 /dev/zero > {out}/full && exec \"$@\"",
        out = out.display()
    );
    let mut full = Command::new("unshare");
    full.args(["--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_onehop")]);
    home.settle(full.args(RUN));
    let ended = run(&mut full);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    if ended.code != Some(2) || !said.contains("No space left on device") {
        return Err(format!("{ended:?}").into());
    }
    nothing_is_left()
}

pub(crate) fn somebody_elses_cluster_is_left_alone() -> Result<(), Failed> {
    let home = Home::new();
    // kind knows clusters by the labels of their containers; one that does nothing is one as well.
    let labels = [
        format!("io.x-k8s.kind.cluster={CLUSTER}"),
        "io.x-k8s.kind.role=control-plane".to_owned(),
    ];
    let name = format!("{CLUSTER}-control-plane");
    let [cluster, role] = &labels;
    let create = ["create", "--name", &name, "--label", cluster, "--label", role, NODE_IMAGE];
    let made = Command::new("docker").args(create).output()?;
    let ended = run(&mut home.onehop(&RUN));
    let stays = Command::new("docker").args(["rm", "--force", &name]).output()?;
    if !made.status.success() || !String::from_utf8_lossy(&stays.stdout).contains(&name) {
        return Err("the cluster was not left alone".into());
    }
    expect(&home, &ended, "there is a kind cluster named onehop already, and it is not onehop's")?;
    let mut unknown = home.onehop(&RUN);
    let unknown = run(unknown.args(["--cluster", "no-such-cluster"]));
    expect(&home, &unknown, "there is no kind cluster named no-such-cluster")
}

/// The next run of that name finds what was left, and removes it before anything else.
pub(crate) fn what_a_killed_run_left_is_swept() -> Result<(), Failed> {
    let home = Home::new();
    let killed = Running::start(&mut home.onehop(&RUN));
    let containers = || {
        let listed = Command::new("docker").args(["ps", "--quiet", "--no-trunc"]).output();
        let listed = listed.expect("docker is there");
        String::from_utf8_lossy(&listed.stdout).into_owned()
    };
    eventually("its containers run", || !containers().is_empty())?;
    let mut second = home.onehop(&RUN);
    let second = run(second.args(["--out", "onehop-out"]));
    expect(&home, &second, "another run of onehop has the kind cluster onehop")?;
    killed.signal_group(Signal::SIGKILL);
    drop(killed);
    let left = containers();
    let swept = run(&mut home.onehop(&RUN));
    if swept.code != Some(0) {
        return Err(format!("{swept:?}").into());
    }
    if left.is_empty() {
        return Err("the killed run had left nothing to sweep".into());
    }
    nothing_is_left()
}
