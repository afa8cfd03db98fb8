//! Linux multi-queue TUN, super-packets whole (Linux `Documentation/networking/tuntap.rst`).
//!
//! Created through `tun-rs`, then read and written raw: one `read` lends a frame, one `write` sends
//! one, and the 10-byte virtio header goes through as the kernel wrote it. A device without that
//! header (offload off) gets a zero one here, so that frames look the same to everyone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use tun_rs::DeviceBuilder;

use super::{FrameSink, FrameSource, MAX_FRAME, VNET_HEADER};

/// Places the IP header, 10 bytes behind the frame's start, on a 16-byte boundary.
const LEAD: usize = 6;

/// One queue of a device; source and sink share it.
#[derive(Clone, Debug)]
pub struct TunQueue {
    file: Arc<File>,
    has_vnet_header: bool,
}

/// Opens device `name` in the namespace of the calling thread with `queues` queues: non-persistent,
/// non-blocking, exclusively ours.
///
/// # Errors
/// No `/dev/net/tun`, no right to it, or the name is taken.
pub fn open(name: &str, mtu: u16, queues: u16, offload: bool) -> io::Result<Vec<TunQueue>> {
    let device =
        DeviceBuilder::new().name(name).mtu(mtu).multi_queue(true).offload(offload).enable(false).build_sync()?;
    let mut devices = Vec::with_capacity(usize::from(queues));
    for _ in 1..queues {
        devices.push(device.try_clone()?);
    }
    devices.insert(0, device);
    devices
        .into_iter()
        .map(|device| {
            device.set_nonblocking(true)?;
            let file = File::from(device.as_fd().try_clone_to_owned()?);
            Ok(TunQueue { file: Arc::new(file), has_vnet_header: offload })
        })
        .collect()
}

impl TunQueue {
    /// The end that is read.
    #[must_use]
    pub fn source(&self) -> TunSource {
        TunSource { queue: self.clone(), buffer: vec![0; LEAD + MAX_FRAME].into_boxed_slice() }
    }

    /// The end that is written.
    #[must_use]
    pub fn sink(&self) -> TunSink {
        TunSink { queue: self.clone() }
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Reads one queue.
#[derive(Debug)]
pub struct TunSource {
    queue: TunQueue,
    buffer: Box<[u8]>,
}

impl AsFd for TunSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl FrameSource for TunSource {
    fn next_frame(&mut self) -> io::Result<Option<&mut [u8]>> {
        let frame = &mut self.buffer[LEAD..];
        let start = if self.queue.has_vnet_header { 0 } else { VNET_HEADER };
        loop {
            match (&*self.queue.file).read(&mut frame[start..]) {
                Ok(length) => {
                    frame[..start].fill(0);
                    return Ok(Some(&mut self.buffer[LEAD..][..start + length]));
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    // EIO: the link is down; it may come up again, and nothing passes meanwhile.
                    Some(Errno::AGAIN | Errno::IO) => return Ok(None),
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Writes one queue.
#[derive(Debug)]
pub struct TunSink {
    queue: TunQueue,
}

impl FrameSink for TunSink {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let start = if self.queue.has_vnet_header { 0 } else { VNET_HEADER };
        let packet = frame.get(start..).unwrap_or_default();
        loop {
            match (&*self.queue.file).write(packet) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
