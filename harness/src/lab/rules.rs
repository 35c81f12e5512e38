//! Which rules of a node a call meets, as its kernel tells it: made once more for a call that went wrong, so that it can be said which
//! rule is to blame.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use onehop_nft::{
    Batch, Chain, ChainKind, Error, Family, Hook, Met, Netfilter, Rule, Step, TH_DPORT, Table,
    Traces, Value, Verdict, daddr, priority,
};
use serde::{Deserialize, Serialize};

use super::netns::Netns;
use super::{Calls, Lab, LabError, evidence};
use crate::balancer::table_family;
use crate::error::chain;
use crate::world::{self, Protocol};

/// Where the tracing begins: before the rules of proxies, and before connection tracking.
const FIRST: i32 = priority::RAW - 50;

/// How the tables of watches begin.
const TABLE: &str = "onehop-watch-";

/// What the rules of one node did with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesMet {
    /// The node.
    pub node: String,
    /// Every rule that applied to it, in their order.
    pub rules: Vec<RuleMet>,
}

/// A rule that applied to a packet, or the policy of a chain that did not accept it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMet {
    /// Its table, with the family: `ip kube-proxy`.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// Its text, as `nft` has it; its handle where there is no `nft`, or the rule is gone. Empty for a policy.
    pub rule: String,
    /// What became of the packet: [`DROP`], [`REJECT`], `accept`, `jump services`, `return`, `continue`.
    pub verdict: String,
}

impl RulesMet {
    /// The rule that ended the way of the packet, if one did.
    pub fn ended(&self) -> Option<&RuleMet> {
        let ends = [DROP, REJECT, DROP_OR_REJECT];
        self.rules.iter().find(|met| ends.contains(&&*met.verdict))
    }
}

/// The verdict on a packet of which nothing more was heard.
pub const DROP: &str = "drop";
/// That on a packet whose sender was told so.
pub const REJECT: &str = "reject";
/// One of them: to the kernel's trace they are the same, and the rule's text is not known.
pub(super) const DROP_OR_REJECT: &str = "drop or reject";

impl Lab {
    /// Makes the first of these calls once more, and says which rules its first packet met on each node that it came to: by the
    /// address that was called, or by TCP by that of a backend. Answers are not followed, nor is a packet that a load balancer has
    /// sent on to another address. Nothing where the kernels of nodes are not at hand: on a cluster.
    ///
    /// # Errors
    /// When the call cannot be made, or a kernel refuses.
    pub(crate) async fn rules_met(&self, calls: Calls<'_>) -> Result<Vec<RulesMet>, String> {
        let Some(netns) = self.provider().netns() else {
            return Ok(Vec::new());
        };
        let Some(remote) = calls.remotes.first() else {
            return Ok(Vec::new());
        };
        // By UDP, fences go to backends as well.
        let backends = match calls.protocol {
            Protocol::Tcp => calls.backends,
            Protocol::Udp | Protocol::Sctp => &[],
        };
        let watched: Vec<_> = std::iter::once(remote).chain(backends).copied().collect();
        let nodes = self.world().nodes.iter().map(|node| node.name.as_str());
        let watches = nodes.map(|node| Watch::begin(netns, node, &watched));
        let watches = watches.collect::<Result<Vec<_>, _>>()?;
        let called = self
            .call_each(Calls {
                remotes: &calls.remotes[..1],
                ..calls
            })
            .await;
        called.map_err(|error: LabError| chain(&error))?;
        let mut met = Vec::new();
        for watch in watches {
            let node = watch.node.clone();
            let Some(steps) = watch.end()? else {
                continue;
            };
            let ruleset = ["nft", "-a", "list", "ruleset"];
            let ruleset = evidence::output_of(&ruleset, netns.namespace(&node)).await;
            let ruleset = String::from_utf8_lossy(&ruleset);
            let steps = steps.iter().filter(|step| decides(step));
            let rules = steps.map(|step| told(step, &ruleset)).collect();
            met.push(RulesMet { node, rules });
        }
        Ok(met)
    }
}

/// A node whose kernel tells which rules packets to some addresses meet, until it ends.
struct Watch {
    node: String,
    table: Table,
    netfilter: Netfilter,
    traces: Traces,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut batch = Batch::new();
        batch.delete_table(&self.table);
        if let Err(error) = self.netfilter.commit(&mut batch) {
            tracing::warn!(node = self.node, error = chain(&error), "a watch goes on");
        }
    }
}

impl Watch {
    /// Watches these addresses, of which there is at least one, all of one family.
    fn begin(netns: &Netns, node: &str, watched: &[SocketAddr]) -> Result<Self, String> {
        // Several cases may watch one node at a time.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let family = table_family(world::Family::of(watched[0].ip()));
        let table = Table::new(family, format!("{TABLE}{number}"));
        let mut batch = Batch::new();
        batch.add_table(&table);
        for (name, hook) in [("arriving", Hook::Prerouting), ("own", Hook::Output)] {
            let chain = Chain::base(name, ChainKind::Filter, hook, FIRST);
            batch.add_chain(&table, &chain);
            for address in watched {
                let rule = Rule::new()
                    .eq(daddr(family), Value::new().ip(address.ip()))
                    .eq(TH_DPORT, Value::new().port(address.port()))
                    .set_nftrace();
                batch.add_rule(&table, name, &rule);
            }
        }
        let begun = netns.namespace(node).within(|| {
            let traces = Traces::subscribe()?;
            let mut netfilter = Netfilter::open()?;
            netfilter.commit(&mut batch)?;
            Ok((netfilter, traces))
        });
        let begun = begun.map_err(|error| error.to_string())?;
        let (netfilter, traces) = begun.map_err(|error: Error| chain(&error))?;
        Ok(Self {
            node: node.to_owned(),
            table,
            netfilter,
            traces,
        })
    }

    /// Stops watching. The steps of the first packet that came, but for those in tables like this; `None` if none came.
    fn end(mut self) -> Result<Option<Vec<Step>>, String> {
        let mut steps: Vec<Step> = Vec::new();
        while let Some(step) = self.traces.read().map_err(|error| chain(&error))? {
            steps.push(step);
        }
        Ok(of_the_first(steps, &self.table.name))
    }
}

/// The steps of the first packet that a rule of this watch has chosen, but for those in tables like its own. Others may trace other
/// packets at the same time, which come to the end of its chains as well.
fn of_the_first(mut steps: Vec<Step>, watch: &str) -> Option<Vec<Step>> {
    let chosen = |step: &&Step| step.table == watch && matches!(step.met, Met::Rule(_));
    let first = steps.iter().find(chosen)?.packet;
    steps.retain(|step| step.packet == first && !step.table.starts_with(TABLE));
    Some(steps)
}

/// Whether a step is more than that a chain has come to its end.
fn decides(step: &Step) -> bool {
    match step.met {
        Met::Rule(_) => true,
        Met::Return => false,
        Met::Policy => step.verdict != Some(Verdict::Accept),
    }
}

/// A step in words, with the text of its rule out of `nft -a list ruleset`.
fn told(step: &Step, ruleset: &str) -> RuleMet {
    let family = step.family.map_or("?", Family::keyword);
    let table = format!("{family} {}", step.table);
    let known = match step.met {
        Met::Rule(handle) => text(ruleset, &table, &step.chain, handle),
        Met::Policy | Met::Return => Some(""),
    };
    let rule = match (known, step.met) {
        (None, Met::Rule(handle)) => format!("rule {handle}"),
        (known, _) => known.unwrap_or_default().to_owned(),
    };
    let verdict = match &step.verdict {
        // A rule that refuses drops as well, once it has answered.
        Some(Verdict::Drop) => match known.map(str::to_lowercase) {
            None => DROP_OR_REJECT.to_owned(),
            Some(text) if text.contains(REJECT) => REJECT.to_owned(),
            Some(_) => DROP.to_owned(),
        },
        Some(Verdict::Accept) => "accept".to_owned(),
        Some(Verdict::Continue) => "continue".to_owned(),
        Some(Verdict::Return) => "return".to_owned(),
        Some(Verdict::Jump(chain)) => format!("jump {chain}"),
        Some(Verdict::Goto(chain)) => format!("goto {chain}"),
        None => "something else".to_owned(),
    };
    RuleMet {
        table,
        chain: step.chain.clone(),
        rule,
        verdict,
    }
}

/// The text of a rule in a listing with handles.
fn text<'a>(ruleset: &'a str, table: &str, chain: &str, handle: u64) -> Option<&'a str> {
    let opens = |line: &str, what: &str| {
        let rest = line.trim_start().strip_prefix(what)?;
        Some(rest.split(" {").next()?.to_owned())
    };
    let mark = format!(" # handle {handle}");
    let (mut in_table, mut in_chain) = (false, false);
    for line in ruleset.lines() {
        if let Some(name) = opens(line, "table ") {
            (in_table, in_chain) = (name == table, false);
        } else if let Some(name) = opens(line, "chain ") {
            in_chain = name == chain;
        } else if in_table && in_chain && line.ends_with(&mark) {
            return line.strip_suffix(&mark).map(str::trim);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
table ip kube-proxy { # handle 1
\tchain services { # handle 5
\t\tip daddr . meta l4proto . th dport vmap @service-ips # handle 12
\t}

\tchain external-X { # handle 6
\t\tip saddr 10.0.0.0/8 goto service-X comment \"a # handle 3\" # handle 13
\t\tdrop # handle 14
\t\treject with icmp port-unreachable # handle 15
\t}
}
table ip6 kube-proxy { # handle 2
\tchain services { # handle 5
\t\taccept # handle 12
\t}
}
";

    #[test]
    fn a_packet_that_another_watch_has_chosen_is_left_to_it() {
        let step = |packet: u32, table: &str, met: Met| Step {
            packet,
            family: Some(Family::Ip),
            table: table.to_owned(),
            chain: "arriving".to_owned(),
            met,
            verdict: Some(Verdict::Accept),
        };
        let anothers = [
            step(1, "onehop-watch-1", Met::Rule(3)),
            step(1, "onehop-watch-2", Met::Policy),
            step(1, "kube-proxy", Met::Rule(8)),
        ];
        assert_eq!(of_the_first(anothers.to_vec(), "onehop-watch-2"), None);
        let own = [
            step(2, "onehop-watch-2", Met::Rule(3)),
            step(2, "kube-proxy", Met::Rule(9)),
        ];
        let all = [&anothers[..], &own].concat();
        assert_eq!(of_the_first(all, "onehop-watch-2"), Some(own[1..].to_vec()));
    }

    #[test]
    fn rules_are_found_by_their_table_chain_and_handle() {
        let of = |table, chain, handle| text(LISTING, table, chain, handle);
        assert_eq!(of("ip kube-proxy", "external-X", 14), Some("drop"));
        assert_eq!(of("ip6 kube-proxy", "services", 12), Some("accept"));
        assert_eq!(
            of("ip kube-proxy", "services", 12),
            Some("ip daddr . meta l4proto . th dport vmap @service-ips")
        );
        assert_eq!(of("ip kube-proxy", "services", 14), None);
        assert_eq!(of("ip kube-proxy", "external-X", 3), None);
        assert_eq!(of("inet kube-proxy", "services", 12), None);
    }

    #[test]
    fn a_step_says_which_rule_and_what_became_of_the_packet() {
        let met = |rules: &[&RuleMet]| RulesMet {
            node: "vm2".to_owned(),
            rules: rules.iter().copied().cloned().collect(),
        };
        let step = |met, verdict| Step {
            packet: 1,
            family: Some(Family::Ip),
            table: "kube-proxy".to_owned(),
            chain: "external-X".to_owned(),
            met,
            verdict: Some(verdict),
        };
        let dropped = told(&step(Met::Rule(14), Verdict::Drop), LISTING);
        assert_eq!(
            (&*dropped.table, &*dropped.rule, &*dropped.verdict),
            ("ip kube-proxy", "drop", "drop")
        );
        let refused = told(&step(Met::Rule(15), Verdict::Drop), LISTING);
        assert_eq!(refused.verdict, REJECT);
        assert_eq!(met(&[&refused]).ended(), Some(&refused));
        let unknown = told(&step(Met::Rule(99), Verdict::Drop), LISTING);
        assert_eq!(
            (&*unknown.rule, &*unknown.verdict),
            ("rule 99", DROP_OR_REJECT)
        );
        let gone = told(&step(Met::Rule(99), Verdict::jump("services")), LISTING);
        assert_eq!((&*gone.rule, &*gone.verdict), ("rule 99", "jump services"));
        let policy = step(Met::Policy, Verdict::Drop);
        let end = told(&policy, LISTING);
        assert_eq!((&*end.rule, &*end.verdict), ("", "drop"));
        assert!(decides(&policy) && decides(&step(Met::Rule(14), Verdict::Continue)));
        assert!(!decides(&step(Met::Policy, Verdict::Accept)));
        assert!(!decides(&step(Met::Return, Verdict::Return)));
        assert_eq!(met(&[&gone, &dropped]).ended(), Some(&dropped));
        assert_eq!(met(&[&gone, &end]).ended(), Some(&end));
        assert_eq!(met(&[&gone]).ended(), None);
    }
}
