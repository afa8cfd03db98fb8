//! Linux multi-queue TUN. Super-packets and partial checksums pass through whole: one `read()` is one
//! frame, one `write()` is one frame, nothing is split or joined (performance.md §1, §2).
//!
//! `tun-rs` makes the device; reading and writing is done raw on its descriptors.

#![allow(unsafe_code, reason = "reads, writes and ioctls on raw descriptors; each block says why it is sound")]

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use rustix::io::Errno;
use tun_rs::DeviceBuilder;

use super::{FrameSink, FrameSource, MAX_FRAME, VNET_HEADER};

/// The kernel's door to TUN devices.
const NODE: &str = "/dev/net/tun";

/// The IP header of a lent frame begins at a multiple of this: wide loads of it never cross a cache line.
const ALIGNMENT: usize = 16;

/// Makes the device `name` in the network namespace of the calling thread and opens `queues` queues
/// on it. It stays down, has no address, and disappears with the last queue. `offload` asks for
/// super-packets and partial checksums.
///
/// # Errors
/// One line with its remedy: no TUN driver, no privilege, the name is taken, or the kernel made
/// something else than what was asked for.
pub fn open(name: &str, mtu: u16, queues: u16, offload: bool) -> io::Result<Vec<TunQueue>> {
    let placeholder = create_exclusively(name, offload)?;
    let builder = DeviceBuilder::new().name(name).multi_queue(true).offload(offload).mtu(mtu).enable(false);
    let first = builder.build_sync().map_err(|error| refused(name, &error))?;
    drop(placeholder);
    let mut devices = Vec::with_capacity(usize::from(queues));
    for _ in 1..queues {
        devices.push(first.try_clone().map_err(|error| refused(name, &error))?);
    }
    devices.insert(0, first);
    devices
        .into_iter()
        .map(|device| {
            // SAFETY: `into_raw_fd` gives up an open descriptor that nobody else closes.
            let descriptor = unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) };
            TunQueue::new(descriptor, name, offload)
        })
        .collect()
}

/// One queue of a TUN device.
#[derive(Debug)]
pub struct TunQueue {
    descriptor: Arc<OwnedFd>,
    offload: bool,
}

impl TunQueue {
    fn new(descriptor: OwnedFd, name: &str, offload: bool) -> io::Result<Self> {
        refuse_other_flags(&descriptor, name, offload)?;
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Self { descriptor: Arc::new(descriptor), offload })
    }

    /// A half to read from and a half to write to, over the one descriptor.
    pub fn split(self) -> (TunReader, TunWriter) {
        let reader = TunReader {
            descriptor: Arc::clone(&self.descriptor),
            offload: self.offload,
            buffer: AlignedBuffer::new(),
        };
        (reader, TunWriter { descriptor: self.descriptor, offload: self.offload })
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for TunQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// Where the frames of a queue come from.
#[derive(Debug)]
pub struct TunReader {
    descriptor: Arc<OwnedFd>,
    offload: bool,
    buffer: AlignedBuffer,
}

impl AsFd for TunReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for TunReader {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl FrameSource for TunReader {
    /// A device that is down has no frames; one that is gone is an error.
    fn next_frame(&mut self) -> io::Result<Option<&mut [u8]>> {
        let frame = self.buffer.frame();
        let skipped = if self.offload { 0 } else { VNET_HEADER };
        loop {
            match rustix::io::read(&*self.descriptor, &mut frame[skipped..]) {
                Ok(0) | Err(Errno::AGAIN | Errno::IO) => return Ok(None),
                Ok(length) => {
                    frame[..skipped].fill(0);
                    return Ok(Some(&mut frame[..skipped + length]));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Where frames leave by a queue.
#[derive(Debug)]
pub struct TunWriter {
    descriptor: Arc<OwnedFd>,
    offload: bool,
}

impl AsFd for TunWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl FrameSink for TunWriter {
    /// Without offload the device takes bare packets: a frame that asks for more than that is refused.
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let bytes = if self.offload { frame } else { bare_packet(frame)? };
        loop {
            match rustix::io::write(&*self.descriptor, bytes) {
                Ok(written) if written == bytes.len() => return Ok(()),
                Ok(_) => return Err(ErrorKind::WriteZero.into()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The packet behind an empty virtio-net header (flags: no partial checksum; type: no super-packet).
fn bare_packet(frame: &[u8]) -> io::Result<&[u8]> {
    match frame.split_at_checked(VNET_HEADER) {
        Some(([flags, kind, ..], packet)) if flags & 1 == 0 && *kind == 0 => Ok(packet),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

/// Room for the largest frame, its IP header aligned.
#[derive(Debug)]
struct AlignedBuffer {
    bytes: Box<[u8]>,
    start: usize,
}

impl AlignedBuffer {
    fn new() -> Self {
        let bytes = vec![0; MAX_FRAME + ALIGNMENT].into_boxed_slice();
        let to_packet = bytes.as_ptr().wrapping_add(VNET_HEADER).align_offset(ALIGNMENT);
        Self { start: if to_packet < ALIGNMENT { to_packet } else { 0 }, bytes }
    }

    fn frame(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + MAX_FRAME]
    }
}

/// Makes the device so that nobody else can have it: attaching to a live multi-queue device would
/// silently take part of its packets. The descriptor returned is a queue too, closed once ours are open.
fn create_exclusively(name: &str, offload: bool) -> io::Result<File> {
    let node = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(NODE)
        .map_err(|error| unusable_node(&error))?;
    let vnet = if offload { libc::IFF_VNET_HDR } else { 0 };
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE | libc::IFF_TUN_EXCL | vnet;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (flags & 0xFFFF).cast_unsigned().truncate_to_short();
    // SAFETY: the descriptor is open, and the pointer refers to an `ifreq` that outlives the call.
    if unsafe { libc::ioctl(node.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(refused(name, &io::Error::last_os_error()));
    }
    Ok(node)
}
