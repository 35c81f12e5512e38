//! The `existing` provider: somebody's cluster, which is left as it was.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::{Api, Client};

use super::lease::{self, Holder};
use super::provider::{Cluster, Secretive};
use super::{ClusterError, ClusterParts, delete_all, discover, prepare};
use crate::case::Need;
use crate::lab::{Lab, LabError, NAMESPACE, Phases, directory};
use crate::profile::Profile;
use crate::timing::Timing;

/// What a lab on somebody's cluster is made of.
#[derive(Clone, Debug)]
pub struct ExistingOptions {
    /// What the proxy that the cluster runs does and does not do.
    pub profile: Profile,
    /// onehop's image, by a name that the nodes have or can pull.
    pub image: String,
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
    match lease::holder(&client).await.map_err(LabError::from)? {
        Holder::Nobody => {}
        Holder::Killed => delete_all(&client, &options.timing).await?,
        Holder::Run(holder) => return Err(ClusterError::InUse { holder }.into()),
        Holder::Stranger => return Err(ClusterError::Stranger.into()),
    }
    let version = client.apiserver_version().await;
    let version = version
        .map_err(LabError::object("ask for the version"))?
        .git_version;
    phases.end("cluster");
    let (built, timing) = (build(&client, &version, options, phases), Timing::default());
    match built.await {
        Ok(lab) => Ok(lab),
        Err(error) => {
            // The first error is the one to tell; a second one says what is left behind.
            if let Err(left) = delete_all(&client, &timing).await {
                let left = crate::error::chain(&left);
                tracing::error!(left, "the namespace {NAMESPACE} may be left behind");
            }
            Err(error)
        }
    }
}

async fn build(
    client: &Client,
    version: &str,
    options: ExistingOptions,
    mut phases: Phases,
) -> Result<Lab, LabError> {
    let mut prepared = prepare(client.clone(), &options.image, &options.timing).await?;
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
        run: prepared.run.clone(),
        image: options.image,
        outside: None,
        proxies: None,
        nodes: None,
        proxy_is_new: false,
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
async fn service_ranges(client: &Client) -> Option<Vec<ipnet::IpNet>> {
    let ranges: Api<ServiceCIDR> = Api::all(client.clone());
    let listed = ranges.list(&ListParams::default()).await.ok()?;
    let specs = listed.items.into_iter().filter_map(|range| range.spec);
    let cidrs: Vec<_> = specs
        .flat_map(|spec| spec.cidrs.unwrap_or_default())
        .filter_map(|cidr| cidr.parse().ok())
        .collect();
    (!cidrs.is_empty()).then_some(cidrs)
}

/// Removes what a run has left on a cluster, by whoever knows that it has ended. A namespace that is
/// not onehop's is left alone.
///
/// # Errors
/// When the API refuses.
pub async fn sweep(client: &Client, timing: &Timing) -> Result<(), ClusterError> {
    match lease::holder(client).await? {
        Holder::Nobody => Ok(()),
        Holder::Stranger => Err(ClusterError::Stranger),
        Holder::Killed | Holder::Run(_) => delete_all(client, timing).await,
    }
}

/// Removes what a run that was killed has left on a cluster; whether there was anything.
///
/// # Errors
/// When a run is under way, the namespace is not onehop's, or the API refuses.
pub async fn clean(client: &Client, timing: &Timing) -> Result<bool, ClusterError> {
    match lease::holder(client).await? {
        Holder::Nobody => Ok(false),
        Holder::Killed => {
            delete_all(client, timing).await?;
            Ok(true)
        }
        Holder::Run(holder) => Err(ClusterError::InUse { holder }),
        Holder::Stranger => Err(ClusterError::Stranger),
    }
}
