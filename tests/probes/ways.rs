//! The lab's own network: it changes no source and costs exactly the routers on the way.

use libtest_mimic::Failed;
use onehop_harness::lab::BASELINE_PORT;
use onehop_harness::probe::Outcome;
use onehop_harness::world::{Family, Pod};

use crate::lab::Bench;

/// Connections on each way.
const TIMES: usize = 3;

pub(crate) fn sources_and_ttls(bench: &Bench) -> Result<(), Failed> {
    let world = bench.world();
    let mut connections = 0;
    for from in bench.callers() {
        for family in Family::ALL {
            let pods: Vec<_> = world.pods.iter().filter(|pod| pod.name != from).collect();
            let targets: Vec<_> = pods.iter().flat_map(|pod| [*pod; TIMES]).collect();
            let remote = |pod: &&Pod| bench.at(&pod.name, family, BASELINE_PORT);
            let remotes: Vec<_> = targets.iter().map(remote).collect();
            let calls = bench.call(&from, &remotes, bench.lab.timing())?;
            for (pod, call) in targets.iter().zip(calls) {
                let way = format!("{from} to {} ({family})", pod.name);
                let Outcome::Reached { identity, .. } = call.outcome else {
                    return Err(format!("{way}: {:?}", call.outcome).into());
                };
                assert_eq!((&identity.pod, &identity.node), (&pod.name, &pod.node));
                assert_eq!(identity.port, BASELINE_PORT, "{way}");
                // The port is kept too: a masquerade to the same address would change it.
                assert_eq!(identity.peer, call.local, "{way}");
                let own = own_address(bench, &from, pod, family);
                assert_eq!(call.local.ip(), own, "{way}");
                let routers = routers_between(bench, &from, pod);
                assert_eq!(identity.ttl, 64 - routers, "{way}");
                connections += 1;
            }
        }
    }
    eprintln!("{connections} connections, each with its source and its TTL");
    let ways = bench.callers().len() * world.pods.len() - world.pods.len();
    assert_eq!(connections, ways * TIMES * Family::ALL.len());
    Ok(())
}

/// The routers between a host and a pod, counted from the drawing of the network.
fn routers_between(bench: &Bench, from: &str, pod: &Pod) -> u8 {
    let world = bench.world();
    if world.client(from).is_some() {
        return 3; // router, load balancer, node
    }
    if world.node(from).is_some() {
        return u8::from(from != pod.node); // the pod's node, unless it calls itself
    }
    let caller = world.pod(from).expect("a client, a node or a pod");
    1 + u8::from(caller.node != pod.node) // its node, and the pod's
}

/// The address by which a host calls a pod. A node faces its own pods with their gateway's.
fn own_address(bench: &Bench, from: &str, pod: &Pod, family: Family) -> std::net::IpAddr {
    match bench.world().node(from) {
        Some(node) if node.name == pod.node => node.pod_gateway.of(family),
        _ => bench.address(from, family),
    }
}
