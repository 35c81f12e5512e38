//! `cargo bench --bench report`: how long a browser takes to open the report of 500 cases, and how many times as long as that of 50.
//!
//! Cases are those of a real run in which a part fails. Both pages are opened in turns, each in the same browser. Needs Debian's chromium and chromium-driver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[path = "../tests/browser/driver.rs"]
#[expect(dead_code, reason = "tests do more with it")]
mod driver;

use driver::Browser;
use libtest_mimic::Failed;
use onehop::files::read_evidence;
use onehop_harness::prepare;
use onehop_harness::run::{CaseResult, Results};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How many cases the pages have.
const SIZES: [usize; 2] = [50, 500];
/// How often each is opened.
const TURNS: usize = 15;

fn main() -> ExitCode {
    prepare::complete_path();
    if let Some(missing) = driver::missing() {
        eprintln!("{missing}");
        return ExitCode::from(2);
    }
    let measured = Runtime::new().map_err(Failed::from);
    match measured.and_then(|runtime| runtime.block_on(measure())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or("it failed"));
            ExitCode::from(2)
        }
    }
}

async fn measure() -> Result<(), Failed> {
    let dir = TempDir::new()?;
    let results = a_run(dir.path())?;
    let browser = Browser::start().await?;
    let mut took = SIZES.map(|cases| (cases, Vec::new()));
    for _ in 0..TURNS {
        for (cases, took) in &mut took {
            let page = page(dir.path(), &results, *cases)?;
            browser.open(&page).await?;
            let loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd";
            let loaded = browser.value(loaded).await?;
            took.push(loaded.as_f64().ok_or("the browser says no time")?);
        }
    }
    browser.end().await?;
    let mut medians = Vec::new();
    for (cases, mut took) in took {
        took.sort_by(f64::total_cmp);
        let [least, median, most] = [0, TURNS / 2, TURNS - 1].map(|place| took[place]);
        println!("{cases} cases: open after {median:.0} ms ({least:.0} to {most:.0}, of {TURNS})");
        medians.push(median);
    }
    let (more, longer) = (SIZES[1] / SIZES[0], medians[1] / medians[0]);
    println!("{more} times the cases take {longer:.1} times as long");
    Ok(())
}

/// The results of a real run in the lab, in which much fails: of a proxy that masquerades all.
fn a_run(dir: &Path) -> Result<Results, Failed> {
    let right = include_str!("../profiles/bundled.yaml");
    let masquerades = "nodePortAddresses: [primary]\n      nftables:\n        masqueradeAll: true";
    let wrong = right.replacen("nodePortAddresses: [primary]", masquerades, 1);
    fs::write(dir.join("wrong.yaml"), wrong)?;
    let mut run = Command::new(env!("CARGO_BIN_EXE_onehop"));
    run.current_dir(dir).args([
        "run",
        "external/",
        "internal/",
        "--proxy",
        "./wrong.yaml",
        "--out",
        "out",
    ]);
    let output = run.output()?;
    let results = Results::read(&dir.join("out/results.json"))?;
    if results.summary.failed == 0 {
        return Err(format!("nothing fails: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(results)
}

/// A page of so many cases: those of the run, again and again.
fn page(dir: &Path, results: &Results, cases: usize) -> std::io::Result<PathBuf> {
    let mut results = results.clone();
    let own = &mut results.results[0].cases;
    let many = own.iter().cycle().take(cases).cloned().enumerate();
    let many = many.map(|(number, mut case)| {
        case.id = format!("{}/{number}", case.id);
        case
    });
    *own = many.collect();
    let page = dir.join(format!("{cases}.html"));
    let out = dir.join("out");
    let evidence = |case: &CaseResult, name: &str| read_evidence(&out, case, name);
    fs::write(&page, onehop_report::html(&results, &evidence))?;
    Ok(page)
}
