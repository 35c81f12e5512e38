//! Values that are written as text.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use jiff::SignedDuration;

/// The longest name of an interface (`IFNAMSIZ` without its zero).
const LONGEST_INTERFACE: usize = 15;

/// Reads a duration as Go writes it: `1h30m`, `10ms`, `0s`.
///
/// # Errors
/// It is none, or is negative; the text says what it must be.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| format!("must be a duration such as 30s or 1h30m, and is {text:?}"))?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

/// Reads a network.
///
/// # Errors
/// It is none; the text says what it must be.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network.trunc());
    }
    Err(match text.parse::<IpAddr>() {
        Ok(address) => format!(
            "must be a network, and is an address; write {}",
            IpNet::from(address)
        ),
        Err(_) => format!("must be a network such as 10.0.0.0/8, and is {text:?}"),
    })
}

/// Reads `clusterCIDR`: one network, or one of each family with a comma between.
///
/// # Errors
/// It is not that; the text says what it must be.
pub fn cluster_cidrs(text: &str) -> Result<Vec<IpNet>, String> {
    let networks: Vec<_> = text.split(',').map(network).collect::<Result<_, _>>()?;
    let families_differ = |pair: &[IpNet]| pair[0].addr().is_ipv4() != pair[1].addr().is_ipv4();
    match networks.len() {
        1 => Ok(networks),
        2 if families_differ(&networks) => Ok(networks),
        _ => Err("must be one network, or one of each family with a comma between".to_owned()),
    }
}

/// Reads the address of a server, with a port or without.
///
/// # Errors
/// It is no address; the text says what it must be.
pub fn bind_address(text: &str, default_port: u16) -> Result<SocketAddr, String> {
    let error =
        || format!("must be an address and a port such as 0.0.0.0:{default_port}, and is {text:?}");
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, default_port).into());
    }
    // Go listens on all addresses where the host is left out.
    let with_host = match text.strip_prefix(':') {
        Some(port) => format!("[{}]:{port}", Ipv6Addr::UNSPECIFIED),
        None => text.to_owned(),
    };
    let address: SocketAddr = with_host.parse().map_err(|_| error())?;
    if address.port() == 0 {
        Err(error())
    } else {
        Ok(address)
    }
}

/// Reads the name of an interface, or the beginning of names.
///
/// # Errors
/// No interface can have it; the text says why.
pub fn interface_name(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_INTERFACE {
        return Err(format!(
            "must have at most {LONGEST_INTERFACE} bytes, which is the longest name of an interface"
        ));
    }
    if text.contains(|c: char| c == '/' || c.is_whitespace()) || matches!(text, "." | "..") {
        return Err(format!("must be the name of an interface, and is {text:?}"));
    }
    Ok(text.to_owned())
}

/// The name of a Node for a hostname: as the kubelet makes it, in lower case and without spaces around it.
///
/// # Errors
/// Nothing is left of it.
pub fn node_name(hostname: &str) -> Result<String, String> {
    let name = hostname.trim().to_lowercase();
    if name.is_empty() {
        return Err("must be the name of a Node, and is empty".to_owned());
    }
    Ok(name)
}
