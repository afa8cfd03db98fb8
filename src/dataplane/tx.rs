//! Frames that leave: lent where they stand, or made here and waiting.

use std::collections::VecDeque;

use crate::snapshot::AttachmentId;

/// A frame to be written: its head, then its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// Where it leaves.
    pub to: AttachmentId,
    /// Virtio header and headers that stand in another place than the body; empty where the body has its own.
    pub head: &'a [u8],
    /// The rest of the frame.
    pub body: &'a [u8],
}

impl Transmit<'_> {
    /// The frame as one piece.
    #[must_use]
    pub fn whole(&self) -> Vec<u8> {
        [self.head, self.body].concat()
    }
}

/// Frames that are not written in place: answers, resets, pieces of datagrams, translated errors.
#[derive(Debug, Default)]
pub struct TxQueue {
    queue: VecDeque<Waiting>,
    /// The frame that was lent last.
    lent: Vec<u8>,
    /// Denied frames that were answered.
    pub answered: u64,
    /// Packets made here for a session: resets and questions.
    pub originated: u64,
}

#[derive(Debug)]
struct Waiting {
    to: AttachmentId,
    frame: Vec<u8>,
    /// Frames read that it stands for: 0 for a packet that was made here.
    frames: u64,
}

impl TxQueue {
    /// Whether no frame waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Leaves what has become of `frames` frames to be written.
    pub fn forward(&mut self, to: AttachmentId, frame: Vec<u8>, frames: u64) {
        self.queue.push_back(Waiting { to, frame, frames });
    }

    /// Leaves the answer to a denied or late frame to be written.
    pub fn answer(&mut self, to: AttachmentId, frame: Vec<u8>) {
        self.answered += 1;
        self.forward(to, frame, 0);
    }

    /// Leaves a packet to be written that nobody has sent.
    pub fn originate(&mut self, to: AttachmentId, frame: Vec<u8>) {
        self.originated += 1;
        self.forward(to, frame, 0);
    }

    /// The next frame, and how many frames read it stands for.
    pub fn pop(&mut self) -> Option<(Transmit<'_>, u64)> {
        let Waiting { to, frame, frames } = self.queue.pop_front()?;
        self.lent = frame;
        Some((Transmit { to, head: &[], body: &self.lent }, frames))
    }
}
