//! The two servers, and a row's requests sent to one of them.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use onehop_apiserver::{ApiServer, Config};
use onehop_harness::control_plane::{ControlPlane, ControlPlaneConfig};
use onehop_harness::tools::{Tool, ToolError, ToolRef, Version, locate};
use serde_json::Value;

use super::rows::{Row, Step};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long one exchange may take; watches end earlier by themselves.
const LIMIT: Duration = Duration::from_secs(20);

/// A server's answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) content_type: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) text: String,
}

impl Reply {
    /// The body as JSON; a watch has one document a line.
    pub(crate) fn documents(&self) -> Vec<Value> {
        match serde_json::from_str(&self.text) {
            Ok(value) => vec![value],
            Err(_) => self
                .text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line)))
                .collect(),
        }
    }

    /// `reason` of a Status; code and reason of one that ends a watch; empty otherwise.
    pub(crate) fn reason(&self) -> String {
        let document = self.documents().into_iter().next().unwrap_or_default();
        let text = |value: &Value| value["reason"].as_str().unwrap_or_default().to_string();
        if document["kind"] == "Status" {
            text(&document)
        } else if document["type"] == "ERROR" {
            let status = &document["object"];
            format!("ERROR {} {}", status["code"], text(status))
        } else {
            String::new()
        }
    }

    /// The fields of a Status's causes.
    pub(crate) fn causes(&self) -> Vec<String> {
        let document = self.documents().into_iter().next().unwrap_or_default();
        let causes = document["details"]["causes"].as_array().cloned();
        let field = |cause: &Value| cause["field"].as_str().unwrap_or_default().to_string();
        causes.iter().flatten().map(field).collect()
    }
}

/// A server that rows can be run against.
#[derive(Clone)]
pub(crate) struct Backend {
    client: Client,
}

impl Backend {
    /// An embedded server of its own, on loopback.
    pub(crate) async fn embedded() -> Result<Self, Error> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let uri = format!("http://{}", listener.local_addr()?).parse()?;
        tokio::spawn(ApiServer::new(Config::default())?.serve(listener));
        Ok(Self {
            client: Client::try_from(kube::Config::new(uri))?,
        })
    }

    /// Runs a row in a namespace of its own and returns the answers of all its steps.
    pub(crate) async fn run(&self, row: &Row, namespace: &str) -> Result<Vec<Reply>, Error> {
        let create = format!(r#"{{"metadata":{{"name":"{namespace}"}}}}"#);
        let made = self
            .exchange(&Step::new(
                "POST",
                "/api/v1/namespaces",
                "application/json",
                &create,
            ))
            .await?;
        if made.code != 201 {
            return Err(format!(
                "failed to create the namespace: {} {}",
                made.code, made.text
            )
            .into());
        }
        let (mut version, mut uid) = (String::new(), String::new());
        let mut kept: Vec<(&str, String)> = Vec::new();
        let mut replies = Vec::new();
        for step in &row.steps {
            let fill = |text: &str| {
                let mut text = text.replace("$NS", namespace);
                for (name, version) in &kept {
                    text = text.replace(&format!("$RV:{name}"), version);
                }
                text.replace("$RV", &version).replace("$UID", &uid)
            };
            let step = Step {
                path: fill(&step.path),
                body: fill(&step.body),
                ..step.clone()
            };
            let reply = self.exchange(&step).await?;
            let document = reply.documents().into_iter().next().unwrap_or_default();
            let field = |name: &str| document["metadata"][name].as_str().map(ToString::to_string);
            version = field("resourceVersion").unwrap_or(version);
            uid = field("uid").unwrap_or(uid);
            kept.extend(step.keep.map(|name| (name, version.clone())));
            replies.push(reply);
        }
        Ok(replies)
    }

    async fn exchange(&self, step: &Step) -> Result<Reply, Error> {
        let mut request = http::Request::builder().method(step.method).uri(&step.path);
        if !step.content_type.is_empty() {
            request = request.header("content-type", step.content_type);
        }
        if !step.accept.is_empty() {
            request = request.header("accept", step.accept);
        }
        let request = request.body(Body::from(step.body.clone().into_bytes()))?;
        let reply = async {
            let response = self.client.send(request).await?;
            let code = response.status().as_u16();
            let header = |name| {
                let values = response.headers().get_all(name).iter();
                values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            };
            let content_type = header("content-type").collect();
            let warnings = header("warning").collect();
            let bytes = response.into_body().collect().await?.to_bytes();
            Ok::<_, Error>(Reply {
                code,
                content_type,
                warnings,
                text: String::from_utf8_lossy(&bytes).into_owned(),
            })
        };
        tokio::time::timeout(LIMIT, reply)
            .await
            .map_err(|_| format!("no answer to {} {} in {LIMIT:?}", step.method, step.path))?
    }
}

/// Where the real binaries are.
pub(crate) fn installed() -> Result<PathBuf, ToolError> {
    let tool = ToolRef {
        tool: Tool::ControlPlane,
        version: Version::DEFAULT,
    };
    Ok(locate(tool, None)?.path)
}

/// A real control plane and how to reach it.
pub(crate) struct Real {
    control_plane: ControlPlane,
    pub(crate) backend: Backend,
}

impl Real {
    /// Starts it from its binaries.
    pub(crate) async fn start(assets: PathBuf, dir: &Path) -> Result<Self, Error> {
        // All are held until all are known, so that they differ.
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for listener in &listeners {
            addresses.push(
                listener
                    .as_ref()
                    .map_err(ToString::to_string)?
                    .local_addr()?,
            );
        }
        drop(listeners);
        let control_plane = ControlPlane::start_here(ControlPlaneConfig {
            assets,
            dir: dir.join("control-plane"),
            address: addresses[0],
            etcd_ports: (addresses[1].port(), addresses[2].port()),
            service_cidrs: vec!["10.96.0.0/16".parse()?, "fd00:10:96::/112".parse()?],
            ready_within: Duration::from_secs(60),
        })
        .await?;
        let kubeconfig = Kubeconfig::read_from(&control_plane.endpoint().kubeconfig)?;
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self {
            control_plane,
            backend: Backend {
                client: Client::try_from(config)?,
            },
        })
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        Ok(self.control_plane.shutdown().await?)
    }
}
