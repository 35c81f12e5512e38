//! Real clusters: every built-in proxy on kind, the same verdicts as in the embedded lab, an existing
//! cluster that is left as it was, and errors that say what to do.
//!
//! One test after the other: there is one engine, and one cluster at a time.

mod clusters;
mod errors;
mod existing;
mod parity;
#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// The image of the nodes.
const NODE_IMAGE: &str = "kindest/node:v1.36.3";

type Test = fn() -> Result<(), Failed>;

/// In the order in which they run: some use what another one before has left.
const TESTS: [(&str, Test); 9] = [
    ("a_missing_program_is_named", errors::a_missing_program_is_named),
    ("an_image_that_is_no_node_leaves_nothing", errors::an_image_that_is_no_node_leaves_nothing),
    ("a_full_disk_is_told_and_leaves_nothing", errors::a_full_disk_is_told_and_leaves_nothing),
    ("somebody_elses_cluster_is_left_alone", errors::somebody_elses_cluster_is_left_alone),
    ("what_a_killed_run_left_is_swept", errors::what_a_killed_run_left_is_swept),
    ("bundled", clusters::bundled),
    ("kube_proxy_iptables", clusters::kube_proxy_iptables),
    ("kube_proxy_nftables", clusters::kube_proxy_nftables),
    ("an_existing_cluster", existing::an_existing_cluster),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let missing = if arguments.list { None } else { missing() };
    let trials = TESTS.map(|(name, test)| match &missing {
        None => Trial::test(name, test),
        Some(why) => Trial::test(name, || Ok(()))
            .with_kind(format!("ignored: {why}"))
            .with_ignored_flag(true),
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    if missing.is_none() && !arguments.list {
        clusters::remove();
    }
    conclusion.exit_code()
}

/// What is missing here, with what to do about it.
fn missing() -> Option<String> {
    let succeeds = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !succeeds("docker", &["version"]) {
        return Some("no Docker engine answers; see kind-configs/offline/".to_owned());
    }
    if !succeeds("kind", &["version"]) {
        return Some("kind is not in PATH; onehop tools install kind".to_owned());
    }
    if !succeeds("docker", &["image", "inspect", NODE_IMAGE]) {
        return Some(format!(
            "the engine has no {NODE_IMAGE}; docker pull it, or see kind-configs/offline/"
        ));
    }
    None
}
