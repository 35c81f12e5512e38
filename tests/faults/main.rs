//! Every fault of the bundled proxy is caught, as one test a fault.
//!
//! A fault's own cases run against a proxy that has it, side by side in a lab of its own; every one of them must
//! fail that a lab in network namespaces can run, and each of them must pass in a lab whose proxy has none.

#[path = "../../src/faults/fault.rs"]
#[expect(
    dead_code,
    reason = "`onehop faults` tells more of a fault than this needs"
)]
mod fault;
#[path = "../../src/faults/judge.rs"]
mod judge;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use fault::Fault;
use judge::{Judge, Outcome, named};
use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::error::chain;
use onehop_harness::lab::{ApiKind, ProxyUnderTest};
use onehop_harness::provided::Provided;
use onehop_harness::run::{CaseResult, Verdict};
use onehop_harness::timing::Timing;
use onehop_harness::{netns, prepare};
use onehop_proxy::faults::{FAULTS, Fault as Inside};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const PROXY: &str = "bundled";
/// Labs that are up side by side, unless `--test-threads` says otherwise.
const LABS: usize = 2;
/// How long a proxy with a fault may take until it behaves as expected, which it mostly never does. Long for a right
/// one: the run without a fault has the same time.
const CONVERGE: Duration = Duration::from_secs(5);
/// Cases that run side by side in each.
const JOBS: usize = 8;

fn main() -> ExitCode {
    prepare::complete_path();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(LABS);
    let entered = if arguments.list {
        Err("only listed".to_owned())
    } else {
        enter()
    };
    let mut trials = vec![
        Trial::test(
            "every-case-that-a-fault-names-exists",
            || Ok(cases_exist()?),
        ),
        Trial::test("every-case-is-named-by-a-fault", || Ok(cases_are_named()?)),
        Trial::test("a-fault-that-there-is-not-is-refused", || {
            let arguments = ["proxy", "--fault", "no-such-fault"];
            Ok(refused(&arguments, "no fault no-such-fault")?)
        }),
        Trial::test("what-has-no-meaning-on-kind-is-refused", || {
            for (given, words) in [
                (&["--provider", "existing"][..], "labs of their own"),
                (&["--provider", "kind", "--labs", "2"], "one kind cluster"),
                (
                    &["--provider", "kind", "--proxy-binary", "/bin/true"],
                    "in its image",
                ),
                (
                    &["--provider", "kind", "--proxy", "kube-proxy-nftables"],
                    "no fault works on kube-proxy-nftables on kind",
                ),
            ] {
                refused(&[&["faults"], given].concat(), words)?;
            }
            Ok(())
        }),
        Trial::test("a-fault-that-does-not-work-on-a-proxy-is-refused", || {
            let proxy = ["faults", "--proxy", "kube-proxy-iptables"];
            let arguments = [proxy.as_slice(), &["ignores-source-ranges"]].concat();
            Ok(refused(&arguments, "does not work on kube-proxy-iptables")?)
        }),
    ];
    trials.extend(FAULTS.iter().map(|fault| {
        match &entered {
            Ok(proxy) => {
                let proxy = proxy.clone();
                Trial::test(fault.name, move || caught(fault, &proxy))
            }
            Err(reason) => Trial::test(fault.name, || Ok(()))
                .with_kind(format!("ignored: {reason}"))
                .with_ignored_flag(!arguments.list),
        }
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn enter() -> Result<ProxyUnderTest, String> {
    let proxies = prepare::proxies(&[PROXY.to_owned()], None, &mut |_| {});
    let proxy = proxies.map_err(|error| chain(&error))?.pop();
    netns::enter(false).map_err(|error| chain(&error))?;
    proxy.ok_or_else(|| "no proxy".to_owned())
}

fn cases_exist() -> Result<(), String> {
    let known = onehop_suites::catalogue();
    for fault in FAULTS {
        for id in fault.caught_by {
            if !known.iter().any(|case| case.id == *id) {
                return Err(format!("{} names {id}, which is no case", fault.name));
            }
        }
    }
    Ok(())
}

/// A case that no fault names could be one that nothing can fail: the matrix of all faults by all cases is not what CI has the
/// time for.
fn cases_are_named() -> Result<(), String> {
    let is_named = |id: &str| FAULTS.iter().any(|fault| fault.caught_by.contains(&id));
    let cases = onehop_suites::catalogue();
    let unnamed = cases.iter().filter(|case| !is_named(&case.id));
    let unnamed: Vec<_> = unnamed.map(|case| case.id.as_str()).collect();
    if unnamed.is_empty() {
        Ok(())
    } else {
        Err(format!("no fault names {}", unnamed.join(", ")))
    }
}

/// Runs onehop with arguments that it must refuse, in these words.
fn refused(arguments: &[&str], words: &str) -> Result<(), String> {
    let program = env!("CARGO_BIN_EXE_onehop");
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    // Lines are wrapped where a terminal ends.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if output.status.code() != Some(2) || !said.contains(words) {
        return Err(format!("{}: {said}", output.status));
    }
    Ok(())
}

/// Runs the fault's cases in a lab of its own.
fn caught(inside: &'static Inside, proxy: &ProxyUnderTest) -> Result<(), Failed> {
    let judge = judge(proxy);
    let fault = Fault::Inside(inside);
    for result in control(&judge)? {
        // What a lab in network namespaces lacks, `onehop faults --provider kind` has.
        let reason = result.reason.as_deref().unwrap_or("no reason");
        let lacking = result.verdict == Verdict::Skip && reason.contains("needs kubelets");
        if fault.names(&result.id) && result.verdict != Verdict::Pass && !lacking {
            return Err(format!("{} does not pass without a fault: {reason}", result.id).into());
        }
    }
    if inside.caught_by.is_empty() {
        return Err(format!("no case breaks when this does: {}", fault.breaks()).into());
    }
    let results = runtime().block_on(judge.run(Some(fault), &named(&[fault])));
    let cases = results.map_err(|error| chain(&error))?.cases;
    let traffic: BTreeMap<_, _> = cases
        .iter()
        .map(|case| (case.id.clone(), traffic(case)))
        .collect();
    let outcome = Outcome::of(fault, cases, control(&judge)?);
    if outcome.caught.is_empty() {
        let unjudged = outcome.unjudged.iter();
        let unjudged: Vec<_> = unjudged.filter_map(|r| r.reason.as_deref()).collect();
        let passed = outcome.passed.join(", ");
        return Err(format!("passed: {passed}; not judged: {}", unjudged.join("; ")).into());
    }
    match &outcome.missed(fault)[..] {
        [] => Ok(()),
        missed => {
            let judged = outcome.others.iter().chain(&outcome.unjudged);
            let why = judged.filter(|result| missed.contains(&&*result.id));
            let why = why.map(|r| format!("; {}: {} {:?}", r.id, r.verdict, r.reason));
            let why = why.collect::<String>();
            let traffic = missed.iter().flat_map(|id| &traffic[*id]);
            let traffic = traffic.map(|text| format!("; {text}")).collect::<String>();
            Err(format!("not caught by {}{why}{traffic}", missed.join(", ")).into())
        }
    }
}

/// What became of traffic that went on all the while: a fault that lasts shorter than its pauses is not to be seen by it.
fn traffic(case: &CaseResult) -> Vec<String> {
    let ongoing = case.flows.iter().filter(|flow| flow.lost.is_some());
    ongoing
        .map(|flow| format!("{} to {}: {}", flow.from, flow.to, flow.got))
        .collect()
}

/// The cases of all faults without any, run once.
fn control(judge: &Judge) -> Result<&'static [CaseResult], String> {
    static CONTROL: OnceLock<Result<Vec<CaseResult>, String>> = OnceLock::new();
    let results = CONTROL.get_or_init(|| {
        let all: Vec<_> = FAULTS.iter().map(Fault::Inside).collect();
        let results = runtime().block_on(judge.run(None, &named(&all)));
        let cases = results.map(|results| results.cases);
        cases.map_err(|error| chain(&error))
    });
    results.as_deref().map_err(Clone::clone)
}

fn judge(proxy: &ProxyUnderTest) -> Judge {
    static INTERRUPTED: OnceLock<watch::Sender<bool>> = OnceLock::new();
    let never = INTERRUPTED.get_or_init(|| watch::channel(false).0);
    Judge {
        provided: Provided::Netns {
            proxy: Box::new(proxy.clone()),
            api: ApiKind::Embedded,
        },
        timing: Timing {
            converge: CONVERGE,
            ..Timing::default()
        },
        jobs: JOBS,
        evidence: false,
        dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults"),
        interrupted: never.subscribe(),
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime can be made"))
}
