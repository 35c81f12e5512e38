//! The `existing` provider: somebody's cluster, which is left as it was.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::{Api, Client};

use super::lease::{self, Holder};
use super::objects::{PodImage, RunId, delete, delete_of};
use super::provider::{Cluster, Secretive};
use super::{ClusterError, ClusterParts, discover, prepare};
use crate::case::Need;
use crate::lab::{Lab, LabError, NAMESPACE, Phases, directory};
use crate::profile::Profile;
use crate::timing::Timing;

/// What a lab on somebody's cluster is made of.
#[derive(Clone, Debug)]
pub struct ExistingOptions {
    /// What the proxy that the cluster runs does and does not do.
    pub profile: Profile,
    /// onehop's image, which the nodes have or can pull.
    pub image: PodImage,
    /// The name of the run.
    pub run: RunId,
    /// A directory of the lab's own. It is emptied first.
    pub dir: PathBuf,
    /// Timings and tolerances.
    pub timing: Timing,
}

/// Builds a lab on a cluster. What a run that was killed has left there is removed first.
///
/// # Errors
/// When another run is under way, the cluster is too small, or any part fails; what was made is
/// removed again.
pub async fn start(client: Client, options: ExistingOptions) -> Result<Lab, LabError> {
    directory::make_empty(&options.dir)?;
    let mut phases = Phases::start();
    clean(&client, &options.timing).await?;
    let version = client.apiserver_version().await;
    let version = version
        .map_err(LabError::object("ask for the version"))?
        .git_version;
    phases.end("cluster");
    let (run, timing) = (options.run.clone(), options.timing.clone());
    let built = build(&client, &version, options, phases).await;
    if built.is_err() {
        abandon(&client, &run, &timing).await;
    }
    built
}

/// Removes what a run has made, because it comes to nothing. Why it does is the error to tell; one here
/// says what is left behind.
pub async fn abandon(client: &Client, run: &RunId, timing: &Timing) {
    if let Err(left) = delete_of(client, run, timing).await {
        let left = crate::error::chain(&left);
        tracing::error!(left, "the namespace {NAMESPACE} may be left behind");
    }
}

async fn build(
    client: &Client,
    version: &str,
    options: ExistingOptions,
    mut phases: Phases,
) -> Result<Lab, LabError> {
    let (image, run) = (&options.image, &options.run);
    let mut prepared = prepare(client.clone(), image, run, &options.timing).await?;
    phases.end("pods");
    let mut lacks = lacks();
    match service_ranges(client).await {
        Some(ranges) => prepared.world.service_cidrs = discover::networks(ranges),
        None => {
            let why = "the ServiceCIDRs of the cluster cannot be listed".to_owned();
            lacks.insert(Need::ServiceRanges, why);
        }
    }
    prepared.settle(None).await?;
    let cluster = Cluster {
        provider: "existing",
        client: Secretive(client.clone()),
        version: version.to_owned(),
        image: options.image.clone(),
        outside: None,
        proxies: None,
        nodes: None,
        run: options.run.clone(),
        unlabels: Vec::new(),
        profile: None,
        lease: None,
        leaves_namespace: false,
        _guard: None,
    };
    let parts = ClusterParts {
        cluster,
        profile: Some(options.profile),
        dir: options.dir,
        lacks,
        phases,
    };
    prepared.finish(None, parts).await
}

/// What nobody's cluster has for a stranger.
fn lacks() -> BTreeMap<Need, String> {
    let because = [
        (
            Need::OutsideClients,
            "an existing cluster has none that onehop may use",
        ),
        (
            Need::LoadBalancer,
            "an existing cluster has none of onehop's classes",
        ),
        (
            Need::OtherAddresses,
            "the nodes of an existing cluster are left as they are",
        ),
        (
            Need::ExternalAddresses,
            "nobody sends them to the nodes of an existing cluster",
        ),
        (
            Need::Taints,
            "the nodes of an existing cluster are left as they are",
        ),
        (
            Need::StoppableNodes,
            "the nodes of an existing cluster are left as they are",
        ),
        (
            Need::Zones,
            "the nodes of an existing cluster are left as they are",
        ),
    ];
    because.map(|(need, why)| (need, why.to_owned())).into()
}

/// The ranges of ClusterIPs, where the API tells (Kubernetes 1.33 and later, with the right to list them).
pub(crate) async fn service_ranges(client: &Client) -> Option<Vec<ipnet::IpNet>> {
    let ranges: Api<ServiceCIDR> = Api::all(client.clone());
    let listed = ranges.list(&ListParams::default()).await.ok()?;
    let specs = listed.items.into_iter().filter_map(|range| range.spec);
    let cidrs: Vec<_> = specs
        .flat_map(|spec| spec.cidrs.unwrap_or_default())
        .filter_map(|cidr| cidr.parse().ok())
        .collect();
    (!cidrs.is_empty()).then_some(cidrs)
}

/// Removes what a run that was killed has left on a cluster; whether there was anything.
///
/// # Errors
/// When a run is under way, the namespace is not onehop's, or the API refuses.
pub async fn clean(client: &Client, timing: &Timing) -> Result<bool, ClusterError> {
    match lease::holder(client).await? {
        Holder::Nobody => Ok(false),
        Holder::Killed(left) => {
            delete(client, &left, timing).await?;
            Ok(true)
        }
        Holder::Run(holder) => Err(ClusterError::InUse { holder }),
        Holder::Stranger => Err(ClusterError::Stranger),
    }
}
