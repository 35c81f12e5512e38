//! The four kinds of patch, as pure functions from a value to a value.

mod apply;
mod json;
mod merge;
mod strategic;

pub(crate) use apply::apply;
pub(crate) use json::json_patch;
pub(crate) use merge::merge;
pub(crate) use strategic::strategic_merge;
