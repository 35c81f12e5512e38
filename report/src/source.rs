//! Where the sources of claims are to be read.

/// The prefixes of issues, as the suites have them, and their repositories.
const ISSUES: [(&str, &str); 9] = [
    ("k", "kubernetes/kubernetes"),
    ("c", "cilium/cilium"),
    ("cal", "projectcalico/calico"),
    ("fx", "projectcalico/felix"),
    ("kr", "cloudnativelabs/kube-router"),
    ("an", "antrea-io/antrea"),
    ("metallb", "metallb/metallb"),
    ("kube-ovn", "kubeovn/kube-ovn"),
    ("Azure/AKS", "Azure/AKS"),
];

/// The address of a source: a KEP, an RFC, an issue, or a file of kubernetes/kubernetes. None of one that is no such thing.
pub fn source_link(source: &str) -> Option<String> {
    if let Some(number) = source.strip_prefix("KEP-") {
        return Some(format!("https://kep.k8s.io/{number}"));
    }
    if let Some(number) = source.strip_prefix("RFC ") {
        return Some(format!("https://www.rfc-editor.org/rfc/rfc{number}"));
    }
    if let Some(path) = source.strip_prefix("kubernetes/") {
        return Some(format!(
            "https://github.com/kubernetes/kubernetes/blob/master/{path}"
        ));
    }
    let (prefix, number) = source.split_once('#')?;
    let (_, repository) = ISSUES.iter().find(|(known, _)| *known == prefix)?;
    number.parse::<u32>().ok()?;
    Some(format!("https://github.com/{repository}/issues/{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_sources_have_their_places() {
        let links = [
            "KEP-1669",
            "RFC 791",
            "kr#455",
            "kubernetes/pkg/proxy/topology.go",
            "a#1",
            "k#x",
        ];
        let known = "https://github.com/kubernetes/kubernetes/blob/master/pkg/proxy/topology.go";
        assert_eq!(
            links.map(source_link),
            [
                Some("https://kep.k8s.io/1669".to_owned()),
                Some("https://www.rfc-editor.org/rfc/rfc791".to_owned()),
                Some("https://github.com/cloudnativelabs/kube-router/issues/455".to_owned()),
                Some(known.to_owned()),
                None,
                None,
            ]
        );
    }
}
