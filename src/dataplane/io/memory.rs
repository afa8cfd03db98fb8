//! In-memory device for tests and benches: gives frames that someone prepared, keeps those sent.

use std::collections::VecDeque;
use std::io;

use super::{Batch, FrameSink, FrameSource};

/// Frames waiting to be read.
#[derive(Debug, Default)]
pub struct MemorySource {
    waiting: VecDeque<Vec<u8>>,
}

impl MemorySource {
    /// Puts a frame (virtio header and packet) at the end of the queue.
    pub fn push(&mut self, frame: Vec<u8>) {
        self.waiting.push_back(frame);
    }
}

impl Extend<Vec<u8>> for MemorySource {
    fn extend<F: IntoIterator<Item = Vec<u8>>>(&mut self, frames: F) {
        self.waiting.extend(frames);
    }
}

impl FrameSource for MemorySource {
    fn fill(&mut self, batch: &mut Batch) -> io::Result<bool> {
        while let Some(place) = batch.vacant() {
            let Some(frame) = self.waiting.pop_front() else { return Ok(false) };
            let length = frame.len().min(place.len());
            place[..length].copy_from_slice(&frame[..length]);
            batch.keep(length);
        }
        Ok(true)
    }
}

/// Keeps what is sent; refuses on request.
#[derive(Debug, Default)]
pub struct MemorySink {
    /// Frames sent, oldest first.
    pub sent: Vec<Vec<u8>>,
    /// Refuses every frame, as a device that is down does.
    pub broken: bool,
}

impl FrameSink for MemorySink {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::from(io::ErrorKind::NetworkDown));
        }
        self.sent.push(frame.to_vec());
        Ok(())
    }

    fn send_joined(&mut self, head: &[u8], rest: &[u8]) -> io::Result<()> {
        self.send(&[head, rest].concat())
    }
}
