//! Packets as the model speaks of them, built and checked from scratch: naive sums over whole packets,
//! nothing of the code under test.

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

/// An IPv4 packet of TCP, UDP or ICMP echo. An echo request has its identifier as source port and
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

fn pseudo(source: u32, destination: u32, protocol: u8, length: usize) -> u16 {
    let mut header = source.to_be_bytes().to_vec();
    header.extend(destination.to_be_bytes());
    header.extend([0, protocol, (length >> 8) as u8, length as u8]);
    naive_sum(&header, 0)
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
    /// The whole frame.
    pub(crate) fn frame(&self, sum: Sum) -> Vec<u8> {
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
                transport.extend((self.ports.0 | self.ports.1).to_be_bytes());
                transport.extend([0, 9]);
            }
        }
        transport.extend(&self.payload);
        let base = match self.protocol {
            ICMP => 0,
            _ => pseudo(self.source, self.destination, self.protocol, transport.len()),
        };
        let complete = !naive_sum(&transport, base);
        let field = match sum {
            Sum::Full if self.protocol == UDP && complete == 0 => 0xFFFF,
            Sum::Full => complete,
            Sum::Partial => base,
            Sum::Wrong => complete ^ 0x1234,
            Sum::Absent => 0,
        };
        let at = sum_at(self.protocol);
        transport[at..at + 2].copy_from_slice(&field.to_be_bytes());

        let total = 20 + transport.len();
        let mut ip = vec![0x45, 0xB9, (total >> 8) as u8, total as u8, 0x77, 0x31, 0x40, 0];
        ip.extend([self.ttl, self.protocol, 0, 0]);
        ip.extend(self.source.to_be_bytes());
        ip.extend(self.destination.to_be_bytes());
        seal(&mut ip);
        let mut frame = vec![0; VNET];
        if sum == Sum::Partial {
            frame[0] = 1;
            frame[6..8].copy_from_slice(&20_u16.to_ne_bytes());
            frame[8..10].copy_from_slice(&(at as u16).to_ne_bytes());
        }
        frame.extend(ip);
        frame.extend(transport);
        frame
    }

    /// Takes an emitted frame apart. Its lengths and its IP checksum must be right.
    pub(crate) fn parse(frame: &[u8]) -> Self {
        let ip = &frame[VNET..];
        assert_eq!(ip[0], 0x45, "no options are ever added");
        assert_eq!(naive_sum(&ip[..20], 0), 0xFFFF, "IP checksum");
        assert_eq!(usize::from(ip[2]) * 256 + usize::from(ip[3]), ip.len(), "total length");
        let word = |at: usize| u32::from_be_bytes(ip[at..at + 4].try_into().expect("four bytes"));
        let half = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        let (header, flags) = match ip[9] {
            TCP => (20, ip[33]),
            UDP | ICMP => (8, 0),
            other => panic!("protocol {other} left the forwarder"),
        };
        let ports = match (ip[9], ip[20]) {
            (ICMP, 8) => (half(24), 0),
            (ICMP, 0) => (0, half(24)),
            (ICMP, _) => (0, 0),
            _ => (half(20), half(22)),
        };
        let (seq, ack) = if ip[9] == TCP { (word(24), word(28)) } else { (0, 0) };
        Self {
            source: word(12),
            destination: word(16),
            protocol: ip[9],
            ports,
            ttl: ip[8],
            flags,
            seq,
            ack,
            payload: ip[20 + header..].to_vec(),
        }
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
    let protocol = ip[9];
    let word = |ip: &[u8], at: usize| u32::from_be_bytes(ip[at..at + 4].try_into().expect("four bytes"));
    if frame[0] & 1 == 1 {
        let start = usize::from(u16::from_ne_bytes([frame[6], frame[7]]));
        let at = start + usize::from(u16::from_ne_bytes([frame[8], frame[9]]));
        let sum = !naive_sum(&ip[start..], 0);
        ip[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let base = match protocol {
        ICMP => 0,
        _ => pseudo(word(&ip, 12), word(&ip, 16), protocol, ip.len() - 20),
    };
    !naive_sum(&ip[20..], base)
}
