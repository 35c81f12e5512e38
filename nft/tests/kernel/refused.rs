use crate::Test;
pub(crate) const TESTS: &[Test] = &[];
pub(crate) fn child() -> Option<std::process::ExitCode> {
    None
}
