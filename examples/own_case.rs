//! A case of one's own: what a proxy promises beyond the catalogue, as data, judged by real packets like all others.

use std::process::ExitCode;

use onehop::Suite;
use onehop::harness::case::{Case, Policy, Service};
use onehop::suites::story::{STORY, dropped, kept_on, node_port, private, reaches};

/// vm1 has one pod of the story, vm2 none, vm3 two.
fn mine() -> Case {
    let service = Service::node_port().external(Policy::Local);
    Case::new(
        "mine/local",
        "Under Local, vm1 answers and vm2 drops.",
        service,
        &STORY,
    )
    .sources(&["https://example.org/our-promise"])
    .check(
        "pods 1-0-2",
        [
            reaches(&private(), node_port("vm1"), kept_on("vm1", &["web-0"])),
            dropped(&private(), node_port("vm2")),
        ],
    )
}

fn main() -> ExitCode {
    Suite::of("examples/my-proxy.yaml")
        .cases(["hairpin/cluster-ip"])
        .with([mine()])
        .required(std::env::var_os("CI").is_some())
        .out("target/onehop-own")
        .run()
}
