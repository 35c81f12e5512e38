//! What a profile may contain, and what its errors say.

use std::path::PathBuf;

use super::*;

const MINIMAL: &str = "\
name: mine
netns:
  command: [./proxy, \"--node={node}\"]
  ready:
    http: http://{node_ip}:8080/ready
";

fn load(text: &str) -> Result<Profile, String> {
    parse(text, &Origin::File(PathBuf::from("mine.yaml"))).map_err(|error| error.to_string())
}

/// The error of the minimal profile with one part replaced.
fn error(part: &str, by: &str) -> String {
    assert!(
        MINIMAL.contains(part),
        "the minimal profile has no `{part}`"
    );
    load(&MINIMAL.replace(part, by)).unwrap_err()
}

/// The error of the minimal profile with something added.
fn error_with(more: &str) -> String {
    load(&format!("{MINIMAL}{more}")).unwrap_err()
}

#[test]
fn a_minimal_profile_is_enough() {
    let profile = load(MINIMAL).unwrap();
    assert_eq!(profile.name, "mine");
    assert_eq!(profile.netns.command, ["./proxy", "--node={node}"]);
    assert_eq!(
        (profile.tool, profile.mode, profile.kind),
        (None, None, None)
    );
    assert!(profile.netns.requires.is_empty() && !profile.netns.may_restart);
    assert!(profile.version.is_empty() && profile.features.unsupported.is_empty());
}

#[test]
fn a_full_profile_is_kept_as_it_is_written() {
    let profile = load(&format!(
        "{}{}",
        MINIMAL.replace(
            "  ready:",
            "  files: {a/b.conf: \"x {{y}}\"}\n  env: {NODE: \"{node}\"}\n  \
             requires: [ipset]\n  mayRestart: true\n  ready:"
        ),
        "\
tool: kube-proxy@v1.34.4
mode: ipvs
version: [./proxy, version]
features: {unsupported: [sctp, source-ranges]}
variations: {hairpin-vip-source: node}
known: [{cases: [a/b, c], shows: [lost], atMost: 2, sometimes: true, from: v1.34.4, finding: \"a#1\"}]
kind:
  kubeProxyMode: none
  manifests: [my-proxy.yaml]
  images: [\"my-proxy:dev\"]
"
    ))
    .unwrap();
    assert_eq!(profile.tool.unwrap().to_string(), "kube-proxy@v1.34.4");
    assert_eq!(profile.mode.as_deref(), Some("ipvs"));
    assert_eq!(profile.netns.requires, ["ipset"]);
    assert!(profile.netns.may_restart);
    assert_eq!(profile.netns.files["a/b.conf"], "x {{y}}");
    assert_eq!(profile.netns.env["NODE"], "{node}");
    assert!(profile.features.unsupported.contains(&Feature::Sctp));
    assert_eq!(profile.variations[&Variation::HairpinVipSource], "node");
    let [known] = &profile.known[..] else {
        panic!("{:?}", profile.known);
    };
    assert_eq!(known.cases, ["a/b", "c"]);
    assert_eq!(known.shows, ["lost"]);
    assert_eq!((known.at_most, known.sometimes), (Some(2), true));
    assert_eq!(
        known.from.map(|v| v.to_string()).as_deref(),
        Some("v1.34.4")
    );
    assert_eq!((known.to, known.finding.as_str()), (None, "a#1"));
    let kind = profile.kind.unwrap();
    assert_eq!(kind.kube_proxy_mode, "none");
    assert_eq!(
        (kind.manifests, kind.images),
        (
            vec!["my-proxy.yaml".to_owned()],
            vec!["my-proxy:dev".to_owned()]
        )
    );
}

#[test]
fn who_makes_a_proxy_is_kept_and_nothing_of_it_is_needed() {
    let made_by = |text: &str| load(&format!("{MINIMAL}{text}")).map(|p| p.implementation);
    let all = "implementation: {organization: o, project: p, url: u, contact: [a, b]}\n";
    let kept = made_by(all).expect("valid");
    assert_eq!(kept.contact, ["a", "b"]);
    let others = [kept.organization, kept.project, kept.url];
    assert_eq!(others.map(Option::unwrap_or_default), ["o", "p", "u"]);
    assert_eq!(made_by(""), Ok(Implementation::default()));
    let wrong = made_by("implementation: {contacts: [a]}\n").expect_err("a mistake");
    assert!(
        wrong.contains("mine.yaml:6:18: implementation: unknown field `contacts`"),
        "{wrong}"
    );
}

#[test]
fn a_known_defect_has_cases_versions_and_a_finding() {
    for (known, expected) in [
        (
            "{cases: [], shows: [a], finding: a}",
            "mine.yaml:6:42: known.cases: a known defect names the cases that fail because of it",
        ),
        (
            "{cases: [a], shows: [a], finding: \"\"}",
            "mine.yaml:6:43: known.finding: a known defect says where it is written up",
        ),
        (
            "{cases: [a], shows: [a], to: 1.34, finding: a}",
            "mine.yaml:6:38: known.to: invalid version `1.34`, expected vMAJOR.MINOR.PATCH, for example v1.36.3",
        ),
    ] {
        assert_eq!(error_with(&format!("known: [{known}]\n")), expected);
    }
    let excuse = error_with("known: [{cases: [a], shows: [], finding: a}]\n");
    assert!(excuse.contains("it would excuse everything"), "{excuse}");
    assert!(error_with("known: [{cases: [a], shows: [a]}]\n").contains("missing field `finding`"));
}

#[test]
fn a_mistyped_field_is_located() {
    assert_eq!(
        error("command:", "comand:"),
        "mine.yaml:3:3: netns.comand: unknown field `comand`, expected one of command, files, env, requires, mayRestart, ready"
    );
}

#[test]
fn a_missing_field_is_named() {
    let error = error("name: mine\n", "");
    assert!(
        error.starts_with("mine.yaml:1:1: ") && error.contains("missing field `name`"),
        "{error}"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_located() {
    assert_eq!(
        error("[./proxy, \"--node={node}\"]", "./proxy"),
        "mine.yaml:3:12: netns.command: expected a list"
    );
    assert_eq!(
        error("name: mine", "name: [mine]"),
        "mine.yaml:1:7: name: expected a text"
    );
    let error = error_with("features: [sctp]\n");
    assert!(
        error.starts_with("mine.yaml:6:11: features: expected a mapping"),
        "{error}"
    );
}

#[test]
fn a_syntax_error_is_located() {
    let error = error("[./proxy, \"--node={node}\"]", "[./proxy");
    assert!(error.starts_with("mine.yaml:4:"), "{error}");
}

#[test]
fn a_duplicate_field_is_refused() {
    let error = error_with("name: other\n");
    assert!(error.starts_with("mine.yaml:6:1: name: "), "{error}");
}

#[test]
fn an_empty_command_is_refused() {
    for empty in ["[]", "[\"\"]"] {
        assert_eq!(
            error("[./proxy, \"--node={node}\"]", empty),
            "mine.yaml:3:12: netns.command: the command is empty; it is a list of the program and its arguments"
        );
    }
}

#[test]
fn an_unknown_placeholder_is_located() {
    let error = error("{node}", "{nodename}");
    assert!(
        error.starts_with("mine.yaml:3:22: netns.command[1]: unknown placeholder `{nodename}`, expected one of: {node}, "),
        "{error}"
    );
}

#[test]
fn a_placeholder_in_a_file_tells_its_line() {
    let error = error(
        "  ready:",
        "  files:\n    a.conf: |\n      one\n      two {three}\n  ready:",
    );
    assert!(
        error.starts_with("mine.yaml:6:7: netns.files.a.conf: "),
        "{error}"
    );
    assert!(
        error.contains("unknown placeholder `{three}` in line 2 of the text"),
        "{error}"
    );
}

#[test]
fn a_file_stays_in_its_folder() {
    for path in ["/etc/x", "../x", "a/../../x", "\"\""] {
        let error = error("  ready:", &format!("  files: {{{path}: text}}\n  ready:"));
        assert!(
            error.contains("relative to the proxy's folder"),
            "{path}: {error}"
        );
    }
}

#[test]
fn a_bad_ready_url_is_located() {
    for url in [
        "https://{node_ip}/",
        "http:///ready",
        "{node_ip}:8080",
        "http://a b/",
    ] {
        assert_eq!(
            error("http://{node_ip}:8080/ready", &format!("\"{url}\"")),
            format!(
                "mine.yaml:5:11: netns.ready.http: `{url}` is not a URL of the form http://HOST:PORT/PATH"
            )
        );
    }
}

#[test]
fn an_unknown_feature_is_located_with_the_nearest() {
    let error = error_with("features:\n  unsupported:\n    - sctp\n    - source-range\n");
    assert!(
        error.starts_with(
            "mine.yaml:9:7: features.unsupported: unknown feature `source-range`, \
             did you mean `source-ranges`? expected one of: cluster-ip, "
        ),
        "{error}"
    );
}

#[test]
fn an_unknown_variation_and_an_unknown_value_are_located() {
    let error = error_with("variations:\n  hairpin-source: node\n");
    assert!(
        error.starts_with(
            "mine.yaml:7:19: variations.hairpin-source: unknown variation `hairpin-source`, \
             did you mean `hairpin-vip-source`?"
        ),
        "{error}"
    );
    assert_eq!(
        error_with("variations: {unallocated-address: refuse}\n"),
        "mine.yaml:6:35: variations.unallocated-address: unknown value `refuse`, expected one of: drop, reject, pass"
    );
}

#[test]
fn an_unknown_tool_and_a_bad_version_are_located() {
    assert_eq!(
        error_with("tool: kube-proxi\n"),
        "mine.yaml:6:7: tool: unknown tool `kube-proxi`, expected one of: kube-proxy, control-plane, node, kind"
    );
    let version = error_with("tool: kube-proxy@1.36\n");
    assert!(
        version.starts_with("mine.yaml:6:7: tool: invalid version `1.36`"),
        "{version}"
    );
}

#[test]
fn a_tool_is_a_proxy() {
    let error = error_with("tool: control-plane@v1.36.3\n");
    assert_eq!(error, "mine.yaml:6:7: tool: `control-plane` is not a proxy");
}

#[test]
fn an_unknown_kind_mode_is_located() {
    assert_eq!(
        error_with("kind: {kubeProxyMode: nft}\n"),
        "mine.yaml:6:23: kind.kubeProxyMode: unknown mode `nft`, did you mean `nftables`? \
         expected one of: nftables, iptables, none"
    );
}

#[test]
fn a_name_is_one_word_that_may_name_a_directory() {
    for name in [
        "my proxy", "..", ".", "a/b", "-x", "\"\"", "ünï", "\"a\\0\"",
    ] {
        let error = error("name: mine", &format!("name: {name}"));
        assert!(
            error.starts_with("mine.yaml:1:7: name: a name begins with"),
            "{error}"
        );
    }
    for name in ["a", "1..2", "My-proxy_1.2"] {
        let profile = load(&MINIMAL.replace("name: mine", &format!("name: {name}")));
        assert_eq!(profile.unwrap().name, name);
    }
}

#[test]
fn a_mode_is_one_word_and_a_required_program_has_no_folder() {
    let mode = error_with("mode: two words\n");
    assert!(
        mode.starts_with("mine.yaml:6:7: mode: a mode is one word"),
        "{mode}"
    );
    assert_eq!(
        error("  ready:", "  requires: [nft, /sbin/nft]\n  ready:"),
        "mine.yaml:4:19: netns.requires: that is no name of a program in PATH"
    );
}

#[test]
fn the_documentation_is_true() {
    let readme = include_str!("../../../../docs/guide/profiles.md");
    let example = readme
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let profile = load(example).unwrap();
    assert_eq!(profile.name, "my-proxy");

    let features = Feature::ALL.iter().map(|feature| feature.name());
    let variations = Variation::ALL.iter().map(|variation| variation.name());
    let values = Variation::ALL
        .iter()
        .flat_map(|variation| variation.values());
    for name in features.chain(variations).chain(values.copied()) {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
    for placeholder in crate::profile::PLACEHOLDERS {
        assert!(
            readme.contains(&format!("`{{{placeholder}}}`")),
            "{placeholder}"
        );
    }
}
