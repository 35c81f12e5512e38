//! The crate against the kernel: each test in a network namespace of its own.

mod bytes;
mod changes;
mod large;
mod listing;
mod netlink;
mod read;
mod refused;
mod ruleset;
mod support;

use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

use support::in_namespace;

/// A test: its name, whether it needs the program `nft`, and what it checks.
type Test = (&'static str, bool, fn() -> Result<(), Failed>);

fn main() -> ExitCode {
    if let Some(code) = refused::child() {
        return code;
    }
    // A user namespace can be entered only before there are threads.
    let privileged = support::gain_privileges();
    let arguments = Arguments::from_args();
    let has_nft = Command::new("nft")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_nft {
        eprintln!("ignored: tests that need nft, which is not here (package nftables)");
    }
    let groups: [&[Test]; 7] = [
        listing::TESTS,
        bytes::TESTS,
        read::TESTS,
        large::TESTS,
        refused::TESTS,
        changes::TESTS,
        netlink::TESTS,
    ];
    let trial = |&(name, needs_nft, check): &Test| {
        let privileged = privileged.clone();
        let run = move || {
            privileged?;
            in_namespace(check)
        };
        Trial::test(name, run).with_ignored_flag(needs_nft && !has_nft)
    };
    let trials = groups.iter().copied().flatten().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
