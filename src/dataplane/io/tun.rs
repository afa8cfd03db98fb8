//! Linux multi-queue TUN. Super-packets and partial checksums pass through whole: one `read()` is one
//! frame, one `write()` is one frame, nothing is split or joined.
//!
//! `tun-rs` makes the device; reading and writing is done raw on its descriptors.

#![allow(unsafe_code, reason = "reads, writes and ioctls on raw descriptors; each block says why it is sound")]

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use rustix::io::Errno;
use tun_rs::DeviceBuilder;

use super::{Batch, FrameSink, FrameSource, VNET_HEADER};
use crate::wire::segment;

/// The kernel's door to TUN devices.
const NODE: &str = "/dev/net/tun";

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
        let reader = TunReader { descriptor: Arc::clone(&self.descriptor), offload: self.offload };
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
    fn fill(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let skipped = if self.offload { 0 } else { VNET_HEADER };
        while let Some(place) = batch.vacant() {
            match rustix::io::read(&*self.descriptor, &mut place[skipped..]) {
                Ok(0) | Err(Errno::AGAIN | Errno::IO) => return Ok(false),
                Ok(length) => {
                    place[..skipped].fill(0);
                    batch.keep(skipped + length);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
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

impl TunWriter {
    fn write(&self, head: &[u8], rest: &[u8]) -> io::Result<()> {
        loop {
            let written = match rest {
                [] => rustix::io::write(&*self.descriptor, head),
                _ => rustix::io::writev(&*self.descriptor, &[IoSlice::new(head), IoSlice::new(rest)]),
            };
            match written {
                Ok(written) if written == head.len() + rest.len() => return Ok(()),
                Ok(_) => return Err(ErrorKind::WriteZero.into()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what the kernel would make of a frame that asks for more than a device without offload does.
    fn write_segments(&self, frame: &[u8]) -> io::Result<()> {
        let packets = segment::segments(frame).ok_or(ErrorKind::InvalidInput)?;
        packets.iter().try_for_each(|packet| self.write(&packet[VNET_HEADER..], &[]))
    }
}

impl FrameSink for TunWriter {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.send_joined(frame, &[])
    }

    /// Without offload the device takes bare packets: a super-packet is cut here.
    fn send_joined(&mut self, head: &[u8], rest: &[u8]) -> io::Result<()> {
        match (self.offload, bare_packet(head)) {
            (true, _) => self.write(head, rest),
            (false, Some(packet)) => self.write(packet, rest),
            (false, None) => self.write_segments(&[head, rest].concat()),
        }
    }
}

/// The packet behind an empty virtio-net header (flags: no partial checksum; type: no super-packet); `None`: it is
/// not empty.
fn bare_packet(frame: &[u8]) -> Option<&[u8]> {
    match frame.split_at_checked(VNET_HEADER) {
        Some(([flags, kind, ..], packet)) if flags & 1 == 0 && *kind == 0 => Some(packet),
        _ => None,
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
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = as_flags(wanted_flags(offload) | libc::IFF_NO_PI | libc::IFF_TUN_EXCL);
    // SAFETY: the descriptor is open, and the pointer refers to an `ifreq` that outlives the call.
    if unsafe { libc::ioctl(node.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(refused(name, &io::Error::last_os_error()));
    }
    Ok(node)
}

/// The kernel takes over the flags of a device that exists already and says nothing: read them back.
fn refuse_other_flags(descriptor: &OwnedFd, name: &str, offload: bool) -> io::Result<()> {
    const COMPARED: c_int =
        libc::IFF_TUN | libc::IFF_TAP | libc::IFF_MULTI_QUEUE | libc::IFF_VNET_HDR | libc::IFF_PERSIST;
    let mut request = request(name)?;
    // SAFETY: the descriptor is open, and the pointer refers to an `ifreq` that outlives the call.
    if unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::TUNGETIFF, &raw mut request) } < 0 {
        return Err(refused(name, &io::Error::last_os_error()));
    }
    // SAFETY: TUNGETIFF has just filled this member of the union.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    if flags & COMPARED == wanted_flags(offload) {
        return Ok(());
    }
    let text =
        format!("device {name} exists with other properties (flags {flags:#x}): remove it, `ip link del {name}`");
    Err(io::Error::new(ErrorKind::AlreadyExists, text))
}

fn wanted_flags(offload: bool) -> c_int {
    libc::IFF_TUN | libc::IFF_MULTI_QUEUE | if offload { libc::IFF_VNET_HDR } else { 0 }
}

/// The kernel's field is a signed 16-bit one, and `IFF_TUN_EXCL` its top bit.
fn as_flags(flags: c_int) -> libc::c_short {
    u16::try_from(flags).unwrap_or_default().cast_signed()
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an `ifreq` is plain integers and arrays; all zeroes is a valid one.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains(['/', '\0', ' ', '%']) {
        let text = format!("`{name}` is no device name: 1 to 15 characters without `/`, `%` and spaces");
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

fn unusable_node(error: &io::Error) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => format!(
            "there is no {NODE}: load the driver with `modprobe tun`; \
             start a container with `--device {NODE} --cap-add NET_ADMIN`"
        ),
        Some(libc::EACCES | libc::EPERM) => format!(
            "{NODE} may not be opened ({error}): start privlink with sudo; \
             start a container with `--device {NODE} --cap-add NET_ADMIN`"
        ),
        _ => format!("cannot open {NODE}: {error}"),
    };
    io::Error::new(error.kind(), text)
}

fn refused(name: &str, error: &io::Error) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::EBUSY) => format!(
            "device {name} exists already: another program has it, or `ip link del {name}` removes it; \
             or give this attachment another `device`"
        ),
        Some(libc::EPERM | libc::EACCES) => {
            format!("device {name} may not be made: needs root (CAP_NET_ADMIN); start privlink with sudo")
        }
        Some(libc::EINVAL) => {
            format!("this kernel refuses device {name} ({error}): set `offload = false`, or give it another `device`")
        }
        _ => format!("cannot make device {name}: {error}"),
    };
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A datagram socket keeps frames apart as a TUN does.
    fn halves(offload: bool) -> (TunReader, TunWriter, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("non-blocking");
        let (reader, writer) = TunQueue { descriptor: Arc::new(ours.into()), offload }.split();
        (reader, writer, theirs)
    }

    /// What waits in a queue.
    fn read(reader: &mut TunReader, batch: &mut Batch) -> Vec<Vec<u8>> {
        batch.clear();
        reader.fill(batch).expect("alive");
        (0..batch.len()).map(|at| batch.frame(at).to_vec()).collect()
    }

    #[test]
    fn frames_are_read_whole_until_the_queue_is_empty() {
        let (mut reader, _writer, device) = halves(true);
        let mut batch = Batch::new();
        assert!(!reader.fill(&mut batch).expect("alive") && batch.is_empty());
        let sent: Vec<u8> = (0..=255).cycle().take(VNET_HEADER + 65_000).collect();
        device.send(&sent[..100]).expect("sent");
        device.send(&sent).expect("sent");
        device.send(&sent[..50]).expect("sent");
        assert!(reader.fill(&mut batch).expect("alive"), "a super-packet ends the batch");
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.frame(0), &sent[..100]);
        assert_eq!(batch.frame(1), sent);
        assert_eq!(read(&mut reader, &mut batch), [&sent[..50]]);
        assert!(read(&mut reader, &mut batch).is_empty());
    }

    #[test]
    fn without_offload_frames_still_begin_with_an_empty_header() {
        let (mut reader, mut writer, device) = halves(false);
        let mut batch = Batch::new();
        batch.vacant().expect("room").fill(0xFF);
        device.send(&[0x45, 1, 2, 3]).expect("sent");
        let frame = read(&mut reader, &mut batch).remove(0);
        assert_eq!(frame, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x45, 1, 2, 3]);
        writer.send(&frame).expect("taken");
        let mut received = [0; 16];
        assert_eq!(device.recv(&mut received).expect("received"), 4);
        assert_eq!(received[..4], [0x45, 1, 2, 3]);
        for (position, value) in [(0, 1), (1, 4)] {
            let mut asking = frame.clone();
            asking[position] = value;
            assert_eq!(writer.send(&asking).expect_err("needs offload").kind(), ErrorKind::InvalidInput);
        }
    }

    /// A TUN without offload gets what the kernel would have made of a super-packet.
    #[test]
    fn without_offload_a_super_packet_is_cut_before_it_is_written() {
        let (_reader, mut writer, device) = halves(false);
        let mut frame = vec![0; VNET_HEADER];
        let builder = etherparse::PacketBuilder::ipv4([10, 1, 9, 4], [10, 1, 0, 5], 9).tcp(443, 40_000, 7, 64_000);
        builder.write(&mut frame, &[7; 2_500]).expect("written");
        let vnet = crate::wire::VnetHeader {
            flags: crate::wire::vnet::NEEDS_CSUM,
            gso_type: crate::wire::vnet::GSO_TCPV4,
            hdr_len: 40,
            gso_size: 1_000,
            csum_start: 20,
            csum_offset: 16,
        };
        frame[..VNET_HEADER].copy_from_slice(&vnet.bytes());
        for (head, rest) in [(&frame[..], &[][..]), frame.split_at(VNET_HEADER + 40)] {
            writer.send_joined(head, rest).expect("taken");
            for length in [1_040, 1_040, 540] {
                let mut packet = [0; 2_000];
                assert_eq!(device.recv(&mut packet).expect("a packet"), length);
                let packet = crate::wire::ip::outline(&packet[..length]).expect("a packet");
                assert_eq!(packet.total(), length);
            }
        }
    }

    #[test]
    fn device_names_that_the_kernel_would_change_or_cut_are_refused() {
        for name in ["", "sixteen-letters-", "a/b", "tun%d", "a b"] {
            assert!(request(name).is_err(), "{name}");
        }
        assert!(request("fifteen-letters").is_ok());
    }

    #[test]
    fn every_refusal_of_the_kernel_names_a_remedy() {
        for (code, remedy) in
            [(libc::ENOENT, "modprobe tun"), (libc::ENODEV, "--device /dev/net/tun"), (libc::EPERM, "sudo")]
        {
            let text = unusable_node(&io::Error::from_raw_os_error(code)).to_string();
            assert!(text.contains(remedy), "{text}");
        }
        for (code, remedy) in [(libc::EBUSY, "ip link del pl-a"), (libc::EPERM, "CAP_NET_ADMIN")] {
            let text = refused("pl-a", &io::Error::from_raw_os_error(code)).to_string();
            assert!(text.contains(remedy), "{text}");
        }
    }
}
