//! How a packet ends: one closed verdict, one counter each (law 4).

use crate::dataplane::fragment::reassembly::Datagram;
use crate::dataplane::tx::Transmit;
use crate::snapshot::DropReason;

/// The outcome for one frame.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    /// Translated: to be written at once.
    Transmit(Transmit<'a>),
    /// Counts as forwarded, though nothing is written now: what became of it waits in the tx queue, or it was an ICMP
    /// error that ends here.
    Forwarded,
    /// A piece of a datagram, kept until the others come.
    Held,
    /// The piece made its datagram whole, whose verdict is counted for all its pieces.
    Whole(Datagram),
    /// Passed to the worker that it belongs to.
    HandedOff,
    /// Counted under its reason.
    Drop(DropReason),
}

impl<'a> From<Result<Transmit<'a>, DropReason>> for Verdict<'a> {
    #[inline]
    fn from(passed: Result<Transmit<'a>, DropReason>) -> Self {
        match passed {
            Ok(transmit) => Self::Transmit(transmit),
            Err(reason) => Self::Drop(reason),
        }
    }
}
