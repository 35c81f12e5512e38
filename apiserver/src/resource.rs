//! The resources that are served, as data.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Which kind of object it is, for the few rules that differ by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ConfigMap,
    EndpointSlice,
    Event,
    Lease,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceCidr,
}

/// A group version that serves a resource, and the fields that have another name there than in storage.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    /// (name in this version, name in storage), at the top level.
    pub(crate) renamed: &'static [(&'static str, &'static str)],
}

impl Served {
    /// `v1` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// One resource.
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    pub(crate) kind_name: &'static str,
    /// The group of the stored version, which errors name.
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) namespaced: bool,
    pub(crate) has_status: bool,
    /// A PUT to a missing name creates it.
    pub(crate) create_on_update: bool,
    /// An update may leave out `resourceVersion`.
    pub(crate) unconditional_update: bool,
    /// The first one is the stored version.
    pub(crate) served: &'static [Served],
    /// Paths that a field selector may name, beside `metadata.name` and `metadata.namespace`.
    pub(crate) selectable: &'static [&'static str],
    /// (path of a list, merge key) for strategic merge patches; an empty key is a list of plain values.
    pub(crate) merge_keys: &'static [(&'static str, &'static str)],
    /// (path of a list, keys) for server-side apply, where it differs from `merge_keys`.
    pub(crate) apply_keys: &'static [(&'static str, &'static [&'static str])],
    /// Decodes into the typed object and back, which checks types and drops unknown fields.
    pub(crate) round_trip: fn(Value) -> Result<Value, serde_json::Error>,
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.qualified())
    }
}

impl Resource {
    /// `services` or `endpointslices.discovery.k8s.io`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The version that objects are kept in.
    pub(crate) fn stored(&self) -> &'static Served {
        &self.served[0]
    }

    /// The position in [`RESOURCES`].
    pub(crate) fn index(&self) -> usize {
        RESOURCES
            .iter()
            .position(|resource| resource.kind == self.kind)
            .unwrap_or_default()
    }
}

/// The resource of a kind.
pub(crate) fn by_kind(kind: Kind) -> &'static Resource {
    &RESOURCES[RESOURCES
        .iter()
        .position(|resource| resource.kind == kind)
        .unwrap_or_default()]
}

/// Finds what a group version serves under a plural name.
pub(crate) fn find(
    group: &str,
    version: &str,
    plural: &str,
) -> Option<(&'static Resource, &'static Served)> {
    RESOURCES
        .iter()
        .filter(|resource| resource.plural == plural)
        .find_map(|resource| {
            let served = resource
                .served
                .iter()
                .find(|served| served.group == group && served.version == version)?;
            Some((resource, served))
        })
}

/// Group versions in the order that discovery lists them, preferred version of a group first.
pub(crate) const GROUP_VERSIONS: &[(&str, &[&str])] = &[
    ("events.k8s.io", &["v1"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("coordination.k8s.io", &["v1"]),
    ("discovery.k8s.io", &["v1"]),
];

fn round_trip<T: DeserializeOwned + Serialize>(value: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(value)?)
}

const CORE_V1: &[Served] = &[Served {
    group: "",
    version: "v1",
    renamed: &[],
}];

const PLAIN: Resource = Resource {
    kind: Kind::ConfigMap,
    kind_name: "ConfigMap",
    group: "",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    has_status: false,
    create_on_update: false,
    unconditional_update: true,
    served: CORE_V1,
    selectable: &[],
    merge_keys: &[],
    apply_keys: &[],
    round_trip: round_trip::<ConfigMap>,
};

/// Every resource.
pub(crate) static RESOURCES: [Resource; 9] = [
    PLAIN,
    Resource {
        kind: Kind::EndpointSlice,
        kind_name: "EndpointSlice",
        group: "discovery.k8s.io",
        plural: "endpointslices",
        singular: "endpointslice",
        short_names: &[],
        served: &[Served {
            group: "discovery.k8s.io",
            version: "v1",
            renamed: &[],
        }],
        round_trip: round_trip::<EndpointSlice>,
        ..PLAIN
    },
    Resource {
        kind: Kind::Event,
        kind_name: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        create_on_update: true,
        served: &[
            Served {
                group: "",
                version: "v1",
                renamed: &[],
            },
            Served {
                group: "events.k8s.io",
                version: "v1",
                renamed: &[
                    ("regarding", "involvedObject"),
                    ("note", "message"),
                    ("reportingController", "reportingComponent"),
                    ("deprecatedCount", "count"),
                    ("deprecatedFirstTimestamp", "firstTimestamp"),
                    ("deprecatedLastTimestamp", "lastTimestamp"),
                    ("deprecatedSource", "source"),
                ],
            },
        ],
        selectable: &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        round_trip: round_trip::<Event>,
        ..PLAIN
    },
    Resource {
        kind: Kind::Lease,
        kind_name: "Lease",
        group: "coordination.k8s.io",
        plural: "leases",
        singular: "lease",
        short_names: &[],
        create_on_update: true,
        unconditional_update: false,
        served: &[Served {
            group: "coordination.k8s.io",
            version: "v1",
            renamed: &[],
        }],
        round_trip: round_trip::<Lease>,
        ..PLAIN
    },
    Resource {
        kind: Kind::Namespace,
        kind_name: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        namespaced: false,
        has_status: true,
        selectable: &["status.phase"],
        merge_keys: &[("status.conditions", "type")],
        apply_keys: &[("status.conditions", &["type"])],
        round_trip: round_trip::<Namespace>,
        ..PLAIN
    },
    Resource {
        kind: Kind::Node,
        kind_name: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        namespaced: false,
        has_status: true,
        selectable: &["spec.unschedulable"],
        merge_keys: &[
            ("spec.podCIDRs", ""),
            ("status.addresses", "type"),
            ("status.conditions", "type"),
        ],
        apply_keys: &[
            ("status.addresses", &["type"]),
            ("status.conditions", &["type"]),
        ],
        round_trip: round_trip::<Node>,
        ..PLAIN
    },
    Resource {
        kind: Kind::Pod,
        kind_name: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        has_status: true,
        selectable: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        merge_keys: &[
            ("spec.containers", "name"),
            ("spec.containers.env", "name"),
            ("spec.containers.ports", "containerPort"),
            ("spec.containers.volumeMounts", "mountPath"),
            ("spec.hostAliases", "ip"),
            ("spec.imagePullSecrets", "name"),
            ("spec.initContainers", "name"),
            ("spec.initContainers.env", "name"),
            ("spec.initContainers.ports", "containerPort"),
            ("spec.initContainers.volumeMounts", "mountPath"),
            ("spec.topologySpreadConstraints", "topologyKey"),
            ("spec.volumes", "name"),
            ("status.conditions", "type"),
            ("status.hostIPs", "ip"),
            ("status.podIPs", "ip"),
        ],
        apply_keys: &[
            ("spec.containers", &["name"]),
            ("spec.containers.env", &["name"]),
            ("spec.containers.ports", &["containerPort", "protocol"]),
            ("spec.containers.volumeMounts", &["mountPath"]),
            ("spec.initContainers", &["name"]),
            ("spec.volumes", &["name"]),
            ("status.conditions", &["type"]),
            ("status.podIPs", &["ip"]),
        ],
        round_trip: round_trip::<Pod>,
        ..PLAIN
    },
    Resource {
        kind: Kind::Service,
        kind_name: "Service",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        has_status: true,
        create_on_update: true,
        selectable: &["spec.clusterIP", "spec.type"],
        merge_keys: &[("spec.ports", "port"), ("status.conditions", "type")],
        apply_keys: &[
            ("spec.ports", &["port", "protocol"]),
            ("status.conditions", &["type"]),
        ],
        round_trip: round_trip::<Service>,
        ..PLAIN
    },
    Resource {
        kind: Kind::ServiceCidr,
        kind_name: "ServiceCIDR",
        group: "networking.k8s.io",
        plural: "servicecidrs",
        singular: "servicecidr",
        short_names: &[],
        namespaced: false,
        has_status: true,
        served: &[
            Served {
                group: "networking.k8s.io",
                version: "v1",
                renamed: &[],
            },
            Served {
                group: "networking.k8s.io",
                version: "v1beta1",
                renamed: &[],
            },
        ],
        merge_keys: &[("status.conditions", "type")],
        apply_keys: &[("status.conditions", &["type"])],
        round_trip: round_trip::<ServiceCIDR>,
        ..PLAIN
    },
];
