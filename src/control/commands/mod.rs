//! The commands.

/// Applies a file.
mod apply_file;

/// Owners' decisions about connections.
mod decide;

/// Deletions.
mod delete;

/// Creates and changes objects.
mod put;

/// Bearer tokens.
mod tokens;

pub use apply_file::ApplyFile;
pub use decide::{Decide, DecideAll, Decision, Selection, Until};
pub use delete::Delete;
pub use put::Put;
pub use tokens::{CreateToken, RevokeToken, RotateToken};
