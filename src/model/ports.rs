//! Ports that endpoints expose.

use serde::{Deserialize, Serialize};

use super::Protocol;

/// A range of exposed ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// First exposed port.
    pub first: u16,
    /// Last exposed port.
    pub last: u16,
    /// Backend port of the first one.
    pub backend_first: u16,
}

impl PortSpec {
    /// Every port, to the same port of the server.
    pub fn all(protocol: Protocol) -> Self {
        Self { protocol, first: 1, last: u16::MAX, backend_first: 1 }
    }
}
