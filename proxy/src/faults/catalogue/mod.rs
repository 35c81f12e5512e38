//! The faults, by the part of the contract that each breaks.

mod affinity;
mod changes;
mod cluster_ip;
mod endpoints;
mod external;
mod health;
mod modifiers;

use super::Fault;

const TOPOLOGY: &str = "kubernetes/pkg/proxy/topology.go";
const NFTABLES: &str = "kubernetes/pkg/proxy/nftables/proxier.go";
const SLICES: &str = "kubernetes/pkg/proxy/endpointslicecache.go";
const PROXY_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/proxy_health.go";
const SERVICE_HEALTH: &str = "kubernetes/pkg/proxy/healthcheck/service_health.go";

const PARTS: [&[Fault]; 7] = [
    endpoints::FAULTS,
    cluster_ip::FAULTS,
    external::FAULTS,
    modifiers::FAULTS,
    affinity::FAULTS,
    health::FAULTS,
    changes::FAULTS,
];

/// All of them.
pub const FAULTS: &[Fault] = &joined::<{ count() }>();

const fn count() -> usize {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
}

/// All parts, one after the other. There are neither iterators nor `concat` in constants yet.
const fn joined<const COUNT: usize>() -> [Fault; COUNT] {
    let mut all = [PARTS[0][0]; COUNT];
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut index = 0;
        while index < PARTS[part].len() {
            all[count] = PARTS[part][index];
            count += 1;
            index += 1;
        }
        part += 1;
    }
    all
}
