//! One table of requests, answered by the embedded API and by a real etcd and kube-apiserver.
//!
//! `embedded::ROW` runs a row against the embedded API and checks the code, the reason and the fields of causes that are pinned.
//! `real::ROW` runs it against both and compares the whole answer to every step. What must differ is masked: times, and
//! by the order of their appearance in the row identities, resource versions, and the addresses and ports that were
//! allocated, so that it shows whether they stay the same. Where the real binaries are missing these are ignored, with
//! the reason. A row with a known difference fails when the difference is gone.

mod backend;
mod normal;
mod rows;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

use backend::{Backend, Reply};
use onehop_harness::tools::ToolError;
use rows::{Known, Row};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, backend::Error> {
    let runtime = Arc::new(
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?,
    );
    let dir = tempfile::tempdir()?;
    // One for each kind of trial, so that ports that a row asks for are free in both.
    let alone = runtime.block_on(Backend::embedded())?;
    let embedded = runtime.block_on(Backend::embedded())?;
    // Listing the tests must not start a control plane. Only its absence is ignored: one that does not start has failed.
    let real = match backend::installed() {
        _ if arguments.list => Err("only listed".to_string()),
        Err(error @ ToolError::NotInstalled { .. }) => Err(error.to_string()),
        Err(error) => return Err(error.into()),
        Ok(assets) => Ok(runtime.block_on(backend::Real::start(assets, dir.path()))?),
    };
    let mut trials = Vec::new();
    for (number, row) in rows::all().into_iter().enumerate() {
        let namespace = format!("row-{number}");
        let row = Arc::new(row);
        trials.push(pinned(&runtime, &alone, &row, &namespace));
        match &real {
            Ok(real) => trials.push(compared(
                &runtime,
                &embedded,
                &real.backend,
                &row,
                &namespace,
            )),
            Err(reason) => {
                let failure = Failed::from(reason.clone());
                let trial = Trial::test(format!("real::{}", row.name), move || Err(failure));
                trials.push(trial.with_kind(reason.clone()).with_ignored_flag(true));
            }
        }
    }
    let code = libtest_mimic::run(arguments, trials).exit_code();
    if let Ok(real) = real {
        runtime.block_on(real.stop())?;
    }
    Ok(code)
}

fn pinned(runtime: &Arc<Runtime>, embedded: &Backend, row: &Arc<Row>, namespace: &str) -> Trial {
    let (runtime, embedded, row) = (runtime.clone(), embedded.clone(), row.clone());
    let namespace = format!("{namespace}-pinned");
    Trial::test(format!("embedded::{}", row.name), move || {
        let replies = runtime.block_on(embedded.run(&row, &namespace))?;
        let reply = replies.last().ok_or("the row has no steps")?;
        let found = (reply.code, reply.reason(), reply.causes());
        let causes = rows::causes(&row).unwrap_or_default();
        let causes: Vec<String> = causes.iter().map(ToString::to_string).collect();
        let expected = (row.code, row.reason.to_string(), causes);
        if found != expected {
            return Err(format!("expected {expected:?}, got {found:?}\n{}", reply.text).into());
        }
        Ok(())
    })
}

fn compared(
    runtime: &Arc<Runtime>,
    embedded: &Backend,
    real: &Backend,
    row: &Arc<Row>,
    namespace: &str,
) -> Trial {
    let (runtime, embedded, real, row) =
        (runtime.clone(), embedded.clone(), real.clone(), row.clone());
    let namespace = namespace.to_string();
    Trial::test(format!("real::{}", row.name), move || {
        let (ours, theirs): (Vec<Reply>, Vec<Reply>) = runtime.block_on(async {
            Ok::<_, Failed>((
                embedded.run(&row, &namespace).await?,
                real.run(&row, &namespace).await?,
            ))
        })?;
        compare(&row, &ours, &theirs)
    })
}

/// Every step must be answered alike; only the last one may have a known difference.
fn compare(row: &Row, ours: &[Reply], theirs: &[Reply]) -> Result<(), Failed> {
    let forms = |replies, with_messages| normal::forms(row, replies, with_messages);
    let (our_forms, their_forms) = (forms(ours, true), forms(theirs, true));
    let last = row.steps.len().saturating_sub(1);
    for step in 0..row.steps.len() {
        if our_forms[step] == their_forms[step] {
            continue;
        }
        let accepted = step == last
            && match row.known_difference {
                None => false,
                Some(Known::InWords(_)) => forms(ours, false)[step] == forms(theirs, false)[step],
                Some(Known::Answer { code, reason, .. }) => {
                    (theirs[step].code, theirs[step].reason()) == (code, reason.to_string())
                }
            };
        if accepted {
            return Ok(());
        }
        return Err(format!(
            "step {step}, {} {}\nembedded:\n{}\nreal:\n{}",
            row.steps[step].method, row.steps[step].path, our_forms[step], their_forms[step]
        )
        .into());
    }
    match row.known_difference {
        Some(Known::InWords(why) | Known::Answer { why, .. }) => {
            Err(format!("the known difference is gone: {why}").into())
        }
        None => Ok(()),
    }
}
