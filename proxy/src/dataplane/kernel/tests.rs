//! Against the kernel, each in a network namespace of its own.

use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::dataplane::NodePorts;
use crate::plan::{Front, FrontKind, Handling};

mod neighbour;
mod network;
mod packets;
mod sequences;
mod single;

/// Runs a test on a thread in a network namespace of its own.
fn in_namespace<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test needs CAP_SYS_ADMIN");
        test()
    });
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "ns".into(),
        name: name.into(),
    }
}

/// A TCP port 80 without fronts or endpoints.
fn port(family: Family) -> PortPlan {
    PortPlan {
        family,
        protocol: Protocol::Tcp,
        port_name: "".into(),
        cluster: Vec::new(),
        local: Vec::new(),
        serving: Vec::new(),
        hairpins: Vec::new(),
        affinity: None,
        source_ranges: None,
        fronts: Vec::new(),
    }
}

fn plan(plan_name: &str, ports: Vec<PortPlan>) -> ServicePlan {
    ServicePlan {
        name: name(plan_name),
        cluster_ips: Vec::new(),
        ports,
        health: None,
    }
}

fn front(kind: FrontKind, address: &str, port: u16, handling: Handling) -> Front {
    Front {
        address: (!address.is_empty()).then(|| address.parse().expect("an address")),
        port,
        kind,
        handling,
    }
}

fn endpoints(all: &[&str]) -> Vec<SocketAddr> {
    let all = all.iter();
    all.map(|endpoint| endpoint.parse().expect("an endpoint"))
        .collect()
}

/// These plans, which are all that there are.
fn changes(plans: impl IntoIterator<Item = ServicePlan>) -> Changes {
    let plans = plans.into_iter();
    Changes {
        services: plans.map(|plan| (plan.name.clone(), Some(plan))).collect(),
        ..Changes::default()
    }
}

fn gone(plan_name: &str) -> Changes {
    Changes {
        services: [(name(plan_name), None)].into(),
        ..Changes::default()
    }
}

fn assert_in_step(dataplane: &mut Dataplane) {
    let differences = dataplane.verify().expect("the kernel answers");
    let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// One Service of every handling in both families, with affinity, ranges and node ports.
fn everything() -> Vec<ServicePlan> {
    let mut plans = Vec::new();
    for (family, network) in [(Family::V4, "10.0.0."), (Family::V6, "fd00::")] {
        let address = |last: &str| format!("{network}{last}");
        let endpoint =
            |last: &str| SocketAddr::new(address(last).parse().expect("an address"), 8080);
        for affinity in [None, Some(10800)] {
            let handlings = [
                (FrontKind::ClusterIp, Handling::InternalCluster),
                (FrontKind::ClusterIp, Handling::InternalLocal),
                (FrontKind::ExternalIp, Handling::ExternalCluster),
                (FrontKind::LoadBalancer, Handling::ExternalLocal),
                (FrontKind::ExternalIp, Handling::Drop),
                (FrontKind::ExternalIp, Handling::Reject),
                (FrontKind::NodePort, Handling::ExternalCluster),
                (FrontKind::NodePort, Handling::ExternalLocal),
                (FrontKind::NodePort, Handling::Drop),
                (FrontKind::NodePort, Handling::Reject),
            ];
            for (number, (kind, handling)) in (0..).zip(handlings) {
                let sticky = u16::from(affinity.is_some());
                let service = format!("{family:?}-{number}-{sticky}").to_lowercase();
                let port_number = 1000 + 100 * sticky + number;
                let place = match kind {
                    FrontKind::NodePort => String::new(),
                    _ => address("99"),
                };
                let plan_port = PortPlan {
                    cluster: ["1", "2", "3"].map(endpoint).into(),
                    local: ["1", "2"].map(endpoint).into(),
                    serving: ["1", "2", "3"].map(endpoint).into(),
                    hairpins: ["1", "2"].map(|last| endpoint(last).ip()).into(),
                    affinity,
                    source_ranges: (kind == FrontKind::LoadBalancer).then(|| {
                        vec![match family {
                            Family::V4 => "10.0.0.0/8".parse().expect("a range"),
                            Family::V6 => "fd00::/8".parse().expect("a range"),
                        }]
                    }),
                    fronts: vec![front(kind, &place, port_number, handling)],
                    ..port(family)
                };
                plans.push(ServicePlan {
                    cluster_ips: vec![address("98").parse().expect("an address")],
                    ..plan(&service, vec![plan_port])
                });
            }
        }
    }
    plans
}

fn detectors() -> Vec<Options> {
    let both = ["10.0.0.0/24", "10.0.1.0/24", "fd00::/64"];
    let sources = both.map(|range| range.parse().expect("a range")).to_vec();
    [
        Detector::None,
        Detector::Sources(sources),
        Detector::Interface("bridge".into()),
        Detector::InterfacePrefix("veth".into()),
    ]
    .into_iter()
    .flat_map(|detector| {
        let options = Options {
            detector,
            ..Options::default()
        };
        let other = Options {
            node_ports: NodePorts::Listed,
            masquerade_all: true,
            drop_invalid: false,
            ..options.clone()
        };
        [options, other]
    })
    .collect()
}

#[test]
fn every_handling_loads_under_every_configuration() {
    for options in detectors() {
        in_namespace(|| {
            let mut dataplane = Dataplane::open(options).expect("nftables");
            let mut all = changes(everything());
            all.service_cidrs = Some(vec!["10.96.0.0/12".parse().expect("a range")]);
            all.node_port_addresses = Some(["10.0.0.9".parse().expect("an address")].into());
            let report = dataplane.apply(all).expect("the kernel takes it");
            assert!(report.replaced);
            assert_in_step(&mut dataplane);
            // nft aborts when it lists rules that it cannot make sense of, and operators do list them.
            let listed = Command::new("nft").args(["list", "ruleset"]).output();
            let listed = listed.expect("this test needs the package nftables");
            let errors = String::from_utf8_lossy(&listed.stderr);
            assert!(
                listed.status.success() && errors.is_empty(),
                "nft: {errors}"
            );
            let text = String::from_utf8_lossy(&listed.stdout);
            assert!(
                text.contains("chain pick-local-2-node-port-sticky-10800s"),
                "{text}"
            );
        });
    }
}
