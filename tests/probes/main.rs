//! The prober and the judge against a lab with no proxy, where rules made by hand decide what must
//! be seen. A prober that mixes outcomes up would blame, or acquit, the wrong proxy.

mod broken;
mod datagrams;
mod judged;
mod lab;
mod outcomes;
mod ways;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use lab::Bench;
use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::{netns, prepare};

type Check = fn(&Bench) -> Result<(), Failed>;

/// The tests: name and what it checks.
const TESTS: &[(&str, Check)] = &[
    (
        "every_way_keeps_its_source_and_its_ttl",
        ways::sources_and_ttls,
    ),
    ("no_outcome_is_taken_for_another", outcomes::mixed),
    (
        "no_outcome_is_taken_for_another_under_load",
        outcomes::mixed_under_load,
    ),
    ("a_lossy_path_is_seen_and_fails_the_flow", judged::lossy),
    ("a_backend_without_an_identity_is_broken", broken::backends),
    ("a_backend_that_ended_is_refused_at_once", broken::ended),
    ("a_late_backend_is_not_broken", broken::late),
    (
        "the_connections_of_a_backend_end_with_it",
        broken::connections_end,
    ),
    ("a_call_is_forgotten_by_a_reset", broken::forgotten),
    (
        "a_dropped_datagram_is_proven_by_its_backends",
        datagrams::proofs,
    ),
    ("a_backend_that_ended_answers_no_datagram", datagrams::ended),
    ("datagrams_of_any_length_come_whole", datagrams::long),
    ("a_fence_that_does_not_answer_is_an_error", broken::fences),
    ("a_right_proxy_passes", judged::right),
    ("each_wrong_proxy_is_caught", judged::wrong),
    (
        "a_port_changed_by_connection_tracking_is_no_lost_source",
        judged::clashing_ports,
    ),
    ("no_outcome_passes_for_another", judged::wrong_outcomes),
    (
        "what_no_node_serves_is_told_from_what_one_does",
        judged::unserved,
    ),
    (
        "one_pod_for_a_client_and_either_source_are_judged",
        judged::one_pod_and_either_source,
    ),
];

fn main() -> ExitCode {
    prepare::complete_path();
    let sandbox = netns::enter(false);
    let arguments = Arguments::from_args();
    let no_sandbox = sandbox.err().map(|error| error.to_string());
    let nft = Command::new("nft")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let no_nft = (!nft.is_ok_and(|status| status.success())).then(|| "nft is missing".to_owned());
    // The rules in this lab are made by hand, with nft.
    let missing = no_sandbox.or(no_nft);
    let bench = (missing.is_none() && !arguments.list).then(|| Arc::new(Bench::build()));
    let trial = |&(name, check): &(&str, Check)| {
        let (bench, missing) = (bench.clone(), missing.clone());
        let reason = missing.clone().unwrap_or_default();
        let ignored = missing.is_some();
        // Whoever runs ignored tests all the same gets the reason as a failure.
        let run = move || match &bench {
            Some(bench) => check(bench),
            None => Err(missing.unwrap_or_default().into()),
        };
        Trial::test(name, run)
            .with_kind(reason)
            .with_ignored_flag(ignored)
    };
    libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect()).exit_code()
}
