//! Every command of the documentation is one that there is.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use onehop_harness::profile::Profile;

use super::{Arguments, Command};

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
    let begins = ["$ onehop ", "- run: onehop ", "- onehop ", "onehop "];
    let by_cargo = ["-- ", "--release -- ", "--features faults -- "];
    let line = line.split(" #").next().unwrap_or_default().trim();
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
        // An ellipsis stands for more of the same.
        let words = arguments.split_whitespace().filter(|word| *word != "…");
        is_command.then(|| words.collect())
    });
    each.collect()
}

/// What a command names that is not in the catalogue.
fn unmatched(command: &Command) -> Vec<String> {
    let patterns = match command {
        Command::Run(run) => &run.patterns,
        Command::Compare(compare) => &compare.patterns,
        Command::Explain(explain) => &explain.cases,
        Command::Show { case, .. } => return unmatched_of(std::slice::from_ref(case)),
        _ => return Vec::new(),
    };
    unmatched_of(patterns)
}

fn unmatched_of(patterns: &[String]) -> Vec<String> {
    onehop_suites::matching(patterns).err().unwrap_or_default()
}

/// Cases that profiles in the documentation know to fail, and every whole profile.
#[test]
fn every_profile_of_the_documentation_can_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let ids = onehop_suites::catalogue();
    let mut profiles = 0;
    for page in pages(&root.join("docs/guide")) {
        let text = fs::read_to_string(&page).expect("a page");
        let blocks = text.split("```yaml\n").skip(1);
        for block in blocks.map(|rest| rest.split("```").next().expect("a block ends")) {
            for line in block.lines().filter(|line| line.contains("cases: [")) {
                let named = line.split(['[', ']']).nth(1).expect("a list");
                let named = named.split(',').map(str::trim);
                let unknown = named.filter(|id| !ids.iter().any(|case| case.id == **id));
                let unknown: Vec<_> = unknown.collect();
                assert!(unknown.is_empty(), "{}: {unknown:?}", page.display());
            }
            if block.starts_with("name: ") {
                profiles += 1;
                let path = folder.path().join("profile.yaml");
                fs::write(&path, block).expect("written");
                let read = Profile::load(path.to_str().expect("text"));
                assert!(read.is_ok(), "{}: {read:?}", page.display());
            }
        }
    }
    assert!(profiles >= 2, "{profiles} profiles were found");
}

/// The examples of a command begin with two blanks, and say after several what they are for.
#[test]
fn every_example_of_the_help_can_be_parsed() {
    let mut examples = 0;
    for command in Arguments::command().get_subcommands() {
        let Some(help) = command.get_after_help() else {
            continue;
        };
        let help = help.to_string();
        for line in help
            .lines()
            .filter_map(|line| line.strip_prefix("  onehop "))
        {
            let line = line.split("   ").next().expect("a part").trim();
            let line = line.split(['>', '|']).next().expect("a part");
            let arguments = ["onehop"].into_iter().chain(line.split_whitespace());
            let arguments: Vec<_> = arguments.collect();
            let parsed = Arguments::try_parse_from(&arguments);
            let parsed = parsed.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
            assert!(unmatched(&parsed.command).is_empty(), "{arguments:?}");
            examples += 1;
        }
    }
    assert!(examples > 25, "{examples} examples were found");
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
            let unmatched = match Arguments::try_parse_from(command) {
                Ok(parsed) => unmatched(&parsed.command),
                Err(error) => vec![error.to_string()],
            };
            let unmatched = unmatched.into_iter();
            wrong
                .extend(unmatched.map(|what| format!("{}: {arguments:?}\n{what}", page.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(parsed > 50, "{parsed} commands were found");
}
