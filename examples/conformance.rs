//! A Service proxy judged by `cargo test`: one test for each case of the catalogue.
//!
//! In a project of your own this is `tests/conformance.rs`, with `[[test]] name = "conformance"` and `harness = false` in its
//! `Cargo.toml`, and beside it the profile of your own proxy. Here the bundled proxy stands for that.

use std::process::ExitCode;

use onehop::Suite;

fn main() -> ExitCode {
    Suite::of("examples/my-proxy.yaml")
        .cases(["external/", "internal/"])
        .required(std::env::var_os("CI").is_some())
        .out("target/onehop")
        .run()
}
