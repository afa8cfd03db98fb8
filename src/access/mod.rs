//! Who may do what: whether one of a caller's roles, which are assigned to it at a scope and inherited downwards,
//! gives an action; what each command and each reference asks for; and what of the model a caller may see. Pure:
//! time and randomness enter as arguments.

/// The decision.
mod judge;

/// Whether somebody has all that a role gives.
mod holds;

/// The decision explained.
mod why;

/// What each command needs.
pub mod rights;

#[cfg(test)]
mod tests;

pub use judge::{Access, Allowances, Finding, Grant, Mistake, Reach, Verdict};
pub use why::{Considered, Explanation, SmallestGrant};
