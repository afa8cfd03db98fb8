//! Bytes ↔ typed views. No state, no policy, no allocation on the way in; every length is checked
//! before it is used, so that no byte string can make the forwarder panic (requirement X-1).

/// Addresses of both families as one type.
pub mod address;

/// IP headers of both versions, outlined alike.
pub mod ip;

/// The virtio-net header in front of every packet of a TUN device.
pub mod vnet;

/// Transport headers.
pub mod headers;

/// Fresh identifications, and cutting a packet into pieces.
pub mod fragment;

/// Cutting a super-packet into the packets that it stands for.
pub mod segment;

/// RFC 1071 sums and RFC 1624 deltas.
pub mod checksum;

/// ICMP errors, read and rebuilt.
pub mod icmp;

/// Packets the forwarder makes by itself: TCP RST, ICMP messages.
pub mod build;

pub use address::{Address, Version};
pub use vnet::VnetHeader;
