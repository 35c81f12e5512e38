//! The whole program from outside: what it leaves behind when it is killed, interrupted or given a
//! proxy that does not start, and that an ordinary user can do all of it.

mod crashes;
mod entered;
mod leftovers;
mod runs;
#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, ExitCode};

use entered::kubectl_path;
use leftovers::{Which, killed, run_killed};
use libtest_mimic::{Arguments, Failed, Trial};
use onehop_harness::tools::{Tool, ToolRef, Version, find_in_path, locate};
use onehop_harness::{netns, prepare};
use support::run;

/// Set in the child of this test program that tries the sandbox: entering it moves the process.
const TRY_SANDBOX: &str = "ONEHOP_TEST_TRIES_SANDBOX";

/// What this machine lacks, as reasons to ignore tests.
#[derive(Clone, Debug)]
struct Missing {
    lab: Option<String>,
    kube_proxy: Option<String>,
    kubectl: Option<String>,
    root: Option<String>,
    unshare: Option<String>,
}

fn main() -> ExitCode {
    prepare::complete_path();
    if std::env::var_os(TRY_SANDBOX).is_some() {
        return match netns::enter(false) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        };
    }
    let arguments = Arguments::from_args();
    let missing = Missing::on_this_machine();
    let Missing {
        lab,
        kube_proxy,
        kubectl,
        root,
        unshare,
    } = &missing;
    let trials = vec![
        trial("the_outer_process_is_killed", &[lab], || {
            killed(Which::Outer)
        }),
        trial("the_inner_process_is_killed", &[lab], || {
            killed(Which::Inner)
        }),
        trial("a_run_is_killed_outside", &[lab, kube_proxy], || {
            run_killed(Which::Outer)
        }),
        trial("a_run_is_killed_inside", &[lab, kube_proxy], || {
            run_killed(Which::Inner)
        }),
        trial("a_run_is_interrupted", &[lab, kube_proxy], || {
            runs::interrupted(false)
        }),
        trial(
            "a_run_is_interrupted_at_a_terminal",
            &[lab, kube_proxy],
            || runs::interrupted(true),
        ),
        trial(
            "a_run_is_interrupted_before_it_judges",
            &[lab],
            runs::too_early,
        ),
        trial("a_lab_is_entered_and_ended", &[lab], entered::entered),
        trial("a_lab_ends_with_its_terminal", &[lab], entered::hung_up),
        trial(
            "kubectl_reaches_the_api_from_outside",
            &[lab, kubectl],
            entered::kubectl_outside,
        ),
        trial("two_proxies_are_compared", &[lab], runs::compared),
        trial("a_rule_that_drops_is_named", &[lab], runs::rule_named),
        trial("a_proxy_that_exits_is_reported", &[lab], runs::proxy_exits),
        trial(
            "a_proxy_that_exits_later_is_no_success",
            &[lab, kube_proxy],
            || crashes::after_it_was_ready(false),
        ),
        trial(
            "a_proxy_may_exit_later_if_its_profile_says_so",
            &[lab, kube_proxy],
            || crashes::after_it_was_ready(true),
        ),
        trial(
            "only_directories_of_its_own_are_emptied",
            &[lab],
            runs::directories,
        ),
        trial("a_proxy_that_hangs_is_reported", &[lab], runs::proxy_hangs),
        trial("phases_are_recorded", &[lab, kube_proxy], runs::phases),
        trial(
            "an_ordinary_user_runs_it",
            &[lab, kube_proxy, root],
            entered::as_nobody,
        ),
        trial(
            "forbidden_namespaces_are_explained",
            &[lab, unshare],
            runs::forbidden,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(
    name: &str,
    needs: &[&Option<String>],
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    match needs.iter().copied().flatten().next().cloned() {
        None => Trial::test(name, test),
        // Whoever runs ignored tests all the same gets the reason as a failure.
        Some(reason) => Trial::test(name, {
            let failure = Failed::from(reason.clone());
            move || Err(failure)
        })
        .with_kind(reason)
        .with_ignored_flag(true),
    }
}

impl Missing {
    fn on_this_machine() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = |name: &str| {
            let there = find_in_path(name, &path).is_some();
            (!there).then(|| format!("{name} is not in PATH"))
        };
        let this = std::env::current_exe().expect("this program has a path");
        let tried = run(Command::new(this).env(TRY_SANDBOX, "1"));
        let sandbox = (tried.code != Some(0)).then_some(tried.stderr);
        let tool = |tool| {
            let version = Version::DEFAULT;
            let located = locate(ToolRef { tool, version }, None);
            located.err().map(|error| error.to_string())
        };
        let kubectl = tool(Tool::ControlPlane).or_else(|| {
            let there = kubectl_path().is_some_and(|path| path.exists());
            (!there).then(|| "no kubectl beside the control plane".to_owned())
        });
        let root = (!nix::unistd::Uid::effective().is_root()).then(|| "not root".to_owned());
        let unshared = Command::new("unshare").args(["-Ur", "true"]).status();
        let unshare = (!unshared.is_ok_and(|status| status.success()))
            .then(|| "unshare -Ur does not work".to_owned());
        Self {
            lab: sandbox.or_else(|| program("nft")),
            kube_proxy: tool(Tool::KubeProxy),
            kubectl,
            root: root.or_else(|| program("setpriv")),
            unshare,
        }
    }
}
