//! How servers are checked.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spelled::{Time, in_order, time};
use super::{PortSpec, Protocol};

/// A TCP connection that is opened to every server again and again, with a question by HTTP if there is a `path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Health", transform = in_order::<Self>, extend("x-inline" = true))]
pub struct HealthCheck {
    /// Port of the server; the first TCP port that endpoints reach unless set.
    pub port: u16,
    /// Between two checks, such as "5s".
    #[serde(with = "time")]
    #[schemars(with = "Time")]
    pub interval: Duration,
    /// How long a connection may take; 2 seconds unless set.
    #[serde(with = "time")]
    #[schemars(with = "Time")]
    pub timeout: Duration,
    /// So many failures in a row, and a server is down; 3 unless set.
    pub fall: u16,
    /// So many successes in a row, and it is up again; 2 unless set.
    pub rise: u16,
    /// What is asked for by HTTP, such as "/healthz": a server that does not answer with status 200 fails the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
        Self { port: 0, interval, timeout, fall: 3, rise: 2, path: None }
    }
}

/// The check of some of a target's ports, as the probe of a load balancer's rule. A server that fails it takes no session at
/// those, whatever it does at others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCheck {
    /// Unique within the target: the probe's.
    pub name: String,
    /// Exposed ports: protocol, first and last.
    pub ports: Vec<(Protocol, u16, u16)>,
    /// How servers are asked.
    pub check: HealthCheck,
}

impl HealthCheck {
    /// How a path is written that a server can be asked for.
    pub const PATH_REMEDY: &'static str =
        "write it from the first `/` on, in at most 1024 visible ASCII characters, with %20 for a space";

    /// Whether a server can be asked for `path`.
    #[must_use]
    pub fn is_path(path: &str) -> bool {
        path.starts_with('/') && path.len() <= 1_024 && path.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// A check every 5 seconds, at `port` or at the first TCP port that endpoints reach; `None`: there is none.
    #[must_use]
    pub fn of(port: Option<u16>, ports: &[PortSpec]) -> Option<Self> {
        let first = || ports.iter().find(|port| port.protocol == Protocol::Tcp).map(|port| port.backend_first);
        let port = port.or_else(first)?;
        Some(Self { port, ..Self::default() })
    }
}
