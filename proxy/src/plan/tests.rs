//! The rows of the decision tables of what a Service proxy must do, by their words.

mod addresses;
mod endpoints;
mod health;
mod modifiers;
mod stage;
