//! Random Services, policies and endpoints under the bundled proxy and under kube-proxy in nftables
//! mode: flow by flow, both must do the same.
//!
//! The two have the same local detector, and no difference is declared: there was none to declare.
//!
//! Neither is held against an expectation, so that nobody's idea of what is right decides: what a
//! Service draws, and whatever follows from it, is compared as packets show it. `cargo test` draws
//! a few Services; `ONEHOP_PARITY_SERVICES=1000 cargo test --test parity` as many as it says, and
//! `ONEHOP_PARITY_SEED` draws others. To ask again about some of them alone, `ONEHOP_PARITY_FIRST` says
//! with which Service to begin.

mod compare;
mod draw;
mod flows;
mod proofs;
mod seen;
mod side;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use compare::Report;
use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::error::chain;
use onehop_harness::lab::{ApiKind, LabOptions, ProxyUnderTest};
use onehop_harness::timing::Timing;
use onehop_harness::world::World;
use onehop_harness::{netns, prepare};
use side::Side;
use tokio::runtime::Runtime;

const PROXIES: [&str; 2] = ["bundled", "kube-proxy-nftables"];

/// Services and seed, unless the environment says otherwise.
const SERVICES: u64 = 60;
const SEED: u64 = 5;

/// Differences that a failure lists; all of them are in a file.
const LISTED: usize = 8;

fn main() -> ExitCode {
    prepare::complete_path();
    let mut arguments = Arguments::from_args();
    // Both labs of a test keep the processors busy.
    arguments.test_threads.get_or_insert(1);
    let missing = if arguments.list { None } else { enter().err() };
    let trial = |name: &str, test: fn() -> Result<(), Failed>| match &missing {
        None => Trial::test(name, test),
        Some(reason) => Trial::test(name, || Ok(()))
            .with_kind(format!("ignored: {reason}"))
            .with_ignored_flag(true),
    };
    let trials = vec![
        trial("random_services_are_served_alike", alike),
        trial("a_difference_is_seen", proofs::difference_is_seen),
        Trial::test(
            "what_was_not_seen_is_not_the_same",
            proofs::unseen_is_not_the_same,
        ),
        Trial::test("everything_is_drawn", proofs::everything_is_drawn),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn enter() -> Result<(), String> {
    let names = PROXIES.map(str::to_owned);
    prepare::proxies(&names, None, &mut |_| {}).map_err(|error| chain(&error))?;
    netns::enter(false)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The acceptance of the bundled proxy.
fn alike() -> Result<(), Failed> {
    let (count, seed) = (
        number("ONEHOP_PARITY_SERVICES", SERVICES)?,
        number("ONEHOP_PARITY_SEED", SEED)?,
    );
    let count = usize::try_from(count)?;
    let first = usize::try_from(number("ONEHOP_PARITY_FIRST", 0)?)?;
    runtime()?.block_on(async {
        let sides = start("alike").await?;
        let started = Instant::now();
        let mut report = Report::default();
        let drawn = draw::services(seed, count).into_iter();
        for group in drawn.filter(|group| group.iter().any(|drawn| drawn.number >= first)) {
            let groups = [&group[..], &group[..]];
            let done = compare::group(&sides, groups).await;
            let done = done.map_err(|error| chain(&error))?;
            // At once as well as at the end: a run takes minutes, and may not get there.
            for difference in &done.differences {
                eprintln!("differs (first is bundled): {difference}");
            }
            report.add(done);
            eprintln!(
                "{} Services of seed {seed}: {} flows {:?}, {} connections, {} differ, {:.0} s",
                report.services,
                report.flows,
                report.outcomes,
                report.connections,
                report.differences.len(),
                started.elapsed().as_secs_f64()
            );
        }
        judge(&sides, &report, first == 0)
    })
}

/// Whether two proxies did the same, and, where Services of a whole draw were asked, whether there was every outcome.
fn judge(sides: &[Side; 2], report: &Report, whole: bool) -> Result<(), Failed> {
    let mut text = String::new();
    if whole {
        for (protocol, kind) in report.unseen() {
            writeln!(text, "no {protocol} flow was {kind}")?;
        }
    }
    for side in sides {
        for proxy in side.lab.netns().proxies() {
            if let Some(exit) = proxy.unexpected_exit() {
                writeln!(text, "a proxy exited: {exit}")?;
            }
        }
    }
    let (mut all, differences) = (String::new(), &report.differences);
    for difference in differences {
        writeln!(all, "{difference}")?;
    }
    let path = dir("alike").join("differences.txt");
    std::fs::write(&path, all)?;
    if !differences.is_empty() {
        writeln!(
            text,
            "{} of {} flows differ (first is bundled), all in {}",
            differences.len(),
            report.flows,
            path.display()
        )?;
    }
    for difference in differences.iter().take(LISTED) {
        writeln!(text, "{difference}")?;
    }
    if text.is_empty() {
        Ok(())
    } else {
        Err(text.into())
    }
}

/// A lab for each proxy, side by side.
async fn start(name: &str) -> Result<[Side; 2], Failed> {
    let side = async |proxy: &str| {
        let options = LabOptions {
            world: World::story(),
            api: ApiKind::Embedded,
            proxy: Some(proxy_under_test(proxy)?),
            dir: dir(name).join(proxy),
            timing: Timing::default(),
        };
        Side::start(options).await.map_err(|error| chain(&error))
    };
    let (first, second) = tokio::join!(side(PROXIES[0]), side(PROXIES[1]));
    Ok([first?, second?])
}

/// A proxy by its profile, with the detector that the bundled one has: kube-proxy's profile has the
/// whole cluster's range, by which it takes the pods of all nodes for its own.
fn proxy_under_test(name: &str) -> Result<ProxyUnderTest, String> {
    let loaded = prepare::proxy(name, None, &mut |_| {});
    let mut proxy = loaded.map_err(|error| chain(&error))?;
    let config = proxy.profile.netns.files.get_mut("config.yaml");
    let config = config.ok_or_else(|| format!("{name} has no config.yaml"))?;
    *config = config.replace("detectLocalMode: ClusterCIDR", "detectLocalMode: NodeCIDR");
    if !config.contains("detectLocalMode: NodeCIDR") {
        return Err(format!("{name} does not tell pods by their node's ranges"));
    }
    Ok(proxy)
}

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("parity")
        .join(name)
}

fn number(variable: &str, otherwise: u64) -> Result<u64, Failed> {
    match std::env::var(variable) {
        Ok(text) => Ok(text
            .parse()
            .map_err(|error| format!("{variable}={text}: {error}"))?),
        Err(_) => Ok(otherwise),
    }
}

fn runtime() -> Result<Runtime, Failed> {
    Ok(Runtime::new()?)
}
