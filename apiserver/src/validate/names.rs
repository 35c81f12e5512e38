//! Names, labels, ports and addresses: the rules and the sentences of `k8s.io/apimachinery/pkg/util/validation`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::field::FieldError;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const IP_SHAPE: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR_SHAPE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
/// What a port number must be.
pub(crate) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// What is wrong with a value; empty where nothing is.
pub(crate) type Problems = Vec<String>;

fn lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn label_shape(value: &str) -> bool {
    let bytes = value.as_bytes();
    let inner = |byte: &u8| lower_alphanumeric(*byte) || *byte == b'-';
    bytes.iter().all(inner)
        && bytes.first().copied().is_some_and(lower_alphanumeric)
        && bytes.last().copied().is_some_and(lower_alphanumeric)
}

fn length(value: &str, limit: usize) -> Option<String> {
    (value.len() > limit).then(|| format!("must be no more than {limit} bytes"))
}

/// A name of DNS labels joined by dots.
pub(crate) fn dns_1123_subdomain(value: &str) -> Problems {
    let mut problems: Problems = length(value, 253).into_iter().collect();
    if !value.split('.').all(label_shape) {
        problems.push(SUBDOMAIN.into());
    }
    problems
}

/// One DNS label.
pub(crate) fn dns_1123_label(value: &str) -> Problems {
    let mut problems: Problems = length(value, 63).into_iter().collect();
    if !label_shape(value) {
        problems.push(LABEL_1123.into());
    }
    problems
}

fn qualified_shape(value: &str) -> bool {
    let bytes = value.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    bytes.iter().all(inner)
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// `name` or `prefix/name`.
pub(crate) fn qualified_name(value: &str) -> Problems {
    let mut problems = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            problems.push("prefix part must be non-empty".into());
            name
        }
        Some((prefix, name)) => {
            problems.extend(
                dns_1123_subdomain(prefix)
                    .into_iter()
                    .map(|problem| format!("prefix part {problem}")),
            );
            name
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".into());
    } else if let Some(problem) = length(name, 63) {
        problems.push(format!("name part {problem}"));
    }
    if !qualified_shape(name) {
        problems.push(format!("name part {QUALIFIED}"));
    }
    problems
}

/// The name of a namespace.
pub(crate) fn namespace(value: &str) -> Problems {
    if value.contains('.') {
        return vec!["must not contain dots".into()];
    }
    dns_1123_label(value)
}

/// The value of a label.
pub(crate) fn label_value(value: &str) -> Problems {
    let mut problems: Problems = length(value, 63).into_iter().collect();
    if !value.is_empty() && !qualified_shape(value) {
        problems.push(LABEL_VALUE.into());
    }
    problems
}

/// The name of a port, as IANA defines service names.
pub(crate) fn port_name(value: &str) -> Problems {
    let mut problems = Vec::new();
    if value.len() > 15 {
        problems.push("must be no more than 15 bytes".into());
    }
    if !value
        .bytes()
        .all(|byte| lower_alphanumeric(byte) || byte == b'-')
    {
        problems
            .push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        problems.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        problems.push("must not begin or end with a hyphen".into());
    }
    problems
}

/// Turns problems into errors of one field.
pub(crate) fn at(path: &str, value: &str, problems: Problems) -> Vec<FieldError> {
    problems
        .into_iter()
        .map(|problem| FieldError::invalid(path, value, problem))
        .collect()
}

/// An address of either family.
pub(crate) fn ip(path: &str, value: &str) -> Result<IpAddr, FieldError> {
    if leading_zeros(value) {
        return Err(FieldError::invalid(path, value, "must not have leading 0s"));
    }
    match value.parse() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => Err(FieldError::invalid(
            path,
            value,
            "must not be an IPv4-mapped IPv6 address",
        )),
        Ok(address) => Ok(address),
        Err(_) => Err(FieldError::invalid(path, value, IP_SHAPE)),
    }
}

/// `010.0.0.1`, which old clients may have written and which is ambiguous.
fn leading_zeros(address: &str) -> bool {
    let octets: Vec<&str> = address.split('.').collect();
    octets.len() == 4
        && octets.iter().all(|octet| octet.parse::<u8>().is_ok())
        && octets
            .iter()
            .any(|octet| octet.len() > 1 && octet.starts_with('0'))
}

/// An address range of either family.
pub(crate) fn cidr(path: &str, value: &str) -> Result<IpNet, FieldError> {
    if value
        .split_once('/')
        .is_some_and(|(address, length)| leading_zeros(address) && length.parse::<u8>().is_ok())
    {
        return Err(FieldError::invalid(
            path,
            value,
            "must not have leading 0s in IP or prefix length",
        ));
    }
    value
        .parse()
        .map_err(|_| FieldError::invalid(path, value, CIDR_SHAPE))
}

/// Addresses that no external address or endpoint may have (`ValidateNonSpecialIP`).
pub(crate) fn not_special(path: &str, address: IpAddr, text: &str) -> Vec<FieldError> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    let unspecified = address == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    [
        (unspecified, format!("may not be unspecified ({text})")),
        (
            address.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_string(),
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_string(),
        ),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_string(),
        ),
    ]
    .into_iter()
    .filter(|(wrong, _)| *wrong)
    .map(|(_, detail)| FieldError::invalid(path, text, detail))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dns() {
        for good in ["a", "a-b", "a.b-c.d", "1a"] {
            assert!(dns_1123_subdomain(good).is_empty(), "{good}");
        }
        for bad in ["", "-a", "a.", "A", "a_b", "a..b"] {
            assert!(!dns_1123_subdomain(bad).is_empty(), "{bad}");
        }
        assert!(!dns_1123_label(&"a".repeat(64)).is_empty());
    }

    #[test]
    fn labels_may_have_a_prefix() {
        assert!(qualified_name("example.com/My_Name").is_empty());
        for bad in ["", "/a", "a/", "a/b/c", "-a", "Example/a"] {
            assert!(!qualified_name(bad).is_empty(), "{bad}");
        }
        assert!(label_value("").is_empty());
        assert!(!label_value("-").is_empty());
    }

    #[test]
    fn special_addresses_are_refused() {
        for special in [
            "0.0.0.0",
            "::",
            "127.0.0.1",
            "::1",
            "169.254.1.1",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
        ] {
            let address = special.parse().expect("an address");
            assert_eq!(not_special("p", address, special).len(), 1, "{special}");
        }
        assert!(not_special("p", "192.0.2.1".parse().expect("an address"), "192.0.2.1").is_empty());
    }
}
