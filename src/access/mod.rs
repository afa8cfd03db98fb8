//! Access control: whether a caller's roles give an action (roles are assigned at a scope and inherited downwards),
//! which rights each command and each reference needs, and which objects a caller may see. Pure: time and randomness
//! are arguments.

/// Decides whether an action is allowed.
mod judge;

/// Whether a caller holds everything that a role gives.
mod holds;

/// Explains a decision.
mod why;

/// The rights that each command needs.
pub mod rights;

#[cfg(test)]
mod tests;

pub use judge::{Access, Allowances, Finding, Grant, Mistake, Reach, Verdict};
pub use why::{Considered, Explanation, SmallestGrant};
