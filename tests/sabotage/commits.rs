//! How each fault is committed: rules, and now and then a process, beside kube-proxy's own.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use onehop_harness::lab::{Allocated, Lab, SERVICE_PORT, target_port};
use onehop_harness::world::{CLIENT_PUBLIC, Family};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rules::{
    both, chain, inside, ip, masquerade, nft, rewrite_arriving, rewrite_late, run_nft, target,
    to_remote_pod,
};

/// On vm1, web-0 is given to itself with its own address: kube-proxy masquerades nothing whose
/// source somebody has chosen before.
pub(crate) fn no_hairpins(lab: &Lab, _: &Allocated, port: u16) -> Result<(), String> {
    both(|family| {
        let (ip, own) = (ip(family), target(lab, "web-0", family, port).ip());
        let rule = format!("{ip} saddr {own} {ip} daddr {own} tcp dport {port} snat to {own}");
        let hook = "type nat hook postrouting priority 90";
        nft(lab, "vm1", family, port, &chain("leaving", hook, &rule))
    })
}

/// Nothing looks at where calls of a load-balancer address come from.
pub(crate) fn no_source_ranges(lab: &Lab, _: &Allocated, _: u16) -> Result<(), String> {
    keep_emptying(lab, "flush chain {} kube-proxy firewall-check\n");
    Ok(())
}

/// Every client of the ClusterIP stays with web-1 for ever, on each port.
pub(crate) fn endless_affinity(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let Some(address) = service.cluster_ip else {
        return Ok(());
    };
    both(|family| {
        let rules = service.ports.iter().enumerate().map(|(position, called)| {
            let to = target(lab, "web-1", family, target_port(port, position, 0));
            let (ip, address) = (ip(family), address.of(family));
            format!(
                "{ip} daddr {address} tcp dport {} dnat to {to}\n",
                called.number
            )
        });
        let rules: String = rules.collect();
        let own = chain("output", "type nat hook output priority -110", &rules);
        let chains = rewrite_arriving(&rules) + &own;
        let mut nodes = lab.world().nodes.iter();
        nodes.try_for_each(|node| nft(lab, &node.name, family, port, &chains))
    })
}

/// vm1 gives half of the calls of its node port to web-1, whether or not it is still there.
pub(crate) fn half_to_web_1_on_vm1(
    lab: &Lab,
    service: &Allocated,
    port: u16,
) -> Result<(), String> {
    half_to(lab, service, ("vm1", "web-1"), port, port)
}

/// vm3 gives half of the calls of its node port to web-2, whatever state that is in.
pub(crate) fn half_to_web_2_on_vm3(
    lab: &Lab,
    service: &Allocated,
    port: u16,
) -> Result<(), String> {
    half_to(lab, service, ("vm3", "web-2"), port, port)
}

/// vm2 goes on to give calls of its node port to a pod of the second slice.
pub(crate) fn slice_stays(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    half_to(
        lab,
        service,
        ("vm2", "web-1"),
        port,
        target_port(port, 0, 1),
    )
}

fn half_to(
    lab: &Lab,
    service: &Allocated,
    (node, pod): (&str, &str),
    number: u16,
    port: u16,
) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    both(|family| {
        let to = target(lab, pod, family, port);
        let rule = format!(
            "tcp dport {node_port} fib daddr type local numgen random mod 2 == 0 dnat to {to}"
        );
        // What stays on the node keeps its source, as under Local.
        let hidden = if node == "vm3" {
            String::new()
        } else {
            masquerade(family, port)
        };
        nft(
            lab,
            node,
            family,
            number,
            &(rewrite_arriving(&rule) + &hidden),
        )
    })
}

/// The node ports are as closed to the public client as the load-balancer address.
pub(crate) fn ranges_on_node_ports(
    lab: &Lab,
    service: &Allocated,
    port: u16,
) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    both(|family| {
        let public = lab.world().client(CLIENT_PUBLIC).expect("in the story");
        let (ip, public) = (ip(family), public.address.of(family));
        let rule = format!("{ip} saddr {public} tcp dport {node_port} drop");
        let chains = chain(
            "arriving",
            "type filter hook prerouting priority -300",
            &rule,
        );
        let mut nodes = lab.world().nodes.iter();
        nodes.try_for_each(|node| nft(lab, &node.name, family, port, &chains))
    })
}

/// vm2 serves every address that the Service ever had, whatever kube-proxy leaves alone.
pub(crate) fn serves_everything(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let own = [service.cluster_ip, service.vip];
    let addresses = |family| {
        let own = own.into_iter().flatten().map(move |dual| dual.of(family));
        let external = service.external_ips.iter().copied();
        own.chain(external.filter(move |address| Family::of(*address) == family))
    };
    both(|family| {
        let addresses: Vec<_> = addresses(family).map(|a| a.to_string()).collect();
        let (ip, to) = (ip(family), target(lab, "web-1", family, port));
        let addresses = addresses.join(", ");
        let rule = format!("{ip} daddr {{ {addresses} }} tcp dport {SERVICE_PORT} dnat to {to}");
        let chains = rewrite_late(&rule) + &masquerade(family, port);
        nft(lab, "vm2", family, port, &chains)
    })
}

/// The node port of a Service's second port leads to the target port of the first on vm2.
pub(crate) fn wrong_target_port(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let Some(node_port) = service.ports.get(1).and_then(|port| port.node_port) else {
        return Ok(());
    };
    both(|family| {
        let to = target(lab, "web-0", family, port);
        let rule = format!("tcp dport {node_port} fib daddr type local dnat to {to}");
        let chains = rewrite_arriving(&rule) + &masquerade(family, port);
        nft(lab, "vm2", family, port, &chains)
    })
}

/// The source of a client outside is lost on one node of three.
pub(crate) fn masquerade_on_vm3(lab: &Lab, _: &Allocated, port: u16) -> Result<(), String> {
    both(|family| nft(lab, "vm3", family, port, &masquerade(family, port)))
}

/// A node without pods sends on what it should drop, and even takes care of the answer.
pub(crate) fn remote_pod_under_local(
    lab: &Lab,
    service: &Allocated,
    port: u16,
) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    both(|family| {
        let rule = to_remote_pod(lab, family, node_port, port);
        let chains = rewrite_arriving(&rule) + &masquerade(family, port);
        nft(lab, "vm2", family, port, &chains)
    })
}

/// A node without pods sends on what it should drop; the pod's answer does not come back by it.
pub(crate) fn remote_pod_unmasqueraded(
    lab: &Lab,
    service: &Allocated,
    port: u16,
) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    both(|family| {
        let rule = to_remote_pod(lab, family, node_port, port);
        nft(lab, "vm2", family, port, &rewrite_arriving(&rule))
    })
}

/// A node without pods refuses.
pub(crate) fn reject_on_vm2(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    let hook = "type filter hook prerouting priority -300";
    let chains = chain("prerouting", hook, &format!("tcp dport {node_port} reject"));
    both(|family| nft(lab, "vm2", family, port, &chains))
}

/// The health check port of vm2 says 200, whatever is there.
pub(crate) fn health_port_stuck(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let health_port = service
        .health_check_node_port
        .ok_or("it has no health check port")?;
    let chains = rewrite_arriving(&format!("tcp dport {health_port} redirect to :{port}"));
    both(|family| nft(lab, "vm2", family, port, &chains))?;
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let bound = lab
        .netns()
        .namespace("vm2")
        .within(|| std::net::TcpListener::bind(address));
    let listener = bound
        .and_then(|bound| bound)
        .map_err(|error| error.to_string())?;
    listener
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    let listener = TcpListener::from_std(listener).map_err(|error| error.to_string())?;
    tokio::spawn(always_healthy(listener));
    Ok(())
}

async fn always_healthy(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// vm1 gives web-0 two tickets in the draw, and the others one each.
pub(crate) fn double_weight(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    both(|family| {
        let tickets = ["web-0", "web-0", "web-1", "web-2"].iter().enumerate();
        let tickets = tickets.map(|(ticket, pod)| {
            format!(
                "{ticket} : {} . {port}",
                target(lab, pod, family, port).ip()
            )
        });
        let rule = format!(
            "tcp dport {node_port} fib daddr type local \
             dnat {} addr . port to numgen random mod 4 map {{ {} }}",
            ip(family),
            tickets.collect::<Vec<_>>().join(", ")
        );
        let chains = rewrite_arriving(&rule) + &masquerade(family, port);
        nft(lab, "vm1", family, port, &chains)
    })
}

/// A pod on the node without backends is sent to a backend elsewhere.
pub(crate) fn internal_local_falls_back(
    lab: &Lab,
    service: &Allocated,
    port: u16,
) -> Result<(), String> {
    both(|family| {
        let (pod, address) = (
            target(lab, "web-1", family, port),
            service.cluster_ip.expect("not headless").of(family),
        );
        let rule = format!(
            "{} daddr {address} tcp dport {SERVICE_PORT} dnat to {pod}",
            ip(family)
        );
        nft(lab, "vm2", family, port, &rewrite_arriving(&rule))
    })
}

/// A node without pods sends on what it should drop, and the pod's answer is lost.
pub(crate) fn half_open(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    if service.node_port().is_some() {
        remote_pod_unmasqueraded(lab, service, port)?;
    }
    both(|family| {
        let rule = format!(
            "tcp sport {port} {} daddr != {{ {} }} ct direction reply \
             ct original {} daddr {} drop",
            ip(family),
            inside(family),
            ip(family),
            target(lab, "web-1", family, port).ip()
        );
        let chains = chain("forward", "type filter hook forward priority 0", &rule);
        nft(lab, "vm3", family, port, &chains)
    })
}

/// No node drops or refuses for want of endpoints: whatever kube-proxy does not rewrite goes on as
/// it is. Its own check chains are emptied, again and again: it makes them with its first sync.
pub(crate) fn leak(lab: &Lab, _: &Allocated, _: u16) -> Result<(), String> {
    keep_emptying(
        lab,
        "flush chain {} kube-proxy service-endpoints-check\n\
         flush chain {} kube-proxy cluster-ips-check\n",
    );
    Ok(())
}

/// Has nft run this script on every node, for both families, again and again.
fn keep_emptying(lab: &Lab, script: &'static str) {
    let script = script.replace("{}", "ip") + &script.replace("{}", "ip6");
    for node in lab.world().nodes.iter().map(|node| node.name.clone()) {
        let (namespace, script) = (lab.netns().namespace(&node).clone(), script.clone());
        // At once as well: a case must not find the node as it was.
        let _ = run_nft(&namespace, &script);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                // Before the first sync there is nothing to empty. Backends answer on the same runtime.
                let _ = tokio::task::block_in_place(|| run_nft(&namespace, &script));
            }
        });
    }
}

/// A node without pods forwards the load-balancer address, as if it were not Local.
pub(crate) fn vip_falls_back(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let vip = service.vip;
    both(|family| {
        let Some(vip) = vip else { return Ok(()) };
        let (pod, vip) = (target(lab, "web-1", family, port), vip.of(family));
        let rule = format!(
            "{} daddr {vip} tcp dport {SERVICE_PORT} dnat to {pod}",
            ip(family)
        );
        // The load balancer's own host is on the node network, and outside all the same.
        let hidden = chain(
            "postrouting",
            "type nat hook postrouting priority 90",
            &format!("ct original {} daddr {vip} masquerade", ip(family)),
        );
        nft(
            lab,
            "vm2",
            family,
            port,
            &(rewrite_arriving(&rule) + &hidden),
        )
    })
}

/// A node port goes on working on vm2 when the Service has none any more.
pub(crate) fn node_port_stays(lab: &Lab, _: &Allocated, port: u16) -> Result<(), String> {
    both(|family| {
        let pod = target(lab, "web-1", family, port);
        let rule = format!("tcp dport 30000-32767 fib daddr type local dnat to {pod}");
        let late = rewrite_late(&rule);
        nft(
            lab,
            "vm2",
            family,
            port,
            &(late + &masquerade(family, port)),
        )
    })
}
