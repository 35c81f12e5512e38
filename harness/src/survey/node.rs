//! What a survey has to know of a Node. Pure.

use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use serde::Serialize;

use crate::case::TO_BE_DELETED;
use crate::world::Family;

/// Keeps a node out of load balancers.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Why a load balancer does not have a node, whatever its health check port says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutOfBalancer {
    /// By its label.
    Excluded,
    /// The cluster autoscaler is about to remove it.
    ToBeDeleted,
    /// It is being deleted.
    Deleting,
}

impl fmt::Display for OutOfBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Excluded => "labelled exclude-from-external-load-balancers",
            Self::ToBeDeleted => "tainted ToBeDeletedByClusterAutoscaler",
            Self::Deleting => "being deleted",
        })
    }
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Whether its condition `Ready` is `True`. A load balancer that follows KEP-3458 does not ask for it.
    pub ready: bool,
    /// Why no load balancer has it; nothing when they do.
    pub out_of_balancer: Option<OutOfBalancer>,
    /// Where it is asked: its internal addresses, else its external ones, in the order of its status.
    pub addresses: Vec<IpAddr>,
}

impl NodeFacts {
    /// Reads a Node.
    pub(super) fn new(node: &Node) -> Self {
        let status = node.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            ready: conditions.any(|c| c.type_ == "Ready" && c.status == "True"),
            out_of_balancer: out_of_balancer(node),
            addresses: addresses(node),
        }
    }

    /// The address at which it is asked for a Service of these families: the first of the first family that it has.
    pub(super) fn address(&self, families: &[Family]) -> Option<IpAddr> {
        let of = |family: &Family| {
            let mut addresses = self.addresses.iter().copied();
            addresses.find(|address| Family::of(*address) == *family)
        };
        families.iter().find_map(of)
    }
}

/// The rules of the service controller (`stableNodeSetPredicates`), which has no regard for `Ready`.
fn out_of_balancer(node: &Node) -> Option<OutOfBalancer> {
    if node.metadata.deletion_timestamp.is_some() {
        return Some(OutOfBalancer::Deleting);
    }
    let labels = node.metadata.labels.as_ref();
    // Its value is read as Go's `strconv.ParseBool` does: only a clear no is one.
    let no = ["0", "f", "F", "false", "False", "FALSE"];
    if labels
        .and_then(|labels| labels.get(EXCLUDED))
        .is_some_and(|value| !no.contains(&value.as_str()))
    {
        return Some(OutOfBalancer::Excluded);
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let mut taints = taints.into_iter().flatten();
    taints
        .any(|taint| taint.key == TO_BE_DELETED)
        .then_some(OutOfBalancer::ToBeDeleted)
}

fn addresses(node: &Node) -> Vec<IpAddr> {
    let of = |kind: &str| -> Vec<IpAddr> {
        let status = node.status.as_ref();
        let addresses = status.and_then(|status| status.addresses.as_ref());
        let addresses = addresses.into_iter().flatten();
        let addresses = addresses.filter(|address| address.type_ == kind);
        addresses.filter_map(|a| a.address.parse().ok()).collect()
    };
    let internal = of("InternalIP");
    if internal.is_empty() {
        of("ExternalIP")
    } else {
        internal
    }
}
