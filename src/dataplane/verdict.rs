//! How a packet ends: one closed verdict, one counter each (law 4).

use crate::snapshot::{AttachmentId, DropReason};

/// The outcome for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Translated; write its first `length` bytes to this attachment.
    Forward {
        /// Where it leaves.
        to: AttachmentId,
        /// Bytes of the frame, link padding excluded.
        length: usize,
    },
    /// Translated into another family: write the forwarder's head, then these bytes of the frame.
    Rebuilt {
        /// Where it leaves.
        to: AttachmentId,
        /// First byte of the frame that is kept.
        from: usize,
        /// End of what is kept.
        end: usize,
    },
    /// Forwarded as frames of the forwarder's own, which wait in its outbox.
    Emitted,
    /// It told the forwarder something and goes no further; counts as forwarded.
    Absorbed,
    /// A piece of a datagram, kept until the others come.
    Held,
    /// The piece made its datagram whole, whose verdict is counted for all its pieces.
    Settled,
    /// Counted under its reason.
    Drop(DropReason),
    /// It belongs to another worker.
    HandOut {
        /// Which one.
        worker: u16,
        /// Whether this worker had no NAT port for it.
        refused: bool,
    },
}
