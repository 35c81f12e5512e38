//! The faults, and which cases catch them.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

use onehop_harness::lab::{Allocated, Lab, SERVICE_PORT};
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
        fail: &[(
            "external/local/node-without-pods-drops",
            "answered by web-1, which was not called",
        )],
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
];

/// The source of a client outside is lost on one node of three.
fn masquerade_on_vm3(lab: &Lab, _: &Allocated, port: u16) -> Result<(), String> {
    both(|family| nft(lab, "vm3", family, port, &masquerade(family, port)))
}

/// A node without pods sends on what it should drop, and even takes care of the answer.
fn remote_pod_under_local(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let node_port = service.node_port.ok_or("the Service has no node port")?;
    both(|family| {
        let rule = to_remote_pod(lab, family, node_port, port);
        let chains = rewrite_arriving(&rule) + &masquerade(family, port);
        nft(lab, "vm2", family, port, &chains)
    })
}

/// A node without pods sends on what it should drop; the pod's answer does not come back by it.
fn remote_pod_unmasqueraded(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let node_port = service.node_port.ok_or("the Service has no node port")?;
    both(|family| {
        let rule = to_remote_pod(lab, family, node_port, port);
        nft(lab, "vm2", family, port, &rewrite_arriving(&rule))
    })
}

/// A node without pods refuses.
fn reject_on_vm2(lab: &Lab, service: &Allocated, port: u16) -> Result<(), String> {
    let node_port = service.node_port.ok_or("the Service has no node port")?;
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
    let node_port = service.node_port.ok_or("the Service has no node port")?;
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
            service.cluster_ip.of(family),
        );
        let rule = format!(
            "{} daddr {address} tcp dport {SERVICE_PORT} dnat to {pod}",
            ip(family)
        );
        nft(lab, "vm2", family, port, &rewrite_arriving(&rule))
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
    let output = lab.namespace(node).within(run).and_then(|done| done);
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
