//! Namespaces, the program `nft`, and checks.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use libtest_mimic::Failed;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

/// Makes sure that this process may make network namespaces.
pub(crate) fn gain_privileges() -> Result<(), Failed> {
    if getuid().is_root() {
        return Ok(());
    }
    enter_user_namespace().map_err(|error| {
        format!("neither root nor user namespaces, so nothing can be tested: {error}").into()
    })
}

/// Enters a user namespace of its own, as its root. Only before there are threads.
pub(crate) fn enter_user_namespace() -> Result<(), Box<dyn std::error::Error>> {
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(())
}

/// Runs a check in a thread that has a network namespace of its own.
pub(crate) fn in_namespace(check: fn() -> Result<(), Failed>) -> Result<(), Failed> {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| format!("no network namespace, so nothing can be tested: {errno}"))?;
        check()
    });
    thread.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(text.unwrap_or_else(|| "a panic".to_owned()).into())
    })
}

/// Runs `nft` in this thread's namespace.
pub(crate) fn nft(arguments: &[&str], input: &str) -> Result<String, Failed> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(input.as_bytes())?;
    drop(pipe);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("nft {arguments:?} failed: {complaint}\n{input}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What `nft` lists in this thread's namespace, with the elements of each set in one line and
/// sorted: the kernel gives them in any order.
pub(crate) fn listing() -> Result<String, Failed> {
    const OPEN: &str = "elements = { ";
    let text = nft(&["list", "ruleset"], "")?;
    let mut parts = text.split(OPEN);
    let mut sorted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (elements, rest) = part.split_once(" }\n").ok_or("a set without its end")?;
        let mut elements: Vec<_> = elements.split(',').map(str::trim).collect();
        elements.sort_unstable();
        sorted.push_str(&format!("{OPEN}{} }}\n{rest}", elements.join(", ")));
    }
    Ok(sorted)
}

/// Fails unless two things are equal, and shows both.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    got: &T,
    want: &T,
) -> Result<(), Failed> {
    if got == want {
        return Ok(());
    }
    Err(format!("{what}\n got: {got:?}\nwant: {want:?}").into())
}

/// Fails unless two texts are equal, and shows the first line that differs.
pub(crate) fn same_text(what: &str, got: &str, want: &str) -> Result<(), Failed> {
    let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    let (got, want) = (lines(got), lines(want));
    let count = got.len().max(want.len());
    let line = |lines: &[String], at: usize| lines.get(at).cloned();
    match (0..count).find(|at| line(&got, *at) != line(&want, *at)) {
        None => Ok(()),
        Some(at) => Err(format!(
            "{what}, line {}\n got: {:?}\nwant: {:?}\nall:\n{}",
            at + 1,
            line(&got, at),
            line(&want, at),
            got.join("\n")
        )
        .into()),
    }
}

/// Fails unless a text contains another.
pub(crate) fn contains(text: &str, part: &str) -> Result<(), Failed> {
    if text.contains(part) {
        return Ok(());
    }
    Err(format!("{part:?} is not in {text:?}").into())
}
