//! The addresses of the machine's interfaces, and when they change.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};

type Report = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// The interfaces of the network namespace in which this was opened.
pub(super) struct Interfaces {
    handle: Handle,
    reports: UnboundedReceiver<Report>,
}

impl Interfaces {
    /// Begins to listen. To be called within a runtime.
    pub(super) fn open() -> io::Result<Self> {
        let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, reports) = new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        Ok(Self { handle, reports })
    }

    /// All addresses.
    pub(super) async fn addresses(&self) -> Result<BTreeSet<IpAddr>, rtnetlink::Error> {
        let mut found = BTreeSet::new();
        let mut listed = self.handle.address().get().execute();
        while let Some(message) = listed.try_next().await? {
            let (mut own, mut other) = (None, None);
            for attribute in message.attributes {
                match attribute {
                    AddressAttribute::Local(address) => own = Some(address),
                    // Of a link with two ends this is the other end's.
                    AddressAttribute::Address(address) => other = Some(address),
                    _ => {}
                }
            }
            found.extend(own.or(other));
        }
        Ok(found)
    }

    /// Waits until addresses may have changed. Reports that wait already count as one.
    pub(super) async fn changed(&mut self) {
        if self.reports.next().await.is_none() {
            // The kernel closed the socket, which it never does while the process lives.
            std::future::pending::<()>().await;
        }
        while self.reports.try_recv().is_ok() {}
    }
}
