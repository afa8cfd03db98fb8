//! What few sessions need: kept beside the table, so that a session stays two cache lines.

use super::Tick;

/// The record of one session; it goes with its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// When a TCP segment last passed whose numbers the session does not know.
    pub strange: Option<Tick>,
}
