//! The faults, and which cases catch them.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use onehop_harness::lab::{Allocated, Lab, SERVICE_PORT};
use onehop_harness::netns::Namespace;
use onehop_harness::world::{AddressPlan, Family};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// One way to be wrong.
pub(crate) struct Fault {
    /// What the proxy does wrong.
    pub(crate) name: &'static str,
    /// Makes it do so for one Service, whose backends listen on this port.
    pub(crate) commit: fn(&Lab, &Allocated, u16) -> Result<(), String>,
    /// The cases that must fail, and words that their reason must contain.
    pub(crate) fail: &'static [(&'static str, &'static str)],
    /// Cases that look at the same Service and must still pass.
    pub(crate) pass: &'static [&'static str],
}

/// All of them.
pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        name: "masquerades-on-vm3-only",
        commit: masquerade_on_vm3,
        fail: &[
            (
                "external/local/client-ip-kept",
                "source vm3 instead of the caller's own",
            ),
            (
                "load-balancer/vip/local/client-ip-kept",
                "source vm3 instead of the caller's own",
            ),
        ],
        pass: &[
            "external/cluster/client-ip-lost",
            "internal/cluster/pod-reaches-all",
        ],
    },
    Fault {
        name: "forwards-to-a-remote-pod-under-local",
        commit: remote_pod_under_local,
        fail: &[
            (
                "external/local/node-without-pods-drops",
                "reached web-1, not dropped",
            ),
            (
                "external/local/client-ip-kept",
                "reached web-1, not dropped",
            ),
        ],
        pass: &["external/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "forwards-to-a-remote-pod-that-answers-itself",
        commit: remote_pod_unmasqueraded,
        fail: &[("external/local/node-without-pods-drops", "forwarded by vm2")],
        pass: &["external/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "rejects-instead-of-dropping",
        commit: reject_on_vm2,
        fail: &[("external/local/node-without-pods-drops", "refused (")],
        pass: &["external/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "health-check-port-stuck-on-200",
        commit: health_port_stuck,
        fail: &[
            (
                "health-check/counts-local-endpoints",
                "status 200 instead of 503",
            ),
            (
                "load-balancer/vip/local/shares-follow-the-nodes",
                "vm1+vm2+vm3",
            ),
        ],
        pass: &["load-balancer/node-port/local/in-cluster-short-circuits"],
    },
    Fault {
        name: "gives-one-of-three-pods-double-weight",
        commit: double_weight,
        fail: &[("external/cluster/shares-are-even", "shares ")],
        pass: &["external/cluster/every-node-answers"],
    },
    Fault {
        name: "internal-local-falls-back-to-remote-pods",
        commit: internal_local_falls_back,
        fail: &[(
            "internal/local/pod-reaches-its-own-node",
            "reached web-1, not dropped",
        )],
        pass: &["internal/local/shares-on-a-node-are-even"],
    },
    Fault {
        name: "leaves-a-connection-half-open-under-local",
        commit: half_open,
        fail: &[
            (
                "external/local/node-without-pods-drops",
                "answered by web-1, and the answer was lost",
            ),
            (
                "external/local/client-ip-kept",
                "answered by web-1, and the answer was lost",
            ),
        ],
        pass: &["internal/cluster/pod-reaches-all"],
    },
    Fault {
        name: "lets-what-it-should-drop-leave-the-node",
        commit: leak,
        fail: &[
            ("internal/local/pod-reaches-its-own-node", "went on to "),
            ("internal/local/node-reaches-its-own-pods", "went on to "),
        ],
        pass: &[
            "internal/local/shares-on-a-node-are-even",
            "external/cluster/shares-are-even",
        ],
    },
    Fault {
        name: "lets-what-it-should-refuse-leave-the-node",
        commit: leak,
        fail: &[("internal/cluster/no-endpoint-refused", "no pod: ")],
        pass: &["internal/cluster/pod-reaches-all"],
    },
    Fault {
        name: "forwards-the-load-balancer-address-under-local",
        commit: vip_falls_back,
        fail: &[(
            "load-balancer/vip/local/node-without-pods-drops",
            "reached web-1, not dropped",
        )],
        // The load balancer follows the health checks, and never asks the node that is wrong.
        pass: &[
            "load-balancer/vip/local/client-ip-kept",
            "external/local/client-ip-kept",
        ],
    },
    Fault {
        name: "keeps-a-node-port-open-that-is-gone",
        commit: node_port_stays,
        fail: &[(
            "transitions/cluster-ip-survives-a-change-of-type",
            "ClusterIP again: the node port is closed",
        )],
        pass: &["external/cluster/every-node-answers"],
    },
];

/// The source of a client outside is lost on one node of three.
fn masquerade_on_vm3(lab: &Lab, _: &Allocated, port: u16) -> Result<(), String> {
    both(|family| nft(lab, "vm3", family, port, &masquerade(family, port)))
}

/// A node without pods sends on what it should drop, and even takes care of the answer.
fn remote_pod_under_local(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    both(|family| {
        let rule = to_remote_pod(lab, family, node_port, port);
        let chains = rewrite_arriving(&rule) + &masquerade(family, port);
        nft(lab, "vm2", family, port, &chains)
    })
}

/// A node without pods sends on what it should drop; the pod's answer does not come back by it.
fn remote_pod_unmasqueraded(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    both(|family| {
        let rule = to_remote_pod(lab, family, node_port, port);
        nft(lab, "vm2", family, port, &rewrite_arriving(&rule))
    })
}

/// A node without pods refuses.
fn reject_on_vm2(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let node_port = service.node_port().ok_or("the Service has no node port")?;
    let hook = "type filter hook prerouting priority -300";
    let chains = chain("prerouting", hook, &format!("tcp dport {node_port} reject"));
    both(|family| nft(lab, "vm2", family, port, &chains))
}

/// The health check port of vm2 says 200, whatever is there.
fn health_port_stuck(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let health_port = service
        .health_check_node_port
        .ok_or("it has no health check port")?;
    let chains = rewrite_arriving(&format!("tcp dport {health_port} redirect to :{port}"));
    both(|family| nft(lab, "vm2", family, port, &chains))?;
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let bound = lab
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
fn double_weight(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
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
fn internal_local_falls_back(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
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
fn half_open(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
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
fn leak(lab: &Lab, _: &Allocated, _: u16) -> Result<(), String> {
    for node in lab.world().nodes.iter().map(|node| node.name.clone()) {
        let namespace = lab.namespace(&node).clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                // Before the first sync there is nothing to empty.
                let _ = empty_checks(&namespace);
            }
        });
    }
    Ok(())
}

fn empty_checks(node: &Namespace) -> Result<(), String> {
    let flush = |family| {
        format!(
            "flush chain {family} kube-proxy service-endpoints-check\n\
             flush chain {family} kube-proxy cluster-ips-check\n"
        )
    };
    run_nft(node, &(flush("ip") + &flush("ip6")))
}

/// A node without pods forwards the load-balancer address, as if it were not Local.
fn vip_falls_back(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
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
fn node_port_stays(lab: &Lab, _: &Allocated, port: u16) -> Result<(), String> {
    both(|family| {
        let pod = target(lab, "web-1", family, port);
        let rule = format!("tcp dport 30000-32767 fib daddr type local dnat to {pod}");
        // Only while kube-proxy no longer rewrites it: after kube-proxy's own chain.
        let late = chain("prerouting", "type nat hook prerouting priority -90", &rule);
        nft(
            lab,
            "vm2",
            family,
            port,
            &(late + &masquerade(family, port)),
        )
    })
}

fn both(commit: impl Fn(Family) -> Result<(), String>) -> Result<(), String> {
    Family::ALL.into_iter().try_for_each(commit)
}

/// Rewrites packets as they arrive, before kube-proxy does.
fn rewrite_arriving(rule: &str) -> String {
    chain("prerouting", "type nat hook prerouting priority -110", rule)
}

/// Hides the client when it is outside, before kube-proxy decides whether to.
fn masquerade(family: Family, port: u16) -> String {
    let (ip, inside) = (ip(family), inside(family));
    let rule = format!("{ip} saddr != {{ {inside} }} tcp dport {port} masquerade");
    chain(
        "postrouting",
        "type nat hook postrouting priority 90",
        &rule,
    )
}

fn to_remote_pod(lab: &Lab, family: Family, node_port: u16, port: u16) -> String {
    let pod = target(lab, "web-1", family, port);
    format!("tcp dport {node_port} fib daddr type local dnat to {pod}")
}

fn chain(name: &str, hook: &str, rule: &str) -> String {
    format!("chain {name} {{\n{hook};\n{rule}\n}}\n")
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The addresses of nodes and pods: everybody else is outside.
fn inside(family: Family) -> String {
    let index = usize::from(family == Family::V6);
    format!(
        "{}, {}",
        AddressPlan::node_networks()[index],
        AddressPlan::cluster_cidrs()[index]
    )
}

fn target(lab: &Lab, pod: &str, family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(
        lab.world()
            .pod(pod)
            .expect("in the story")
            .address
            .of(family),
        port,
    )
}

/// Adds a table of its own, named after a number, to a node.
fn nft(lab: &Lab, node: &str, family: Family, number: u16, chains: &str) -> Result<(), String> {
    let script = format!(
        "table {} onehop-fault-{number} {{
{chains}}}
",
        ip(family)
    );
    run_nft(lab.namespace(node), &script)
}

fn run_nft(node: &Namespace, script: &str) -> Result<(), String> {
    let run = || -> std::io::Result<std::process::Output> {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(script.as_bytes())?;
        child.wait_with_output()
    };
    let output = node.within(run).and_then(|done| done);
    let output = output.map_err(|error| format!("nft: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "nft refused:\n{script}{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
