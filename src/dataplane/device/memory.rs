//! In-memory device for tests and benches: lends frames that someone prepared, keeps those sent.

use std::collections::VecDeque;
use std::io;

use super::{FrameSink, FrameSource};

/// Frames waiting to be read. A read frame stays until the next read, so that it can be rewritten in
/// place as a real device's buffer is.
#[derive(Debug, Default)]
pub struct MemorySource {
    waiting: VecDeque<Vec<u8>>,
    current: Vec<u8>,
}

impl MemorySource {
    /// Puts a frame (virtio header and packet) at the end of the queue.
    pub fn push(&mut self, frame: Vec<u8>) {
        self.waiting.push_back(frame);
    }
}

impl FrameSource for MemorySource {
    fn next_frame(&mut self) -> io::Result<Option<&mut [u8]>> {
        let Some(frame) = self.waiting.pop_front() else { return Ok(None) };
        self.current = frame;
        Ok(Some(&mut self.current))
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
