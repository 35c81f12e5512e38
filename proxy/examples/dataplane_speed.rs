//! How long transactions take with many Services: `cargo run --release --example dataplane_speed [SERVICES]`, in a
//! network namespace of its own, so as root (`unshare -n` would do as well).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use onehop_proxy::dataplane::{Changes, Dataplane, Options};
use onehop_proxy::model::{Family, ObjectName, Protocol};
use onehop_proxy::plan::{Front, FrontKind, Handling, PortPlan, ServicePlan};

fn main() {
    let services: u32 = std::env::args()
        .nth(1)
        .map_or(10_000, |count| count.parse().expect("a number"));
    unshare(CloneFlags::CLONE_NEWNET).expect("CAP_SYS_ADMIN");
    for family in Family::ALL {
        measure(family, services);
    }
}

fn measure(family: Family, services: u32) {
    let all = (0..services).map(|number| plan(family, number, &[2 * number, 2 * number + 1]));
    let all: Changes = changes(all);
    let before = resident();
    println!("{family:?}, {services} Services of 2 endpoints:");
    let begin = Instant::now();
    let mut dataplane = Dataplane::open(Options::default()).expect("nftables");
    let report = dataplane.apply(all).expect("the kernel takes it");
    let (bytes, taken) = (report.bytes, begin.elapsed());
    println!(
        "  all at once            {taken:?}, {bytes} bytes; {} KiB more resident",
        resident() - before
    );
    let begin = Instant::now();
    let again = (0..services).map(|number| plan(family, number, &[2 * number, 2 * number + 1]));
    dataplane
        .apply(changes(again))
        .expect("the kernel takes it");
    println!("  all again, unchanged   {:?}", begin.elapsed());
    dataplane.distrust();
    let begin = Instant::now();
    dataplane
        .apply(Changes::default())
        .expect("the kernel takes it");
    println!("  all replaced           {:?}", begin.elapsed());
    let swaps = each(
        1000,
        |round| changes([plan(family, 7, &[100_000 + round, 15])]),
        &mut dataplane,
    );
    println!("  one endpoint swapped   {swaps}");
    let scaled = each(
        1000,
        |round| changes([plan(family, 7, &[1, 2, 3][..2 + round as usize % 2])]),
        &mut dataplane,
    );
    println!("  2 ↔ 3 endpoints        {scaled}");
    let fresh = each(
        1000,
        |round| changes([plan(family, services + round, &[1, 2])]),
        &mut dataplane,
    );
    println!("  one more Service       {fresh}");
    let large: Vec<u32> = (0..1000).collect();
    dataplane
        .apply(changes([plan(family, 9, &large)]))
        .expect("the kernel takes it");
    let one_of_many = |round: u32| {
        let mut large = large.clone();
        large[round as usize % 1000] = 100_000 + round;
        changes([plan(family, 9, &large)])
    };
    println!(
        "  one or two of 1000     {}",
        each(1000, one_of_many, &mut dataplane)
    );
    let begin = Instant::now();
    let burst = (0..1000).map(|number| plan(family, number, &[200_000 + number, 2 * number + 1]));
    dataplane
        .apply(changes(burst))
        .expect("the kernel takes it");
    println!("  1000 swaps at once     {:?}", begin.elapsed());
    let begin = Instant::now();
    let mut next = Dataplane::open(Options::default()).expect("nftables");
    println!("  a restart's reading    {:?}", begin.elapsed());
    next.apply(Changes::default()).expect("the kernel takes it");
}

fn changes(plans: impl IntoIterator<Item = ServicePlan>) -> Changes {
    let services = plans
        .into_iter()
        .map(|plan| (plan.name.clone(), Some(plan)));
    Changes {
        services: services.collect(),
        ..Changes::default()
    }
}

fn plan(family: Family, number: u32, endpoints: &[u32]) -> ServicePlan {
    let address = |network: u8, number: u32| -> IpAddr {
        let [_, a, b, c] = number.to_be_bytes();
        match family {
            Family::V4 => [network, a, b, c].into(),
            Family::V6 => [
                0xfd00 + u16::from(network),
                0,
                0,
                0,
                0,
                a.into(),
                b.into(),
                c.into(),
            ]
            .into(),
        }
    };
    let mut endpoints: Vec<_> = endpoints
        .iter()
        .map(|number| SocketAddr::new(address(10, *number), 8080))
        .collect();
    endpoints.sort_unstable();
    let front = Front {
        address: Some(address(11, number)),
        port: 80,
        kind: FrontKind::ClusterIp,
        handling: Handling::InternalCluster,
    };
    let port = PortPlan {
        family,
        protocol: Protocol::Tcp,
        port_name: "http".into(),
        serving: endpoints.clone(),
        cluster: endpoints,
        local: Vec::new(),
        hairpins: Vec::new(),
        affinity: None,
        source_ranges: None,
        fronts: vec![front],
    };
    ServicePlan {
        name: ObjectName {
            namespace: "default".into(),
            name: format!("service-{number}").into(),
        },
        cluster_ips: vec![address(11, number)],
        ports: vec![port],
        health: None,
    }
}

/// Half and all but one of a hundred of so many changes took no longer than this.
fn each(rounds: u32, change: impl Fn(u32) -> Changes, dataplane: &mut Dataplane) -> String {
    let mut taken: Vec<Duration> = Vec::new();
    for round in 0..rounds {
        let change = change(round);
        let begin = Instant::now();
        dataplane.apply(change).expect("the kernel takes it");
        taken.push(begin.elapsed());
    }
    taken.sort_unstable();
    let at = |share: usize| taken[taken.len() * share / 100];
    format!("{:?} median, {:?} p99", at(50), at(99))
}

/// The resident memory of this process, in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.and_then(|line| line.split_whitespace().next());
    text.expect("VmRSS").parse().expect("a number")
}
