//! Objects of the Kubernetes API, read into the [model](crate::model), and checked.
//!
//! - Nothing that deserialises makes this panic.
//! - A part that makes no sense is left out and reported as a [`Problem`]; the rest of the object is used, and no
//!   other object suffers. An object of which nothing sensible is left has no value.
//! - What is sensible is what kube-proxy accepts (`pkg/proxy/serviceport.go`, `pkg/proxy/endpointslicecache.go`,
//!   `pkg/proxy/util/utils.go`), less the addresses that the API refuses for endpoints and external addresses, and
//!   that could only do harm here: unspecified, loopback, link-local, multicast, broadcast.
//! - An absent field has the default that the API gives it.
//! - Lists are sorted where their order means nothing, so that equal meaning is equal value.

mod address;
mod node;
mod problem;
mod service;
mod service_cidr;
mod slice;
#[cfg(test)]
mod tests;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::{ObjectName, Protocol};

pub use node::node;
pub use problem::Problem;
pub use service::service;
pub use service_cidr::service_cidr;
pub use slice::slice;

use problem::Problems;

/// What one object says, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading<T> {
    /// The object. Its namespace is empty for an object of the cluster.
    pub name: ObjectName,
    /// What it says; `None` if it does not concern the proxy, or if nothing in it can be used: it is then to be
    /// treated as deleted.
    pub value: Option<T>,
    /// What was left out of it, and why.
    pub problems: Vec<Problem>,
}

/// Reads an object: its name, and what `read` makes of the rest and finds wrong with it.
fn reading<T>(
    kind: &'static str,
    metadata: &ObjectMeta,
    read: impl FnOnce(&ObjectName, &mut Problems) -> Option<T>,
) -> Reading<T> {
    let name = name_of(metadata);
    let mut problems = Problems::new(kind, &name);
    let value = read(&name, &mut problems);
    Reading {
        name,
        value,
        problems: problems.finish(),
    }
}

/// The name in an object's metadata, with empty parts where it has none.
fn name_of(metadata: &ObjectMeta) -> ObjectName {
    let part = |part: &Option<String>| part.as_deref().unwrap_or_default().into();
    ObjectName {
        namespace: part(&metadata.namespace),
        name: part(&metadata.name),
    }
}

/// Whether a namespaced object can be told from others, which is reported if not.
fn is_named(name: &ObjectName, problems: &mut Problems) -> bool {
    is_there("metadata.namespace", &name.namespace, problems) && is_named_in_cluster(name, problems)
}

/// The same of an object of the cluster.
fn is_named_in_cluster(name: &ObjectName, problems: &mut Problems) -> bool {
    is_there("metadata.name", &name.name, problems)
}

fn is_there(field: &str, part: &str, problems: &mut Problems) -> bool {
    if part.is_empty() {
        problems.add(field, "is empty; the object is ignored");
    }
    !part.is_empty()
}

/// A port number from 1 to 65535.
fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

/// A protocol by its name in the API; TCP if it is absent.
fn protocol(name: Option<&str>) -> Result<Protocol, String> {
    match name {
        None | Some("TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(format!(
            "{} is no protocol of Services",
            problem::quoted(other)
        )),
    }
}
