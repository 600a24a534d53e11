//! The CPU executor against the reference, and both against hand-computed values and broken plans.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss
)]

#[path = "../common/mod.rs"]
mod common;

mod activations;
mod broken;
mod by_hand;
mod graph_ops;
mod ops;
mod options;
mod recurrence;
