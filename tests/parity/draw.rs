//! Services drawn at random, the same for the same seed.

use onehop_harness::case::SourceRange::{self, Network};
use onehop_harness::case::{Backend, BalancerMode, IpMode, Policy, Port, Service, ServiceType};
use onehop_harness::world::Protocol;

/// Services that exist at the same time. Those of one group may go in the transaction in which the
/// next come, and `nft` as root of a user namespace cannot send one of some 80 Services ("message
/// too long"): kube-proxy would fail for want of a send buffer.
const TOGETHER: usize = 16;

/// The pods that may be backends, three of the four on vm1 or vm3 with a neighbour.
const PODS: [&str; 5] = ["web-0", "web-1", "web-2", "web-3", "web-4"];
const ZONES: [&str; 2] = ["zone-1", "zone-2"];
const NODES: [&str; 3] = ["vm1", "vm2", "vm3"];

const fn port(name: &'static str, number: u16, protocol: Protocol) -> Port {
    Port {
        name,
        number,
        protocol,
    }
}

/// The ports that a Service may have.
const PORTS: [&[Port]; 5] = [
    &[port("", 80, Protocol::Tcp)],
    &[port("", 53, Protocol::Udp)],
    &[
        port("web", 80, Protocol::Tcp),
        port("admin", 8080, Protocol::Tcp),
    ],
    &[
        port("web", 443, Protocol::Tcp),
        port("quic", 443, Protocol::Udp),
    ],
    &[
        port("a", 1, Protocol::Tcp),
        port("b", 81, Protocol::Tcp),
        port("c", 65535, Protocol::Tcp),
    ],
];

/// `loadBalancerSourceRanges`: of everybody, of one kind of caller, of one family, of nobody.
const SOURCE_RANGES: [&[SourceRange]; 8] = [
    &[Network("0.0.0.0/0"), Network("::/0")],
    &[Network("172.18.0.0/24"), Network("fd00:18::/64")],
    &[Network("172.18.0.1/32"), Network("fd00:18::1/128")],
    &[Network("10.244.0.0/16"), Network("fd00:10:244::/48")],
    &[
        Network("10.244.1.0/24"),
        Network("172.18.0.11/32"),
        Network("fd00:10:244:1::/64"),
    ],
    &[Network("172.18.0.0/24")],
    &[Network("fd00:18::/64"), Network("fd00:10:244::/48")],
    &[Network("192.0.2.0/24"), Network("2001:db8:dead::/64")],
];

/// A Service as drawn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drawn {
    /// Its position among all of a run.
    pub(crate) number: usize,
    /// What it is.
    pub(crate) spec: Service,
    /// Whether nodes serve its load-balancer address.
    pub(crate) ip_mode: IpMode,
    /// Its endpoints.
    pub(crate) backends: Vec<Backend>,
    /// Of a Service with affinity, the number of one that is the same without it: the pods that
    /// each of its flows may reach are seen there.
    pub(crate) twin: Option<usize>,
}

impl Drawn {
    /// Its name, which says where it comes from.
    pub(crate) fn name(&self) -> String {
        format!("drawn-{}", self.number)
    }
}

/// At least `count` Services of this seed, in groups that exist at the same time.
pub(crate) fn services(seed: u64, count: usize) -> Vec<Vec<Drawn>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut groups, mut group, mut number) = (Vec::new(), Vec::new(), 0);
    while number < count {
        let mut drawn = service(&mut random, number);
        if drawn.spec.affinity.is_some() {
            let twin = Drawn {
                spec: Service {
                    affinity: None,
                    ..drawn.spec
                },
                ..drawn.clone()
            };
            group.push(twin);
            number += 1;
            drawn.twin = Some(drawn.number);
            drawn.number = number;
        }
        group.push(drawn);
        number += 1;
        if group.len() >= TOGETHER {
            groups.push(std::mem::take(&mut group));
        }
    }
    groups.extend((!group.is_empty()).then_some(group));
    groups
}

fn service(random: &mut fastrand::Rng, number: usize) -> Drawn {
    let mut one_in = |n: usize| random.usize(..n) == 0;
    let kind = match () {
        () if one_in(40) => ServiceType::Headless,
        () if one_in(4) => ServiceType::ClusterIp,
        () if one_in(2) => ServiceType::NodePort,
        () => ServiceType::LoadBalancer(BalancerMode::Vip),
    };
    let local = |local| {
        if local {
            Policy::Local
        } else {
            Policy::Cluster
        }
    };
    let balanced = matches!(kind, ServiceType::LoadBalancer(_));
    let spec = Service {
        external: local(one_in(2)),
        internal: local(one_in(2)),
        external_ips: kind != ServiceType::Headless && one_in(4),
        allocate_node_ports: !(balanced && one_in(4)),
        affinity: one_in(8).then_some(10_800),
        ..Service::new(kind)
    };
    let ranges = balanced && one_in(3);
    let spec = Service {
        ports: PORTS[random.usize(..PORTS.len())],
        source_ranges: if ranges {
            SOURCE_RANGES[random.usize(..SOURCE_RANGES.len())]
        } else {
            &[]
        },
        ..spec
    };
    // An external policy is a field only of what is reachable from outside.
    let internal_only = matches!(kind, ServiceType::ClusterIp | ServiceType::Headless);
    let spec = if internal_only && !spec.external_ips {
        spec.external(Policy::Cluster)
    } else {
        spec
    };
    let left = balanced && random.usize(..4) == 0;
    Drawn {
        number,
        spec,
        ip_mode: if left { IpMode::Proxy } else { IpMode::Vip },
        backends: backends(random),
        twin: None,
    }
}

/// None to four backends, each in a state of its own, sometimes with hints and in several slices.
fn backends(random: &mut fastrand::Rng) -> Vec<Backend> {
    let mut pods = PODS;
    random.shuffle(&mut pods);
    let count = random.usize(..=4);
    let slices = if random.usize(..3) == 0 { 3 } else { 1 };
    let (all_ready, hints) = (random.usize(..3) == 0, random.usize(..8));
    let mut drawn = Vec::new();
    for pod in pods.into_iter().take(count) {
        let backend = match random.usize(..10) {
            _ if all_ready => Backend::ready(pod),
            0..=2 => Backend::ready(pod),
            3 => Backend::unstated(pod),
            4 => Backend::published(pod),
            5..=7 => Backend::terminating(pod),
            8 => Backend::finished(pod),
            _ => Backend::unready(pod),
        };
        let (zone, node) = (random.usize(..2), random.usize(..3));
        let partly = random.usize(..3) != 0;
        let backend = match hints {
            0 => backend.for_zone(ZONES[zone]),
            1 => backend.for_node(NODES[node]),
            2 => backend.for_zone(ZONES[zone]).for_node(NODES[node]),
            3 if partly => backend.for_zone(ZONES[zone]),
            4 if partly => backend.for_node(NODES[node]),
            _ => backend,
        };
        drawn.push(backend.in_slice(random.u16(..slices)));
    }
    drawn
}
