//! `onehop trace`: one connection, hop by hop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, miette};
use onehop_harness::case::{self, Backend, Place, Service, ServiceType, Target};
use onehop_harness::lab::{Allocated, Call, Calls, Lab, LabError};
use onehop_harness::probe::Outcome;
use onehop_harness::world::{CLIENT_PUBLIC, Family, Length, World};
use tokio::runtime::Runtime;

use crate::arguments::{ProtocolArgument, TraceArguments};
use crate::{lab, preparation, signals};

/// The Service that is traced, and the port of its backends.
const NAME: &str = "trace";
const PORT: u16 = 20_000;
/// The backends of the story: one pod on vm1, none on vm2, two on vm3.
const BACKENDS: [&str; 3] = ["web-0", "web-1", "web-2"];
/// How long the outcome must stay the same before a connection is taken for what happens now.
const SETTLED: Duration = Duration::from_millis(500);

pub(crate) fn trace(arguments: &TraceArguments) -> Result<ExitCode> {
    let world = World::story();
    let from = place(&arguments.from, &world)?;
    let to = target(&arguments.to, &world)?;
    let service = Service {
        kind: match &to {
            Target::NodePort(_) | Target::OtherNodePort(_) => ServiceType::NodePort,
            Target::Vip | Target::OtherVip | Target::VipAt(_) => {
                ServiceType::LoadBalancer(arguments.balancer.into())
            }
            _ => ServiceType::ClusterIp,
        },
        external: arguments.etp.into(),
        internal: arguments.itp.into(),
        ..Service::cluster_ip()
    };
    let service = match arguments.protocol {
        ProtocolArgument::Tcp => service,
        ProtocolArgument::Udp => service.udp(),
    };
    let specs = [arguments.proxy.clone()];
    let mut prepared = preparation::prepare(&specs, &arguments.lab, false)?;
    let (api, proxy) = (prepared.api, prepared.proxies.pop());
    Runtime::new().into_diagnostic()?.block_on(async {
        let ends = signals::asked_to_end().into_diagnostic()?;
        let dir = tempfile::tempdir().into_diagnostic()?;
        let traced = async {
            let lab = lab::start(api, proxy, dir.path(), arguments.lab.timing()).await?;
            let _backends = lab.listen(&BACKENDS, PORT).await.into_diagnostic()?;
            let call = settled_call(&lab, service, &from, &to, arguments.family.into());
            let call = call.await.into_diagnostic()?;
            print(&lab, service, &from, &to, &call);
            Ok(ExitCode::SUCCESS)
        };
        // The directory is removed in either case.
        tokio::select! {
            done = traced => done,
            () = ends => Err(miette!("interrupted")),
        }
    })
}

/// Creates the Service and calls until the outcome has settled; the last call.
///
/// Nobody deletes the Service: the lab that it is in ends with the trace.
async fn settled_call(
    lab: &Lab,
    service: Service,
    from: &Place,
    to: &Target,
    family: Family,
) -> Result<Call, LabError> {
    let ready = BACKENDS.map(Backend::ready);
    let create = lab
        .objects()
        .create_service(NAME, service, lab.world(), &ready, PORT);
    let mut allocated = create
        .await
        .map_err(LabError::object("create the Service"))?;
    let deadline = Instant::now() + lab.timing().converge;
    // By UDP, a drop is proven by what all backends answer.
    let pods = BACKENDS.iter().filter_map(|pod| lab.world().pod(pod));
    let backends: Vec<_> = pods
        .map(|pod| SocketAddr::new(pod.address.of(family), PORT))
        .collect();
    let mut since: Option<(String, Instant)> = None;
    loop {
        if let Some(remote) = lab.resolve(to, &allocated, family) {
            let calls = Calls {
                from,
                by: None,
                protocol: service.ports[0].protocol,
                length: Length::Brief,
                remotes: &[remote],
                backends: &backends,
            };
            let call = lab.call_each(calls).await?.pop();
            let call = call.expect("one call was made");
            let outcome = &call.observed.connection.outcome;
            // Which pod it was may change from call to call; that one was reached may not.
            let kind = if outcome.is_reached() {
                "reached".to_owned()
            } else {
                call.observed.kind()
            };
            match &since {
                Some((same, at)) if *same == kind => {
                    // Refused is also what a proxy does that has not seen the Service yet.
                    let patience = if matches!(outcome, Outcome::Refused(_)) {
                        4
                    } else {
                        1
                    };
                    if at.elapsed() > SETTLED * patience {
                        return Ok(call);
                    }
                }
                _ => since = Some((kind, Instant::now())),
            }
        }
        if Instant::now() > deadline {
            return Err(match since {
                Some((last, _)) => LabError::Unsettled {
                    seconds: lab.timing().converge.as_secs(),
                    last,
                },
                // Only a load balancer's address may be missing for long.
                None => LabError::NoVip {
                    problems: lab.balancer_problems().await?.join("; "),
                },
            });
        }
        tokio::time::sleep(lab.timing().converge_pause).await;
        if to == &Target::Vip && allocated.vip.is_none() {
            allocated = read(lab).await?;
        }
    }
}

async fn read(lab: &Lab) -> Result<Allocated, LabError> {
    lab.objects()
        .get_service(NAME)
        .await
        .map_err(LabError::object("read the Service"))
}

fn print(lab: &Lab, service: Service, from: &Place, to: &Target, call: &Call) {
    println!(
        "type {}, externalTrafficPolicy {}, internalTrafficPolicy {}; pods {} on vm1, none on \
         vm2, {} on vm3",
        service.kind.api_name(),
        service.external,
        service.internal,
        BACKENDS[0],
        BACKENDS[1..].join(" ")
    );
    let (protocol, remote) = (service.ports[0].protocol, call.observed.connection.remote);
    println!("{from} calls {to} ({remote}) by {protocol}\n");
    println!("{}", call.sample(lab));
    match &call.observed.connection.outcome {
        Outcome::Reached { identity, latency } => println!(
            "reached {} on {}, which saw {} ({}), TTL {}, in {latency:.1?}",
            identity.pod,
            identity.node,
            identity.peer,
            lab.world().describe(identity.peer.ip()),
            identity.ttl
        ),
        _ => println!("{}", call.observed.kind()),
    }
}

/// Reads `external`, `external@CLIENT`, `pod@POD` or `node@NODE`.
fn place(text: &str, world: &World) -> Result<Place> {
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
            let help = "external, external@CLIENT, pod@POD, or node@NODE";
            return Err(miette!(help = help, "no place {text}"));
        }
    };
    if known {
        Ok(place)
    } else {
        Err(miette!(help = format!("one of {all}"), "no {kind} {name}"))
    }
}

/// Reads `cluster-ip`, `vip` or `node-port@NODE`.
fn target(text: &str, world: &World) -> Result<Target> {
    match text.split_once('@') {
        None if text == "cluster-ip" => Ok(Target::ClusterIp),
        None if text == "vip" => Ok(Target::Vip),
        Some(("node-port", node)) if world.node(node).is_some() => {
            Ok(Target::NodePort(node.to_owned()))
        }
        _ => {
            let nodes: Vec<_> = world.nodes.iter().map(|node| node.name.as_str()).collect();
            let help = format!(
                "cluster-ip, vip, or node-port@NODE with one of {}",
                nodes.join(", ")
            );
            Err(miette!(help = help, "no target {text}"))
        }
    }
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
}
