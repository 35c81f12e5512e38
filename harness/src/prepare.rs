//! What a run needs of this machine, found or built before the sandbox is entered: inside it
//! there is no way out to a module proxy.
//!
//! Whatever takes no time is checked first: nobody waits minutes for a build to learn that a package
//! is missing.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::lab::{ApiKind, ProxyUnderTest};
use crate::netns::{self, SandboxError};
use crate::profile::{Profile, ProfileError, Program};
use crate::tools::{self, Progress, Tool, ToolError, ToolRef, Version};

/// Something that a run needs is missing. The text says what, and how to get it.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A profile, or its program.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A tool that could be neither found nor built.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Programs that are not part of onehop.
    #[error("not in PATH: {}; install what is missing", .0.join(", "))]
    Programs(Vec<String>),
    /// The machine does not allow what the lab is made of.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Where Debian and others have programs that change a network, and an ordinary user's `PATH`
/// does not lead.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Appends `/usr/sbin` and `/sbin` to `PATH`, so that an ordinary user's lab finds `nft`, `iptables`
/// and `conntrack`: the proxy's, and those that collect evidence.
///
/// To be called first thing in `main`.
///
/// # Panics
/// When other threads already run.
#[expect(
    unsafe_code,
    reason = "changing the environment is safe only without threads, which is asserted here"
)]
pub fn complete_path() {
    assert_eq!(netns::threads(), 1, "PATH is set before any thread starts");
    let path = with_system_folders(env::var_os("PATH").as_deref());
    // SAFETY: the process has one thread, so nobody reads the environment at the same time.
    unsafe { env::set_var("PATH", path) };
}

/// A value of `PATH` that has the system's folders, at its end where they were missing.
fn with_system_folders(path: Option<&OsStr>) -> OsString {
    let mut all = path.unwrap_or_default().to_owned();
    for folder in SYSTEM_FOLDERS {
        if !env::split_paths(&all).any(|known| known == Path::new(folder)) {
            if !all.is_empty() {
                all.push(":");
            }
            all.push(folder);
        }
    }
    all
}

/// Loads profiles and finds their programs; builds those that are tools and not here yet. Before it
/// builds anything, it checks that this machine has what every lab needs, namespaces, and the
/// programs that these profiles require.
///
/// To be called before any thread starts.
///
/// # Errors
/// When something is missing, or a program can be neither found nor built.
pub fn proxies(
    specs: &[String],
    binary: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<ProxyUnderTest>, PrepareError> {
    let plan = |spec: &String| Planned::new(spec, binary);
    let planned: Vec<Planned> = specs.iter().map(plan).collect::<Result<_, _>>()?;
    programs(planned.iter().map(|planned| &planned.profile))?;
    netns::check()?;
    let built = planned.into_iter().map(|planned| planned.build(progress));
    built.collect()
}

/// Loads a profile and finds its program; builds it first if it is a tool that is not here yet, and
/// what it requires is.
///
/// # Errors
/// When there is no such profile, or something that it requires, or its program can be neither
/// found nor built.
pub fn proxy(
    spec: &str,
    binary: Option<&Path>,
    progress: &mut dyn FnMut(Progress),
) -> Result<ProxyUnderTest, PrepareError> {
    let planned = Planned::new(spec, binary)?;
    programs([&planned.profile])?;
    planned.build(progress)
}

/// A proxy whose program may have to be built.
struct Planned<'a> {
    profile: Profile,
    binary: Option<&'a Path>,
    /// The program, or the tool that has it.
    program: Result<Program, ToolRef>,
}

impl<'a> Planned<'a> {
    fn new(spec: &str, binary: Option<&'a Path>) -> Result<Self, PrepareError> {
        let profile = Profile::load(spec)?;
        let program = match profile.find_program(binary) {
            Err(ProfileError::Tool(ToolError::NotInstalled { tool, .. })) => Err(tool),
            found => Ok(found?),
        };
        Ok(Self {
            profile,
            binary,
            program,
        })
    }

    fn build(self, progress: &mut dyn FnMut(Progress)) -> Result<ProxyUnderTest, PrepareError> {
        let program = match self.program {
            Ok(program) => program,
            Err(tool) => {
                tools::install(tool, progress)?;
                self.profile.find_program(self.binary)?
            }
        };
        Ok(ProxyUnderTest {
            profile: self.profile,
            program,
        })
    }
}

/// Finds a real control plane, and builds it first if there is none.
///
/// # Errors
/// When it can be neither found nor built.
pub fn real_api(progress: &mut dyn FnMut(Progress)) -> Result<ApiKind, PrepareError> {
    let tool = ToolRef {
        tool: Tool::ControlPlane,
        version: Version::DEFAULT,
    };
    let located = match tools::locate(tool, None) {
        Err(ToolError::NotInstalled { .. }) => {
            tools::install(tool, progress)?;
            tools::locate(tool, None)?
        }
        found => found?,
    };
    Ok(ApiKind::Real(located.path))
}

/// Checks that the programs are here that these profiles require. A lab itself needs none.
///
/// # Errors
/// When some are not in `PATH`; each is named, with its package.
pub fn programs<'a>(profiles: impl IntoIterator<Item = &'a Profile>) -> Result<(), PrepareError> {
    let required = profiles.into_iter().flat_map(|p| &p.netns.requires);
    let required = required.map(String::as_str);
    let path = env::var_os("PATH").unwrap_or_default();
    let missing = missing(required, &path);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(PrepareError::Programs(missing))
    }
}

/// Those of these programs that are not in a `PATH`, each once, with the package that has it.
fn missing<'a>(programs: impl Iterator<Item = &'a str>, path: &OsStr) -> Vec<String> {
    let mut missing = Vec::new();
    for program in programs.filter(|program| tools::find_in_path(program, path).is_none()) {
        let text = match package(program) {
            Some(package) => format!("{program} (in the package {package})"),
            None => program.to_owned(),
        };
        if !missing.contains(&text) {
            missing.push(text);
        }
    }
    missing
}

/// The package that has a program, by the name that most distributions use.
fn package(program: &str) -> Option<&'static str> {
    match program {
        "nft" => Some("nftables"),
        "iptables" | "ip6tables" | "iptables-save" | "ip6tables-save" => Some("iptables"),
        "conntrack" => Some("conntrack"),
        "ip" | "tc" => Some("iproute2"),
        "ipset" => Some("ipset"),
        "ipvsadm" => Some("ipvsadm"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_folders_are_appended_once() {
        let completed = |path: &str| with_system_folders(Some(OsStr::new(path)));
        assert_eq!(completed("/usr/bin:/bin"), "/usr/bin:/bin:/usr/sbin:/sbin");
        assert_eq!(completed("/sbin:/bin"), "/sbin:/bin:/usr/sbin");
        assert_eq!(completed("/usr/sbin:/sbin"), "/usr/sbin:/sbin");
        assert_eq!(completed(""), "/usr/sbin:/sbin");
        assert_eq!(with_system_folders(None), "/usr/sbin:/sbin");
    }

    #[test]
    fn each_missing_program_is_named_once_with_its_package() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let programs = ["nft", "iptables", "ip6tables", "nft", "my-helper"];
        let missing = missing(programs.into_iter(), folder.path().as_os_str());
        assert_eq!(
            PrepareError::Programs(missing).to_string(),
            "not in PATH: nft (in the package nftables), iptables (in the package iptables), \
             ip6tables (in the package iptables), my-helper; install what is missing"
        );
    }
}
