//! A real proxy made wrong from outside is caught, by the right case.
//!
//! For each fault there are cases that must fail, and with which words, and cases that must still pass: a suite that fails
//! whenever anything is wrong would say nothing about what is. `onehop faults` has the whole matrix.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::lab::{ApiKind, Lab, LabOptions};
use onehop_harness::run::{CaseResult, CaseRun, Verdict};
use onehop_harness::timing::Timing;
use onehop_harness::world::World;
use onehop_harness::{netns, prepare};
use onehop_suites::faults::{self, Fault};
use tokio::runtime::Runtime;

const PROXY: &str = "kube-proxy-nftables";

fn main() -> ExitCode {
    prepare::complete_path();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let missing = if arguments.list { None } else { enter().err() };
    let trials = faults::all().map(|fault| match &missing {
        None => Trial::test(fault.name, move || caught(fault)),
        Some(reason) => Trial::test(fault.name, || Ok(()))
            .with_kind(format!("ignored: {reason}"))
            .with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn enter() -> Result<(), String> {
    prepare::proxies(&[PROXY.to_owned()], None, &mut |_| {}).map_err(|error| error.to_string())?;
    netns::enter(false)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Runs the fault's cases in a lab of its own, each with the fault.
fn caught(fault: &'static Fault) -> Result<(), Failed> {
    runtime().block_on(async {
        let lab = Arc::new(start(fault).await?);
        let _committed = fault.commit(&lab).await?;
        for (number, (id, words)) in fault.caught_by.iter().enumerate() {
            let result = run(&lab, fault, id, number).await?;
            let reason = result.reason.clone().unwrap_or_default();
            let shown = words.split('|').any(|words| reason.contains(words));
            if result.verdict != Verdict::Fail || !shown {
                let verdict = result.verdict;
                return Err(format!("{id} must fail with '{words}': {verdict:?} {reason}").into());
            }
            if !result
                .evidence
                .as_ref()
                .is_some_and(|dir| dir.join("journeys.txt").is_file())
            {
                return Err(format!("{id} failed without evidence").into());
            }
        }
        for (number, id) in fault.spares.iter().enumerate() {
            let result = run(&lab, fault, id, 100 + number).await?;
            if result.verdict != Verdict::Pass {
                return Err(format!("{id} must pass: {:?}", result.reason).into());
            }
        }
        Ok(())
    })
}

async fn start(fault: &Fault) -> Result<Lab, Failed> {
    let mut proxy = prepare::proxy(PROXY, None, &mut |_| {}).map_err(|error| error.to_string())?;
    proxy.profile = fault.profile(proxy.profile);
    let options = LabOptions {
        world: World::story(),
        api: ApiKind::Embedded,
        proxy: Some(proxy),
        dir: Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("sabotage")
            .join(fault.name),
        // A wrong proxy never converges, and waiting long for that would prove nothing more. But what comes before its
        // fault shows must converge, on a machine where other tests run beside this one.
        timing: Timing {
            converge: Duration::from_secs(6),
            ..Timing::default()
        },
    };
    Ok(Lab::start(options)
        .await
        .map_err(|error| error.to_string())?)
}

async fn run(
    lab: &Arc<Lab>,
    fault: &'static Fault,
    id: &str,
    number: usize,
) -> Result<CaseResult, Failed> {
    let case = onehop_suites::catalogue()
        .into_iter()
        .find(|case| case.id == id);
    let run = CaseRun {
        lab: Arc::clone(lab),
        case: case.ok_or_else(|| format!("no case {id}"))?,
        number: u16::try_from(number).expect("a small number"),
        evidence: Some(lab.dir().join("evidence")),
        sabotage: fault.sabotage(),
    };
    Ok(run.run().await)
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime can be made"))
}
