//! Reads what a survey is made of from an API: lists, page by page, and nothing else.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::outline::{Objects, owner};
use super::service::{Concern, concern};

/// Objects in a page: what kubectl and client-go ask for (`client-go/tools/pager`).
const PAGE: u32 = 500;
/// How long the API may take for a page.
const PAGE_WITHIN: Duration = Duration::from_secs(30);

/// A cluster that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// 403.
    #[error(
        "not allowed to list {what}: a survey needs the verb `list` on services, endpointslices.discovery.k8s.io and \
         nodes, and no other; the API says: {message}"
    )]
    Forbidden {
        /// The resource.
        what: &'static str,
        /// What the API says.
        message: String,
    },
    /// 401.
    #[error("the API does not accept the credentials of this context: {message}")]
    Unauthorized {
        /// What the API says.
        message: String,
    },
    /// Any other error status.
    #[error("failed to list {what}: the API says {code}: {message}")]
    Status {
        /// The resource.
        what: &'static str,
        /// The status code.
        code: u16,
        /// What the API says.
        message: String,
    },
    /// No answer in time.
    #[error("failed to list {what}: no answer of the API within {} s", PAGE_WITHIN.as_secs())]
    Late {
        /// The resource.
        what: &'static str,
    },
    /// The API is not there, or does not speak as one.
    #[error("failed to list {what}: the API cannot be reached, or is none")]
    Unreachable {
        /// The resource.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ReadError {
    fn new(what: &'static str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            let source = Box::new(error);
            return Self::Unreachable { what, source };
        };
        let message = status.message;
        match status.code {
            401 => Self::Unauthorized { message },
            403 => Self::Forbidden { what, message },
            code => Self::Status {
                what,
                code,
                message,
            },
        }
    }
}

/// Reads the Services of a namespace, or of all, the EndpointSlices of those that are surveyed, and all Nodes.
///
/// # Errors
/// When the API cannot be reached, or does not allow it.
pub(super) async fn read(client: &Client, namespace: Option<&str>) -> Result<Objects, ReadError> {
    let all_services: Api<Service> = within(client, namespace);
    let services = all(&all_services, "services", Some).await?;
    let wanted: BTreeSet<(String, String)> = services
        .iter()
        .filter_map(|service| match concern(service) {
            Concern::Subject(subject) => Some((subject.namespace, subject.name)),
            _ => None,
        })
        .collect();
    // Most slices of a large cluster are of other Services, and most of a Node is its list of images.
    let of_wanted = |slice: EndpointSlice| {
        let of = owner(&slice).map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        of.is_some_and(|of| wanted.contains(&of)).then_some(slice)
    };
    let without_images = |mut node: Node| {
        if let Some(status) = &mut node.status {
            status.images = None;
        }
        Some(node)
    };
    let all_slices: Api<EndpointSlice> = within(client, namespace);
    let all_nodes: Api<Node> = Api::all(client.clone());
    let (slices, nodes) = tokio::try_join!(
        all(&all_slices, "endpointslices", of_wanted),
        all(&all_nodes, "nodes", without_images),
    )?;
    Ok(Objects {
        services,
        slices,
        nodes,
    })
}

fn within<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Lists page by page, and keeps of each object what `keep` leaves of it.
///
/// A list that takes longer than the API keeps its history is begun anew, in one piece, as client-go does it.
async fn all<K>(
    api: &Api<K>,
    what: &'static str,
    keep: impl Fn(K) -> Option<K>,
) -> Result<Vec<K>, ReadError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut kept = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = match in_time(what, api.list(&page)).await? {
            Err(kube::Error::Api(status)) if status.code == 410 && page.limit.is_some() => {
                kept.clear();
                page = ListParams::default();
                continue;
            }
            listed => listed.map_err(|error| ReadError::new(what, error))?,
        };
        kept.extend(list.items.into_iter().filter_map(&keep));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(kept),
        }
    }
}

async fn in_time<T>(what: &'static str, answer: impl Future<Output = T>) -> Result<T, ReadError> {
    let answer = timeout(PAGE_WITHIN, answer).await;
    answer.map_err(|_| ReadError::Late { what })
}
