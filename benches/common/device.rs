//! Devices in memory that cost as little as a device can: frames come from one block of memory, sent ones are counted.

use std::io;

use privlink::dataplane::io::{Batch, FrameSink, FrameSource};

/// Gives the frames of a block in turn, as many as it is told to.
#[derive(Debug)]
pub struct Cycle {
    block: Vec<u8>,
    at: usize,
    length: usize,
    /// Where the lower half of a sequence number stands that every frame advances by one: 0 where there is none.
    sequence: usize,
    /// Frames still to come.
    pub left: u64,
}

impl Cycle {
    /// A source of `frames`, all of one length.
    pub fn new<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut length = 0;
        let block = frames.inspect(|frame| length = frame.len()).flatten().copied().collect();
        Self { block, at: 0, length, sequence: 0, left: 0 }
    }

    /// Every TCP frame carries one byte that none before it had, as those of a busy connection do.
    #[must_use]
    pub fn advancing(mut self) -> Self {
        let header = if self.block[super::HEADER] >> 4 == 6 { 40 } else { 20 };
        self.sequence = super::HEADER + header + 4 + 2;
        self
    }
}

impl FrameSource for Cycle {
    fn fill(&mut self, batch: &mut Batch) -> io::Result<bool> {
        while self.left > 0 {
            let Some(place) = batch.vacant() else { return Ok(true) };
            self.left -= 1;
            let end = self.at + self.length;
            if self.sequence != 0 {
                let low = &mut self.block[self.at + self.sequence..][..2];
                low.copy_from_slice(&(u16::from_be_bytes([low[0], low[1]]).wrapping_add(1)).to_be_bytes());
            }
            place[..self.length].copy_from_slice(&self.block[self.at..end]);
            self.at = if end == self.block.len() { 0 } else { end };
            batch.keep(self.length);
        }
        Ok(false)
    }
}

/// Counts what it is given.
#[derive(Debug, Default)]
pub struct Count(pub u64);

impl FrameSink for Count {
    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn send_joined(&mut self, _: &[u8], _: &[u8]) -> io::Result<()> {
        self.0 += 1;
        Ok(())
    }
}
