//! What `onehop trace` is asked for.

use miette::{Result, miette};
use onehop_harness::case::{self, Backend, Place, Target};
use onehop_harness::world::{CLIENT_PUBLIC, World};

/// Reads `external`, `external@CLIENT`, `pod@POD`, `node@NODE` or `load-balancer`.
pub(super) fn place(text: &str, world: &World) -> Result<Place> {
    if text == "load-balancer" {
        return Ok(Place::LoadBalancer);
    }
    let (kind, name) = text.split_once('@').unwrap_or((text, CLIENT_PUBLIC));
    let names = |all: Vec<&str>| all.join(", ");
    let (place, known, all) = match kind {
        "external" => (
            case::external(name),
            world.client(name).is_some(),
            names(world.clients.iter().map(|c| &*c.name).collect()),
        ),
        "pod" => (
            case::pod(name),
            world.pod(name).is_some(),
            names(world.pods.iter().map(|p| &*p.name).collect()),
        ),
        "node" => (
            case::node(name),
            world.node(name).is_some(),
            names(world.nodes.iter().map(|n| &*n.name).collect()),
        ),
        _ => {
            let help = "external, external@CLIENT, pod@POD, node@NODE, or load-balancer";
            return Err(miette!(help = help, "no place {text}"));
        }
    };
    if known {
        Ok(place)
    } else {
        Err(miette!(help = format!("one of {all}"), "no {kind} {name}"))
    }
}

/// Reads `cluster-ip`, `vip`, `node-port@NODE`, `external-ip@NODE` or `vip@NODE`.
pub(super) fn target(text: &str, world: &World) -> Result<Target> {
    let at = text.split_once('@');
    let at = at.filter(|(_, node)| world.node(node).is_some());
    match (text, at) {
        ("cluster-ip", _) => Ok(Target::ClusterIp),
        ("vip", _) => Ok(Target::Vip),
        (_, Some(("node-port", node))) => Ok(Target::NodePort(node.to_owned())),
        (_, Some(("external-ip", node))) => Ok(Target::ExternalIp(node.to_owned())),
        (_, Some(("vip", node))) => Ok(Target::VipAt(node.to_owned())),
        _ => {
            let nodes: Vec<_> = world.nodes.iter().map(|node| node.name.as_str()).collect();
            let help = format!(
                "cluster-ip, vip, or node-port, external-ip or vip @NODE with one of {}",
                nodes.join(", ")
            );
            Err(miette!(help = help, "no target {text}"))
        }
    }
}

/// Reads `POD` or `POD=STATE`.
pub(super) fn endpoint(text: &str, world: &World) -> Result<Backend> {
    let (pod, state) = text.split_once('=').unwrap_or((text, "ready"));
    if world.pod(pod).is_none() {
        let names: Vec<_> = world.pods.iter().map(|pod| pod.name.as_str()).collect();
        return Err(miette!(
            help = format!("one of {}", names.join(", ")),
            "no pod {pod}"
        ));
    }
    match state {
        "ready" => Ok(Backend::ready(pod)),
        "terminating" => Ok(Backend::terminating(pod)),
        "finished" => Ok(Backend::finished(pod)),
        "not-ready" => Ok(Backend::unready(pod)),
        _ => Err(miette!(
            help = "ready, terminating, finished or not-ready",
            "no state {state} of an endpoint"
        )),
    }
}

/// Who calls what: the load balancer's host is the only one that can choose a node for an address of the load balancer.
pub(super) fn flow(from: &str, to: &str, world: &World) -> Result<(Place, Target)> {
    let (from, to) = (place(from, world)?, target(to, world)?);
    if matches!(to, Target::VipAt(_)) && from != Place::LoadBalancer {
        return Err(miette!(
            help = "--from load-balancer, or --to vip",
            "only the load balancer can send a call of its address to a node of its choice"
        ));
    }
    if to == Target::Vip && from == Place::LoadBalancer {
        return Err(miette!(
            help = "--to vip@NODE",
            "the load balancer's host has to choose a node for its own address"
        ));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_targets_are_read_or_refused_by_name() {
        let world = World::story();
        assert_eq!(
            place("external", &world).ok(),
            Some(case::external(CLIENT_PUBLIC))
        );
        assert_eq!(
            place("pod@client-vm1", &world).ok(),
            Some(case::pod("client-vm1"))
        );
        assert!(place("pod@nobody", &world).is_err());
        assert!(place("moon", &world).is_err());
        assert_eq!(
            target("node-port@vm2", &world).ok(),
            Some(Target::NodePort("vm2".into()))
        );
        assert!(target("node-port@vm9", &world).is_err());
        assert!(target("node-port", &world).is_err());
    }

    #[test]
    fn endpoints_have_states_and_unknown_ones_are_refused_by_name() {
        let world = World::story();
        assert_eq!(
            endpoint("web-1", &world).ok(),
            Some(Backend::ready("web-1"))
        );
        assert_eq!(
            endpoint("web-1=terminating", &world).ok(),
            Some(Backend::terminating("web-1"))
        );
        let error = endpoint("web-1=tired", &world).expect_err("no such state");
        assert_eq!(error.to_string(), "no state tired of an endpoint");
        assert!(endpoint("web-99", &world).is_err());
    }

    #[test]
    fn only_the_load_balancer_chooses_a_node_for_its_address() {
        let world = World::story();
        assert!(flow("load-balancer", "vip@vm2", &world).is_ok());
        assert!(flow("external", "vip@vm2", &world).is_err());
        assert!(flow("load-balancer", "vip", &world).is_err());
        assert!(flow("external", "external-ip@vm1", &world).is_ok());
    }
}
