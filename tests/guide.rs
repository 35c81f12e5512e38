//! The documentation: its links lead somewhere, the guide is built, and its story is what packets do.
//!
//! Building the guide needs `mdbook`; without it that test is ignored, with the reason. The pictures of the story are kept where
//! ONEHOP_SCREENSHOTS says: those in `docs/pictures` were made so.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::netns;
use regex::Regex;
use support::{Home, run};

/// Pages beside those in `docs`.
const PAGES: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "profiles/README.md",
    "kind-configs/offline/README.md",
];

fn main() -> ExitCode {
    let book = Trial::test("the_guide_is_built_and_its_links_lead_somewhere", || {
        the_guide_is_built_and_its_links_lead_somewhere()
    });
    let story = Trial::test("the_story_is_what_packets_do", || {
        the_story_is_what_packets_do()
    });
    let mdbook = Command::new("mdbook").arg("--version").output();
    let mdbook = mdbook.err().map(|_| "cargo install mdbook".to_owned());
    let lab = netns::check().err().map(|error| error.to_string());
    let trials = vec![
        Trial::test(
            "links_of_pages_lead_somewhere",
            links_of_pages_lead_somewhere,
        ),
        Trial::test("pages_show_the_examples", pages_show_the_examples),
        needing(lab, story),
        needing(mdbook, book),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test, which is ignored where what it needs is not there.
fn needing(missing: Option<String>, test: Trial) -> Trial {
    match missing {
        None => test,
        Some(what) => test
            .with_kind(format!("needs {what}"))
            .with_ignored_flag(true),
    }
}

/// What the page of the library shows is what is compiled and run: the examples, from their first line of code.
fn pages_show_the_examples() -> Result<(), Failed> {
    let page = fs::read_to_string(root().join("docs/guide/library.md"))?;
    for (example, until) in [("conformance", "\0"), ("own_case", "\nfn main")] {
        let path = root().join(format!("examples/{example}.rs"));
        let text = fs::read_to_string(&path)?;
        let code = text
            .lines()
            .skip_while(|line| !line.starts_with("use onehop"));
        let code = code.collect::<Vec<_>>().join("\n");
        let code = code.split(until).next().unwrap_or_default().trim_end();
        if !page.contains(code) {
            return Err(format!("not as in {}:\n{code}", path.display()).into());
        }
    }
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a directory that end so.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let found = paths.flat_map(|path| {
        if path.is_dir() {
            files(&path, ending)
        } else {
            vec![path]
        }
    });
    let ends = |path: &PathBuf| path.to_string_lossy().ends_with(ending);
    found.filter(ends).collect()
}

/// What these links of a page lead to that is not there. Links to elsewhere are left alone: nobody asks the network.
fn dead(page: &Path, links: &Regex) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let folder = page.parent().expect("a file is in a folder");
    let targets = links.captures_iter(&text).map(|link| link[1].to_owned());
    let dead = targets.filter(|target| {
        let (path, place) = target.split_once('#').unwrap_or((target, ""));
        let elsewhere = target.contains("://") || path.starts_with('/');
        let leads_to = if path.is_empty() {
            page.to_owned()
        } else {
            folder.join(path)
        };
        let is_there = || leads_to.exists() && has_place(&leads_to, place);
        !(elsewhere || is_there())
    });
    dead.map(|target| format!("{}: {target}", page.display()))
        .collect()
}

/// Whether a page has this place, or is none that says which places it has.
fn has_place(page: &Path, place: &str) -> bool {
    let says = page.extension().is_some_and(|ending| ending == "html");
    let has = || {
        let text = fs::read_to_string(page).unwrap_or_default();
        text.contains(&format!("id=\"{place}\""))
    };
    place.is_empty() || !says || has()
}

/// Fails with the links of these pages that lead to nothing.
fn none_dead(pages: &[PathBuf], links: &Regex) -> Result<(), Failed> {
    let dead: Vec<_> = pages.iter().flat_map(|page| dead(page, links)).collect();
    if dead.is_empty() {
        Ok(())
    } else {
        Err(dead.join("\n").into())
    }
}

fn links_of_pages_lead_somewhere() -> Result<(), Failed> {
    let links = Regex::new(r"\]\(([^)\s]+)\)")?;
    let pages = PAGES.iter().map(|page| root().join(page));
    let pages: Vec<_> = pages.chain(files(&root().join("docs"), ".md")).collect();
    none_dead(&pages, &links)
}

fn the_guide_is_built_and_its_links_lead_somewhere() -> Result<(), Failed> {
    let home = Home::new();
    let built = home.path().join("guide");
    let mut mdbook = Command::new("mdbook");
    mdbook
        .arg("build")
        .arg(root().join("docs"))
        .arg("--dest-dir")
        .arg(&built);
    let output = mdbook.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.contains("WARN") || said.contains("ERROR") {
        return Err(said.into_owned().into());
    }
    let links = Regex::new(r#"(?:href|src)="([^"]+)""#)?;
    let pages = files(&built, ".html");
    assert!(pages.len() > 20, "a page for each chapter");
    // What its summary does not name, it leaves out without a word.
    for finding in files(&root().join("docs/findings"), ".md") {
        let name = finding.file_stem().expect("a name").to_string_lossy();
        let page = built.join(format!("findings/{name}.html"));
        assert!(page.exists(), "docs/SUMMARY.md does not name {name}");
    }
    none_dead(&pages, &links)
}

/// A command of the story, and the last line that it prints.
struct Told {
    arguments: Vec<String>,
    picture: String,
    outcome: String,
}

/// Every command of the story, each in a block with what it prints last.
fn story() -> Vec<Told> {
    let text = fs::read_to_string(root().join("docs/guide/story.md")).expect("the story");
    let blocks = text.split("```console\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().expect("a block ends"));
    let told = blocks.map(|block| {
        let lines: Vec<_> = block.lines().collect();
        let [command, .., outcome] = lines[..] else {
            panic!("a command and an outcome: {block}");
        };
        let command = command
            .strip_prefix("$ onehop ")
            .expect("a command of onehop");
        let (arguments, picture) = command.split_once(" --svg ").expect("draws a picture");
        Told {
            arguments: arguments.split(' ').map(str::to_owned).collect(),
            picture: picture.to_owned(),
            outcome: outcome.to_owned(),
        }
    });
    told.collect()
}

/// What a drawing says, but for ports and times.
fn words(svg: &str, chance: &Regex) -> Vec<String> {
    let texts = svg
        .split("</text>")
        .filter_map(|text| text.rsplit('>').next());
    let texts = texts.map(|text| chance.replace_all(&format!("{text} "), "· ").into_owned());
    texts.collect()
}

/// Runs every command of the story: it must end as the story says, but for ports and times, and draw its picture.
fn the_story_is_what_packets_do() -> Result<(), Failed> {
    let chance = Regex::new(r":\d+ |[\d.]+(?:µs|ms)$")?;
    let home = Home::new();
    let kept = std::env::var_os("ONEHOP_SCREENSHOTS").map(PathBuf::from);
    let story = story();
    assert!(story.len() >= 8, "a story has this many scenes");
    for told in &story {
        let name = Path::new(&told.picture).file_name().ok_or("a file")?;
        let picture = home.path().join(name);
        let mut arguments: Vec<_> = told.arguments.iter().map(String::as_str).collect();
        let path = picture.to_str().ok_or("text")?;
        arguments.extend(["--svg", path]);
        let ended = run(&mut home.onehop(&arguments));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let plain = |line: &str| chance.replace_all(line, "·").into_owned();
        let expected = plain(&told.outcome);
        if !ended.stdout.lines().any(|line| plain(line) == expected) {
            return Err(format!("{}\n{}", told.outcome, ended.stdout).into());
        }
        let svg = fs::read_to_string(&picture)?;
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
        if let Some(kept) = &kept {
            fs::write(kept.join(name), &svg)?;
        }
        let shown = fs::read_to_string(root().join(&told.picture))?;
        if words(&shown, &chance) != words(&svg, &chance) {
            let how = "ONEHOP_SCREENSHOTS=$PWD/docs/pictures cargo test --test guide";
            return Err(format!("{} shows something else: {how}", told.picture).into());
        }
    }
    Ok(())
}
