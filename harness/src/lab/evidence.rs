//! Evidence of a failure in network namespaces: what the hosts and the proxies have to say.

use std::fs;
use std::io;
use std::path::Path;

use tokio::process::Command;

use super::netns::Netns;
use crate::netns::{Namespace, start_in};
use crate::world::{LOAD_BALANCER, World};

/// What is asked on each node: file name, and command.
pub(crate) const COMMANDS: [(&str, &[&str]); 4] = [
    ("rules.nft", &["nft", "list", "ruleset"]),
    ("rules.iptables", &["iptables-save", "-c"]),
    ("rules.ip6tables", &["ip6tables-save", "-c"]),
    ("conntrack", &["conntrack", "-L"]),
];

/// Writes the rules and connections of each node and of the load balancer, and the proxies' logs,
/// to a directory.
///
/// # Errors
/// When a file cannot be written. A command that is missing is noted in its file instead.
pub(super) async fn capture(netns: &Netns, world: &World, dir: &Path) -> io::Result<()> {
    let nodes = world.nodes.iter().map(|node| node.name.as_str());
    for host in nodes.chain([LOAD_BALANCER]) {
        for (file, command) in COMMANDS {
            let output = output_of(command, netns.namespace(host)).await;
            fs::write(dir.join(format!("{host}.{file}")), output)?;
        }
    }
    for proxy in netns.proxies() {
        fs::copy(proxy.log(), dir.join(format!("{}.proxy.log", proxy.node())))?;
    }
    Ok(())
}

/// What a command on a host says, or why it says nothing.
pub(super) async fn output_of(command: &[&str], host: &Namespace) -> Vec<u8> {
    let mut run = Command::new(command[0]);
    run.args(&command[1..])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    start_in(&mut run, host);
    match run.output().await {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => [output.stdout, output.stderr].concat(),
        Err(error) => format!("{} could not be run: {error}\n", command[0]).into_bytes(),
    }
}
