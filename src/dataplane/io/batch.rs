//! Frames that are read together from one queue, each in its own place: so that what the next ones need of the
//! session table is on its way from memory while the first ones are handled.

use super::{MAX_FRAME, VNET_HEADER};

/// Frames read together: enough to hide the memory's latency, few enough to stay in the first cache.
pub const FRAMES: usize = 32;

/// Reading stops after so many bytes: a super-packet is written while it is in the cache, not after others.
const BYTES: usize = 16 << 10;

/// The IP header of a frame begins at a multiple of this: wide loads of it never cross a cache line.
const ALIGNMENT: usize = 64;

/// From one place to the next. Not a multiple of a page, else the heads of all frames would fall into the same
/// few sets of the first cache.
const STRIDE: usize = MAX_FRAME.next_multiple_of(4_096) + 2 * ALIGNMENT;

/// Room for [`FRAMES`] of the largest frames; pages are touched only as frames reach them.
#[derive(Debug)]
pub struct Batch {
    memory: Box<[u8]>,
    /// Where the first frame begins, so that its IP header is aligned.
    start: usize,
    lengths: [usize; FRAMES],
    count: usize,
    bytes: usize,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let memory = vec![0; FRAMES * STRIDE + ALIGNMENT].into_boxed_slice();
        let to_packet = memory.as_ptr().wrapping_add(VNET_HEADER).align_offset(ALIGNMENT);
        let start = if to_packet < ALIGNMENT { to_packet } else { 0 };
        Self { memory, start, lengths: [0; FRAMES], count: 0, bytes: 0 }
    }

    /// Forgets its frames.
    pub const fn clear(&mut self) {
        (self.count, self.bytes) = (0, 0);
    }

    /// Where the next frame goes; `None` once no more are to be read.
    pub fn vacant(&mut self) -> Option<&mut [u8]> {
        if self.count == FRAMES || self.bytes >= BYTES { None } else { Some(self.place(self.count)) }
    }

    /// Keeps the first `length` bytes of the vacant place as a frame.
    pub fn keep(&mut self, length: usize) {
        if let Some(kept) = self.lengths.get_mut(self.count) {
            *kept = length.min(MAX_FRAME);
            self.count += 1;
            self.bytes += length;
        }
    }

    /// Adds a frame; `false` where there is no room.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let Some(place) = self.vacant().and_then(|place| place.get_mut(..frame.len())) else { return false };
        place.copy_from_slice(frame);
        self.keep(frame.len());
        true
    }

    /// Frames in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Bytes of its frames.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its frames, in their order.
    #[inline]
    pub fn frames(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let places = self.memory[self.start..].chunks_exact_mut(STRIDE);
        places.zip(&self.lengths[..self.count]).map(|(place, length)| &mut place[..*length])
    }

    /// The frame at `at`; empty where there is none.
    #[inline]
    pub fn frame(&mut self, at: usize) -> &mut [u8] {
        if at >= self.count {
            return &mut [];
        }
        let length = self.lengths[at];
        &mut self.place(at)[..length]
    }

    #[inline]
    fn place(&mut self, at: usize) -> &mut [u8] {
        let from = self.start + at * STRIDE;
        &mut self.memory[from..from + MAX_FRAME]
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(batch: &mut Batch, byte: u8, length: usize) {
        batch.vacant().expect("room")[..length].fill(byte);
        batch.keep(length);
    }

    #[test]
    fn frames_stay_apart_with_their_ip_headers_aligned() {
        let mut batch = Batch::new();
        for byte in 0..FRAMES as u8 {
            keep(&mut batch, byte, 100);
        }
        assert!(batch.vacant().is_none());
        batch.keep(7);
        assert_eq!(batch.len(), FRAMES, "and no more");
        for at in 0..FRAMES {
            let frame = batch.frame(at);
            assert_eq!(frame, vec![at as u8; 100]);
            assert_eq!(frame[VNET_HEADER..].as_ptr().align_offset(ALIGNMENT), 0);
        }
        batch.clear();
        assert!(batch.is_empty() && batch.frame(0).is_empty() && batch.vacant().is_some());
    }

    #[test]
    fn a_super_packet_fills_a_batch() {
        let mut batch = Batch::new();
        keep(&mut batch, 1, 60);
        keep(&mut batch, 2, MAX_FRAME);
        assert!(batch.vacant().is_none());
        assert_eq!((batch.frame(0).len(), batch.frame(1).len()), (60, MAX_FRAME));
    }
}
