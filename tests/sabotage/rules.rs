//! The rules of faults: what is put beside those of kube-proxy.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use onehop_harness::lab::Lab;
use onehop_harness::netns::Namespace;
use onehop_harness::world::{AddressPlan, Family};

pub(crate) fn both(commit: impl Fn(Family) -> Result<(), String>) -> Result<(), String> {
    Family::ALL.into_iter().try_for_each(commit)
}

/// Rewrites packets as they arrive, before kube-proxy does.
pub(crate) fn rewrite_arriving(rule: &str) -> String {
    chain("prerouting", "type nat hook prerouting priority -110", rule)
}

/// Rewrites what kube-proxy has not rewritten: after kube-proxy's own chain.
pub(crate) fn rewrite_late(rule: &str) -> String {
    chain("late", "type nat hook prerouting priority -90", rule)
}

/// Hides the client when it is outside, before kube-proxy decides whether to.
pub(crate) fn masquerade(family: Family, port: u16) -> String {
    let (ip, inside) = (ip(family), inside(family));
    let rule = format!("{ip} saddr != {{ {inside} }} tcp dport {port} masquerade");
    chain(
        "postrouting",
        "type nat hook postrouting priority 90",
        &rule,
    )
}

pub(crate) fn to_remote_pod(lab: &Lab, family: Family, node_port: u16, port: u16) -> String {
    let pod = target(lab, "web-1", family, port);
    format!("tcp dport {node_port} fib daddr type local dnat to {pod}")
}

pub(crate) fn chain(name: &str, hook: &str, rule: &str) -> String {
    format!("chain {name} {{\n{hook};\n{rule}\n}}\n")
}

pub(crate) fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The addresses of nodes and pods: everybody else is outside.
pub(crate) fn inside(family: Family) -> String {
    let index = usize::from(family == Family::V6);
    format!(
        "{}, {}",
        AddressPlan::node_networks()[index],
        AddressPlan::cluster_cidrs()[index]
    )
}

pub(crate) fn target(lab: &Lab, pod: &str, family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(
        lab.world()
            .pod(pod)
            .expect("in the story")
            .address
            .of(family),
        port,
    )
}

/// Adds a table of its own, named after a number, to a node.
pub(crate) fn nft(
    lab: &Lab,
    node: &str,
    family: Family,
    number: u16,
    chains: &str,
) -> Result<(), String> {
    let table = table(family, number);
    let script = format!("{table} {{\n{chains}}}\n");
    run_nft(lab.netns().namespace(node), &script)
}

fn table(family: Family, number: u16) -> String {
    format!("table {} onehop-fault-{number}", ip(family))
}

/// The tables of this number on all nodes, which go with this: rules that outlived their Service would be seen at the
/// end of every case.
pub(crate) struct Committed {
    nodes: Vec<Namespace>,
    number: u16,
}

impl Committed {
    pub(crate) fn by(lab: &Lab, number: u16) -> Self {
        let nodes = lab.world().nodes.iter();
        let nodes = nodes.map(|node| lab.netns().namespace(&node.name).clone());
        Self {
            nodes: nodes.collect(),
            number,
        }
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        // Most nodes have none, and nobody can delete what there is not.
        let tables = Family::ALL.map(|family| table(family, self.number));
        let script = tables
            .map(|table| format!("{table}\ndelete {table}\n"))
            .concat();
        for node in &self.nodes {
            if let Err(error) = tokio::task::block_in_place(|| run_nft(node, &script)) {
                eprintln!("{error}");
            }
        }
    }
}

pub(crate) fn run_nft(node: &Namespace, script: &str) -> Result<(), String> {
    let run = || -> std::io::Result<std::process::Output> {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(script.as_bytes())?;
        child.wait_with_output()
    };
    let output = node.within(run).and_then(|done| done);
    let output = output.map_err(|error| format!("nft: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "nft refused:\n{script}{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
