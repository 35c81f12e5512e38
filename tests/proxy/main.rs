//! `onehop proxy` while things go wrong, with traffic through it the whole time.
//!
//! Each test has a lab of its own. What is promised to lose nothing is counted exchange by exchange; how long
//! anything takes is bounded generously.

mod api;
mod cleanup;
mod echo;
mod foreign;
mod hostile;
mod node;
mod policy;
mod ports;
mod quiet;
mod refused;
mod restarts;
mod scene;
mod second;
mod traffic;

use std::process::ExitCode;
use std::sync::OnceLock;

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use onehop_harness::{netns, prepare};
use tokio::runtime::Runtime;

/// Labs at a time. They mostly wait.
const SIDE_BY_SIDE: usize = 2;

fn main() -> ExitCode {
    prepare::complete_path();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(SIDE_BY_SIDE);
    let missing = if arguments.list {
        None
    } else {
        let entered = netns::enter(false);
        entered.err().map(|error| error.to_string())
    };
    let trial = |name: &str, test: fn() -> Result<(), Failed>| match &missing {
        None => Trial::test(name, test),
        Some(reason) => Trial::test(name, || Ok(()))
            .with_kind(format!("ignored: {reason}"))
            .with_ignored_flag(true),
    };
    let trials = vec![
        trial("a_restart_loses_nothing", || {
            run(restarts::lose_nothing("restart", Signal::SIGTERM))
        }),
        trial("a_kill_loses_nothing", || {
            run(restarts::lose_nothing("kill", Signal::SIGKILL))
        }),
        trial("net_admin_is_all_it_needs", || {
            run(restarts::with_net_admin_only())
        }),
        trial(
            "what_others_delete_is_repaired",
            || run(foreign::repaired()),
        ),
        trial("large_tables_are_repaired_beside_a_busy_neighbour", || {
            run(foreign::large_repaired())
        }),
        trial("a_proxy_in_step_stays_healthy", || run(quiet::healthy())),
        trial("refused_transactions_leave_the_old_rules", || {
            run(refused::kept())
        }),
        trial("without_the_api_the_rules_stay", || run(api::lost())),
        trial("a_node_about_to_go_serves_on", || run(node::about_to_go())),
        trial(
            "node_ports_are_nowhere_until_the_node_has_addresses",
            || run(node::without_addresses()),
        ),
        trial("a_policy_switch_cuts_no_flow", || run(policy::switched())),
        trial("udp_flows_move_from_a_removed_endpoint", || {
            run(policy::udp_moves())
        }),
        trial("a_health_check_port_is_served_once_it_is_free", || {
            run(ports::taken_at_first())
        }),
        trial("udp_flows_of_a_deleted_service_end", || {
            run(policy::udp_ends())
        }),
        trial("hostile_services_harm_no_other", || run(hostile::beside())),
        trial("a_second_proxy_waits", || run(second::waits())),
        trial("a_clean_up_removes_its_own_only", || {
            run(cleanup::its_own_only())
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("a runtime can be made"));
    runtime.block_on(test)
}
