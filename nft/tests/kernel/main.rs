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
mod traces;

use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

use onehop_nft::Netfilter;
use support::in_namespace;

/// A test: its name, what it needs, and what it checks.
type Test = (&'static str, Needs, fn() -> Result<(), Failed>);

/// What a test needs of the machine, beside namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing.
    Nothing,
    /// The program `nft`.
    Nft,
    /// The program `ip`.
    Ip,
    /// That one send may have some megabytes.
    Buffer,
}

/// More than any transaction of these tests has, except the one that is to be too large.
const BUFFER: usize = 4 << 20;

fn main() -> ExitCode {
    if let Some(code) = refused::child() {
        return code;
    }
    // A user namespace can be entered only before there are threads.
    let privileged = support::gain_privileges();
    let arguments = Arguments::from_args();
    let lacking = lacking();
    let groups: [&[Test]; 8] = [
        listing::TESTS,
        bytes::TESTS,
        read::TESTS,
        large::TESTS,
        refused::TESTS,
        changes::TESTS,
        netlink::TESTS,
        traces::TESTS,
    ];
    let trial = |&(name, needs, check): &Test| {
        let privileged = privileged.clone();
        let run = move || {
            privileged?;
            in_namespace(check)
        };
        Trial::test(name, run).with_ignored_flag(lacking.contains(&needs))
    };
    let trials = groups.iter().copied().flatten().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What this machine does not have. Says so.
fn lacking() -> Vec<Needs> {
    let mut lacking = Vec::new();
    for (needs, program, version, package) in [
        (Needs::Nft, "nft", "--version", "nftables"),
        (Needs::Ip, "ip", "-V", "iproute2"),
    ] {
        let mut asked = Command::new(program);
        asked
            .arg(version)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !asked.status().is_ok_and(|status| status.success()) {
            eprintln!("ignored: tests that need {program}, which is not here (package {package})");
            lacking.push(needs);
        }
    }
    let capacity = Netfilter::open().and_then(|netfilter| netfilter.capacity(BUFFER));
    // Where nothing can be opened, every test fails and says why.
    if capacity.is_ok_and(|capacity| capacity < BUFFER) {
        eprintln!(
            "ignored: tests of large transactions, which need root or net.core.wmem_max of 2 MiB"
        );
        lacking.push(Needs::Buffer);
    }
    lacking
}
