//! How much a request may send, and how long it may take.

use std::time::Duration;

use super::places::CallerLimit;

/// Bodies carry a reason of a few words; more than this is a mistake.
pub(in crate::api) const BODY_LIMIT: usize = 64 * 1024;

/// Where documents are sent.
pub(in crate::api) const DOCUMENTS: &str = "/v1/apply";

/// Bytes of a document at most: its text, as a JSON string.
pub(in crate::api) const DOCUMENT_LIMIT: usize = 10 << 20;

/// Documents of one caller that are held at once.
pub(in crate::api) const DOCUMENTS_EACH: usize = 2;

/// See [`DOCUMENTS_EACH`]; and eight of all callers together.
pub(super) static DOCUMENTS_HELD: CallerLimit = CallerLimit::new(DOCUMENTS_EACH, 8);

/// The daemon gives up on a silent worker after 2 s, on flows after 2 s; nothing takes longer than this. Well beyond
/// what the tests wait for, for the two must not race.
pub(in crate::api) const REQUEST_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 20 });
