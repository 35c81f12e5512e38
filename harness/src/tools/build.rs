//! Builds a tool from Go modules into the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::go::{Download, Go, GoMod, parse_json};
use super::locate::path_of;
use super::{Cache, Progress, Project, Step, Tool, ToolError, ToolRef, Version, kind, node};
use crate::error::last_lines;

/// A tool that is in the cache, and whether it was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The program (kube-proxy, kind), or the folder of the programs (control plane, node).
    pub path: PathBuf,
    /// It was there already; nothing was done.
    pub already: bool,
}

/// Builds a tool into this user's cache, unless it is there.
///
/// # Errors
/// There is no cache home, no suitable `go` command, no such version, or the build fails.
pub fn install(
    tool: ToolRef,
    progress: &mut dyn FnMut(Progress),
) -> Result<Installation, ToolError> {
    install_in(&Cache::from_environment()?, tool, progress)
}

/// As [`install`], into a given cache.
///
/// # Errors
/// As [`install`].
pub fn install_in(
    cache: &Cache,
    tool: ToolRef,
    progress: &mut dyn FnMut(Progress),
) -> Result<Installation, ToolError> {
    let installation = |already| Installation {
        path: path_of(tool.tool, &cache.dir(tool)),
        already,
    };
    if cache.installed(tool).is_some() {
        return Ok(installation(true));
    }
    let project = tool.tool.project();
    let version_dir = cache.build_dir().join(format!(
        "{}-{}",
        project.name().to_lowercase(),
        tool.version
    ));
    fs::create_dir_all(&version_dir).map_err(ToolError::io("create", &version_dir))?;
    // One lock for all tools of a version: they share the module. It is released when the file is closed,
    // so also when this process is killed.
    let _lock = lock(&version_dir.join("lock"), progress)?;
    if cache.installed(tool).is_some() {
        return Ok(installation(true));
    }

    let mut go = Go::new(tool, version_dir.join("logs"), progress)?;
    let partial = cache
        .tool_dir(tool.tool)
        .join(format!(".{}.partial", tool.version));
    remove_dir(&partial)?;
    fs::create_dir_all(&partial).map_err(ToolError::io("create", &partial))?;
    match project {
        Project::Kubernetes => {
            let module = kubernetes_module(&mut go, &version_dir, tool.version)?;
            for binary in tool.tool.binaries() {
                if reuse(cache, tool, binary, &partial)? {
                    continue;
                }
                if *binary == "etcd" {
                    node::build_etcd(&mut go, &version_dir.join("etcd"), &partial)?;
                } else if let Some(plugin) = binary.strip_prefix("cni/") {
                    let module = version_dir.join("cni");
                    node::build_cni(&mut go, &module, plugin, &partial.join("cni"))?;
                } else {
                    build_kubernetes(&mut go, &module, binary, tool.version, &partial)?;
                }
            }
        }
        Project::Kind => kind::build(&mut go, &version_dir.join("module"), tool.version, &partial)?,
    }
    let dir = cache.dir(tool);
    // An incomplete folder can only be there if somebody took files out of it.
    remove_dir(&dir)?;
    fs::rename(&partial, &dir).map_err(ToolError::io("move into place", &dir))?;
    Ok(installation(false))
}

/// Takes a program from another installed tool of the same version, if one has it.
fn reuse(cache: &Cache, tool: ToolRef, binary: &str, out: &Path) -> Result<bool, ToolError> {
    let others = Tool::ALL.into_iter().filter(|other| {
        *other != tool.tool
            && other.project() == tool.tool.project()
            && other.binaries().contains(&binary)
    });
    let installed = others.into_iter().find_map(|other| {
        cache.installed(ToolRef {
            tool: other,
            version: tool.version,
        })
    });
    let Some(dir) = installed else {
        return Ok(false);
    };
    // A second name of the same file: programs in the cache are never written to.
    let (from, to) = (dir.join(binary), out.join(binary));
    fs::hard_link(&from, &to)
        .or_else(|_| fs::copy(&from, &to).map(drop))
        .map_err(ToolError::io("copy", &from))?;
    Ok(true)
}

/// Takes the lock, and reports if another process has it.
fn lock(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<File, ToolError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(ToolError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => {}
        Err(fs::TryLockError::Error(error)) => return Err(ToolError::io("lock", path)(error)),
    }
    let started = Instant::now();
    progress(Progress::Started(Step::Waiting));
    file.lock().map_err(ToolError::io("lock", path))?;
    progress(Progress::Finished(Step::Waiting, started.elapsed()));
    Ok(file)
}

/// Makes a module that requires Kubernetes at a version, unless an earlier build left one.
///
/// Kubernetes requires its own libraries at v0.0.0 and replaces them by folders of its repository. Replacements
/// count only in the main module, so ours replaces the same ones by the versions under which they are published.
fn kubernetes_module(
    go: &mut Go<'_>,
    version_dir: &Path,
    version: Version,
) -> Result<PathBuf, ToolError> {
    let module = version_dir.join("module");
    if module.join("go.mod").exists() {
        return Ok(module);
    }
    let step = Step::Downloading(Project::Kubernetes, version);
    timed(go, step, |go| {
        let partial = version_dir.join("module.partial");
        remove_dir(&partial)?;
        fs::create_dir_all(&partial).map_err(ToolError::io("create", &partial))?;
        go.run(
            step,
            &partial,
            &["mod", "init", "onehop/third-party/kubernetes"],
        )?;

        let go_mod = download(go, step, &partial, Project::Kubernetes, version)?.go_mod;
        let go_mod = go_mod.unwrap_or_default();
        let read = ["mod", "edit", "-json", &go_mod.to_string_lossy()];
        let printed = go.run(step, &partial, &read)?;
        let upstream: GoMod = parse_json(&read, &printed)?;

        let mut edit = vec!["mod".to_owned(), "edit".to_owned()];
        edit.push(format!("-require=k8s.io/kubernetes@{version}"));
        edit.extend(
            upstream
                .replaced_by_folders()
                .map(|path| format!("-replace={path}={path}@{}", version.staging())),
        );
        let edit: Vec<&str> = edit.iter().map(String::as_str).collect();
        go.run(step, &partial, &edit)?;
        fs::rename(&partial, &module).map_err(ToolError::io("move into place", &module))
    })?;
    Ok(module)
}

/// Downloads the module of a project.
pub(super) fn download(
    go: &mut Go<'_>,
    step: Step,
    dir: &Path,
    project: Project,
    version: Version,
) -> Result<Download, ToolError> {
    let wanted = format!("{}@{version}", project.module());
    let arguments = ["mod", "download", "-json", wanted.as_str()];
    let finished = go.try_run(step, dir, &arguments)?;
    let download: Download = match parse_json(&arguments, &finished.stdout) {
        Ok(download) => download,
        // Without JSON, what it wrote as plain text is the better explanation.
        Err(error) if finished.status.success() => return Err(error),
        Err(_) => return Err(no_download(project, version, &finished.stderr)),
    };
    match &download.error {
        None if finished.status.success() => Ok(download),
        said => {
            let said = said.as_deref().unwrap_or(&finished.stderr);
            Err(no_download(project, version, said))
        }
    }
}

/// Tells a version that surely does not exist from a download that failed.
fn no_download(project: Project, version: Version, said: &str) -> ToolError {
    let unknown = [
        "unknown revision",
        "404 Not Found",
        "410 Gone",
        "no matching versions",
    ];
    let said_last = last_lines(said);
    if unknown.iter().any(|sign| said.contains(sign)) {
        ToolError::NoSuchVersion {
            project,
            version,
            said: said_last,
        }
    } else {
        ToolError::Download {
            project,
            version,
            said: said_last,
        }
    }
}

/// Builds one program of Kubernetes.
fn build_kubernetes(
    go: &mut Go<'_>,
    module: &Path,
    binary: &'static str,
    version: Version,
    out: &Path,
) -> Result<(), ToolError> {
    let package = format!("k8s.io/kubernetes/cmd/{binary}");
    let resolving = Step::Resolving(binary);
    timed(go, resolving, |go| {
        go.run(
            resolving,
            module,
            &["get", "-tool", &format!("{package}@{version}")],
        )
    })?;
    compile(
        go,
        module,
        binary,
        &package,
        &kubernetes_ldflags(version),
        out,
    )
}

/// Compiles one package, to a file of that name.
pub(super) fn compile(
    go: &mut Go<'_>,
    module: &Path,
    binary: &'static str,
    package: &str,
    ldflags: &str,
    out: &Path,
) -> Result<(), ToolError> {
    let step = Step::Compiling(binary);
    let out = out.join(binary);
    let out = out.to_string_lossy();
    let arguments = [
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-o",
        &out,
        "-ldflags",
        ldflags,
        package,
    ];
    timed(go, step, |go| go.run(step, module, &arguments))?;
    Ok(())
}

/// What a program of Kubernetes prints as its version is set when it is linked.
fn kubernetes_ldflags(version: Version) -> String {
    let package = "k8s.io/component-base/version";
    let Version { major, minor, .. } = version;
    format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} \
         -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
    )
}

/// Reports the beginning and the end of a step.
pub(super) fn timed<T>(
    go: &mut Go<'_>,
    step: Step,
    work: impl FnOnce(&mut Go<'_>) -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    let started = Instant::now();
    go.report(Progress::Started(step));
    let result = work(go)?;
    go.report(Progress::Finished(step, started.elapsed()));
    Ok(result)
}

/// Removes a folder that may not be there.
fn remove_dir(dir: &Path) -> Result<(), ToolError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ToolError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::testing::script;

    #[test]
    fn an_unknown_version_is_told_from_a_broken_network() {
        let error = |said| no_download(Project::Kubernetes, Version::DEFAULT, said).to_string();
        assert_eq!(
            error("k8s.io/kubernetes@v1.36.3: invalid version: unknown revision v1.36.3"),
            "there is no Kubernetes v1.36.3 among the published Go modules; go said:\n  \
             k8s.io/kubernetes@v1.36.3: invalid version: unknown revision v1.36.3"
        );
        assert_eq!(
            error("dial tcp: lookup: no such host"),
            "cannot download Kubernetes v1.36.3 as a Go module (is it a released version?); go said:\n  \
             dial tcp: lookup: no such host"
        );
    }

    #[test]
    fn an_unknown_version_names_its_project() {
        let version = Project::Kind.default_version();
        assert_eq!(
            no_download(Project::Kind, version, "404 Not Found").to_string(),
            "there is no kind v0.33.0 among the published Go modules; go said:\n  404 Not Found"
        );
    }

    #[test]
    fn a_program_of_the_same_version_is_not_built_twice() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path());
        let proxy: ToolRef = "kube-proxy@v1.36.3".parse().unwrap();
        fs::create_dir_all(cache.dir(proxy)).unwrap();
        let built = cache.dir(proxy).join("kube-proxy");
        script(&built, "exit 0");

        let out = home.path();
        let node = |text: &str| text.parse::<ToolRef>().unwrap();
        assert!(reuse(&cache, node("node@v1.36.3"), "kube-proxy", out).unwrap());
        assert_eq!(
            fs::read(out.join("kube-proxy")).unwrap(),
            fs::read(&built).unwrap()
        );
        // Neither of another version, nor a program that no other tool has.
        assert!(!reuse(&cache, node("node@v1.36.4"), "kube-proxy", out).unwrap());
        assert!(!reuse(&cache, node("node@v1.36.3"), "kubelet", out).unwrap());
    }

    #[test]
    fn the_version_is_linked_in() {
        let flags = kubernetes_ldflags("v1.34.4".parse().unwrap());
        assert!(flags.contains("version.gitVersion=v1.34.4 "), "{flags}");
        assert!(flags.contains("version.gitMinor=34 "), "{flags}");
    }

    #[test]
    fn an_installed_tool_is_not_built_again() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::at(home.path());
        let tool: ToolRef = "kube-proxy@v1.36.3".parse().unwrap();
        fs::create_dir_all(cache.dir(tool)).unwrap();
        let binary = cache.dir(tool).join("kube-proxy");
        fs::write(&binary, "").unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();

        let installation = install_in(&cache, tool, &mut |_| panic!("nothing to do")).unwrap();
        assert_eq!((installation.path, installation.already), (binary, true));
    }

    #[test]
    fn a_lock_that_is_held_is_waited_for_and_reported() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let mut held = Some(lock(&path, &mut |_| panic!("nobody has it")).unwrap());
        let mut reports = Vec::new();
        let _second = lock(&path, &mut |report| {
            held = None;
            reports.push(report.to_string());
        });
        assert_eq!(reports[0], "waiting for another build");
        assert!(
            reports[1].starts_with("waited for another build in "),
            "{reports:?}"
        );
    }
}
