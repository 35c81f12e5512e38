//! The load balancer's rules and routes in the kernel of its host.

use std::io;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::netns::{Host, Namespace, NetworkError};
use crate::world::{AddressPlan, Node};

/// The interface of the load balancer's host towards the nodes.
const NODE_INTERFACE: &str = "eth0";

/// The mark of the first node. Marks name routing tables, of which the kernel itself uses those
/// up to 255.
const FIRST_MARK: u32 = 1000;

/// Where `nft` is looked for. Its package puts it into a directory that only root has in `PATH`.
const NFT: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

/// Why rules could not be changed. The old ones are whole then.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program is not there, or could not be started.
    #[error("failed to run nft, which the load balancer needs (package nftables)")]
    Start(#[source] io::Error),
    /// The program was started, and its input or output broke.
    #[error("failed to hand the rules to nft")]
    Pipe(#[source] io::Error),
    /// The program or the kernel refused the rules.
    #[error("nft refused the rules: {0}")]
    Refused(String),
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

/// Gives rules to the kernel, in one transaction.
pub(super) async fn apply(namespace: &Namespace, rules: &str) -> Result<(), NftError> {
    let mut child = start(namespace).map_err(NftError::Start)?;
    let mut input = child.stdin.take().expect("the input is a pipe");
    // Written to the end before anything is read. This cannot block for ever: nft reads all of
    // its input before it complains.
    let written = input.write_all(rules.as_bytes()).await;
    drop(input);
    let Output { status, stderr, .. } = child.wait_with_output().await.map_err(NftError::Pipe)?;
    if status.success() {
        return written.map_err(NftError::Pipe);
    }
    let text = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(NftError::Refused(if text.is_empty() {
        status.to_string()
    } else {
        text
    }))
}

/// Starts `nft` inside a namespace: a child is born in the namespace of the thread that forks.
fn start(namespace: &Namespace) -> io::Result<Child> {
    namespace.within(|| {
        let mut result = Err(io::ErrorKind::NotFound.into());
        for program in NFT {
            result = Command::new(program)
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn();
            match &result {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => break,
            }
        }
        result
    })?
}
