//! One table of requests, answered by the embedded API and by a real etcd and kube-apiserver.
//!
//! `embedded::ROW` runs a row against the embedded API and checks the code and the reason that the row pins.
//! `real::ROW` runs it against both and compares the whole last answer, with what must differ masked: identities,
//! times, resource versions, and the addresses and ports that were allocated. Where the real binaries are missing
//! these are ignored, with the reason. A row with a known difference fails when the difference is gone.

mod backend;
mod normal;
mod rows;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

use backend::{Backend, Reply};
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
    // Listing the tests must not start a control plane.
    let real = if arguments.list {
        Err("only listed".to_string())
    } else {
        runtime
            .block_on(backend::Real::start(dir.path()))
            .map_err(|error| error.to_string())
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
        let reply = runtime.block_on(embedded.run(&row, &namespace))?;
        let found = (reply.code, reply.reason());
        if found != (row.code, row.reason.to_string()) {
            return Err(format!(
                "expected {} {:?}, got {found:?}\n{}",
                row.code, row.reason, reply.text
            )
            .into());
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
        let (ours, theirs): (Reply, Reply) = runtime.block_on(async {
            Ok::<_, Failed>((
                embedded.run(&row, &namespace).await?,
                real.run(&row, &namespace).await?,
            ))
        })?;
        let same = |with_messages| {
            normal::form(&ours, with_messages) == normal::form(&theirs, with_messages)
        };
        let (expected, gone) = match row.known_difference {
            None => (same(true), None),
            Some(Known::InWords(why)) => (same(false), Some(why).filter(|_| same(true))),
            Some(Known::Answer(why)) => (true, Some(why).filter(|_| same(true))),
        };
        match (expected, gone) {
            (_, Some(why)) => Err(format!("the known difference is gone: {why}").into()),
            (true, None) => Ok(()),
            (false, None) => Err(format!(
                "embedded:\n{}\nreal:\n{}",
                normal::form(&ours, true),
                normal::form(&theirs, true)
            )
            .into()),
        }
    })
}
