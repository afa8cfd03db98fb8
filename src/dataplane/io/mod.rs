//! Where packets come from and go to. A frame is a 10-byte virtio-net header followed by one IP
//! packet, which may be a super-packet of up to 64 KiB (Linux `virtio_net_hdr`, `IFF_VNET_HDR`).

use std::io;

pub use batch::Batch;

/// Frames read together.
pub mod batch;

/// In memory, for tests and benches.
pub mod memory;

/// Linux multi-queue TUN, super-packets whole.
pub mod tun;

/// Bytes of the virtio-net header in front of every packet.
pub const VNET_HEADER: usize = 10;

/// Largest frame: header and a 64 KiB super-packet, with room for the kernel's rounding.
pub const MAX_FRAME: usize = VNET_HEADER + 65_535 + 503;

/// Where the frames of one queue come from.
pub trait FrameSource {
    /// Reads frames that wait into `batch` until it is full or the queue is empty. Returns whether the queue may
    /// hold more.
    ///
    /// # Errors
    /// The device's own; one that says the device is gone ends the worker. What was read before it stays in `batch`.
    fn fill(&mut self, batch: &mut Batch) -> io::Result<bool>;
}

/// Takes frames that leave by one queue.
pub trait FrameSink {
    /// Sends one whole frame.
    ///
    /// # Errors
    /// What the device refuses; the packet counts as `WriteFailed`.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Sends one whole frame that stands in two places: its headers, and its payload.
    ///
    /// # Errors
    /// As [`FrameSink::send`].
    fn send_joined(&mut self, head: &[u8], rest: &[u8]) -> io::Result<()>;
}
