//! Faults of length: what is lost of datagrams that fill a packet, or go in several.

use onehop_harness::world::{Family, Protocol};

use super::rules::{Rules, chain};
use super::scene::Scene;
use super::{Deed, Fault, NFTABLES};

/// The MTU of every link of the lab, with which datagrams are lost that leave no room for an option of eight octets.
const ROOM: u16 = 1500 - 8;
/// Before connection tracking puts fragments together (`NF_IP_PRI_CONNTRACK_DEFRAG`).
const BEFORE_FRAGMENTS_ARE_PUT_TOGETHER: &str = "type filter hook prerouting priority -450";
const FORWARDED: &str = "type filter hook forward priority 0";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "has-no-room-for-what-it-adds-to-a-datagram",
        breaks: "A datagram that is as long as the MTU comes to a pod on another node.",
        sources: &["c#32601", "c#39690"],
        caught_by: &[
            (
                "mtu/cluster-ip/cluster",
                "pod(client-vm2) to cluster-ip, datagrams of MTU (UDP, IPv4): datagrams of 1500 octets: dropped (54 of 54)",
            ),
            (
                "mtu/node-port/cluster",
                "MTU: external(client-private) to node-port@vm2, datagrams of MTU (UDP, IPv4): datagrams of 1500 octets: dropped (54 of 54)",
            ),
            (
                "mtu/external-ip/cluster",
                "datagrams of 1500 octets: dropped",
            ),
            (
                "mtu/load-balancer/cluster",
                "datagrams of 1500 octets: dropped",
            ),
        ],
        // It forwards nothing under Local, and short datagrams have room enough.
        spares: &[
            "mtu/node-port/local",
            "mtu/load-balancer/local",
            "udp/cluster-ip/cluster/every-pod-answers",
            "udp/node-port/cluster/masqueraded",
        ],
        deed: Deed::Rules(no_room),
    },
    Fault {
        name: "loses-long-answers",
        breaks: "An answer that is as long as the MTU comes back.",
        sources: &["c#32601", NFTABLES],
        caught_by: &[
            (
                "mtu/node-port/local",
                "datagrams of 1500 octets: answered by web-",
            ),
            (
                "mtu/load-balancer/local",
                "datagrams of 1500 octets: answered by web-",
            ),
        ],
        spares: &["udp/node-port/local/client-ip-kept"],
        deed: Deed::Rules(lose_long_answers),
    },
    Fault {
        name: "passes-over-fragments",
        breaks: "A datagram in fragments is put together before its ports are looked at.",
        sources: &["c#32427", NFTABLES],
        caught_by: &[
            (
                "mtu/fragments/cluster-ip",
                "datagrams of 1501 octets: dropped",
            ),
            (
                "mtu/fragments/node-port/cluster",
                "datagrams of 1501 octets: dropped",
            ),
            (
                "mtu/fragments/node-port/local",
                "datagrams of 1501 octets: dropped",
            ),
            (
                "mtu/fragments/load-balancer/cluster",
                "datagrams of 1501 octets: dropped",
            ),
            (
                "mtu/fragments/load-balancer/local",
                "datagrams of 1501 octets: dropped",
            ),
        ],
        spares: &[
            "mtu/cluster-ip/cluster",
            "mtu/node-port/cluster",
            "mtu/load-balancer/local",
        ],
        deed: Deed::Rules(pass_over_fragments),
    },
];

/// vm2, which has no pods, loses what it forwards to another node where that leaves no room for an option.
fn no_room(scene: &Scene<'_>, rules: &mut Rules) {
    let called = scene.rewritten();
    let rule = format!("{called} ct direction original meta length > {ROOM} drop");
    rules.on("vm2", &chain("options", FORWARDED, &rule));
}

/// vm3 loses what its pods answer where that leaves no room for an option.
fn lose_long_answers(scene: &Scene<'_>, rules: &mut Rules) {
    let (protocol, port) = (scene.protocol(), scene.victim.port);
    let answers = format!("{protocol} sport {port} ct direction reply");
    let rule = format!("{answers} meta length > {ROOM} drop");
    rules.on("vm3", &chain("answers", FORWARDED, &rule));
}

/// Every node loses fragments that have no ports.
fn pass_over_fragments(scene: &Scene<'_>, rules: &mut Rules) {
    if scene.spec().ports[0].protocol != Protocol::Udp {
        return;
    }
    let later = match scene.family {
        Family::V4 => "ip frag-off & 0x1fff != 0",
        Family::V6 => "frag frag-off != 0",
    };
    let chain = chain(
        "fragments",
        BEFORE_FRAGMENTS_ARE_PUT_TOGETHER,
        &format!("{later} drop"),
    );
    for node in ["vm1", "vm2", "vm3"] {
        rules.on(node, &chain);
    }
}
