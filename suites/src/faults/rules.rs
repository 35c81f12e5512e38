//! The rules of faults: what is put beside those of a proxy.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use onehop_harness::lab::Lab;
use onehop_harness::netns::Namespace;
use onehop_harness::world::Family;

/// Chains in one family, by node.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<&'static str, String>);

impl Rules {
    /// Adds chains on a node.
    pub(super) fn on(&mut self, node: &'static str, chains: &str) {
        self.0.entry(node).or_default().push_str(chains);
    }
}

/// Rewrites packets as they arrive, before the proxy does.
pub(super) fn rewrite_arriving(rule: &str) -> String {
    chain("arriving", "type nat hook prerouting priority -110", rule)
}

/// Rewrites what the proxy has not rewritten: after its own chain.
pub(super) fn rewrite_late(rule: &str) -> String {
    chain("late", "type nat hook prerouting priority -90", rule)
}

/// Decides the source before the proxy does, which leaves alone what somebody has decided.
pub(super) fn rewrite_leaving(rule: &str) -> String {
    chain("leaving", "type nat hook postrouting priority 90", rule)
}

/// Looks at packets before anybody has rewritten them.
pub(super) fn filter_arriving(rule: &str) -> String {
    chain("raw", "type filter hook prerouting priority -300", rule)
}

pub(super) fn chain(name: &str, hook: &str, rule: &str) -> String {
    format!("chain {name} {{\n{hook};\n{rule}\n}}\n")
}

/// The name of a family in rules.
pub(super) fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Tables of a number, which go with this: rules that outlived their Service would be seen at the end of every case.
#[derive(Debug)]
pub(super) struct Tables {
    nodes: Vec<Namespace>,
    number: u16,
}

impl Tables {
    /// Adds these rules, each family's in a table of its own.
    ///
    /// # Errors
    /// When nft refuses them, or cannot be run.
    pub(super) fn add(lab: &Lab, number: u16, rules: &[(Family, Rules)]) -> Result<Self, String> {
        let mut scripts = BTreeMap::<&str, String>::new();
        for (family, Rules(by_node)) in rules {
            for (node, chains) in by_node {
                let table = table(*family, number);
                let script = scripts.entry(*node).or_default();
                script.push_str(&format!("{table} {{\n{chains}}}\n"));
            }
        }
        let mut added = Self {
            nodes: Vec::new(),
            number,
        };
        for (node, script) in scripts {
            let node = lab.netns().namespace(node);
            nft(node, &script)?;
            added.nodes.push(node.clone());
        }
        Ok(added)
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // A family without rules has no table, and nobody can delete what there is not.
        let tables = Family::ALL.map(|family| table(family, self.number));
        let script = tables
            .map(|table| format!("{table}\ndelete {table}\n"))
            .concat();
        for node in &self.nodes {
            // Backends answer on the same runtime, while nft runs.
            if let Err(error) = tokio::task::block_in_place(|| nft(node, &script)) {
                tracing::error!(%error, "the rules of a fault stay");
            }
        }
    }
}

fn table(family: Family, number: u16) -> String {
    format!("table {} onehop-fault-{number}", ip(family))
}

/// Has nft run a script on a node.
///
/// # Errors
/// When it refuses the script, or cannot be run.
pub(super) fn nft(node: &Namespace, script: &str) -> Result<(), String> {
    let run = || -> io::Result<Output> {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().expect("piped");
        input.write_all(script.as_bytes())?;
        drop(input);
        child.wait_with_output()
    };
    let output = node.within(run).and_then(|done| done);
    let output = output.map_err(|error| format!("nft: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("nft refused:\n{script}{said}"))
}
