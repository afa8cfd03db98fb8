//! The commands, each with what follows from it.

/// A file that is applied.
mod apply_file;

/// What owners decide.
mod decide;

/// Deletions.
mod delete;

/// Objects that are made or changed.
mod put;

/// Bearer tokens.
mod tokens;

pub use apply_file::ApplyFile;
pub use decide::{Decide, DecideAll, Decision, Selection, Until};
pub use delete::Delete;
pub use put::Put;
pub use tokens::{CreateToken, RevokeToken, RotateToken};
