//! Which Services a change concerns, and that planning only those is planning all.

mod changes;
mod worlds;
