//! A Service proxy judged by `cargo test`: one test for each case of the catalogue.
//!
//! In a project of your own this is `tests/conformance.rs`, with `[[test]] name = "conformance"` and `harness = false` in its
//! `Cargo.toml`, and the path of your own profile in place of the name.

use std::process::ExitCode;

use onehop::Suite;

fn main() -> ExitCode {
    Suite::of("bundled")
        .cases(["external/", "internal/"])
        .required(std::env::var_os("CI").is_some())
        .out("target/onehop")
        .run()
}
