//! Packets as the model speaks of them, built and checked from scratch: naive sums over whole packets,
//! nothing of the code under test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;
/// Bytes of the virtio header.
pub(crate) const VNET: usize = 10;

/// How a packet's transport checksum stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    Full,
    /// Pseudo-header only, as the kernel lends it.
    Partial,
    Wrong,
    /// UDP without a checksum.
    Absent,
}

/// A packet of TCP, UDP or ICMP echo. An echo request has its identifier as source port and
/// destination port 0, a reply the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) protocol: u8,
    pub(crate) ports: (u16, u16),
    pub(crate) ttl: u8,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) payload: Vec<u8>,
}

/// One's-complement sum, word by word with a carry loop (RFC 1071).
pub(crate) fn naive_sum(bytes: &[u8], start: u16) -> u16 {
    let mut total = u32::from(start);
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
        if total > 0xFFFF {
            total = total - 0x1_0000 + 1;
        }
    }
    total as u16
}

/// The model names hosts by 32 bits. On a side of IPv6 such a name stands for an address of `fd00::/96`, or for a special
/// one where it is special itself.
const SPECIAL: [(u32, &str); 3] = [(0x7F00_0001, "::1"), (0xF000_0009, "ff02::9"), (0xA9FE_0101, "fe80::1")];

/// The address that `name` stands for.
pub(crate) fn address(name: u32, six: bool) -> IpAddr {
    if !six {
        return Ipv4Addr::from(name).into();
    }
    let special = SPECIAL.iter().find(|(own, _)| *own == name);
    special.map_or_else(
        || Ipv6Addr::from(0xFD00 << 112 | u128::from(name)).into(),
        |(_, text)| text.parse().expect("an address"),
    )
}

/// The name of an address.
pub(crate) fn name(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => (u128::from(address) & 0xFFFF_FFFF) as u32,
    }
}

fn octets(name: u32, six: bool) -> Vec<u8> {
    match address(name, six) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn pseudo(addresses: &[u8], protocol: u8, length: usize) -> u16 {
    let mut header = addresses.to_vec();
    header.extend([0, protocol, (length >> 8) as u8, length as u8]);
    naive_sum(&header, 0)
}

/// Bytes of the IP header of a frame.
pub(crate) fn header_of(frame: &[u8]) -> usize {
    if frame[VNET] >> 4 == 6 { 40 } else { 20 }
}

/// Protocol number on the wire: ICMP has another in IPv6.
fn number(protocol: u8, six: bool) -> u8 {
    if six && protocol == ICMP { 58 } else { protocol }
}

/// Where the checksum stands in a transport header.
pub(crate) fn sum_at(protocol: u8) -> usize {
    match protocol {
        TCP => 16,
        UDP => 6,
        _ => 2,
    }
}

impl Packet {
    /// The whole frame, in IPv4 or IPv6.
    pub(crate) fn frame(&self, sum: Sum, six: bool) -> Vec<u8> {
        let mut transport = Vec::new();
        match self.protocol {
            TCP => {
                transport.extend(self.ports.0.to_be_bytes());
                transport.extend(self.ports.1.to_be_bytes());
                transport.extend(self.seq.to_be_bytes());
                transport.extend(self.ack.to_be_bytes());
                transport.extend([0x50, self.flags, 0x20, 0, 0, 0, 0, 0]);
            }
            UDP => {
                transport.extend(self.ports.0.to_be_bytes());
                transport.extend(self.ports.1.to_be_bytes());
                transport.extend((self.payload.len() as u16 + 8).to_be_bytes());
                transport.extend([0, 0]);
            }
            _ => {
                let reply = self.ports.0 == 0 && self.ports.1 != 0;
                transport.extend([if reply { 0 } else { 8 }, 0, 0, 0]);
                if six {
                    transport[0] = if reply { 129 } else { 128 };
                }
                transport.extend((self.ports.0 | self.ports.1).to_be_bytes());
                transport.extend([0, 9]);
            }
        }
        transport.extend(&self.payload);
        let addresses = [octets(self.source, six), octets(self.destination, six)].concat();
        let base = match self.protocol {
            ICMP if !six => 0,
            _ => pseudo(&addresses, number(self.protocol, six), transport.len()),
        };
        let complete = !naive_sum(&transport, base);
        let field = match sum {
            Sum::Full if self.protocol == UDP && complete == 0 => 0xFFFF,
            Sum::Full => complete,
            Sum::Partial => base,
            // A UDP checksum of 0 would be none, not a wrong one.
            Sum::Wrong if complete == 0x1234 => 1,
            Sum::Wrong => complete ^ 0x1234,
            Sum::Absent => 0,
        };
        let at = sum_at(self.protocol);
        transport[at..at + 2].copy_from_slice(&field.to_be_bytes());

        let header: u16 = if six { 40 } else { 20 };
        let length = transport.len() as u16;
        let mut ip = Vec::new();
        if six {
            ip.extend([0x6B, 0x90, 0, 0]);
            ip.extend(length.to_be_bytes());
            ip.extend([number(self.protocol, six), self.ttl]);
            ip.extend(addresses);
        } else {
            ip.extend([0x45, 0xB9]);
            ip.extend((20 + length).to_be_bytes());
            ip.extend([0x77, 0x31, 0x40, 0, self.ttl, self.protocol, 0, 0]);
            ip.extend(addresses);
            seal(&mut ip);
        }
        let mut frame = vec![0; VNET];
        if sum == Sum::Partial {
            frame[0] = 1;
            frame[6..8].copy_from_slice(&header.to_ne_bytes());
            frame[8..10].copy_from_slice(&(at as u16).to_ne_bytes());
        }
        frame.extend(ip);
        frame.extend(transport);
        frame
    }

    /// Takes an emitted frame apart. Its lengths and its IP checksum must be right.
    pub(crate) fn parse(frame: &[u8]) -> Self {
        let ip = &frame[VNET..];
        let at = header_of(frame);
        let word = |at: usize| u32::from_be_bytes(ip[at..at + 4].try_into().expect("four bytes"));
        let half = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        let (number, ttl, source, destination) = if at == 40 {
            assert_eq!(ip[0] >> 4, 6);
            assert_eq!(usize::from(half(4)) + 40, ip.len(), "payload length");
            let six = |at: usize| {
                let bytes: [u8; 16] = ip[at..at + 16].try_into().expect("sixteen bytes");
                name(IpAddr::from(Ipv6Addr::from(bytes)))
            };
            (ip[6], ip[7], six(8), six(24))
        } else {
            assert_eq!(ip[0], 0x45, "no options are ever added");
            assert_eq!(naive_sum(&ip[..20], 0), 0xFFFF, "IP checksum");
            assert_eq!(usize::from(half(2)), ip.len(), "total length");
            (ip[9], ip[8], word(12), word(16))
        };
        let (protocol, length, flags) = match number {
            TCP => (TCP, 20, ip[at + 13]),
            UDP => (UDP, 8, 0),
            ICMP | 58 => (ICMP, 8, 0),
            other => panic!("protocol {other} left the forwarder"),
        };
        let ports = match (protocol, ip[at]) {
            (ICMP, 8 | 128) => (half(at + 4), 0),
            (ICMP, 0 | 129) => (0, half(at + 4)),
            (ICMP, _) => (0, 0),
            _ => (half(at), half(at + 2)),
        };
        let (seq, ack) = if protocol == TCP { (word(at + 4), word(at + 8)) } else { (0, 0) };
        let payload = ip[at + length..].to_vec();
        Self { source, destination, protocol, ports, ttl, flags, seq, ack, payload }
    }
}

/// Writes the right checksum into an IPv4 header.
pub(crate) fn seal(ip: &mut [u8]) {
    let header = (usize::from(ip[0] & 15) * 4).clamp(20, ip.len());
    ip[10..12].fill(0);
    let sum = !naive_sum(&ip[..header], 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// How far the transport checksum of a frame is off: 0 when it verifies. A partial one is completed first,
/// as a device does.
pub(crate) fn residue(frame: &[u8]) -> u16 {
    let mut ip = frame[VNET..].to_vec();
    let at = header_of(frame);
    let (protocol, addresses) = if at == 40 { (ip[6], ip[8..40].to_vec()) } else { (ip[9], ip[12..20].to_vec()) };
    if frame[0] & 1 == 1 {
        let start = usize::from(u16::from_ne_bytes([frame[6], frame[7]]));
        let at = start + usize::from(u16::from_ne_bytes([frame[8], frame[9]]));
        let sum = !naive_sum(&ip[start..], 0);
        ip[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let base = match protocol {
        ICMP => 0,
        _ => pseudo(&addresses, protocol, ip.len() - at),
    };
    !naive_sum(&ip[at..], base)
}
