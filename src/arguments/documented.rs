//! Every command of the documentation is one that there is.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::Arguments;

/// Pages below a folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let pages = paths.flat_map(|path| match path.extension() {
        _ if path.is_dir() => pages(&path),
        Some(ending) if ending == "md" => vec![path],
        _ => Vec::new(),
    });
    pages.collect()
}

/// The arguments of the commands on a line of a page, whoever runs them.
fn commands(line: &str) -> Vec<Vec<&str>> {
    let begins = ["$ onehop ", "- run: onehop ", "    - onehop ", "onehop "];
    let by_cargo = ["-- ", "--release -- ", "--features faults -- "];
    let line = line.split(" #").next().unwrap_or_default();
    let each = line.split(" ; ").filter_map(|command| {
        let of_onehop = begins.iter().find_map(|begin| command.strip_prefix(begin));
        let of_cargo = command
            .trim_start_matches("$ ")
            .strip_prefix("cargo run ")
            .and_then(|rest| by_cargo.iter().find_map(|begin| rest.strip_prefix(begin)));
        let arguments = of_onehop.or(of_cargo)?;
        let arguments = arguments.split(['>', '|']).next().unwrap_or_default();
        // In a manifest of Rust it is a dependency.
        let is_command = !arguments.starts_with('=');
        is_command.then(|| arguments.split_whitespace().collect())
    });
    each.collect()
}

#[test]
fn every_command_of_the_documentation_can_be_parsed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = pages(&root.join("docs"));
    all.extend(["README.md", "CONTRIBUTING.md"].map(|page| root.join(page)));
    let mut parsed = 0;
    let mut wrong = Vec::new();
    for page in all {
        let text = fs::read_to_string(&page).expect("a page");
        // What is not in a block is a sentence.
        let blocks = text.split("```").skip(1).step_by(2);
        for arguments in blocks.flat_map(str::lines).flat_map(commands) {
            parsed += 1;
            let command = ["onehop"].into_iter().chain(arguments.iter().copied());
            if let Err(error) = Arguments::try_parse_from(command) {
                wrong.push(format!("{}: {arguments:?}\n{error}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(parsed > 50, "{parsed} commands were found");
}
