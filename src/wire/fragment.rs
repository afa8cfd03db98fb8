//! Fragmentation: fresh identifications, and cutting a packet into pieces.

use super::headers::put_half;
use super::{Version, checksum, ip, vnet};

/// IPv4 and IPv6 identifications that are unique among a worker's packets for as long as its number space
/// lasts, and never meet those of another worker: NAT addresses are shared by all (RFC 6864 §5.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Identifications {
    /// Always below `span16`.
    next16: u32,
    next32: u32,
    step: u32,
    /// The greatest multiple of `step` that fits 16 bits: the numbers repeat after it, and stay this worker's.
    span16: u32,
    worker: u32,
}

impl Identifications {
    /// Those of worker `worker` of `workers`, beginning anywhere.
    #[must_use]
    pub fn new(worker: u16, workers: u16, seed: u32) -> Self {
        let step = u32::from(workers.max(1));
        let span16 = (0x1_0000 / step).max(1);
        Self { next16: seed % span16, next32: seed >> 1, step, span16, worker: u32::from(worker) }
    }

    /// The next identification for IPv4; `packets` numbers from it on are used up, one per segment of a
    /// super-packet.
    #[inline]
    pub fn take16(&mut self, packets: u64) -> u16 {
        let number = self.next16 * self.step + self.worker;
        self.next16 += u32::try_from(packets).unwrap_or(1);
        if self.next16 >= self.span16 {
            self.next16 %= self.span16;
        }
        u16::try_from(number).unwrap_or(0)
    }

    /// The next identification for IPv6.
    pub fn take32(&mut self) -> u32 {
        let number = (self.next32 % (u32::MAX / self.step)) * self.step + self.worker;
        self.next32 = self.next32.wrapping_add(1);
        number
    }
}

/// Cuts a whole IP packet into pieces of at most `mtu` bytes, each a frame with a zero virtio header. `None` when it
/// cannot be cut: its header leaves no room, or pieces of it are pieces already.
#[must_use]
pub fn split(packet: &[u8], mtu: usize, identification: u32) -> Option<Vec<Vec<u8>>> {
    let outline = ip::outline(packet).ok().filter(|outline| outline.fragment.is_none())?;
    let whole = &packet[..outline.total()];
    match outline.version {
        Version::V4 => {
            let (header, rest) = whole.split_at(outline.header());
            let later = copied_options(header);
            pieces(rest, mtu, (header.len(), later.len()), |offset, more, bytes| {
                v4_piece(if offset == 0 { header } else { &later }, offset, more, identification, bytes)
            })
        }
        Version::V6 => {
            let (repeated, field) = unfragmentable(whole)?;
            let (head, rest) = whole.split_at(repeated);
            let length = head.len() + FRAGMENT_HEADER;
            pieces(rest, mtu, (length, length), |offset, more, bytes| {
                v6_piece(head, field, offset, more, identification, bytes)
            })
        }
    }
}

/// Bytes of an IPv6 fragment header (RFC 8200 §4.5).
const FRAGMENT_HEADER: usize = 8;

/// Cuts `rest` so that each piece fits with its header (of the first, and of later ones) into `mtu` bytes.
fn pieces(
    rest: &[u8],
    mtu: usize,
    headers: (usize, usize),
    make: impl Fn(usize, bool, &[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<Vec<u8>>> {
    let (mut offset, mut cut) = (0, Vec::new());
    while offset < rest.len() || cut.is_empty() {
        let room = mtu.checked_sub(if offset == 0 { headers.0 } else { headers.1 })?;
        let left = rest.len() - offset;
        let length = if left <= room { left } else { room & !7 };
        if length == 0 && left > 0 {
            return None;
        }
        cut.push(make(offset, length < left, &rest[offset..offset + length])?);
        offset += length;
    }
    Some(cut)
}

/// The header of later pieces: options that are not to be copied stay behind (RFC 791 §3.1).
fn copied_options(header: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = header.split_at(Version::V4.header());
    let mut out = fixed.to_vec();
    while let [kind, rest @ ..] = options {
        let length = match (kind, rest) {
            (0, _) => break,
            (1, _) => 1,
            (_, [length, ..]) => usize::from(*length).clamp(2, options.len()),
            _ => break,
        };
        if kind & 0x80 != 0 {
            out.extend_from_slice(&options[..length]);
        }
        options = &options[length..];
    }
    out.resize(out.len().next_multiple_of(4), 0);
    out[0] = 0x40 | u8::try_from(out.len() / 4).unwrap_or(5);
    out
}

fn v4_piece(header: &[u8], offset: usize, more: bool, identification: u32, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut frame = [&[0; vnet::LENGTH][..], header, bytes].concat();
    let ip = &mut frame[vnet::LENGTH..];
    put_half(ip, 2, u16::try_from(header.len() + bytes.len()).ok()?);
    put_half(ip, 4, u16::try_from(identification & 0xFFFF).ok()?);
    put_half(ip, 6, u16::try_from(offset / 8).ok()? | if more { 0x2000 } else { 0 });
    put_half(ip, 10, 0);
    let sum = checksum::sum(&ip[..header.len()]);
    put_half(ip, 10, !sum);
    Some(frame)
}

/// Length of the part that every piece repeats, and where in it the next-header field that follows stands: hop-by-hop
/// options, and whatever stands before a routing header (RFC 8200 §4.5).
fn unfragmentable(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut field, mut at) = (6, Version::V6.header());
    let mut kept = (at, field);
    loop {
        let next = *packet.get(field)?;
        if !matches!(next, 0 | 43 | 60) {
            return (next != ip::FRAGMENT).then_some(kept);
        }
        (field, at) = (at, at + (usize::from(*packet.get(at + 1)?) + 1) * 8);
        if next != 60 {
            kept = (at, field);
        }
    }
}

fn v6_piece(
    head: &[u8],
    field: usize,
    offset: usize,
    more: bool,
    identification: u32,
    bytes: &[u8],
) -> Option<Vec<u8>> {
    let mut extension = [0; FRAGMENT_HEADER];
    extension[0] = head[field];
    put_half(&mut extension, 2, u16::try_from(offset).ok()? | u16::from(more));
    extension[4..].copy_from_slice(&identification.to_be_bytes());
    let mut frame = [&[0; vnet::LENGTH][..], head, &extension, bytes].concat();
    let ip = &mut frame[vnet::LENGTH..];
    let payload = ip.len() - Version::V6.header();
    put_half(ip, 4, u16::try_from(payload).ok()?);
    ip[field] = ip::FRAGMENT;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G-4.
    #[test]
    fn two_workers_never_use_the_same_identification() {
        let mut one = Identifications::new(0, 3, 77);
        let mut two = Identifications::new(2, 3, 9_000);
        let mut numbers: Vec<u16> = (0..20_000).flat_map(|_| [one.take16(1), two.take16(1)]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 40_000);
        assert!((0..1_000).all(|_| one.take32().is_multiple_of(3) && two.take32() % 3 == 2));
    }
}
