//! Ports that endpoints expose.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Protocol;
use super::spelled::{Keyword, Ports, in_order, port_ranges};

/// A range of exposed ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// An exposed port or range of ports.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Port", transform = in_order::<Self>, extend("x-inline" = true))]
pub(super) struct WrittenPort {
    /// "tcp", "udp" or "icmp".
    #[schemars(with = "Keyword<Protocol>")]
    protocol: Protocol,
    /// A port, or a range such as "8000-8100"; icmp has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Ports")]
    port: Option<String>,
    /// Port of the backend, of a range the first; the same unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend_port: Option<u16>,
}

impl WrittenPort {
    /// ICMP echo.
    pub(super) fn icmp() -> Self {
        Self { protocol: Protocol::Icmp, port: None, backend_port: None }
    }

    /// The ports; `None`: it is ICMP echo, which has none.
    ///
    /// # Errors
    /// The text is no port.
    pub(super) fn spec(&self) -> Result<Option<PortSpec>, String> {
        if self.protocol == Protocol::Icmp {
            return Ok(None);
        }
        let text = self.port.as_deref().unwrap_or_default();
        let (first, last) = port_ranges::parse(text).ok_or_else(|| format!("`{text}` names no ports"))?;
        let backend_first = self.backend_port.unwrap_or(first);
        Ok(Some(PortSpec { protocol: self.protocol, first, last, backend_first }))
    }
}

impl From<PortSpec> for WrittenPort {
    fn from(PortSpec { protocol, first, last, backend_first }: PortSpec) -> Self {
        let backend_port = Some(backend_first).filter(|port| *port != first);
        Self { protocol, port: Some(port_ranges::text(&(first, last))), backend_port }
    }
}

impl PortSpec {
    /// Every port, to the same port of the server.
    pub fn all(protocol: Protocol) -> Self {
        Self { protocol, first: 1, last: u16::MAX, backend_first: 1 }
    }
}
