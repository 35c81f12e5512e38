//! The YAML of a profile: reading it, and checking what serde cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::error::nearest;
use super::{
    Feature, Features, Implementation, KindProfile, Known, NetnsProfile, Origin, Place, Profile,
    ProfileError, Ready, Variation, template,
};
use crate::tools::{ParseToolError, Tool, ToolRef, Version};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: Spanned<String>,
    #[serde(default)]
    version: Vec<Spanned<String>>,
    tool: Option<Spanned<String>>,
    mode: Option<Spanned<String>>,
    netns: NetnsDocument,
    #[serde(default)]
    features: FeaturesDocument,
    #[serde(default)]
    variations: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    known: Vec<KnownDocument>,
    kind: Option<KindDocument>,
    #[serde(default)]
    implementation: Implementation,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NetnsDocument {
    command: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    files: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    requires: Vec<Spanned<String>>,
    #[serde(default)]
    may_restart: bool,
    ready: ReadyDocument,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadyDocument {
    http: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeaturesDocument {
    #[serde(default)]
    unsupported: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KnownDocument {
    cases: Vec<Spanned<String>>,
    shows: Vec<String>,
    at_most: Option<u64>,
    #[serde(default)]
    sometimes: bool,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    finding: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KindDocument {
    kube_proxy_mode: Spanned<String>,
    #[serde(default)]
    manifests: Vec<String>,
    #[serde(default)]
    images: Vec<String>,
    pods: Option<Spanned<String>>,
}

/// The values of `kind.kubeProxyMode`.
const KIND_MODES: [&str; 3] = ["nftables", "iptables", "none"];

/// Reads a profile.
pub(super) fn parse(text: &str, origin: &Origin) -> Result<Profile, ProfileError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let document: Document =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let (line, column) = match error.location() {
                Some(location) => (location.line(), location.column()),
                None => (1, 1),
            };
            let field = field_at(text, line, column);
            let problem = in_plain_words(&without_location(&error.to_string()));
            let place = Place {
                origin: origin.clone(),
                line,
                column,
                field,
            };
            ProfileError::Invalid { place, problem }
        })?;
    Checker { origin }.profile(document)
}

/// Turns a document into a profile, and finds what is wrong in it.
struct Checker<'a> {
    origin: &'a Origin,
}

impl Checker<'_> {
    fn invalid(&self, field: &str, location: Location, problem: impl Into<String>) -> ProfileError {
        ProfileError::Invalid {
            place: Place {
                origin: self.origin.clone(),
                line: location.line(),
                column: location.column(),
                field: field.to_owned(),
            },
            problem: problem.into(),
        }
    }

    fn profile(&self, document: Document) -> Result<Profile, ProfileError> {
        let name = &document.name;
        if !is_word(&name.value) {
            let problem = "a name begins with a letter or a digit and goes on with letters, \
                           digits, `.`, `_` and `-`: it names a directory as well";
            return Err(self.invalid("name", name.referenced, problem));
        }
        if let Some(mode) = document.mode.as_ref().filter(|mode| !is_word(&mode.value)) {
            let problem = "a mode is one word, of letters, digits, `.`, `_` and `-`";
            return Err(self.invalid("mode", mode.referenced, problem));
        }
        let tool = document.tool.map(|tool| self.tool(&tool)).transpose()?;
        Ok(Profile {
            name: document.name.value,
            origin: self.origin.clone(),
            version: document
                .version
                .into_iter()
                .map(|word| word.value)
                .collect(),
            tool,
            mode: document.mode.map(|mode| mode.value),
            netns: self.netns(document.netns)?,
            features: self.features(&document.features)?,
            variations: self.variations(document.variations)?,
            known: document
                .known
                .into_iter()
                .map(|known| self.known(known))
                .collect::<Result<_, _>>()?,
            kind: document.kind.map(|kind| self.kind(kind)).transpose()?,
            implementation: document.implementation,
        })
    }

    fn tool(&self, tool: &Spanned<String>) -> Result<ToolRef, ProfileError> {
        let invalid = |problem| self.invalid("tool", tool.referenced, problem);
        let parsed: Result<ToolRef, ParseToolError> = tool.value.parse();
        let reference = parsed.map_err(|error| invalid(error.to_string()))?;
        match reference.tool {
            Tool::KubeProxy => Ok(reference),
            other => Err(invalid(format!("`{other}` is not a proxy"))),
        }
    }

    fn netns(&self, netns: NetnsDocument) -> Result<NetnsProfile, ProfileError> {
        let command = netns.command;
        match command.value.first() {
            Some(program) if !program.value.is_empty() => {}
            _ => {
                let problem = "the command is empty; it is a list of the program and its arguments";
                return Err(self.invalid("netns.command", command.referenced, problem));
            }
        }
        for (index, argument) in command.value.iter().enumerate() {
            self.template(&format!("netns.command[{index}]"), argument)?;
        }
        for (path, text) in &netns.files {
            let field = format!("netns.files.{path}");
            if !is_inside(Path::new(path)) {
                let problem =
                    "the path of a file is relative to the proxy's folder, and stays in it";
                return Err(self.invalid(&field, text.referenced, problem));
            }
            self.template(&field, text)?;
        }
        for (variable, text) in &netns.env {
            let field = format!("netns.env.{variable}");
            if variable.is_empty() || variable.contains('=') {
                let problem = "that is no name of an environment variable";
                return Err(self.invalid(&field, text.referenced, problem));
            }
            self.template(&field, text)?;
        }
        for program in &netns.requires {
            if program.value.is_empty() || program.value.contains('/') {
                let problem = "that is no name of a program in PATH";
                return Err(self.invalid("netns.requires", program.referenced, problem));
            }
        }
        Ok(NetnsProfile {
            command: command.value.into_iter().map(|word| word.value).collect(),
            files: values(netns.files),
            env: values(netns.env),
            requires: netns.requires.into_iter().map(|word| word.value).collect(),
            may_restart: netns.may_restart,
            ready: self.ready(netns.ready)?,
        })
    }

    fn ready(&self, ready: ReadyDocument) -> Result<Ready, ProfileError> {
        let field = "netns.ready.http";
        let http = ready.http;
        self.template(field, &http)?;
        let host = http.value.strip_prefix("http://").unwrap_or_default();
        if host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace) {
            let problem = format!(
                "`{}` is not a URL of the form http://HOST:PORT/PATH",
                http.value
            );
            return Err(self.invalid(field, http.referenced, problem));
        }
        Ok(Ready { http: http.value })
    }

    fn template(&self, field: &str, text: &Spanned<String>) -> Result<(), ProfileError> {
        template::check(&text.value)
            .map_err(|problem| self.invalid(field, text.referenced, problem))
    }

    fn features(&self, features: &FeaturesDocument) -> Result<Features, ProfileError> {
        let mut unsupported = BTreeSet::new();
        for name in &features.unsupported {
            let Some(feature) = Feature::from_name(&name.value) else {
                let known = Feature::ALL.iter().map(|feature| feature.name());
                let problem = unknown("feature", &name.value, known);
                return Err(self.invalid("features.unsupported", name.referenced, problem));
            };
            unsupported.insert(feature);
        }
        Ok(Features { unsupported })
    }

    fn variations(
        &self,
        declared: BTreeMap<String, Spanned<String>>,
    ) -> Result<BTreeMap<Variation, String>, ProfileError> {
        let mut variations = BTreeMap::new();
        for (name, value) in declared {
            let field = format!("variations.{name}");
            let Some(variation) = Variation::from_name(&name) else {
                let known = Variation::ALL.iter().map(|variation| variation.name());
                let problem = unknown("variation", &name, known);
                return Err(self.invalid(&field, value.referenced, problem));
            };
            if !variation.values().contains(&value.value.as_str()) {
                let problem = unknown("value", &value.value, variation.values().iter().copied());
                return Err(self.invalid(&field, value.referenced, problem));
            }
            variations.insert(variation, value.value);
        }
        Ok(variations)
    }

    fn known(&self, known: KnownDocument) -> Result<Known, ProfileError> {
        let finding = known.finding;
        if known.cases.is_empty() {
            let problem = "a known defect names the cases that fail because of it";
            return Err(self.invalid("known.cases", finding.referenced, problem));
        }
        if known.shows.is_empty() || known.shows.iter().any(String::is_empty) {
            let problem = "a known defect says what it shows, or it would excuse everything";
            return Err(self.invalid("known.shows", finding.referenced, problem));
        }
        if known.at_most == Some(0) {
            let problem = "a defect that makes no connection go wrong would excuse nothing";
            return Err(self.invalid("known.atMost", finding.referenced, problem));
        }
        if finding.value.is_empty() {
            let problem = "a known defect says where it is written up";
            return Err(self.invalid("known.finding", finding.referenced, problem));
        }
        let version = |field: &str, text: Option<Spanned<String>>| {
            let parsed = text.map(|text| {
                let version: Result<Version, _> = text.value.parse();
                version.map_err(|error| self.invalid(field, text.referenced, error.to_string()))
            });
            parsed.transpose()
        };
        Ok(Known {
            cases: known.cases.into_iter().map(|case| case.value).collect(),
            shows: known.shows,
            at_most: known.at_most,
            sometimes: known.sometimes,
            from: version("known.from", known.from)?,
            to: version("known.to", known.to)?,
            finding: finding.value,
        })
    }

    fn kind(&self, kind: KindDocument) -> Result<KindProfile, ProfileError> {
        let mode = kind.kube_proxy_mode;
        if !KIND_MODES.contains(&mode.value.as_str()) {
            let problem = unknown("mode", &mode.value, KIND_MODES.into_iter());
            return Err(self.invalid("kind.kubeProxyMode", mode.referenced, problem));
        }
        let pods = kind.pods.map(|pods| match pods.value.split_once('/') {
            Some((namespace, labels)) if labels.contains('=') && !namespace.is_empty() => {
                Ok((namespace.to_owned(), labels.to_owned()))
            }
            _ => {
                let problem = "the pods of a proxy are named as NAMESPACE/LABEL=VALUE";
                Err(self.invalid("kind.pods", pods.referenced, problem))
            }
        });
        Ok(KindProfile {
            pods: pods.transpose()?,
            kube_proxy_mode: mode.value,
            manifests: kind.manifests,
            images: kind.images,
            arguments: Vec::new(),
        })
    }
}

/// Whether a text is a word that may name a directory: `[A-Za-z0-9][A-Za-z0-9._-]*`.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn values(texts: BTreeMap<String, Spanned<String>>) -> BTreeMap<String, String> {
    texts
        .into_iter()
        .map(|(key, text)| (key, text.value))
        .collect()
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let suggestion = nearest(name, known.clone())
        .map(|near| format!(", did you mean `{near}`?"))
        .unwrap_or_else(|| ",".to_owned());
    let known = known.collect::<Vec<&str>>().join(", ");
    format!("unknown {what} `{name}`{suggestion} expected one of: {known}")
}

/// Whether a relative path stays in the folder that it is relative to.
fn is_inside(path: &Path) -> bool {
    let mut components = path.components().peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

/// Replaces the parser's terms where they are a whole message.
fn in_plain_words(message: &str) -> String {
    match message {
        "expected sequence start" => "expected a list",
        "expected mapping start" => "expected a mapping, with a `key: value` on each line",
        "expected string scalar" => "expected a text",
        other => other,
    }
    .to_owned()
}

/// Cuts off the location at the end of a message of the parser: the place in front of it says the same.
fn without_location(message: &str) -> String {
    let message = message.trim_end();
    let cut = message.rfind(" at line ").filter(|at| {
        message[*at..]
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " ,".contains(c))
    });
    message[..cut.unwrap_or(message.len())].to_owned()
}

/// The keys that lead to a place in block YAML: `netns.ready` for a line below `ready:` below `netns:`.
///
/// The parser knows where a syntax or type error is, and not in which field; indentation tells that in all but
/// the strangest files, and an empty answer only makes the message shorter.
fn field_at(text: &str, line: u64, column: u64) -> String {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    let mut keys = Vec::new();
    let mut indent = usize::try_from(column).unwrap_or(usize::MAX);
    for (index, text) in text
        .lines()
        .take(line)
        .enumerate()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let content = text.trim_start();
        let depth = text.len() - content.len();
        let here = index + 1 == line;
        if content.is_empty() || content.starts_with('#') || depth >= indent {
            continue;
        }
        let Some((key, _)) = content.split_once(':') else {
            // A list item is as deep as its key or deeper; only less deep lines matter from here on.
            if content.starts_with("- ") && !here {
                continue;
            }
            indent = depth + 1;
            continue;
        };
        keys.push(key.trim_start_matches("- ").trim_matches(['"', '\'', ' ']));
        indent = depth;
        if depth == 0 {
            break;
        }
    }
    keys.reverse();
    keys.join(".")
}

#[cfg(test)]
mod tests;
