//! What the daemon's file says of this host.

use ipnet::IpNet;

use super::{AttachmentSpec, AuditLimits, Cloud, DenyMode, FlowLog, Key, Limits, Model, Quotas, TimeoutOverrides};

/// What `[daemon]` and `[[attachment]]` say: never enters the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Directory of the durable state.
    pub state: std::path::PathBuf,
    /// The control socket.
    pub socket: std::path::PathBuf,
    /// Group that may read over the control socket.
    pub socket_group: Option<String>,
    /// The API's listener on the network, `None`: none.
    pub api: Option<ApiListener>,
    /// Metrics listener, `None`: none.
    pub metrics: Option<std::net::SocketAddr>,
    /// Data workers; `None`: one per core.
    pub workers: Option<u16>,
    /// Super-packets and partial checksums.
    pub offload: bool,
    /// Live sessions the daemon may hold.
    pub max_sessions: u32,
    /// What stays when the daemon ends.
    pub on_exit: crate::snapshot::topology::OnExit,
    /// How denied packets end.
    pub deny: DenyMode,
    /// Answers per second and worker.
    pub deny_rate: u32,
    /// Idle times.
    pub timeouts: TimeoutOverrides,
    /// Which of Azure's limitations of 2019 hold.
    pub limits: Limits,
    /// How much there may be.
    pub quotas: Quotas,
    /// Program and arguments to run for a new request; empty: none.
    pub on_request: Vec<String>,
    /// What is kept of ended sessions; `None`: nothing.
    pub flow_log: Option<FlowLog>,
    /// What is kept of the audit log.
    pub audit: AuditLimits,
    /// Whose names typed resources have.
    pub cloud: Cloud,
    /// In file order: the order of `AttachmentId`.
    pub attachments: Vec<AttachmentSpec>,
}

/// Where the API is served on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiListener {
    /// Address and port.
    pub address: std::net::SocketAddr,
    /// Without TLS, which only a loopback address may be.
    pub plain: bool,
    /// Certificate chain and key, PEM; `None`: of the daemon's own authority.
    pub certificate: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl HostConfig {
    /// The attachment of `vnet`.
    pub fn attachment(&self, vnet: &Key) -> Option<&AttachmentSpec> {
        self.attachments.iter().find(|attachment| attachment.vnet == *vnet)
    }

    /// Gives attachments that name no `allow` their default: where `is_own` says that no namespace stands between the
    /// VNet and the daemon, what `file` says of that VNet.
    pub fn allow_by_default(&mut self, file: &Model, is_own: impl Fn(&AttachmentSpec) -> bool) {
        for attachment in self.attachments.iter_mut().filter(|attachment| attachment.allow.is_none()) {
            if is_own(attachment) {
                attachment.allow = Some(carried(file, &attachment.vnet));
            }
        }
    }

    /// Takes over what `file` says now about what attachments may carry and reach.
    pub fn follow(&mut self, file: &Self) {
        for attachment in &mut self.attachments {
            if let Some(wanted) = file.attachments.iter().find(|wanted| wanted.vnet == attachment.vnet) {
                attachment.allow.clone_from(&wanted.allow);
                attachment.reach.clone_from(&wanted.reach);
                attachment.pinned = wanted.pinned;
            }
        }
    }
}

/// All that the VNet `key` of `file` brings to its host: its own prefixes and addresses, and those of its peers.
fn carried(file: &Model, key: &Key) -> Vec<IpNet> {
    let Some(vnet) = file.vnets.get(key) else { return Vec::new() };
    let own = vnet.address_space.iter().chain(&vnet.on_premises).chain(&vnet.public_prefixes);
    let peers = vnet.peerings.iter().filter_map(|peer| file.vnets.get(peer)).flat_map(|peer| &peer.address_space);
    let resolvers = vnet.dns.iter().flat_map(|dns| &dns.listen).map(|address| IpNet::from(*address));
    own.chain(peers).copied().chain(resolvers).collect()
}
