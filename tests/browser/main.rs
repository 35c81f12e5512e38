//! What people look at, in a real browser: the report of a real run with failures, of a kube-proxy whose rules are tampered with; that
//! held against kube-proxy as it is; and a drawing.
//!
//! Needs Debian's chromium and chromium-driver, and what builds kube-proxy; without them these tests are ignored, with the reason. Screenshots are kept in the
//! tests' own directory, or where ONEHOP_SCREENSHOTS says: those in `docs/pictures` were made so.

mod driver;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use driver::{Browser, DESK, TELEPHONE};
use fantoccini::key::Key;
use libtest_mimic::{Arguments, Failed, Trial};
use onehop::files::read_evidence;
use onehop_harness::run::{CaseResult, Results, Verdict};
use onehop_harness::{netns, prepare};
use serde_json::{Value, json};
use support::{Home, run};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Stops of the keyboard from the beginning of the cases to the first of them, at the most.
const STOPS: usize = 12;

type Test = fn() -> Result<(), Failed>;

fn main() -> ExitCode {
    prepare::complete_path();
    let arguments = Arguments::from_args();
    let tests: [(&str, Test); 8] = [
        ("a_report_can_be_used", || block(a_report_can_be_used())),
        ("a_report_fits_a_telephone_and_the_dark", || {
            block(a_report_fits_a_telephone_and_the_dark())
        }),
        ("a_report_of_500_cases_opens", || {
            block(a_report_of_500_cases_opens())
        }),
        ("every_verdict_is_seen", || block(every_verdict_is_seen())),
        ("a_report_is_printed", || block(a_report_is_printed())),
        ("a_comparison_opens", || block(a_comparison_opens())),
        ("a_traced_way_is_drawn", || block(a_traced_way_is_drawn())),
        ("what_is_read_as_text_says_what_is_wrong", texts),
    ];
    let missing = if arguments.list { None } else { missing() };
    let trials = tests.into_iter().map(|(name, test)| match &missing {
        None => Trial::test(name, test),
        Some(reason) => Trial::test(name, || Ok(()))
            .with_kind(format!("ignored: {reason}"))
            .with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// What this machine lacks.
fn missing() -> Option<String> {
    if let Some(program) = driver::missing() {
        return Some(program);
    }
    let proxy = prepare::proxies(&[RELEASED.to_owned()], None, &mut |_| {});
    let proxy = proxy.err().map(|error| error.to_string());
    proxy.or_else(|| netns::check().err().map(|error| error.to_string()))
}

fn block(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(test)
}

/// The real kube-proxy as it is released, and as it is here.
const RELEASED: &str = "kube-proxy-nftables";
const TAMPERED: &str = "tampered-kube-proxy";

/// What each node has besides the rules of the tampered one: what comes by IPv4 from outside of the node to one of its own pods
/// leaves as if the node had sent it.
const TAMPERING: &str =
    "table ip tampered { chain postrouting { type nat hook postrouting priority srcnat - 10
    iifname eth0 ct status dnat masquerade
  }
}";

/// The profile of a kube-proxy whose rules somebody tampers with before it begins.
fn tampered() -> String {
    let proxy = prepare::proxy(RELEASED, None, &mut |_| {}).expect("missing() has built it");
    let program = proxy.program.path.display().to_string();
    // In a profile, braces are of placeholders, and their own are twice there.
    let indented = TAMPERING.replace('{', "{{").replace('}', "}}");
    let indented = indented.replace('\n', "\n      ");
    let files = format!("  files:\n    tampering.nft: |\n      {indented}\n");
    let script = "nft -f \"$1\" && shift && exec \"$0\" \"$@\"";
    let arguments = ["{dir}/tampering.nft", "--config", "{dir}/config.yaml"];
    let command = json!([&["sh", "-c", script, &program], &arguments[..]].concat());
    let changes = [
        (
            format!("name: {RELEASED}\ntool: kube-proxy\n"),
            format!("name: {TAMPERED}\n"),
        ),
        (
            "version: [kube-proxy,".to_owned(),
            format!("version: [{program:?},"),
        ),
        (
            "command: [kube-proxy, --config, \"{dir}/config.yaml\"]".to_owned(),
            format!("command: {command}"),
        ),
        ("  files:\n".to_owned(), files),
    ];
    let released = include_str!("../../profiles/kube-proxy-nftables.yaml").to_owned();
    changes.into_iter().fold(released, |profile, (from, to)| {
        assert!(profile.contains(&from), "the profile has no {from:?}");
        profile.replacen(&from, &to, 1)
    })
}

/// Runs of both, side by side. Made once.
struct Runs {
    home: Home,
    /// What `onehop compare` said.
    comparison: String,
}

impl Runs {
    fn get() -> &'static Self {
        static RUNS: OnceLock<Runs> = OnceLock::new();
        RUNS.get_or_init(Self::make)
    }

    fn make() -> Self {
        let home = Home::new();
        fs::write(home.path().join("tampered.yaml"), tampered()).expect("written");
        let mut arguments = vec![
            "compare",
            "--proxy",
            RELEASED,
            "--proxy",
            "./tampered.yaml",
            "--format",
            "html",
            // Much fails, and that a right proxy is not as fast would be seen.
            "--converge-seconds",
            "5",
        ];
        for cases in [
            "external/",
            "internal/",
            "distribution/",
            "live/handed-over",
        ] {
            arguments.extend(["--case", cases]);
        }
        let ended = run(&mut home.onehop(&arguments));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let results = home.results("onehop-out/head");
        assert_ne!(results["summary"]["failed"], 0);
        assert_ne!(results["summary"]["passed"], 0);
        assert_eq!(home.results("onehop-out/base")["summary"]["failed"], 0);
        Self {
            home,
            comparison: ended.stdout,
        }
    }
}

/// The directory of the run with failures in it: that of the tampered kube-proxy.
fn a_run() -> PathBuf {
    Runs::get().home.path().join("onehop-out/head")
}

/// Keeps something that people look at.
fn keep(name: &str, content: impl AsRef<[u8]>) -> Result<(), Failed> {
    let default = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    let dir = std::env::var_os("ONEHOP_SCREENSHOTS").map_or(default, PathBuf::from);
    fs::create_dir_all(&dir)?;
    Ok(fs::write(dir.join(name), content)?)
}

/// Keeps a picture of the window.
async fn keep_picture(browser: &Browser, name: &str) -> Result<(), Failed> {
    keep(&format!("{name}.png"), browser.picture().await?)
}

/// What CI systems, users of a proxy and its authors read of the run.
fn texts() -> Result<(), Failed> {
    const CASE: &str = "external/local/client-ip-kept";
    let home = &Runs::get().home;
    let below = format!("{}/", home.path().display());
    let shown = |text: &str| text.replace(&below, "");
    for (file, words) in [
        ("summary.md", format!("`{CASE}`")),
        ("conformance.yaml", format!("id: {CASE}")),
        ("junit.xml", "<failure message=".to_owned()),
    ] {
        let text = shown(&fs::read_to_string(a_run().join(file))?);
        assert!(text.contains(&words), "no {words} in {file}:\n{text}");
        // In the guide, a page of Markdown would be a chapter, and nobody reads JUnit.
        if file != "junit.xml" {
            keep(&file.replace(".md", ".txt"), text)?;
        }
    }
    let ended = run(&mut home.onehop(&["explain", CASE, "--dir", "onehop-out/head"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = shown(&ended.stdout);
    for words in [
        "IPv4",
        "SNAT",
        "ip tampered postrouting: iifname \"eth0\" ct status dnat masquerade",
    ] {
        assert!(text.contains(words), "no {words} in\n{text}");
    }
    keep("explain.txt", text)
}

/// Where it is said which cases to show.
const FIELD: &str = "[name=text]";
/// What is shown of cases now.
const SHOWN: &str =
    "[...document.querySelectorAll('details.case')].filter(one => one.checkVisibility()).length";

async fn a_report_can_be_used() -> Result<(), Failed> {
    let browser = Browser::start().await?;
    browser.open(&a_run().join("report.html")).await?;
    browser
        .is(
            "document.querySelector('h1').textContent",
            json!("Something is not as expected"),
        )
        .await?;
    browser
        .is(
            "document.querySelectorAll('details.case.fail:not([open])').length",
            json!(0),
        )
        .await?;
    browser
        .is(
            "document.querySelectorAll('details.case.pass[open]').length",
            json!(0),
        )
        .await?;
    browser
        .is("[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(decodeURIComponent(a.hash.slice(1)))).length", json!(0))
        .await?;
    let failed = browser
        .value("document.querySelectorAll('details.case.fail').length")
        .await?;
    browser
        .is(
            "document.querySelectorAll('details.case.fail svg.journey').length > 0",
            json!(true),
        )
        .await?;
    keep_picture(&browser, "report").await?;

    // A cell opens its cases, and a case of them.
    browser.click("button.cell.fail").await?;
    browser
        .is(
            "document.querySelectorAll('.cases:popover-open').length",
            json!(1),
        )
        .await?;
    keep_picture(&browser, "report-cell").await?;
    browser.click(".cases:popover-open a").await?;
    browser
        .is(
            "document.querySelectorAll('.cases:popover-open').length",
            json!(0),
        )
        .await?;
    browser
        .is(
            "document.activeElement.id == location.hash.slice(1)",
            json!(true),
        )
        .await?;
    browser
        .is("document.activeElement.checkVisibility()", json!(true))
        .await?;
    browser
        .is("(box => box.top >= 0 && box.top < innerHeight)(document.activeElement.getBoundingClientRect())", json!(true))
        .await?;
    keep_picture(&browser, "report-case").await?;

    // A way of a row is shown by its number.
    browser
        .click("details.case.fail .flows a[href*='-way-']")
        .await?;
    browser
        .is(
            "document.getElementById(location.hash.slice(1)).open",
            json!(true),
        )
        .await?;
    keep_picture(&browser, "report-way").await?;

    // The shares of each pod, with their bounds; and what was kept.
    let bars = "document.querySelectorAll('figure.shares .share .bound').length > 0";
    browser.is(bars, json!(true)).await?;
    let shares = "[...document.querySelectorAll('figure.shares')].pop()";
    browser
        .value(&format!(
            "{shares}.closest('details.case').open = true, {shares}.scrollIntoView({{block: 'center'}})"
        ))
        .await?;
    keep_picture(&browser, "report-shares").await?;
    let evidence = "document.querySelector('details.case.fail details.evidence')";
    browser
        .is(&format!("{evidence}.open"), json!(false))
        .await?;
    browser
        .value(&format!(
            "{evidence}.open = true, {evidence}.scrollIntoView()"
        ))
        .await?;
    browser
        .value(&format!("{evidence}.scrollIntoView()"))
        .await?;
    for words in [
        "with vm1 as its source",
        "tracked: ",
        "ip tampered postrouting",
    ] {
        let has = format!("{evidence}.textContent.includes('{words}')");
        browser.is(&has, json!(true)).await?;
    }
    keep_picture(&browser, "report-evidence").await?;
    browser
        .value(&format!("{evidence}.open = false, scrollTo(0, 0)"))
        .await?;

    // What is not asked for is hidden, and comes again.
    let all = browser.value(SHOWN).await?;
    browser.type_into(FIELD, "client-ip-kept").await?;
    browser
        .is("[...document.querySelectorAll('details.case')].filter(one => one.checkVisibility()).every(one => one.dataset.text.includes('client-ip-kept'))", json!(true))
        .await?;
    assert!(browser.value(SHOWN).await?.as_u64() > Some(0));
    browser.type_into(FIELD, "no such case").await?;
    browser.is(SHOWN, json!(0)).await?;
    browser
        .is(
            "document.querySelector('p.none').checkVisibility()",
            json!(true),
        )
        .await?;
    browser.empty(FIELD).await?;
    browser
        .value("document.querySelector('.filter').dispatchEvent(new Event('input'))")
        .await?;
    browser.is(SHOWN, all).await?;
    browser.click("label.pass input").await?;
    browser.click("label.skip input").await?;
    browser.is(SHOWN, failed).await?;

    // A way that was folded is drawn when it is unfolded.
    browser.open(&a_run().join("report.html")).await?;
    let folded = "document.querySelector('details.way:not([open])')";
    browser
        .is(&format!("{folded}.querySelector('svg')"), Value::Null)
        .await?;
    browser
        .value(&format!(
            "(way => {{ way.closest('details.case').open = way.open = true; way.id = 'unfolded' }})({folded})"
        ))
        .await?;
    browser
        .is(
            "document.querySelectorAll('#unfolded svg.journey text').length > 5",
            json!(true),
        )
        .await?;

    // By the keyboard alone: the first stop leads to the cases, and on to the first of them, which folds.
    browser.open(&a_run().join("report.html")).await?;
    browser.press(Key::Tab).await?;
    browser
        .is("document.activeElement.textContent", json!("to the cases"))
        .await?;
    browser.press(Key::Enter).await?;
    browser.is("location.hash", json!("#cases")).await?;
    for _ in 0..STOPS {
        browser.press(Key::Tab).await?;
        let there = "document.activeElement.matches('details.case > summary')";
        if browser.value(there).await? == json!(true) {
            break;
        }
    }
    let open = "document.activeElement.closest('details.case').open";
    let before = browser.value(open).await?;
    browser.press(Key::Enter).await?;
    browser
        .is(open, json!(!before.as_bool().ok_or("a state")?))
        .await?;
    browser.end().await
}

/// Texts of drawings that are open and not inside of them.
const CLIPPED: &str = "[...document.querySelectorAll('svg.journey')].filter(svg => svg.checkVisibility()).flatMap(svg => \
    [...svg.querySelectorAll('text,rect')].filter(one => { const box = one.getBBox(), all = svg.viewBox.baseVal; \
    return box.x < 0 || box.y < 0 || box.x + box.width > all.width || box.y + box.height > all.height }).map(one => one.outerHTML))";

async fn a_report_fits_a_telephone_and_the_dark() -> Result<(), Failed> {
    let browser = Browser::start().await?;
    browser.open(&a_run().join("report.html")).await?;
    browser.click("[name=open]").await?;
    browser
        .value("document.querySelectorAll('details').forEach(one => one.open = true)")
        .await?;
    browser.is(CLIPPED, json!([])).await?;
    for (name, size) in [("desk", DESK), ("telephone", TELEPHONE)] {
        browser.size(size).await?;
        browser
            .is(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth",
                json!(true),
            )
            .await
            .map_err(|error| {
                format!(
                    "on a {name} the page is wider than the window: {}",
                    error.message().unwrap_or_default()
                )
            })?;
    }
    // What became of the cases is there without being looked for.
    browser
        .is(
            "document.querySelector('.summary').clientWidth <= document.documentElement.clientWidth",
            json!(true),
        )
        .await?;
    browser
        .value(
            "document.querySelectorAll('details').forEach(one => one.open = one.matches('.fail'))",
        )
        .await?;
    browser.value("scrollTo(0, 0)").await?;
    keep_picture(&browser, "report-telephone").await?;
    browser.size(DESK).await?;
    let light = browser
        .value("getComputedStyle(document.body).backgroundColor")
        .await?;
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser
        .developer("Emulation.setEmulatedMedia", dark)
        .await?;
    let background = browser
        .value("getComputedStyle(document.body).backgroundColor")
        .await?;
    assert_ne!(light, background);
    keep_picture(&browser, "report-dark").await?;
    browser.end().await
}

/// How long that takes is what `cargo bench --bench report` measures.
async fn a_report_of_500_cases_opens() -> Result<(), Failed> {
    let mut results = Results::read(&a_run().join("results.json"))?;
    let cases = results.results[0].cases.clone();
    let many = (0..500).map(|number| {
        let mut case = cases[number % cases.len()].clone();
        case.id = format!("{}/{number}", case.id);
        case
    });
    results.results[0].cases = many.collect();
    let dir = TempDir::new()?;
    let page = dir.path().join("report.html");
    let failed = results.results[0].cases.iter();
    let failed = failed.filter(|case| case.verdict == Verdict::Fail).count();
    assert!(failed > 100, "{failed} of 500 fail");
    let evidence = |case: &CaseResult, name: &str| read_evidence(&a_run(), case, name);
    fs::write(&page, onehop_report::html(&results, &evidence))?;
    let browser = Browser::start().await?;
    browser.open(&page).await?;
    for (what, count) in [("details.case", 500), ("details.case[open]", 20)] {
        browser
            .is(
                &format!("document.querySelectorAll('{what}').length"),
                json!(count),
            )
            .await?;
    }
    // A way of the others is drawn when it is unfolded.
    let other = "document.querySelector('details.case.fail:not([open]) details.way')";
    browser
        .is(&format!("{other}.querySelector('svg')"), Value::Null)
        .await?;
    browser.value(&format!("{other}.open = true")).await?;
    browser
        .is(&format!("{other}.querySelectorAll('svg').length"), json!(1))
        .await?;
    browser.end().await
}

/// The run's cases, of which one of each is said to have another verdict.
async fn every_verdict_is_seen() -> Result<(), Failed> {
    let mut results = Results::read(&a_run().join("results.json"))?;
    let cases = &mut results.results[0].cases;
    let others = [Verdict::Skip, Verdict::Known, Verdict::Error];
    for (case, verdict) in cases.iter_mut().zip(others) {
        case.verdict = verdict;
    }
    let dir = TempDir::new()?;
    let page = dir.path().join("report.html");
    fs::write(&page, onehop_report::html(&results, &|_, _| None))?;
    let browser = Browser::start().await?;
    browser.open(&page).await?;
    for verdict in ["pass", "fail", "skip", "known", "error"] {
        let case = format!("document.querySelector('details.case.{verdict} > summary')");
        browser.value(&format!("{case}.scrollIntoView()")).await?;
        let seen = format!(
            "(({{left, right, top, bottom}}) => left >= 0 && right <= innerWidth && bottom > top)({case}.getBoundingClientRect())"
        );
        browser.is(&seen, json!(true)).await?;
    }
    browser.end().await
}

/// What failed is unfolded before it is printed, and what is there to be pressed is left out.
async fn a_report_is_printed() -> Result<(), Failed> {
    let browser = Browser::start().await?;
    browser.open(&a_run().join("report.html")).await?;
    browser
        .value("document.querySelectorAll('details').forEach(one => one.open = false)")
        .await?;
    let printed = browser.developer("Page.printToPDF", json!({})).await?;
    let printed = printed["data"].as_str().unwrap_or_default();
    assert!(
        printed.len() > 100_000,
        "{} kB of Base64",
        printed.len() / 1000
    );
    browser
        .is(
            "document.querySelectorAll('details.case.fail:not([open])').length",
            json!(0),
        )
        .await?;
    let paper = json!({"media": "print"});
    browser
        .developer("Emulation.setEmulatedMedia", paper)
        .await?;
    browser
        .is(
            "getComputedStyle(document.querySelector('.filter')).display",
            json!("none"),
        )
        .await?;
    browser.end().await
}

async fn a_comparison_opens() -> Result<(), Failed> {
    let failed = Results::read(&a_run().join("results.json"))?.summary.failed;
    let dir = TempDir::new()?;
    let page = dir.path().join("comparison.html");
    fs::write(&page, &Runs::get().comparison)?;
    let browser = Browser::start().await?;
    browser.open(&page).await?;
    // Every case that fails is news, and says so at the top.
    let worse = browser
        .value("parseInt(document.querySelector('h1.fail').textContent)")
        .await?;
    assert!(
        worse.as_u64() >= u64::try_from(failed).ok(),
        "{worse} worse, {failed} failed"
    );
    for size in [TELEPHONE, DESK] {
        browser.size(size).await?;
        browser
            .is(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth",
                json!(true),
            )
            .await?;
    }
    keep_picture(&browser, "comparison").await?;
    // Every measure of the two runs, beside its error rate.
    let table = "document.querySelector('main table')";
    for what in ["distributions", "convergence", "latency"] {
        let row =
            format!("[...{table}.querySelectorAll('th')].some(one => one.textContent == '{what}')");
        browser.is(&row, json!(true)).await?;
    }
    browser.end().await
}

async fn a_traced_way_is_drawn() -> Result<(), Failed> {
    let home = Home::new();
    fs::write(home.path().join("tampered.yaml"), tampered())?;
    let both = ["--proxy", RELEASED, "--proxy", "./tampered.yaml"];
    let what = [
        "trace",
        "--etp",
        "Local",
        "--to",
        "node-port@vm1",
        "--svg",
        "way.svg",
    ];
    let ended = run(&mut home.onehop(&[&what[..], &both].concat()));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    keep("trace.txt", &ended.stdout)?;
    let browser = Browser::start().await?;
    browser.open(&home.path().join("way-2.svg")).await?;
    browser
        .is("document.documentElement.tagName", json!("svg"))
        .await?;
    browser.is(CLIPPED, json!([])).await?;
    let texts = browser
        .value("[...document.querySelectorAll('text')].map(one => one.textContent).join('|')")
        .await?;
    let texts = texts.as_str().unwrap_or_default();
    for word in [
        "client-public",
        "router",
        "vm1",
        "DNAT →",
        "SNAT →",
        "DNAT undone",
        "SNAT undone",
        "hops there",
    ] {
        assert!(texts.contains(word), "no {word} in {texts}");
    }
    keep_picture(&browser, "way").await?;
    browser.end().await
}
