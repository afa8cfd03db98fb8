//! A link resource with default values.

use super::{Balance, DRAIN, LinkResource, Tags, TimeoutOverrides, Visibility};

impl LinkResource {
    /// A resource of type `kind` with default values. Its backends may be shared: a client of Azure cannot say so, and
    /// `show` reports it.
    #[must_use]
    pub fn blank(kind: Option<String>) -> Self {
        Self {
            visibility: Visibility::unsaid(kind.as_deref()),
            kind,
            region: String::new(),
            vnet: None,
            nat: Vec::new(),
            nat_configs: Vec::new(),
            frontends: Vec::new(),
            destination: None,
            auto_approval: Vec::new(),
            alias: None,
            cross_region: true,
            fqdns: Vec::new(),
            proxy_protocol: false,
            shared_backend: true,
            deny: None,
            max_sessions: None,
            max_sessions_per_endpoint: None,
            rates: None,
            drain: DRAIN,
            balance: Balance::LeastSessions,
            timeouts: TimeoutOverrides::default(),
            targets: Vec::new(),
            tags: Tags::new(),
            foreign: String::new(),
        }
    }
}
