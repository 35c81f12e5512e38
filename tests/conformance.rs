//! Every conformance case against each built-in proxy, as one test a case.

use std::path::Path;
use std::process::ExitCode;

use onehop::Suite;
use onehop::harness::profile::Profile;

fn main() -> ExitCode {
    let mut built_in = Profile::built_in();
    let first = built_in.next().expect("one at least is built in");
    built_in
        .fold(Suite::of(first), Suite::and)
        .out(Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance"))
        .run()
}
