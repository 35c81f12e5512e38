//! Whether a pod sees a stray segment of a connection that it has through a Service.

use std::net::SocketAddr;

use super::row::row;
use crate::case::Target;
use crate::lab::{Allocated, Lab, LabError};
use crate::stray::Outcome;
use crate::verdict::FlowResult;
use crate::world::Family;

const RIGHT: Outcome = Outcome::Sent {
    seen: false,
    broken: None,
};

/// Has the host of a backend send one to a pod that calls the ClusterIP. The backend listens on `port`.
pub(super) async fn ask(
    lab: &Lab,
    service: &Allocated,
    (pod, backend, port): (&str, &str, u16),
    family: Family,
) -> Result<FlowResult, LabError> {
    let to = format!("cluster-ip, answered by {backend}");
    let row = row(&format!("pod({pod})"), &to, Some(family));
    let Some(remote) = lab.resolve(&Target::ClusterIp, service, family) else {
        return Ok(row.expect("an address", "the Service has none", false));
    };
    let address = lab
        .world()
        .pod(backend)
        .expect("a pod of the world")
        .address;
    let address = SocketAddr::new(address.of(family), port);
    let caller = lab.site(pod);
    let opened = caller.open_for_stray(pod, remote, address.ip()).await?;
    let outcome = match opened {
        Err(why) => Outcome::Unopened(why),
        Ok((open, opened)) => {
            let sender = lab.site(backend);
            let (sent, _port) = sender.send_stray(backend, address, &opened).await?;
            caller.outcome_of_stray(open, sent).await?
        }
    };
    Ok(row.expect(&text(&RIGHT), &text(&outcome), outcome == RIGHT))
}

fn text(outcome: &Outcome) -> String {
    let (seen, broken) = match outcome {
        Outcome::Unopened(why) => return format!("no connection: {why}"),
        Outcome::Sent { seen, broken } => (seen, broken),
    };
    let seen = if *seen { "seen" } else { "not seen" };
    match broken {
        None => format!("stray segment {seen}, the connection goes on"),
        Some(why) => format!("stray segment {seen}, the connection broke: {why}"),
    }
}
