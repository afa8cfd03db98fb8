//! Bytes ↔ typed views. No state, no policy, no allocation on the way in; every length is checked
//! before it is used, so that no byte string can make the forwarder panic (nat-requirements X-1).

/// Addresses of both families as one type.
pub mod address;

/// IP headers of both versions, outlined alike.
pub mod ip;

/// Address families, and what differs between them.
pub mod family;

/// The virtio-net header in front of every packet of a TUN device.
pub mod vnet;

/// IP and transport headers.
pub mod headers;

/// RFC 1071 sums and RFC 1624 deltas.
pub mod checksum;

/// Packets the forwarder makes by itself: TCP RST, ICMP messages.
pub mod build;

pub use address::{Address, Version};
pub use family::{Family, V4, V6};
pub use vnet::VnetHeader;
