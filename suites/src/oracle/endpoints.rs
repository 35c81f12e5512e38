//! Which endpoints of a Service may serve a node.
//!
//! | set | its endpoints |
//! |---|---|
//! | of the cluster | ready ones that the hints mean for the node; if none is ready, all that terminate and serve |
//! | local | ready ones on the node; if there are none, those on it that terminate and serve |
//!
//! One that terminates and does not serve is never in any.

use onehop_harness::case::Backend;
use onehop_harness::world::{Node, World};

/// Whether anything can serve at all, on whichever node. If not, traffic is refused.
pub(super) fn any(backends: &[Backend]) -> bool {
    backends.iter().any(|b| b.ready || serves_to_the_end(b))
}

/// What serves a node under Cluster.
pub(super) fn of_cluster<'a>(backends: &'a [Backend], node: &Node) -> Vec<&'a Backend> {
    let ready: Vec<_> = backends.iter().filter(|b| b.ready).collect();
    if ready.is_empty() {
        return backends.iter().filter(|b| serves_to_the_end(b)).collect();
    }
    meant_for(ready, node)
}

/// What serves a node under Local. Hints say nothing here.
pub(super) fn local<'a>(world: &World, backends: &'a [Backend], node: &Node) -> Vec<&'a Backend> {
    let here = || backends.iter().filter(|b| is_on(world, b, node));
    let ready: Vec<_> = here().filter(|b| b.ready).collect();
    if ready.is_empty() {
        here().filter(|b| serves_to_the_end(b)).collect()
    } else {
        ready
    }
}

/// The ready ones on a node, which its health check port counts.
pub(super) fn ready_on(world: &World, backends: &[Backend], node: &Node) -> usize {
    let here = backends.iter().filter(|b| is_on(world, b, node));
    here.filter(|b| b.ready).count()
}

fn is_on(world: &World, backend: &Backend, node: &Node) -> bool {
    world
        .pod(&backend.pod)
        .is_some_and(|pod| pod.node == node.name)
}

fn serves_to_the_end(backend: &Backend) -> bool {
    backend.serving && backend.terminating
}

/// The hints count only where every endpoint has one and one is for this node: those for nodes before those for
/// zones (KEP-3015, KEP-2433).
fn meant_for<'a>(ready: Vec<&'a Backend>, node: &Node) -> Vec<&'a Backend> {
    for hints in [|b: &Backend| b.nodes.clone(), |b: &Backend| b.zones.clone()] {
        let names = |b: &Backend| hints(b).iter().any(|h| *h == node.name || *h == node.zone);
        if ready.iter().all(|b| !hints(b).is_empty()) && ready.iter().any(|b| names(b)) {
            return ready.into_iter().filter(|b| names(b)).collect();
        }
    }
    ready
}
