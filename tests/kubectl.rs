//! kubectl against the embedded API: what people type when they look into a lab.
//!
//! kubectl is taken from the folder of the control plane's binaries, else from `PATH`; without it these tests are
//! ignored, with the reason.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use onehop_apiserver::{ApiServer, Config};
use onehop_harness::tools::{Tool, ToolRef, Version, locate};
use tokio::runtime::{Builder, Runtime};

type Test = fn(&Lab) -> Result<(), Failed>;

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
"#;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests: [(&str, Test); 9] = [
        ("applies_and_shows_a_service", applies_and_shows_a_service),
        ("applies_a_change", applies_a_change),
        ("applies_on_the_server", applies_on_the_server),
        ("creates_by_flags", creates_by_flags),
        ("patches_in_three_ways", patches_in_three_ways),
        (
            "waits_for_a_field_and_for_deletion",
            waits_for_a_field_and_for_deletion,
        ),
        ("watches", watches),
        ("refuses_unknown_fields", refuses_unknown_fields),
        ("shows_wide_tables", shows_wide_tables),
    ];
    let kubectl = find();
    let trials = tests
        .into_iter()
        .map(|(name, test)| match &kubectl {
            Ok(kubectl) => {
                let kubectl = kubectl.clone();
                Trial::test(name, move || test(&Lab::start(kubectl)?))
            }
            Err(reason) => {
                let failure = Failed::from(reason.clone());
                Trial::test(name, move || Err(failure))
                    .with_kind(reason.clone())
                    .with_ignored_flag(true)
            }
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn find() -> Result<PathBuf, String> {
    let tool = ToolRef {
        tool: Tool::ControlPlane,
        version: Version::DEFAULT,
    };
    let beside = locate(tool, None)
        .map(|located| located.path.join("kubectl"))
        .ok();
    let on_path = std::env::var_os("PATH")
        .map(|path| {
            std::env::split_paths(&path)
                .map(|folder| folder.join("kubectl"))
                .collect::<Vec<_>>()
        })
        .unwrap_or_default();
    beside
        .into_iter()
        .chain(on_path)
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| "kubectl is neither beside the control plane's binaries nor in PATH".into())
}

/// A server of its own for each test.
struct Lab {
    kubectl: PathBuf,
    url: String,
    home: tempfile::TempDir,
    _runtime: Arc<Runtime>,
}

impl Lab {
    fn start(kubectl: PathBuf) -> Result<Self, Failed> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        runtime.spawn(ApiServer::new(Config::default())?.serve(listener));
        Ok(Self {
            kubectl,
            url,
            home: tempfile::tempdir()?,
            _runtime: Arc::new(runtime),
        })
    }

    /// A kubectl that knows this server alone, whatever the machine is set up for.
    fn start_kubectl(&self, arguments: &str) -> Result<Child, Failed> {
        Ok(Command::new(&self.kubectl)
            .arg("--server")
            .arg(&self.url)
            .args(arguments.split_whitespace())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("none"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    }

    fn output(&self, arguments: &str, input: &str) -> Result<Output, Failed> {
        let mut child = self.start_kubectl(&format!("--request-timeout=20s {arguments}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        Ok(child.wait_with_output()?)
    }

    /// What kubectl prints, or its complaint as the failure.
    fn run(&self, arguments: &str, input: &str) -> Result<String, Failed> {
        let output = self.output(arguments, input)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!(
            "kubectl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into())
    }

    /// What kubectl prints is exactly this.
    fn prints(&self, arguments: &str, expected: &str) -> Result<(), Failed> {
        let printed = self.run(arguments, "")?;
        if printed.trim() == expected {
            return Ok(());
        }
        Err(format!("kubectl {arguments}: {expected:?} expected, not {printed:?}").into())
    }

    /// Waits until something holds, starts `change` and expects that kubectl waited for it.
    fn waits(&self, condition: &str, change: &str) -> Result<(), Failed> {
        let mut waiting = self.start_kubectl(&format!("wait {condition} --timeout=15s"))?;
        std::thread::sleep(Duration::from_secs(1));
        if waiting.try_wait()?.is_some() {
            let output = waiting.wait_with_output()?;
            return Err(format!("kubectl wait {condition} did not wait: {output:?}").into());
        }
        self.run(change, "")?;
        let output = waiting.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("kubectl wait {condition} saw nothing: {output:?}").into())
    }

    fn expect(&self, arguments: &str, input: &str, parts: &[&str]) -> Result<(), Failed> {
        let printed = self.run(arguments, input)?;
        match parts.iter().find(|part| !printed.contains(**part)) {
            None => Ok(()),
            Some(part) => Err(format!("kubectl {arguments}: {part:?} is not in\n{printed}").into()),
        }
    }
}

fn applies_and_shows_a_service(lab: &Lab) -> Result<(), Failed> {
    lab.expect("apply -f -", SERVICE, &["service/web created"])?;
    lab.expect("apply -f -", SERVICE, &["service/web unchanged"])?;
    lab.expect(
        "get svc web -o yaml",
        "",
        &[
            "healthCheckNodePort: 3",
            "clusterIP: 10.96.",
            "ipFamilyPolicy: SingleStack",
        ],
    )?;
    lab.expect(
        "get svc web -o wide",
        "",
        &[
            "CLUSTER-IP",
            "SELECTOR",
            "LoadBalancer",
            "<pending>",
            "app=web",
        ],
    )?;
    lab.prints("get svc -l app=web -o name", "service/web")?;
    lab.prints("get svc -l app=other -o name", "")?;
    lab.expect("delete svc web", "", &["deleted"])
}

fn applies_a_change(lab: &Lab) -> Result<(), Failed> {
    lab.run("apply -f -", SERVICE)?;
    let changed = SERVICE
        .replace("Local", "Cluster")
        .replace("port: 80,", "port: 81,");
    lab.expect("apply -f -", &changed, &["service/web configured"])?;
    let printed = lab.run("get svc web -o yaml", "")?;
    if printed.contains("healthCheckNodePort")
        || !printed.contains("port: 81")
        || printed.contains("port: 80\n")
    {
        return Err(format!("the change is not there:\n{printed}").into());
    }
    Ok(())
}

fn applies_on_the_server(lab: &Lab) -> Result<(), Failed> {
    lab.expect("apply --server-side -f -", SERVICE, &["serverside-applied"])?;
    lab.expect(
        "apply --server-side -f -",
        &SERVICE.replace("80,", "82,"),
        &["serverside-applied"],
    )?;
    lab.prints("get svc web -o jsonpath={.spec.ports[*].port}", "82")
}

fn creates_by_flags(lab: &Lab) -> Result<(), Failed> {
    lab.expect("create namespace shop", "", &["namespace/shop created"])?;
    lab.expect(
        "create configmap settings -n shop --from-literal=a=b",
        "",
        &["configmap/settings created"],
    )?;
    lab.expect(
        "create service nodeport np --tcp=80:8080",
        "",
        &["service/np created"],
    )?;
    lab.prints(
        "get svc np -o jsonpath={.spec.type}:{.spec.ports[0].targetPort}",
        "NodePort:8080",
    )?;
    lab.expect("delete namespace shop", "", &["deleted"])?;
    lab.prints("get configmaps -A -o name", "")
}

fn patches_in_three_ways(lab: &Lab) -> Result<(), Failed> {
    lab.run("apply -f -", SERVICE)?;
    for (kind, patch, port) in [
        (
            "strategic",
            r#"{"spec":{"ports":[{"port":80,"targetPort":1}]}}"#,
            "1",
        ),
        (
            "merge",
            r#"{"spec":{"ports":[{"port":80,"targetPort":2}]}}"#,
            "2",
        ),
        (
            "json",
            r#"[{"op":"replace","path":"/spec/ports/0/targetPort","value":3}]"#,
            "3",
        ),
    ] {
        lab.expect(
            &format!("patch svc web --type={kind} -p {patch}"),
            "",
            &["patched"],
        )?;
        lab.prints("get svc web -o jsonpath={.spec.ports[*].targetPort}", port)?;
    }
    Ok(())
}

fn waits_for_a_field_and_for_deletion(lab: &Lab) -> Result<(), Failed> {
    lab.run("apply -f -", SERVICE)?;
    lab.waits(
        "--for=jsonpath={.spec.externalTrafficPolicy}=Cluster svc/web",
        r#"patch svc web -p {"spec":{"externalTrafficPolicy":"Cluster"}}"#,
    )?;
    lab.waits("--for=delete svc/web", "delete svc web --wait=false")
}

fn watches(lab: &Lab) -> Result<(), Failed> {
    lab.run("apply -f -", SERVICE)?;
    let mut watching =
        lab.start_kubectl("get svc -w --output-watch-events --no-headers --request-timeout=15s")?;
    let printed = watching.stdout.take().ok_or("no output")?;
    let mut lines = BufReader::new(printed).lines();
    let mut expect = |kind: &str| match lines.next() {
        Some(Ok(line)) if line.starts_with(kind) && line.contains("web") => Ok(()),
        other => Err(format!("{kind} expected, not {other:?}")),
    };
    let seen = expect("ADDED").and_then(|()| {
        let failed = |failed: Failed| format!("{failed:?}");
        lab.run("label svc web a=b", "").map_err(failed)?;
        expect("MODIFIED")?;
        lab.run("delete svc web --wait=false", "").map_err(failed)?;
        expect("DELETED")
    });
    watching.kill()?;
    watching.wait()?;
    Ok(seen?)
}

fn refuses_unknown_fields(lab: &Lab) -> Result<(), Failed> {
    let wrong = SERVICE.replace("selector:", "selektor:");
    let output = lab.output("apply -f -", &wrong)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && complaint.contains("unknown field \"spec.selektor\"") {
        return Ok(());
    }
    Err(format!("not refused: {complaint}").into())
}

fn shows_wide_tables(lab: &Lab) -> Result<(), Failed> {
    let objects = r#"
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]
ports: [{port: 8080}]
"#;
    lab.run("apply -f -", objects)?;
    lab.expect(
        "get nodes -o wide",
        "",
        &["INTERNAL-IP", "Ready", "192.0.2.1"],
    )?;
    lab.expect(
        "get pods -o wide",
        "",
        &["NOMINATED NODE", "n1", "0/1", "Pending"],
    )?;
    lab.expect(
        "get endpointslices",
        "",
        &["ADDRESSTYPE", "8080", "10.0.0.1,10.0.0.2"],
    )?;
    lab.expect("get servicecidrs", "", &["10.96.0.0/16"])
}
