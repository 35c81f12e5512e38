//! Programs for tests.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes an executable shell script.
///
/// Another process writes it: while a test has a file open for writing, a fork in another test's thread keeps it
/// open too, and executing it then fails with "text file busy".
pub(crate) fn script(path: &Path, body: &str) {
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    write!(stdin, "#!/bin/sh\n{body}\n").unwrap();
    drop(stdin);
    assert!(shell.wait().unwrap().success());
}
