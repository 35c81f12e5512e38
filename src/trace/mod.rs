//! `onehop trace`: one connection, hop by hop.

mod read;
mod show;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use onehop_harness::case::{Backend, Place, Service, ServiceType, Target};
use onehop_harness::lab::{Allocated, ApiKind, Call, Calls, Lab, LabError, ProxyUnderTest};
use onehop_harness::probe::{Identity, Outcome};
use onehop_harness::tap::Sample;
use onehop_harness::world::{Family, Length, World};
use onehop_report::journey_svg;
use tokio::runtime::Runtime;

use crate::arguments::{Format, ProtocolArgument, TraceArguments};
use crate::{lab, output, preparation, signals};

/// The Service that is traced, and the port of its backends.
const NAME: &str = "trace";
const PORT: u16 = 20_000;
/// How long the outcome must stay the same before a connection is taken for what happens now.
const SETTLED: Duration = Duration::from_millis(500);

/// What is traced.
struct Traced {
    service: Service,
    endpoints: Vec<Backend>,
    from: Place,
    to: Target,
    family: Family,
}

pub(crate) fn trace(arguments: &TraceArguments) -> Result<ExitCode> {
    let traced = Traced::read(arguments)?;
    let prepared = preparation::prepare(&arguments.proxies, &arguments.lab, false)?;
    let (api, _sandbox) = (prepared.api, prepared.sandbox);
    Runtime::new().into_diagnostic()?.block_on(async {
        let ends = signals::asked_to_end().into_diagnostic()?;
        let each = async {
            let is_told = arguments.format == Format::Text;
            if is_told {
                output::print(&show::heading(&traced))?;
            }
            let several = prepared.proxies.len() > 1;
            let mut ways = Vec::<Way>::new();
            for proxy in prepared.proxies {
                let wanted = ways.first().map(|way| way.sample.outcome.as_str());
                let way = follow(&traced, api.clone(), proxy, arguments, wanted).await?;
                if is_told {
                    output::print(&show::way(&way, several))?;
                }
                ways.push(way);
            }
            let drawn = match &arguments.svg {
                Some(file) => draw(&ways, file)?,
                None => Vec::new(),
            };
            let drawn = drawn.iter().map(|file| format!("{}\n", file.display()));
            output::print(&match arguments.format {
                Format::Text => show::partings(&ways) + &drawn.collect::<String>(),
                Format::Json => format!("{:#}\n", show::document(&traced, &ways)),
            })
        };
        // The directories of labs are removed in either case.
        tokio::select! {
            done = each => done,
            () = ends => Err(miette!("interrupted")),
        }
    })
}

/// What one proxy made of it.
struct Way {
    proxy: String,
    sample: Sample,
    /// Who answered, as it said itself, and how long that took.
    reached: Option<(Identity, Duration)>,
    /// What people call the address that whoever answered has seen.
    seen: String,
}

impl Traced {
    fn read(arguments: &TraceArguments) -> Result<Self> {
        let world = World::story();
        let (from, to) = read::flow(&arguments.from, &arguments.to, &world)?;
        let endpoints = arguments.endpoints.iter();
        let endpoints: Vec<_> = endpoints
            .map(|text| read::endpoint(text, &world))
            .collect::<Result<_>>()?;
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
            external_ips: matches!(to, Target::ExternalIp(_)),
            ..Service::cluster_ip()
        };
        Ok(Self {
            service: match arguments.protocol {
                ProtocolArgument::Tcp => service,
                ProtocolArgument::Udp => service.udp(),
            },
            endpoints,
            from,
            to,
            family: arguments.family.into(),
        })
    }
}

/// Follows one connection by one proxy, in a lab of its own.
async fn follow(
    traced: &Traced,
    api: ApiKind,
    proxy: ProxyUnderTest,
    arguments: &TraceArguments,
    wanted: Option<&str>,
) -> Result<Way> {
    let dir = tempfile::tempdir().into_diagnostic()?;
    let proxy_name = proxy.profile.name.clone();
    let lab = lab::start(api, Some(proxy), dir.path(), arguments.lab.timing()).await?;
    let pods: Vec<_> = traced
        .endpoints
        .iter()
        .map(|endpoint| endpoint.pod.as_str())
        .collect();
    let _backends = lab.listen(&pods, PORT).await.into_diagnostic()?;
    let wanted = wanted.and_then(|outcome| outcome.strip_prefix("reached "));
    let call = settled_call(&lab, traced, wanted).await.into_diagnostic()?;
    let reached = match &call.observed.connection.outcome {
        Outcome::Reached { identity, latency } => Some((identity.clone(), *latency)),
        _ => None,
    };
    let seen = reached.as_ref().map(|(identity, _)| identity.peer.ip());
    let way = Way {
        proxy: proxy_name,
        sample: call.sample(&lab),
        seen: seen.map_or_else(String::new, |seen| lab.world().describe(seen)),
        reached,
    };
    lab.end().await.into_diagnostic()?;
    Ok(way)
}

/// Draws journeys into files. Returns those that were written.
fn draw(ways: &[Way], file: &Path) -> Result<Vec<PathBuf>> {
    let mut drawn = Vec::new();
    for (number, way) in ways.iter().enumerate() {
        let file = numbered(file, (ways.len() > 1).then_some(number + 1));
        let Some(drawing) = journey_svg(&way.sample) else {
            eprintln!(
                "onehop: no drawing of {}: no interface saw the call",
                way.proxy
            );
            continue;
        };
        std::fs::write(&file, drawing)
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to write {}", file.display()))?;
        drawn.push(file);
    }
    Ok(drawn)
}

/// A file's name, with a number before its ending.
fn numbered(file: &Path, number: Option<usize>) -> PathBuf {
    let Some(number) = number else {
        return file.to_owned();
    };
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let ending = file
        .extension()
        .map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    file.with_file_name(format!("{stem}-{number}{ending}"))
}

/// The pod that answered.
fn pod(call: &Call) -> Option<&str> {
    match &call.observed.connection.outcome {
        Outcome::Reached { identity, .. } => Some(&identity.pod),
        _ => None,
    }
}

/// Creates the Service and calls until the outcome has settled; the last call.
///
/// Where it goes to one of several pods, it is called on for a while until that is the `wanted` one, for the ways to be compared.
///
/// Nobody deletes the Service: the lab that it is in ends with the trace.
async fn settled_call(lab: &Lab, traced: &Traced, wanted: Option<&str>) -> Result<Call, LabError> {
    let create =
        lab.objects()
            .create_service(NAME, traced.service, lab.world(), &traced.endpoints, PORT);
    let mut allocated = create
        .await
        .map_err(LabError::object("create the Service"))?;
    let deadline = Instant::now() + lab.timing().converge;
    // By UDP, a drop is proven by what all backends answer.
    let endpoints = traced.endpoints.iter();
    let pods = endpoints.filter_map(|endpoint| lab.world().pod(&endpoint.pod));
    let backends: Vec<_> = pods
        .map(|pod| SocketAddr::new(pod.address.of(traced.family), PORT))
        .collect();
    let mut since: Option<(String, Instant)> = None;
    loop {
        if let Some(remote) = lab.resolve(&traced.to, &allocated, traced.family) {
            let calls = Calls {
                from: &traced.from,
                by: match &traced.to {
                    Target::VipAt(node) => Some(node),
                    _ => None,
                },
                protocol: traced.service.ports[0].protocol,
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
                    let settled = at.elapsed() > SETTLED * patience;
                    let is_wanted = wanted.is_none_or(|wanted| pod(&call) == Some(wanted));
                    if settled && (is_wanted || at.elapsed() > SETTLED * patience * 2) {
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
        if allocated.vip.is_none() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawings_of_several_proxies_have_files_of_their_own() {
        let names = |number| numbered(Path::new("out/way.svg"), number);
        assert_eq!(names(None), Path::new("out/way.svg"));
        assert_eq!(names(Some(2)), Path::new("out/way-2.svg"));
        assert_eq!(numbered(Path::new("way"), Some(1)), Path::new("way-1"));
    }
}
