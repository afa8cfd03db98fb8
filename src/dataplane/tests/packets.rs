//! Packets of the tests: built and taken apart by etherparse, not by the code under test.

use etherparse::{IpNumber, Ipv4Header, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use super::*;

/// A packet as a test speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    pub body: Body,
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Tcp { source: u16, destination: u16, flags: u8, seq: u32, ack: u32 },
    Udp { source: u16, destination: u16 },
    EchoRequest { id: u16, seq: u16 },
    EchoReply { id: u16, seq: u16 },
    Icmp { kind: u8, code: u8 },
}

pub(super) fn tcp(source: &str, source_port: u16, destination: &str, port: u16) -> Packet {
    let body = Body::Tcp { source: source_port, destination: port, flags: ACK, seq: 0, ack: 0 };
    Packet::new(source, destination, body)
}

pub(super) fn udp(source: &str, source_port: u16, destination: &str, port: u16) -> Packet {
    Packet::new(source, destination, Body::Udp { source: source_port, destination: port })
}

pub(super) fn echo_request(source: &str, destination: &str, id: u16) -> Packet {
    Packet::new(source, destination, Body::EchoRequest { id, seq: 1 })
}

impl Packet {
    fn new(source: &str, destination: &str, body: Body) -> Self {
        let parse = |text: &str| text.parse().expect("an address");
        Self { source: parse(source), destination: parse(destination), ttl: 64, body, payload: Vec::new() }
    }

    pub(super) fn flags(mut self, value: u8) -> Self {
        if let Body::Tcp { flags, .. } = &mut self.body {
            *flags = value;
        }
        self
    }

    pub(super) fn seq(mut self, value: u32) -> Self {
        if let Body::Tcp { seq, .. } = &mut self.body {
            *seq = value;
        }
        self
    }

    pub(super) fn ack(mut self, value: u32) -> Self {
        if let Body::Tcp { ack, .. } = &mut self.body {
            *ack = value;
        }
        self
    }

    pub(super) fn ttl(mut self, value: u8) -> Self {
        self.ttl = value;
        self
    }

    pub(super) fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// The packet its receiver would send back.
    pub(super) fn reply(&self) -> Self {
        let body = match self.body.clone() {
            Body::Tcp { source, destination, flags, seq, ack } => {
                Body::Tcp { source: destination, destination: source, flags, seq, ack }
            }
            Body::Udp { source, destination } => Body::Udp { source: destination, destination: source },
            Body::EchoRequest { id, seq } => Body::EchoReply { id, seq },
            other @ (Body::EchoReply { .. } | Body::Icmp { .. }) => other,
        };
        Self { source: self.destination, destination: self.source, ttl: 64, body, payload: self.payload.clone() }
    }

    /// An echo reply in the direction of the request, which no honest host sends.
    pub(super) fn reply_from_its_sender(&self) -> Self {
        Self { body: self.reply().body, ..self.clone() }
    }

    pub(super) fn ports(&self) -> (u16, u16) {
        match self.body {
            Body::Tcp { source, destination, .. } | Body::Udp { source, destination } => (source, destination),
            Body::EchoRequest { id, .. } => (id, 0),
            Body::EchoReply { id, .. } => (0, id),
            Body::Icmp { .. } => (0, 0),
        }
    }

    /// A whole frame with complete checksums and a zero virtio header.
    pub(super) fn frame(&self) -> Vec<u8> {
        let builder = PacketBuilder::ipv4(self.source.octets(), self.destination.octets(), self.ttl);
        let mut frame = vec![0; vnet::LENGTH];
        match self.body {
            Body::Tcp { source, destination, flags, seq, ack } => {
                let mut header = etherparse::TcpHeader::new(source, destination, seq, 65_000);
                header.acknowledgment_number = ack;
                (header.fin, header.syn, header.rst, header.ack) =
                    (flags & 1 != 0, flags & SYN != 0, flags & RST != 0, flags & ACK != 0);
                builder.tcp_header(header).write(&mut frame, &self.payload)
            }
            Body::Udp { source, destination } => builder.udp(source, destination).write(&mut frame, &self.payload),
            Body::EchoRequest { id, seq } => builder.icmpv4_echo_request(id, seq).write(&mut frame, &self.payload),
            Body::EchoReply { id, seq } => builder.icmpv4_echo_reply(id, seq).write(&mut frame, &self.payload),
            Body::Icmp { kind, code } => builder.icmpv4_raw(kind, code, [0; 4]).write(&mut frame, &self.payload),
        }
        .expect("a packet");
        frame
    }

    /// The frame with a partial checksum, as the kernel lends it.
    pub(super) fn partial_frame(&self) -> Vec<u8> {
        let mut frame = self.frame();
        let (number, offset) = if matches!(self.body, Body::Tcp { .. }) { (6, 16) } else { (17, 6) };
        let length = frame.len() - vnet::LENGTH - 20;
        let pseudo = crate::wire::build::pseudo_sum(
            std::net::IpAddr::from(self.source).into(),
            std::net::IpAddr::from(self.destination).into(),
            number,
            length,
        );
        frame[vnet::LENGTH + 20 + offset..][..2].copy_from_slice(&pseudo.to_be_bytes());
        let header = crate::wire::VnetHeader {
            flags: vnet::NEEDS_CSUM,
            csum_start: 20,
            csum_offset: offset as u16,
            ..Default::default()
        };
        frame[..vnet::LENGTH].copy_from_slice(&header.bytes());
        frame
    }

    /// Takes a frame apart and checks every checksum in it.
    pub(super) fn parse(frame: &[u8]) -> Self {
        let sliced = SlicedPacket::from_ip(&frame[vnet::LENGTH..]).expect("a packet");
        let Some(NetSlice::Ipv4(net)) = &sliced.net else { panic!("not IPv4") };
        let header: Ipv4Header = net.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "IP checksum");
        let (body, payload) = match sliced.transport.expect("a transport header") {
            TransportSlice::Tcp(slice) => {
                let tcp = slice.to_header();
                assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv4(&header, slice.payload()), "TCP checksum");
                let flags = [(tcp.fin, 1), (tcp.syn, SYN), (tcp.rst, RST), (tcp.ack, ACK)]
                    .iter()
                    .filter(|(set, _)| *set)
                    .map(|(_, bit)| bit)
                    .sum();
                let body = Body::Tcp {
                    source: tcp.source_port,
                    destination: tcp.destination_port,
                    flags,
                    seq: tcp.sequence_number,
                    ack: tcp.acknowledgment_number,
                };
                (body, slice.payload().to_vec())
            }
            TransportSlice::Udp(slice) => {
                let udp = slice.to_header();
                if udp.checksum != 0 {
                    assert_eq!(Ok(udp.checksum), udp.calc_checksum_ipv4(&header, slice.payload()), "UDP checksum");
                }
                (Body::Udp { source: udp.source_port, destination: udp.destination_port }, slice.payload().to_vec())
            }
            TransportSlice::Icmpv4(slice) => {
                assert_eq!(crate::wire::checksum::sum(slice.slice()), 0xFFFF, "ICMP checksum");
                let icmp_type = slice.icmp_type();
                let body = if let etherparse::Icmpv4Type::EchoRequest(echo) = icmp_type {
                    Body::EchoRequest { id: echo.id, seq: echo.seq }
                } else if let etherparse::Icmpv4Type::EchoReply(echo) = icmp_type {
                    Body::EchoReply { id: echo.id, seq: echo.seq }
                } else {
                    Body::Icmp { kind: slice.type_u8(), code: slice.code_u8() }
                };
                (body, slice.payload().to_vec())
            }
            TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => panic!("not of IPv4 sessions"),
        };
        assert!(matches!(header.protocol, IpNumber::TCP | IpNumber::UDP | IpNumber::ICMP));
        Self {
            source: header.source.into(),
            destination: header.destination.into(),
            ttl: header.time_to_live,
            body,
            payload,
        }
    }
}
