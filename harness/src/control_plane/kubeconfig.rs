//! The file by which kube-proxy, kubectl and client-go find an API.

use serde_json::{Value, json};

/// A kubeconfig for an API at a URL, with a bearer token or without any credentials.
///
/// It is written as JSON, which is YAML too, so that no value needs quoting of its own kind.
#[must_use]
pub fn kubeconfig(url: &str, token: Option<&str>) -> String {
    let mut cluster = json!({ "server": url });
    if url.starts_with("https:") {
        // The server made its certificate itself, when it started.
        cluster["insecure-skip-tls-verify"] = Value::Bool(true);
    }
    let user = token.map_or(json!({}), |token| json!({ "token": token }));
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "onehop", "cluster": cluster }],
        "users": [{ "name": "onehop", "user": user }],
        "contexts": [{ "name": "onehop", "context": { "cluster": "onehop", "user": "onehop" } }],
        "current-context": "onehop",
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_reads_it() {
        for (url, token) in [
            ("https://10.0.0.1:6443", Some("secret: \"x\"")),
            ("http://[fd00::1]:8080", None),
        ] {
            let text = kubeconfig(url, token);
            let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
            assert_eq!(read.current_context.as_deref(), Some("onehop"));
            let cluster = read.clusters[0].cluster.as_ref().unwrap();
            assert_eq!(cluster.server.as_deref(), Some(url));
            assert_eq!(
                cluster.insecure_skip_tls_verify,
                url.starts_with("https").then_some(true)
            );
            let user = read.auth_infos[0].auth_info.as_ref().unwrap();
            assert_eq!(user.token.is_some(), token.is_some());
        }
    }
}
