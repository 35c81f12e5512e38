//! The load balancer's rules and routes in the kernel of its host.

use std::io;

use onehop_nft::Netfilter;

use crate::netns::{Host, Namespace, NetworkError};
use crate::world::{AddressPlan, Node};

/// The interface of the load balancer's host towards the nodes.
const NODE_INTERFACE: &str = "eth0";

/// The mark of the first node. Marks name routing tables, of which the kernel itself uses those
/// up to 255.
const FIRST_MARK: u32 = 1000;

/// Why rules could not be changed. The old ones are whole then.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The namespace could not be entered.
    #[error("failed to enter the load balancer's namespace")]
    Namespace(#[source] io::Error),
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] onehop_nft::Error),
}

/// The mark by which packets go to the node at this position.
pub(crate) fn mark(position: usize) -> u32 {
    FIRST_MARK + u32::try_from(position).expect("a world has few nodes")
}

/// Sets up what never changes: a routing table for each node, and no route to an address that
/// is not in use. Without the latter, such a packet would follow the default route back to the
/// router, which sent it here, until its TTL ends.
pub(super) async fn prepare(host: &Host, nodes: &[Node]) -> Result<(), NetworkError> {
    for network in AddressPlan::vip_cidrs() {
        host.unreachable(network).await?;
    }
    for (position, node) in nodes.iter().enumerate() {
        host.route_mark(mark(position), node.address, NODE_INTERFACE)
            .await?;
    }
    Ok(())
}

/// Opens nftables in a namespace, and sees that the kernel answers.
pub(super) fn open(namespace: &Namespace) -> Result<Netfilter, RulesError> {
    let opened = namespace.within(Netfilter::open);
    let mut netfilter = opened.map_err(RulesError::Namespace)??;
    netfilter.generation()?;
    Ok(netfilter)
}
