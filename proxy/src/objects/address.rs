//! Addresses and ranges as the API stores them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::problem::quoted;
use crate::model::Family;

/// An address that traffic may be sent to or taken for, or what is wrong with it.
///
/// Stored objects may have leading zeros in IPv4 addresses, which count as decimal, and IPv4 addresses written as
/// IPv6 ones, which are IPv4 addresses (`k8s.io/utils/net.ParseIPSloppy`).
pub(super) fn usable_address(text: &str) -> Result<IpAddr, String> {
    let address = parse(text).ok_or_else(|| format!("{} is no address", quoted(text)))?;
    match special(address) {
        None => Ok(address),
        Some(what) => Err(format!("{address} is {what}")),
    }
}

/// Whether this is a link-local address.
pub(super) fn is_link_local(text: &str) -> bool {
    parse(text).is_some_and(link_local)
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// A range, with the bits beyond its prefix cleared, or what is wrong with it.
pub(super) fn range(text: &str) -> Result<IpNet, String> {
    parse_range(text).ok_or_else(|| format!("{} is no range of addresses", quoted(text)))
}

/// A range whose addresses a proxy may take for its own, or what is wrong with it.
pub(super) fn usable_range(text: &str) -> Result<IpNet, String> {
    let range = range(text)?;
    if range.prefix_len() == 0 {
        return Err(format!("{range} is every address there is"));
    }
    match special(range.network()).or_else(|| special(range.broadcast())) {
        None => Ok(range),
        Some(what) => Err(format!("{range} begins or ends with what is {what}")),
    }
}

/// An address, with leading zeros allowed.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical()),
        Err(_) => parse_with_zeros(text).map(IpAddr::V4),
    }
}

/// What an address is, if it is none that a Service or an endpoint may have.
fn special(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if link_local(address) {
        Some("a link-local address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("the broadcast address")
    } else {
        None
    }
}

fn parse_with_zeros(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = decimal(parts.next()?)?;
    }
    parts.next().is_none().then(|| octets.into())
}

fn parse_range(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let mapped = address.contains(':');
    let address = parse(address)?;
    let mut prefix = decimal(prefix)?;
    if mapped && Family::of(address) == Family::V4 {
        // The prefix counts the bits of the IPv6 form.
        prefix = prefix.checked_sub(96)?;
    }
    Some(IpNet::new(address, prefix).ok()?.trunc())
}

/// A number of decimal digits alone: `str::parse` would take a sign.
fn decimal(digits: &str) -> Option<u8> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
