//! The elements of the sets and maps, typed. Each is in the table of one family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::{Family, Protocol};
use crate::plan::Front;

/// What a packet is looked up by: its destination. Node ports are under the unspecified address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontKey {
    /// The address, unspecified for a node port.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl FrontKey {
    /// The key of a front, unless it is none that a packet could have: an address of the other family, the
    /// unspecified one, or port 0.
    pub(super) fn of(front: &Front, family: Family, protocol: Protocol) -> Option<Self> {
        let address = match front.address {
            None => unspecified(family),
            Some(address) if Family::of(address) == family && !address.is_unspecified() => address,
            Some(_) => return None,
        };
        (front.port != 0).then_some(Self {
            address,
            protocol,
            port: front.port,
        })
    }

    /// The node port of the same number.
    #[must_use]
    pub fn node_port(self) -> Self {
        let address = unspecified(Family::of(self.address));
        Self { address, ..self }
    }

    /// Whether it is a node port.
    #[must_use]
    pub fn is_node_port(&self) -> bool {
        self.address.is_unspecified()
    }
}

/// The unspecified address of a family.
pub(super) fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The two lists of endpoints that a Service port has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum List {
    /// Those of policy Cluster.
    Cluster,
    /// Those of policy Local.
    Local,
}

impl List {
    /// The number of its first endpoint: both lists of a Service port are in one map.
    pub(super) fn offset(self) -> u32 {
        match self {
            Self::Cluster => 0,
            Self::Local => 1 << 31,
        }
    }
}

/// What an element is, and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// A front, in the map `services`.
    Service(FrontKey),
    /// A front, in the map `service-ids`.
    ServiceId(FrontKey),
    /// A front whose sources are restricted, in the map `source-checked`.
    SourceChecked(FrontKey),
    /// An endpoint of a Service port, in the map `endpoints`.
    Endpoint {
        /// The Service port.
        id: u32,
        /// Its number in its list, or its slot under session affinity; from the list's offset on.
        number: u32,
    },
    /// The slot of an endpoint of a Service port with session affinity, in the map `slots`.
    Slot {
        /// The Service port.
        id: u32,
        /// The endpoint's number in its list, from the list's offset on.
        number: u32,
    },
    /// Sources that may use the VIPs of a Service port, in the set `source-ranges`.
    Sources {
        /// The Service port.
        id: u32,
        /// The first address.
        first: IpAddr,
        /// The last address.
        last: IpAddr,
    },
    /// A cluster address, in the set `cluster-ips`.
    ClusterIp(IpAddr),
    /// An address that is masqueraded when it reaches itself, in the set `hairpins`.
    Hairpin(IpAddr),
    /// An address that has node ports, in the set `node-port-addresses`.
    NodePortAddress(IpAddr),
    /// A class, in the verdict map `classes`.
    Class(u32),
    /// A class, in the verdict map `refusals`.
    Refusal(u32),
}

/// What an element maps its key to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing: the element of a set.
    Member,
    /// The number of a class, the id of a Service port, or the slot of an endpoint.
    Number(u32),
    /// An endpoint.
    Endpoint(SocketAddr),
    /// The chain of a class.
    Chain(super::classes::Class),
    /// What happens to packets that were not translated.
    Refusal(super::classes::Refusal),
}
