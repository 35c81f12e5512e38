//! The load balancer, seen from outside: real packets, and nodes that are played by hand.
//!
//! There is no proxy here. Each node answers for itself, so that what these tests see is the load
//! balancer's doing alone.

mod lab;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServicePort};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use libtest_mimic::{Arguments, Failed, Trial};
use onehop_apiserver::{ApiServer, Config};
use onehop_harness::balancer::{Balancer, HealthCheck, View};
use onehop_harness::case::BalancerMode;
use onehop_harness::netns;
use onehop_harness::timing::Timing;
use onehop_harness::world::LOAD_BALANCER;
use onehop_harness::world::{AddressPlan, CLIENT_PRIVATE, CLIENT_PUBLIC, Family};
use onehop_nft::Netfilter;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use lab::{
    Check, HEALTH_PORT, Health, Lab, NODE_PORT, PATIENCE, PORT, WEB, are_healthy, ensure, p_value,
    play_health, service,
};

/// Connections of a check of shares, and the chance that a fair load balancer fails one check.
const SAMPLES: usize = 600;
const FALSE_ALARM: f64 = 1e-6;
/// The weights of three nodes that get the same.
const EVEN: [u16; 3] = [1; 3];

fn main() {
    onehop_harness::prepare::complete_path();
    let inside = netns::enter(false);
    let arguments = Arguments::from_args();
    let missing = inside.err().map(|error| format!("no namespaces: {error}"));
    let ignored = missing.is_some();
    if let Some(reason) = missing {
        eprintln!("the load balancer is not tested: {reason}");
    }
    let trial =
        |name: &str, check: fn() -> Check| Trial::test(name, check).with_ignored_flag(ignored);
    let trials = vec![
        trial(
            "the_address_called_answers_and_the_source_is_the_modes",
            || run(the_address_called_answers_and_the_source_is_the_modes),
        ),
        trial("a_proxy_is_there_for_nodes_too", || {
            run(a_proxy_is_there_for_nodes_too)
        }),
        trial("a_proxy_whose_node_refuses_resets", || {
            run(a_proxy_whose_node_refuses_resets)
        }),
        trial("new_connections_spread_evenly", || {
            run(new_connections_spread_evenly)
        }),
        trial("shares_go_by_the_weights_that_nodes_announce", || {
            run(shares_go_by_the_weights_that_nodes_announce)
        }),
        trial("an_unhealthy_node_keeps_only_what_it_has", || {
            run(an_unhealthy_node_keeps_only_what_it_has)
        }),
        trial(
            "a_policy_switch_changes_the_check_and_then_the_nodes",
            || run(a_policy_switch_changes_the_check_and_then_the_nodes),
        ),
        trial("a_policy_switch_does_not_interrupt_traffic", || {
            run(a_policy_switch_does_not_interrupt_traffic)
        }),
        trial("a_node_may_be_healthy_in_one_family_alone", || {
            run(a_node_may_be_healthy_in_one_family_alone)
        }),
        trial("a_change_of_rules_loses_no_connection", || {
            run(a_change_of_rules_loses_no_connection)
        }),
        trial(
            "nowhere_to_go_is_silence_and_unknown_is_unreachable",
            || run(nowhere_to_go_is_silence_and_unknown_is_unreachable),
        ),
        trial("the_api_is_watched_and_told", || {
            run(the_api_is_watched_and_told)
        }),
        trial("other_traffic_is_routed_untouched", || {
            run(other_traffic_is_routed_untouched)
        }),
        trial("the_check_of_shares_sees_a_skew", || {
            let p = p_value(&[300, 150, 150], &EVEN);
            (p < FALSE_ALARM)
                .then_some(())
                .ok_or_else(|| format!("p = {p}").into())
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Runs a check in each mode, each in a lab of its own.
fn run<F>(check: impl Fn(Lab) -> F) -> Check
where
    F: Future<Output = Check>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for mode in BalancerMode::ALL {
            let lab = Lab::build(mode).await?;
            check(lab).await.map_err(|failed| {
                let text = failed.message().unwrap_or("no reason given").to_owned();
                format!("mode {mode:?}: {text}")
            })?;
        }
        Ok(())
    })
}

async fn the_address_called_answers_and_the_source_is_the_modes(lab: Lab) -> Check {
    let vip = lab.serve("Cluster", &["vm1", "vm2", "vm3"]).await?;
    for client in [CLIENT_PRIVATE, CLIENT_PUBLIC] {
        for family in Family::ALL {
            let called = SocketAddr::new(vip.of(family), PORT);
            let mut flow = lab.call(client, called).await?;
            let answer = flow.ask().await?;
            let own = lab.world.client(client).expect("exists").address.of(family);
            ensure(flow.own.ip() == own, || format!("called as {}", flow.own))?;
            let kept = match lab.mode {
                BalancerMode::Proxy => answer.peer.ip() == lab.world.balancer.of(family),
                _ => answer.peer == flow.own,
            };
            ensure(kept, || {
                format!("{} became {} at the node", flow.own, answer.peer)
            })?;
            ensure(flow.stream.get_ref().peer_addr()? == called, || {
                format!("{called} was called and another address answered")
            })?;
            let node = lab.world.node(&answer.node).expect("exists").address;
            let expected = match lab.mode {
                BalancerMode::Vip | BalancerMode::Weighted => called,
                BalancerMode::NodePort | BalancerMode::Proxy => {
                    SocketAddr::new(node.of(family), NODE_PORT)
                }
            };
            ensure(answer.local == expected, || {
                format!("the node was called as {}, not {expected}", answer.local)
            })?;
        }
    }
    Ok(())
}

/// One that passes packets on is not: a node would answer its neighbour directly.
async fn a_proxy_is_there_for_nodes_too(lab: Lab) -> Check {
    if lab.mode != BalancerMode::Proxy {
        return Ok(());
    }
    let vip = lab.serve("Local", &["vm1", "vm2", "vm3"]).await?;
    for family in Family::ALL {
        let called = SocketAddr::new(vip.of(family), PORT);
        let mut flow = lab.call("vm1", called).await?;
        let answer = flow.ask().await?;
        let own = lab.world.balancer.of(family);
        ensure(answer.peer.ip() == own, || {
            format!("{} saw {}", answer.node, answer.peer)
        })?;
    }
    Ok(())
}

/// Nobody listens on the node port, while the health checks pass.
async fn a_proxy_whose_node_refuses_resets(lab: Lab) -> Check {
    if lab.mode != BalancerMode::Proxy {
        return Ok(());
    }
    let vip = lab.serve("Local", &["vm1", "vm2", "vm3"]).await?;
    let mut flow = lab
        .call(CLIENT_PUBLIC, SocketAddr::new(vip.v4.into(), PORT))
        .await?;
    let first = flow.ask().await?;
    let mut closed = service(lab.mode, "Local");
    let ports = closed.spec.as_mut().and_then(|spec| spec.ports.as_mut());
    ports.ok_or("no ports")?[0].node_port = Some((NODE_PORT + 1).into());
    lab.balancer.apply(closed);
    for family in Family::ALL {
        let called = SocketAddr::new(vip.of(family), PORT);
        let ended = timeout(PATIENCE, async {
            // What was called before the change was taken in is answered.
            loop {
                let asked = async { lab.call(CLIENT_PUBLIC, called).await?.ask().await };
                if let Err(error) = asked.await {
                    return error.kind();
                }
            }
        });
        let ended = ended.await?;
        ensure(ended == io::ErrorKind::ConnectionReset, || {
            format!("{family}: {ended:?}")
        })?;
    }
    let now = flow.ask().await?;
    ensure(now.node == first.node, || {
        format!("a connection went from {} to {}", first.node, now.node)
    })
}

async fn new_connections_spread_evenly(lab: Lab) -> Check {
    let vip = lab.serve("Cluster", &["vm1", "vm2", "vm3"]).await?;
    for family in Family::ALL {
        let shares = lab.shares(vip.of(family), SAMPLES).await?;
        let counts: Vec<usize> = shares.values().copied().collect();
        ensure(counts.len() == 3, || format!("{family}: {shares:?}"))?;
        let p = p_value(&counts, &EVEN);
        println!("{:?} {family}: {shares:?}, p = {p:.4}", lab.mode);
        ensure(p >= FALSE_ALARM, || {
            format!("{family}: {shares:?}, p = {p:e}")
        })?;
    }
    Ok(())
}

/// In mode weighted alone, and under Local alone; the others are even, whatever nodes announce.
async fn shares_go_by_the_weights_that_nodes_announce(lab: Lab) -> Check {
    let weighs = lab.mode == BalancerMode::Weighted;
    let all = ["vm1", "vm2", "vm3"];
    let vip = lab.serve("Local", &all).await?;
    for announced in [[1, 2, 5], [4, 1, 1]] {
        let weights = std::array::from_fn(|node| (all[node], announced[node]));
        lab.nodes_announce(weights);
        let goes_by = if weighs { announced } else { EVEN };
        lab.nodes_weigh(std::array::from_fn(|node| (all[node], goes_by[node])))
            .await?;
        for family in Family::ALL {
            let shares = lab.shares(vip.of(family), SAMPLES).await?;
            let counts = all.map(|node| shares.get(node).copied().unwrap_or_default());
            let of = |weights: [u16; 3]| p_value(&counts, &weights);
            let (right, even) = (of(goes_by), of(EVEN));
            println!("{:?} {family}: {shares:?}, p = {right:.4}", lab.mode);
            ensure(right >= FALSE_ALARM, || {
                format!("{family}: {shares:?} for {goes_by:?}, p = {right:e}")
            })?;
            // Weights that are not gone by would be noticed.
            ensure(!weighs || even < FALSE_ALARM, || {
                format!("{family}: {shares:?} pass for even, p = {even:e}")
            })?;
        }
    }
    if weighs {
        // A node that announces no endpoint gets nothing, even if it says that it is healthy.
        let weights = [("vm1", 0), ("vm2", 1), ("vm3", 1)];
        lab.nodes_announce(weights);
        lab.nodes_weigh(weights).await?;
        let shares = lab.shares(vip.v4.into(), 100).await?;
        ensure(shares.keys().eq(["vm2", "vm3"]), || format!("{shares:?}"))?;
    }
    lab.balancer.apply(service(lab.mode, "Cluster"));
    lab.nodes_weigh(all.map(|node| (node, 1))).await?;
    let shares = lab.shares(vip.v4.into(), 100).await?;
    ensure(shares.len() == 3, || format!("Cluster: {shares:?}"))
}

async fn an_unhealthy_node_keeps_only_what_it_has(lab: Lab) -> Check {
    let vip = lab.serve("Local", &["vm1", "vm2", "vm3"]).await?;
    for family in Family::ALL {
        let called = SocketAddr::new(vip.of(family), PORT);
        let mut flows = Vec::new();
        for _ in 0..30 {
            let mut flow = lab.call(CLIENT_PUBLIC, called).await?;
            let node = flow.ask().await?.node;
            flows.push((flow, node));
        }
        lab.set_status("vm2", 503);
        lab.nodes_become(&["vm1", "vm3"]).await?;
        let shares = lab.shares(vip.of(family), 200).await?;
        ensure(shares.keys().eq(["vm1", "vm3"]), || format!("{shares:?}"))?;
        for (flow, node) in &mut flows {
            let now = flow.ask().await?.node;
            ensure(now == *node, || format!("a flow went from {node} to {now}"))?;
        }
        let on_vm2 = flows.iter().filter(|(_, node)| node == "vm2").count();
        ensure(on_vm2 > 0, || "no flow was on vm2".to_owned())?;
        lab.set_status("vm2", 200);
        lab.nodes_become(&["vm1", "vm2", "vm3"]).await?;
    }
    Ok(())
}

async fn a_policy_switch_changes_the_check_and_then_the_nodes(lab: Lab) -> Check {
    lab.set_status("vm2", 503);
    lab.serve("Local", &["vm1", "vm3"]).await?;
    let local = HealthCheck::HealthCheckNodePort { port: HEALTH_PORT };
    let cluster = HealthCheck::NodePort { port: NODE_PORT };
    for (policy, check, nodes) in [
        ("Cluster", &cluster, &["vm1", "vm2", "vm3"][..]),
        ("Local", &local, &["vm1", "vm3"]),
        ("Cluster", &cluster, &["vm1", "vm2", "vm3"]),
    ] {
        let begun = std::time::Instant::now();
        lab.balancer.apply(service(lab.mode, policy));
        let switched = |view: &View| view.check.as_ref() == Some(check) && view.settled();
        let view = lab.view(switched).await?;
        println!("{:?} to {policy}: {:?}", lab.mode, begun.elapsed());
        ensure(are_healthy(&view, nodes), || format!("{policy}: {view:?}"))?;
        let called = view.vip.ok_or("no address")?.of(Family::V4);
        let shares = lab.shares(called, 100).await?;
        ensure(shares.keys().eq(nodes), || format!("{policy}: {shares:?}"))?;
    }
    Ok(())
}

/// The health port opens late, as behind a proxy that is slower than the load balancer.
async fn a_policy_switch_does_not_interrupt_traffic(lab: Lab) -> Check {
    let vip = lab.serve("Cluster", &["vm1", "vm2", "vm3"]).await?;
    let mut late = service(lab.mode, "Local");
    late.spec.as_mut().expect("a spec").health_check_node_port = Some(32001);
    lab.balancer.apply(late);
    lab.view(|view| {
        let mut nodes = view.nodes.values().flat_map(BTreeMap::values);
        nodes.all(|node| node.last == "connection refused")
    })
    .await?;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let shares = lab.shares(vip.v4.into(), 100).await?;
    ensure(shares.len() == 3, || format!("{shares:?}"))?;
    let mut servers = JoinSet::new();
    for node in ["vm1", "vm2"] {
        let health = Health::new(if node == "vm1" { 200 } else { 503 });
        servers.spawn(play_health(lab.listen(node, 32001)?, Arc::new(health)));
    }
    let view = lab.view(View::settled).await?;
    ensure(are_healthy(&view, &["vm1"]), || format!("{view:?}"))
}

/// A proxy may serve one family before the other: kube-proxy programs each by itself.
async fn a_node_may_be_healthy_in_one_family_alone(lab: Lab) -> Check {
    let mut local = service(lab.mode, "Local");
    local.spec.as_mut().expect("a spec").health_check_node_port = Some(32001);
    let mut servers = JoinSet::new();
    let mut answer = |listener| servers.spawn(play_health(listener, Arc::new(Health::new(200))));
    answer(lab.listen("vm1", 32001)?);
    answer(lab.listen_at("vm2", (Ipv4Addr::UNSPECIFIED, 32001).into())?);
    lab.balancer.apply(local);
    let vip = lab.view(View::settled).await?.vip.ok_or("no address")?;
    for (called, nodes) in [
        (IpAddr::from(vip.v4), &["vm1", "vm2"][..]),
        (vip.v6.into(), &["vm1"]),
    ] {
        let shares = lab.shares(called, 100).await?;
        ensure(shares.keys().eq(nodes), || format!("{called}: {shares:?}"))?;
    }
    let second = &lab.world.nodes[1];
    answer(lab.listen_at("vm2", (second.address.v6, 32001).into())?);
    lab.nodes_become(&["vm1", "vm2"]).await
}

/// Another port of the Service comes and goes, as fast as the load balancer takes it in. No connection needs a second SYN,
/// which the kernel sends after a second.
async fn a_change_of_rules_loses_no_connection(lab: Lab) -> Check {
    let vip = lab.serve("Local", &["vm1", "vm2", "vm3"]).await?;
    let changes = async {
        for ports in [2, 1].repeat(250) {
            lab.balancer.apply(service_of(lab.mode, ports));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let addresses: [IpAddr; 2] = [vip.v4.into(), vip.v6.into()];
    let calls = stream::iter(addresses.into_iter().cycle()).map(|address| {
        let called = SocketAddr::new(address, PORT);
        let lab = &lab;
        async move {
            let started = Instant::now();
            lab.call(CLIENT_PUBLIC, called).await?;
            io::Result::Ok(started.elapsed())
        }
    });
    let mut calls = pin!(calls.buffer_unordered(8).take_until(changes));
    let mut count = 0;
    while let Some(took) = calls.next().await {
        let took = took?;
        count += 1;
        ensure(took < Duration::from_secs(1), || {
            format!("call {count} took {took:?}")
        })?;
    }
    ensure(count > 1000, || format!("only {count} calls"))?;
    // The view asks for problems as well: rules that the kernel refused would have lost nothing either.
    lab.view(View::settled).await?;
    let namespace = lab.network.host(LOAD_BALANCER).expect("exists").namespace();
    let mut netfilter = namespace.within(Netfilter::open)??;
    let versions = async {
        loop {
            let mut balance = Vec::new();
            for table in netfilter.tables(None)? {
                let chains = netfilter.chains(&table.object)?.into_iter();
                let chains = chains.map(|chain| chain.object.name);
                balance.extend(chains.filter(|name| name.starts_with("balance_")));
            }
            if balance.len() == 1 {
                return Check::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, versions).await?
}

/// With so many ports.
fn service_of(mode: BalancerMode, ports: u16) -> Service {
    let mut service = service(mode, "Local");
    let spec = service.spec.as_mut().expect("a spec");
    let first = spec.ports.as_ref().expect("a port")[0].clone();
    let port = |number: u16| ServicePort {
        name: Some(format!("port-{number}")),
        port: first.port + i32::from(number),
        node_port: first.node_port.map(|port| port + i32::from(number)),
        ..first.clone()
    };
    spec.ports = Some((0..ports).map(port).collect());
    service
}

async fn nowhere_to_go_is_silence_and_unknown_is_unreachable(lab: Lab) -> Check {
    let vip = lab.serve("Local", &["vm1", "vm2", "vm3"]).await?;
    for family in Family::ALL {
        let wrong_port = lab.refusal(SocketAddr::new(vip.of(family), 81)).await?;
        ensure(wrong_port.is_none(), || format!("port 81: {wrong_port:?}"))?;
        let unknown = AddressPlan::vip(200).of(family);
        let unknown = lab.refusal(SocketAddr::new(unknown, PORT)).await?;
        let unreachable = [
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkUnreachable,
        ];
        ensure(
            unknown.is_some_and(|kind| unreachable.contains(&kind)),
            || format!("an unknown {family} address: {unknown:?}"),
        )?;
    }
    let nodes = ["vm1", "vm2", "vm3"];
    nodes.iter().for_each(|node| lab.set_status(node, 503));
    lab.nodes_become(&[]).await?;
    for family in Family::ALL {
        let nowhere = lab.refusal(SocketAddr::new(vip.of(family), PORT)).await?;
        ensure(nowhere.is_none(), || {
            format!("no healthy node: {nowhere:?}")
        })?;
    }
    lab.balancer.delete(WEB);
    lab.service_is_gone().await?;
    let released = lab.refusal(SocketAddr::new(vip.v4.into(), PORT)).await?;
    ensure(released.is_some(), || {
        "a released address is still known".to_owned()
    })?;
    nodes.iter().for_each(|node| lab.set_status(node, 200));
    let next = lab.serve("Local", &nodes).await?;
    ensure(next != vip, || format!("{vip} was given again at once"))
}

async fn other_traffic_is_routed_untouched(lab: Lab) -> Check {
    lab.serve("Cluster", &["vm1", "vm2", "vm3"]).await?;
    for node in &lab.world.nodes {
        for family in Family::ALL {
            let called = SocketAddr::new(node.address.of(family), NODE_PORT);
            let mut flow = lab.call(CLIENT_PUBLIC, called).await?;
            let answer = flow.ask().await?;
            ensure(
                answer.node == node.name && answer.local == called && answer.peer == flow.own,
                || format!("{called}: {answer:?}"),
            )?;
        }
    }
    Ok(())
}

/// The same through a Kubernetes API, from the creation of a Service to its end.
async fn the_api_is_watched_and_told(mut lab: Lab) -> Check {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    lab.servers
        .spawn(serve_api(ApiServer::new(Config::default())?, listener));
    let client = Client::try_from(kube::Config::new(url.parse()?))?;
    let host = lab.network.host(LOAD_BALANCER).expect("exists");
    lab.balancer = Balancer::start(host, &lab.world, client.clone(), &Timing::default()).await?;
    lab.set_status("vm2", 503);

    let services: Api<Service> = Api::namespaced(client, "default");
    services
        .create(&PostParams::default(), &service(lab.mode, "Cluster"))
        .await?;
    let ready = |view: &View| view.settled() && are_healthy(view, &["vm1", "vm2", "vm3"]);
    let vip = lab.view(ready).await?.vip.ok_or("no address")?;
    let expected = vip.both().map(|address| address.to_string());
    becomes(&services, |ingress| ingress == expected).await?;
    let status = services.get("web").await?.status.unwrap_or_default();
    let ingress = status.load_balancer.and_then(|status| status.ingress);
    let expected = lab.mode.ip_mode().api_name();
    let says = |ingress: &LoadBalancerIngress| ingress.ip_mode.as_deref() == Some(expected);
    ensure(ingress.iter().flatten().all(says), || {
        format!("ipMode is not {expected}: {ingress:?}")
    })?;
    let shares = lab.shares(vip.of(Family::V6), 100).await?;
    ensure(shares.len() == 3, || format!("{shares:?}"))?;

    let patch = |spec: serde_json::Value| {
        let services = services.clone();
        async move {
            let patch = Patch::Merge(json!({ "spec": spec }));
            services.patch("web", &PatchParams::default(), &patch).await
        }
    };
    patch(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": HEALTH_PORT})).await?;
    lab.nodes_become(&["vm1", "vm3"]).await?;
    patch(json!({"externalTrafficPolicy": "Cluster"})).await?;
    lab.nodes_become(&["vm1", "vm2", "vm3"]).await?;

    patch(json!({"type": "ClusterIP", "loadBalancerClass": null})).await?;
    becomes(&services, <[String]>::is_empty).await?;
    lab.service_is_gone().await?;
    let problems = lab.balancer.problems();
    ensure(problems.is_empty(), || format!("problems: {problems:?}"))
}

/// Waits until the addresses in the status of the Service are right.
async fn becomes(services: &Api<Service>, right: impl Fn(&[String]) -> bool) -> Check {
    let mut addresses = Vec::new();
    let waited = timeout(PATIENCE, async {
        loop {
            let status = services.get("web").await?.status.unwrap_or_default();
            let ingress = status.load_balancer.and_then(|status| status.ingress);
            let ingress = ingress.into_iter().flatten();
            addresses = ingress.filter_map(|ingress| ingress.ip).collect();
            if right(&addresses) {
                return Ok::<_, Failed>(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or(Ok(()))?;
    ensure(right(&addresses), || {
        format!("the status stays {addresses:?}")
    })
}

async fn serve_api(server: ApiServer, listener: TcpListener) {
    let ended = server.serve(listener).await;
    eprintln!("the API ended: {ended:?}");
}
