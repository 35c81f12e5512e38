//! What is another between two runs, or two benches, than what is compared, and may be the reason of a difference.

use onehop_harness::bench::BenchInfo;
use onehop_harness::run::RunInfo;

/// Between two runs.
pub(super) fn of_runs(base: &RunInfo, head: &RunInfo) -> Vec<String> {
    let of = |run: &RunInfo| {
        let timing = serde_json::to_string(&run.timing).unwrap_or_default();
        [
            ("the provider", run.provider.clone()),
            ("the Kubernetes API", run.api.clone()),
            ("the kernel", run.kernel.clone()),
            ("onehop", run.tool_version.clone()),
            ("the timing", timing),
        ]
    };
    others([&base.started, &head.started], of(base), of(head))
}

/// Between two benches.
pub(super) fn of_benches(base: &BenchInfo, head: &BenchInfo) -> Vec<String> {
    let of = |run: &BenchInfo| {
        let build = if run.debug { "debug" } else { "release" };
        [
            ("the kernel", run.kernel.clone()),
            ("the number of processors", run.processors.to_string()),
            ("onehop", run.tool_version.clone()),
            ("the build of onehop", build.to_owned()),
            ("--connect-millis", run.connect_millis.to_string()),
        ]
    };
    others([&base.started, &head.started], of(base), of(head))
}

/// When each began, unless they were begun together, and every one of these that is not the same.
fn others<const N: usize>(
    started: [&String; 2],
    base: [(&str, String); N],
    head: [(&str, String); N],
) -> Vec<String> {
    let known = started.iter().all(|time| !time.is_empty()) && started[0] != started[1];
    let began = known.then(|| format!("begun {} and {}", started[0], started[1]));
    let both = base.into_iter().zip(head);
    let others = both.filter(|((_, base), (_, head))| base != head);
    let others =
        others.map(|((what, base), (_, head))| format!("{what} is another: {base} and {head}"));
    began.into_iter().chain(others).collect()
}
