//! A link resource that nothing is known of.

use super::{Balance, DRAIN, LinkResource, Tags, TimeoutOverrides, Visibility};

impl LinkResource {
    /// One of type `kind` that nothing is known of yet. Its backends may serve another one too: a client of Azure has no word
    /// to say so, and what shows the resource says it.
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
