//! Placeholders in the texts of a profile: `{node}`; `{{` and `}}` stand for the braces themselves.

use std::path::PathBuf;

/// Every placeholder, in the order of the documentation.
pub const PLACEHOLDERS: &[&str] = &[
    "node",
    "node_ip",
    "node_ips",
    "node_cidr",
    "kubeconfig",
    "api_url",
    "cluster_cidr",
    "service_cidr",
    "pod_cidr",
    "dir",
    "program",
];

/// What the placeholders of a profile stand for on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placeholders {
    /// `{program}`, and the first word of the command: the program that was found.
    pub program: PathBuf,
    /// `{node}`: the name of the Node.
    pub node: String,
    /// `{node_ip}`: its primary address.
    pub node_ip: String,
    /// `{node_ips}`: its addresses of all families, comma separated.
    pub node_ips: String,
    /// `{node_cidr}`: the networks of the nodes' addresses, all families, comma separated.
    pub node_cidr: String,
    /// `{kubeconfig}`: the path of a kubeconfig for the API.
    pub kubeconfig: String,
    /// `{api_url}`: the address of the API.
    pub api_url: String,
    /// `{cluster_cidr}`: the pods of the whole cluster, all families, comma separated.
    pub cluster_cidr: String,
    /// `{service_cidr}`: the service addresses, all families, comma separated.
    pub service_cidr: String,
    /// `{pod_cidr}`: the pods of this node, all families, comma separated.
    pub pod_cidr: String,
    /// `{dir}`: the folder of the proxy on this node, with its files.
    pub dir: String,
}

impl Placeholders {
    fn get(&self, name: &str) -> Option<String> {
        let value = match name {
            "node" => &self.node,
            "node_ip" => &self.node_ip,
            "node_ips" => &self.node_ips,
            "node_cidr" => &self.node_cidr,
            "kubeconfig" => &self.kubeconfig,
            "api_url" => &self.api_url,
            "cluster_cidr" => &self.cluster_cidr,
            "service_cidr" => &self.service_cidr,
            "pod_cidr" => &self.pod_cidr,
            "dir" => &self.dir,
            "program" => return Some(self.program.display().to_string()),
            _ => return None,
        };
        Some(value.clone())
    }
}

/// Replaces the placeholders of a text.
///
/// # Errors
/// What is wrong with the text, as a phrase.
pub(super) fn render(text: &str, values: &Placeholders) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let brace = &rest[..1];
        if rest[1..].starts_with(brace) {
            out.push_str(brace);
            rest = &rest[2..];
            continue;
        }
        let name = match rest[1..].find('}') {
            Some(end) if brace == "{" => &rest[1..=end],
            _ => return Err(unmatched(brace, text, rest)),
        };
        match values.get(name) {
            Some(value) => out.push_str(&value),
            None if is_name(name) => return Err(unknown(name, text, rest)),
            None => return Err(unmatched(brace, text, rest)),
        }
        rest = &rest[name.len() + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Finds out what is wrong with a text, if anything.
pub(super) fn check(text: &str) -> Result<(), String> {
    render(text, &Placeholders::default()).map(drop)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn unknown(name: &str, text: &str, rest: &str) -> String {
    let known = PLACEHOLDERS.join("}, {");
    format!(
        "unknown placeholder `{{{name}}}`{}, expected one of: {{{known}}}",
        line_of(text, rest)
    )
}

fn unmatched(brace: &str, text: &str, rest: &str) -> String {
    format!(
        "`{brace}` that belongs to no placeholder{}; write `{brace}{brace}` for the brace itself",
        line_of(text, rest)
    )
}

/// Where in a text of several lines the rest begins.
fn line_of(text: &str, rest: &str) -> String {
    if !text.trim_end().contains('\n') {
        return String::new();
    }
    let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
    format!(" in line {line} of the text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Placeholders {
        Placeholders {
            node: "vm1".to_owned(),
            dir: "/lab/{node}".to_owned(),
            ..Placeholders::default()
        }
    }

    #[test]
    fn placeholders_are_replaced_once_and_braces_are_kept() {
        let render = |text| render(text, &values()).unwrap();
        assert_eq!(render("--node={node}"), "--node=vm1");
        assert_eq!(render("{dir}/x"), "/lab/{node}/x");
        assert_eq!(render("a{{b}}c{{node}}"), "a{b}c{node}");
        assert_eq!(render("{{{node}}}"), "{vm1}");
        assert_eq!(render(""), "");
        assert_eq!(render("ünï {node}"), "ünï vm1");
    }

    #[test]
    fn every_placeholder_of_the_list_is_known() {
        for name in PLACEHOLDERS {
            assert!(check(&format!("{{{name}}}")).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_unknown_placeholder_lists_the_known_ones() {
        assert_eq!(
            check("{node_name}").unwrap_err(),
            "unknown placeholder `{node_name}`, expected one of: {node}, {node_ip}, {node_ips}, {node_cidr}, \
             {kubeconfig}, {api_url}, {cluster_cidr}, {service_cidr}, {pod_cidr}, {dir}, {program}"
        );
    }

    #[test]
    fn a_single_brace_is_refused_and_located() {
        for (text, brace) in [
            ("a}b", "}"),
            ("{", "{"),
            ("{}", "{"),
            ("{a b}", "{"),
            ("x{node", "{"),
        ] {
            assert_eq!(
                check(text).unwrap_err(),
                format!(
                    "`{brace}` that belongs to no placeholder; write `{brace}{brace}` for the brace itself"
                )
            );
        }
        let error = check("one\ntwo: {\nthree\n").unwrap_err();
        assert!(error.contains("in line 2 of the text"), "{error}");
    }

    proptest::proptest! {
        /// Whatever a file of a proxy holds, there is a way to write it in a profile.
        #[test]
        fn any_text_can_be_written(text in "\\PC*([{}]\\PC*)*") {
            let written = text.replace('{', "{{").replace('}', "}}");
            proptest::prop_assert_eq!(render(&written, &values()).unwrap(), text);
        }

        /// A text is rendered or refused, and never a reason to panic.
        #[test]
        fn any_text_is_rendered_or_refused(text in "([{}a]|node|\\PC)*") {
            if let Err(problem) = check(&text) {
                proptest::prop_assert!(problem.contains('`'), "{}", problem);
            }
        }
    }
}
