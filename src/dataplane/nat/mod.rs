//! What a packet is, what it is rewritten to, and under which NAT address and port.

/// Frame → key, or why not.
pub mod classify;

/// Applies a translation with its checksum deltas.
pub mod rewrite;

/// A packet's headers in the other family.
pub mod families;

/// What of a packet fits where it is going.
pub mod fit;

/// TCP segments that are too large, and what cuts them.
pub mod super_packet;

/// The ports of a range that were never used.
mod port_bits;

/// Reserve a NAT address and port for one service tuple.
pub mod ports;

use crate::dataplane::session::{Direction, Pair, Session};
use crate::dataplane::tx::Transmit;
use crate::snapshot::DropReason;
use crate::wire::Address;
use crate::wire::fragment::Identifications;
use classify::Packet;
use families::Head;
use rewrite::Translation;

/// What rewriting needs besides the packet.
#[derive(Debug)]
pub struct Rewriter {
    /// Numbers for packets that may be fragmented.
    pub identifications: Identifications,
    /// Headers of the packet that was last translated into the other family.
    head: Head,
}

impl Rewriter {
    /// One that numbers packets with `identifications`.
    #[must_use]
    pub const fn new(identifications: Identifications) -> Self {
        Self { identifications, head: Head::new() }
    }

    /// A frame of `session` as it leaves: rewritten in place within its family; in the other family, other headers
    /// before the payload where it is.
    ///
    /// # Errors
    /// It becomes too long.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a hit is one function")]
    pub fn rewrite<'a>(
        &'a mut self,
        frame: &'a mut [u8],
        packet: &Packet,
        session: &Session,
        leaves: [Address; 2],
        direction: Direction,
    ) -> Result<Transmit<'a>, DropReason> {
        let (to, translation) = (session.leaves_by(direction), Translation::of(session, leaves, direction));
        if session.families.pair() == Pair::Mixed {
            let from = self.head.translate(frame, packet, &translation, &mut self.identifications)?;
            return Ok(Transmit { to, head: self.head.bytes(), body: &frame[from..packet.end()] });
        }
        rewrite::rewrite(frame, packet, &translation, &mut self.identifications);
        Ok(Transmit { to, head: &[], body: &frame[..packet.end()] })
    }
}
