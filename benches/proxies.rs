//! `cargo bench --bench proxies [-- ARGUMENT…]`: `onehop bench` of an optimised build, with these
//! arguments and all of its defaults.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    // Cargo adds this one for harnesses.
    let arguments = env::args_os().skip(1).filter(|given| given != "--bench");
    let mut onehop = Command::new(env!("CARGO_BIN_EXE_onehop"));
    let error = onehop.arg("bench").args(arguments).exec();
    panic!("onehop cannot be started: {error}");
}
