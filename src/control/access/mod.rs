//! Who may do what (DESIGN §4): roles with wildcard actions, assigned to principals at scopes and
//! inherited downwards, as in Azure; and the bearer tokens by which callers name themselves. Pure:
//! time and randomness enter as arguments.

/// Text compared without regard to case.
mod text;

/// Who is asking.
mod principal;

/// What may name something.
pub mod grammar;

/// Where.
mod scope;

/// What is asked: every action the system judges.
pub mod actions;

/// What a role lets one do, and the roles that come with the system.
mod role;

/// Who has which role where.
mod assignment;

/// The decision.
mod judge;

/// Whether somebody has all that a role gives.
mod holds;

/// The decision explained, and as a refusal.
mod why;

/// Bearer tokens.
pub mod tokens;

#[cfg(test)]
mod tests;

pub use actions::Action;
pub use assignment::{AssignmentId, Bootstrap, RoleAssignment};
pub use judge::{Access, Allowances, Finding, Grant, Mistake, Reach, Verdict};
pub use principal::{Principal, Subject, TokenName};
pub use role::{ActionPattern, RoleDefinition, RoleName, built_in};
pub use scope::Scope;
pub use text::Malformed;
pub(in crate::control) use text::to_hex;
pub use why::{Considered, Explanation, SmallestGrant};
