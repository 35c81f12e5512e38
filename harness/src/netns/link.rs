//! Links, addresses and routes, by netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::Namespace;
use crate::world::Dual;

/// The routing table of a host's own addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;

/// What the lab could not build, and why.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a namespace, a parameter or a socket.
    #[error("failed to prepare the network namespace of {host}")]
    Namespace {
        /// The host.
        host: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a link, an address or a route.
    #[error("failed to {what} on {host}")]
    Netlink {
        /// The host.
        host: String,
        /// What was asked.
        what: String,
        /// What the kernel answered.
        #[source]
        source: rtnetlink::Error,
    },
}

/// A host of the lab: a namespace, and a netlink socket in it.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: Namespace,
    netlink: Handle,
}

impl Host {
    /// Makes a host with no interface but loopback, and the kernel parameters given.
    ///
    /// # Errors
    /// When the kernel refuses the namespace or a parameter.
    pub fn create(name: &str, settings: &[(&str, &str)]) -> Result<Self, NetworkError> {
        let error = |source| NetworkError::Namespace {
            host: name.to_owned(),
            source,
        };
        let namespace = Namespace::create(name).map_err(error)?;
        namespace.sysctl(settings).map_err(error)?;
        Self::of(namespace)
    }

    /// The host whose namespace this is. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn of(namespace: Namespace) -> Result<Self, NetworkError> {
        let error = |source| NetworkError::Namespace {
            host: namespace.name().to_owned(),
            source,
        };
        let (connection, netlink, _) = namespace
            .within(rtnetlink::new_connection)
            .and_then(|made| made)
            .map_err(error)?;
        tokio::spawn(connection);
        Ok(Self { namespace, netlink })
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// The host's namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Joins this host and another by a pair of interfaces, both up.
    ///
    /// The peer is made directly in the other namespace: moving it there afterwards costs seven
    /// times as much.
    pub(super) async fn connect(
        &self,
        interface: &str,
        peer: &Self,
        peer_interface: &str,
    ) -> Result<(), NetworkError> {
        let peer_end = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer_interface)
            .setns_by_fd(peer.namespace.as_fd().as_raw_fd())
            .index(next_index())
            .build();
        let link = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(interface)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer_end)))
            .index(next_index())
            .up()
            .build();
        self.done(self.netlink.link().add(link).execute().await, || {
            format!("add {interface} towards {}", peer.name())
        })?;
        // The kernel refuses to make the far end already up: it is not joined to its peer yet.
        let up = LinkUnspec::new_with_index(peer.index(peer_interface)?)
            .up()
            .build();
        peer.done(peer.netlink.link().set(up).execute().await, || {
            format!("bring {peer_interface} up")
        })
    }

    /// Makes a bridge, up.
    pub(super) async fn bridge(&self, interface: &str) -> Result<(), NetworkError> {
        let link = LinkBridge::new(interface).up().build();
        self.done(self.netlink.link().add(link).execute().await, || {
            format!("add {interface}")
        })
    }

    /// Puts an interface on a bridge of this host.
    pub(super) async fn enslave(&self, interface: &str, bridge: &str) -> Result<(), NetworkError> {
        let (port, bridge_index) = (self.index(interface)?, self.index(bridge)?);
        let link = LinkUnspec::new_with_index(port)
            .controller(bridge_index)
            .build();
        self.done(self.netlink.link().set(link).execute().await, || {
            format!("put {interface} on {bridge}")
        })
    }

    /// Gives an interface an address of each family, with the prefix lengths given.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses the address.
    pub async fn address(
        &self,
        interface: &str,
        address: Dual,
        prefixes: [u8; 2],
    ) -> Result<(), NetworkError> {
        for (address, prefix) in address.both().into_iter().zip(prefixes) {
            let address = IpNet::new(address, prefix).expect("a prefix of the family");
            self.add_address(interface, address).await?;
        }
        Ok(())
    }

    /// Gives an interface an address, with the prefix of its network.
    pub(crate) async fn add_address(
        &self,
        interface: &str,
        address: IpNet,
    ) -> Result<(), NetworkError> {
        let index = self.index(interface)?;
        let (own, prefix) = (address.addr(), address.prefix_len());
        let added = self
            .netlink
            .address()
            .add(index, own, prefix)
            .execute()
            .await;
        self.done(added, || format!("add {address} to {interface}"))
    }

    /// Routes a network through a gateway on this link, in place of what led there before. The gateway need not lie in a network of
    /// the interface (`onlink`), as with point-to-point pod links.
    pub(crate) async fn route(
        &self,
        to: IpNet,
        gateway: Option<IpAddr>,
        interface: &str,
    ) -> Result<(), NetworkError> {
        let index = self.index(interface)?;
        let refused = |_| self.bad_route(to);
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to.addr(), to.prefix_len())
            .map_err(refused)?
            .output_interface(index);
        if let Some(gateway) = gateway {
            route = route.gateway(gateway).map_err(refused)?.onlink();
        }
        self.done(
            self.netlink
                .route()
                .add(route.build())
                .replace()
                .execute()
                .await,
            || format!("add a route to {to} by {interface}"),
        )
    }

    /// Routes both families through the addresses of one gateway.
    pub(super) async fn route_both(
        &self,
        to: [IpNet; 2],
        gateway: Dual,
        interface: &str,
    ) -> Result<(), NetworkError> {
        for (to, gateway) in to.into_iter().zip(gateway.both()) {
            if !gateway.is_unspecified() {
                self.route(to, Some(gateway), interface).await?;
            }
        }
        Ok(())
    }

    /// Removes a route to a network, if there is one on this link.
    pub(crate) async fn unroute(&self, to: IpNet, interface: &str) -> Result<(), NetworkError> {
        let index = self.index(interface)?;
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to.addr(), to.prefix_len())
            .map_err(|_| self.bad_route(to))?
            .output_interface(index);
        let removed = self.netlink.route().del(route.build()).execute().await;
        self.done(gone_is_fine(removed), || {
            format!("remove the route to {to} by {interface}")
        })
    }

    /// Takes an address from an interface, if it has it.
    pub(crate) async fn remove_address(
        &self,
        interface: &str,
        address: IpNet,
    ) -> Result<(), NetworkError> {
        let index = self.index(interface)?;
        let of_interface = self.netlink.address().get().set_link_index_filter(index);
        let found = of_interface
            .set_address_filter(address.addr())
            .execute()
            .try_next()
            .await;
        let what = || format!("remove {address} from {interface}");
        let removed = match found {
            Ok(Some(found)) => self.netlink.address().del(found).execute().await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.done(gone_is_fine(removed), what)
    }

    /// Every address of its interfaces.
    pub(crate) async fn addresses(&self) -> Result<Vec<IpAddr>, NetworkError> {
        let all = self.netlink.address().get().execute();
        let all: Result<Vec<_>, _> = all.try_collect().await;
        let all = all.map_err(|source| NetworkError::Netlink {
            host: self.name().to_owned(),
            what: "list the addresses".to_owned(),
            source,
        })?;
        let of = |message: AddressMessage| {
            message.attributes.into_iter().find_map(|attribute| {
                if let AddressAttribute::Address(address) = attribute {
                    Some(address)
                } else {
                    None
                }
            })
        };
        Ok(all.into_iter().filter_map(of).collect())
    }

    fn bad_route(&self, to: IpNet) -> NetworkError {
        NetworkError::Namespace {
            host: self.name().to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, format!("bad route to {to}")),
        }
    }

    /// Sends every packet with this firewall mark to one gateway, of its own family, on this link.
    /// The mark is also the number of the routing table that is used for it. May be repeated.
    pub(crate) async fn route_mark(
        &self,
        mark: u32,
        gateway: Dual,
        interface: &str,
    ) -> Result<(), NetworkError> {
        let index = self.index(interface)?;
        let rules = self.netlink.rule();
        let rule = || rules.add().fw_mark(mark).table_id(mark).priority(mark);
        let rule = || rule().action(RuleAction::ToTable);
        for added in [rule().v4().execute().await, rule().v6().execute().await] {
            let added = added.or_else(|error| if exists(&error) { Ok(()) } else { Err(error) });
            self.done(added, || format!("add a rule for mark {mark}"))?;
        }
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway.v4);
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway.v6);
        let routes = [
            v4.output_interface(index).table_id(mark).onlink().build(),
            v6.output_interface(index).table_id(mark).onlink().build(),
        ];
        for (route, gateway) in routes.into_iter().zip(gateway.both()) {
            if gateway.is_unspecified() {
                continue;
            }
            let added = self.netlink.route().add(route).replace().execute().await;
            self.done(added, || format!("route mark {mark} to {gateway}"))?;
        }
        Ok(())
    }

    /// Answers whatever is sent to a network, and has no longer route, with ICMP unreachable.
    /// May be repeated.
    pub(crate) async fn unreachable(&self, network: IpNet) -> Result<(), NetworkError> {
        let prefix = network.prefix_len();
        let route = match network {
            IpNet::V4(network) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network.addr(), prefix)
                .kind(RouteType::Unreachable)
                .build(),
            IpNet::V6(network) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(network.addr(), prefix)
                .kind(RouteType::Unreachable)
                .build(),
        };
        self.done(
            self.netlink.route().add(route).replace().execute().await,
            || format!("make {network} unreachable"),
        )
    }

    /// Makes every address of a network this host's own, without an interface that has it: what
    /// listens on all addresses answers at each of them.
    pub(crate) async fn own(&self, network: IpNet) -> Result<(), NetworkError> {
        let (prefix, loopback) = (network.prefix_len(), self.index("lo")?);
        let route = match network {
            IpNet::V4(network) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network.addr(), prefix)
                .scope(RouteScope::Host)
                .kind(RouteType::Local)
                .table_id(LOCAL_TABLE)
                .output_interface(loopback)
                .build(),
            IpNet::V6(network) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(network.addr(), prefix)
                .kind(RouteType::Local)
                .table_id(LOCAL_TABLE)
                .output_interface(loopback)
                .build(),
        };
        self.done(self.netlink.route().add(route).execute().await, || {
            format!("own all of {network}")
        })
    }

    fn index(&self, interface: &str) -> Result<u32, NetworkError> {
        self.namespace
            .interface_index(interface)
            .map_err(|source| NetworkError::Namespace {
                host: self.name().to_owned(),
                source: io::Error::new(
                    source.kind(),
                    format!("no interface {interface}: {source}"),
                ),
            })
    }

    fn done(
        &self,
        result: Result<(), rtnetlink::Error>,
        what: impl FnOnce() -> String,
    ) -> Result<(), NetworkError> {
        result.map_err(|source| NetworkError::Netlink {
            host: self.name().to_owned(),
            what: what(),
            source,
        })
    }
}

/// What is already gone need not be removed.
fn gone_is_fine(removed: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match removed {
        Err(rtnetlink::Error::NetlinkError(message))
            if matches!(-message.raw_code(), libc::ESRCH | libc::EADDRNOTAVAIL) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Whether the kernel refused because there is one already.
fn exists(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else {
        return false;
    };
    message.to_io().kind() == io::ErrorKind::AlreadyExists
}

/// An interface index that no other interface of this process has, nor one that a machine made
/// before.
///
/// Left to the kernel, both ends of a pair often get the same number, each in its own namespace.
/// The kernel then takes such an end for one without a peer, and reports its carrier up to a second
/// later; until it has, a bridge passes nothing on.
fn next_index() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1 << 24);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
