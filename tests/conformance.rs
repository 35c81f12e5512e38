//! Every conformance case against each built-in proxy, as one test a case.

use std::path::Path;
use std::process::ExitCode;

use onehop::Suite;

fn main() -> ExitCode {
    Suite::of("bundled")
        .and("kube-proxy-nftables")
        .and("kube-proxy-iptables")
        .out(Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance"))
        .run()
}
