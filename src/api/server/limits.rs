//! Limits on the size and duration of requests.

use std::time::Duration;

use super::places::CallerLimit;

/// The largest body apart from documents. Such bodies are short.
pub(in crate::api) const BODY_LIMIT: usize = 64 * 1024;

/// The path for documents.
pub(in crate::api) const DOCUMENTS: &str = "/v1/apply";

/// The largest document: its text as a JSON string.
pub(in crate::api) const DOCUMENT_LIMIT: usize = 10 << 20;

/// The most documents of one caller in memory.
pub(in crate::api) const DOCUMENTS_EACH: usize = 2;

/// The same for all callers together; see [`DOCUMENTS_EACH`].
pub(super) static DOCUMENTS_HELD: CallerLimit = CallerLimit::new(DOCUMENTS_EACH, 8);

/// The daemon gives up on a silent worker after 2 s, on flows after 2 s; nothing takes longer than this. Well beyond
/// what the tests wait for, for the two must not race.
pub(in crate::api) const REQUEST_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 20 });
