//! Faults of who is drawn, how often, and for how long: those that show only now and then among them.

use onehop_harness::world::{Family, Protocol};

use super::rules::{Rules, chain, filter_arriving, rewrite_arriving, rewrite_leaving};
use super::scene::Scene;
use super::{Deed, Fault, NFTABLES};

/// The backends that tickets are for.
const STORY: [&str; 3] = ["web-0", "web-1", "web-2"];
/// The tickets of [`STORY`] where one pod has twice the weight of another.
pub(super) const DOUBLE: [usize; 3] = [2, 1, 1];
/// The tickets of [`STORY`] where one pod has 45 %.
pub(super) const FORTY_FIVE_PERCENT: [usize; 3] = [18, 11, 11];
/// Of so many connections to a pod, one is lost.
pub(super) const LOST_ONE_OF: u32 = 100;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "gives-one-of-three-pods-double-weight",
        breaks: "Each pod gets the same share, on every node.",
        sources: &[NFTABLES],
        caught_by: &[("external/cluster/shares-are-even", "shares ")],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Rules(double_weight),
    },
    Fault {
        name: "gives-one-of-three-pods-45-percent",
        breaks: "Each pod gets the same share, and none a little more.",
        sources: &[NFTABLES],
        caught_by: &[("external/cluster/shares-are-even", "shares ")],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Rules(forty_five_percent),
    },
    Fault {
        name: "loses-one-connection-of-a-hundred-to-a-pod",
        breaks: "No connection to a pod that serves is lost.",
        sources: &[NFTABLES, "k#66062", "k#99299"],
        caught_by: &[
            ("external/cluster/shares-are-even", "dropped ("),
            ("internal/cluster/shares-are-even", "dropped ("),
            ("udp/cluster-ip/shares-are-even", "dropped ("),
        ],
        spares: &["external/cluster/reply-returns-by-the-entry-node"],
        deed: Deed::Rules(lose_one_of_a_hundred),
    },
    Fault {
        name: "refuses-four-connections-in-a-row",
        breaks: "No connection is refused while endpoints change, as in a moment without rules.",
        sources: &[NFTABLES, "k#99299"],
        // What kube-proxy is known to lose now and then is less.
        caught_by: &[("live/churn/local", "meanwhile refused (RST) (4 of ")],
        spares: &["external/local/node-without-pods-drops"],
        deed: Deed::Rules(refuse_four),
    },
    Fault {
        name: "forgets-which-pod-a-client-has-drawn",
        breaks: "With ClientIP affinity, a client stays with the pod that it has drawn.",
        sources: &[NFTABLES, "k#55429"],
        caught_by: &[(
            "affinity/node-port/client-stays-with-its-pod",
            "reached 3 pods: web-0 web-1 web-2",
        )],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Rules(draw_again),
    },
    Fault {
        name: "never-ends-an-affinity",
        breaks: "An affinity ends with its timeout.",
        sources: &[NFTABLES],
        caught_by: &[(
            "affinity/ends-with-its-timeout",
            "two pods, after the timeout: all of them to together",
        )],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Rules(endless_affinity),
    },
    Fault {
        name: "keeps-the-affinity-to-a-pod-that-has-left",
        breaks: "An affinity ends with its pod.",
        sources: &[NFTABLES],
        caught_by: &[(
            "affinity/outlives-other-changes-and-ends-with-its-pod",
            "the pod has left: ",
        )],
        spares: &["external/cluster/every-node-answers"],
        deed: Deed::Rules(keep_web_1),
    },
];

/// One node of three gives a pod twice the weight.
fn double_weight(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.spec().affinity.is_none() {
        by_tickets(scene, rules, "vm1", DOUBLE);
    }
}

/// Every node prefers a pod by less than its double weight, for which samples are sized.
fn forty_five_percent(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.spec().affinity.is_none() {
        for node in ["vm1", "vm2", "vm3"] {
            by_tickets(scene, rules, node, FORTY_FIVE_PERCENT);
        }
    }
}

/// vm1 draws for each connection.
fn draw_again(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.spec().affinity.is_some() {
        by_tickets(scene, rules, "vm1", [1; 3]);
    }
}

/// A node draws the pod for each call of its node port from outside, with so many tickets for each.
fn by_tickets(scene: &Scene<'_>, rules: &mut Rules, node: &'static str, tickets: [usize; 3]) {
    let Some(called) = scene.node_port() else {
        return;
    };
    if scene.is_local() || !scene.has_only(&STORY) {
        return;
    }
    let drawn = STORY.iter().zip(tickets);
    let drawn = drawn.flat_map(|(pod, tickets)| std::iter::repeat_n(scene.target(pod), tickets));
    let map = drawn.enumerate();
    let map: Vec<_> = map
        .map(|(ticket, target)| format!("{ticket} : {} . {}", target.ip(), target.port()))
        .collect();
    let rule = format!(
        "{} saddr != {} {called} dnat {} addr . port to numgen random mod {} map {{ {} }}",
        scene.ip(),
        scene.inside(),
        scene.ip(),
        map.len(),
        map.join(", ")
    );
    rules.on(node, &(rewrite_arriving(&rule) + &scene.masquerade()));
}

/// On vm3, four connections to the node port in a row, once: more than a first check makes, and fewer than there are while
/// the pods of a Service come and go in quick turns.
fn refuse_four(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.family == Family::V4
        && scene.protocol() == "tcp"
        && let Some(called) = scene.node_port()
    {
        let begun = "tcp flags & (syn | ack) == syn";
        let rule =
            format!("{called} {begun} numgen inc mod 1000000 {{ 150-153 }} reject with tcp reset");
        rules.on("vm3", &filter_arriving(&rule));
    }
}

/// Whichever node sends a connection to web-0, one of a hundred is lost. What goes there without being rewritten, as the
/// harness's own connections do, is not.
fn lose_one_of_a_hundred(scene: &Scene<'_>, rules: &mut Rules) {
    let rule = format!(
        "{} daddr {} {} ct status dnat ct state new numgen random mod {LOST_ONE_OF} == 0 drop",
        scene.ip(),
        scene.target("web-0").ip(),
        scene.rewritten()
    );
    let lossy = chain("lossy", "type filter hook forward priority 0", &rule);
    for node in ["vm1", "vm2", "vm3"] {
        rules.on(node, &lossy);
    }
}

/// Every client of the ClusterIP stays with web-1 for ever, on each port.
fn endless_affinity(scene: &Scene<'_>, rules: &mut Rules) {
    let Some(address) = scene.victim.service.cluster_ip else {
        return;
    };
    if scene.spec().affinity.is_none() || scene.is_internal_local() {
        return;
    }
    let to_web_1 = scene.ports(Protocol::Tcp).map(|(position, port)| {
        let target = scene.target_of("web-1", position, 0);
        let (ip, address) = (scene.ip(), scene.of(address));
        format!(
            "{ip} daddr {address} tcp dport {} dnat to {target}\n",
            port.number
        )
    });
    let to_web_1: String = to_web_1.collect();
    let own = chain("own", "type nat hook output priority -110", &to_web_1);
    // In iptables mode, kube-proxy hides a pod that is given itself only where it has given it itself.
    let (ip, web_1) = (scene.ip(), scene.target("web-1").ip());
    let itself = format!("{ip} saddr {web_1} {ip} daddr {web_1} ct status dnat masquerade");
    let chains = [rewrite_arriving(&to_web_1), own, rewrite_leaving(&itself)].concat();
    for node in ["vm1", "vm2", "vm3"] {
        rules.on(node, &chains);
    }
}

/// vm1 gives half of the calls of its node port to web-1, whether or not it is still there.
fn keep_web_1(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.spec().affinity.is_some()
        && !scene.is_local()
        && let Some(called) = scene.node_port()
    {
        let rule = format!(
            "{called} numgen random mod 2 == 0 dnat to {}",
            scene.target("web-1")
        );
        rules.on("vm1", &(rewrite_arriving(&rule) + &scene.masquerade()));
    }
}
