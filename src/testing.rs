//! A small model for the tests of this plane: `spoke` reaches `orders-db` in `core` through `orders`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::access::Access;
use crate::control::codec::{Durable, StateStore};
use crate::model::links::LinkKey;
use crate::model::{
    AttachmentSpec, BackendSpec, Bootstrap, Caller, DenyMode, EndpointIp, HostConfig, Key, Limits, LinkResource, Model,
    NetworkPolicies, Pinned, PortSpec, PrivateEndpoint, Quotas, Subnet, TargetSpec, TimeoutOverrides, Visibility, Vnet,
};
use crate::snapshot::Protocol;
use crate::snapshot::topology::OnExit;
use crate::store::memory::MemoryStore;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn key(name: &str) -> Key {
    Key::new("default", name)
}

/// Codes of rules that the rows of mistakes of `config` provoke, each told to the owners of single objects there.
pub(crate) const TOLD_BY_ROWS: &[&str] = &[
    "AddressInUse",
    "AutoApprovalNotVisible",
    "BackendFamilyWithoutNatIp",
    "BackendOutsideVnet",
    "CrossRegionNotAllowed",
    "DuplicateBackend",
    "DuplicateMember",
    "DuplicateName",
    "DuplicatePriority",
    "DuplicateTarget",
    "InvalidAddress",
    "InvalidAddressSpace",
    "InvalidAlias",
    "InvalidConnectionState",
    "InvalidHealthCheck",
    "InvalidMember",
    "InvalidNatIpCount",
    "InvalidPeering",
    "InvalidPort",
    "InvalidPriority",
    "InvalidRegion",
    "InvalidResourceGroupName",
    "InvalidResourceName",
    "InvalidResourceReference",
    "InvalidResourceType",
    "InvalidSessionLimit",
    "InvalidSubresource",
    "InvalidWorkload",
    "MemberWithoutAddress",
    "NatIpInDedicatedSubnet",
    "NatIpIsReserved",
    "NatIpNotInSubnet",
    "NetcfgSubnetRangeOutsideVnet",
    "NetcfgSubnetRangesOverlap",
    "NoBackends",
    "NoPorts",
    "NoRules",
    "NoTargets",
    "OverlappingPeers",
    "OverlappingPorts",
    "OverlappingPrefixes",
    "PeeringInitiated",
    "PrivateEndpointCannotBeCreatedInDelegatedSubnet",
    "PrivateEndpointCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
    "PrivateEndpointCannotBeCreatedInSubnetWithServiceEndpoints",
    "PrivateEndpointSourceRulesNotSupported",
    "PrivateIPAddressIsReserved",
    "PrivateIPAddressNotInSubnet",
    "PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
    "PrivateLinkServiceInDifferentRegionNotSupported",
    "RegionMismatch",
    "RequestMessageTooLong",
    "RequestMessageUnread",
    "ResolverLoop",
    "ResourceTypeNotAvailableInRegion",
    "SecurityGroupIgnored",
    "SettingWithoutEffect",
    "SharedBackend",
    "SubnetWithoutPrefix",
    "TimeoutTooShort",
    "UnknownResourceType",
    "WorkloadCannotUsePrivateEndpoints",
];

pub(crate) fn noon() -> Timestamp {
    "2026-05-01T12:00:00Z".parse().expect("a time")
}

pub(crate) fn root() -> Caller {
    Caller::user(0, "root")
}

pub(crate) fn link_key() -> LinkKey {
    LinkKey::new([7; 16])
}

pub(crate) fn bootstrap() -> Bootstrap {
    Bootstrap { daemon: 990, socket_group: Some(50) }
}

/// What root may do.
pub(crate) fn access() -> Access {
    Access::new([], [], bootstrap()).expect("sound")
}

pub(crate) fn store() -> Box<dyn StateStore> {
    Box::new(Durable::new(Arc::new(MemoryStore::new())))
}

pub(crate) fn subnet(name: &str, prefix: &str) -> Subnet {
    Subnet {
        name: name.into(),
        prefixes: vec![prefix.parse().expect("a prefix")],
        dedicated: false,
        delegations: vec![],
        service_endpoints: vec![],
        network_policies: NetworkPolicies::Disabled,
        security_group: None,
        nat: Some(true),
    }
}

pub(crate) fn vnet(space: &str, subnets: Vec<Subnet>) -> Vnet {
    Vnet {
        region: "westeurope".into(),
        address_space: vec![space.parse().expect("a prefix")],
        on_premises: vec![],
        peerings: vec![],
        subnets,
        workloads: vec![],
        dns: None,
        lockdown: false,
        public_prefixes: vec![],
        peering_labels: vec![],
        tags: crate::model::Tags::new(),
        foreign: String::new(),
    }
}

pub(crate) fn target(subresource: &str, member: &str, backend: &str) -> TargetSpec {
    TargetSpec {
        health: None,
        port_checks: Vec::new(),
        balance: None,
        subresource: subresource.into(),
        member: member.into(),
        fqdns: vec![],
        backends: vec![BackendSpec { address: ip(backend), drain: false }],
        ports: vec![PortSpec { protocol: Protocol::Tcp, first: 5432, last: 5432, backend_first: 5432 }],
        icmp: false,
    }
}

pub(crate) fn resource(vnet: &str, nat: &str, targets: Vec<TargetSpec>) -> LinkResource {
    LinkResource {
        kind: None,
        region: "westeurope".into(),
        vnet: Some(key(vnet)),
        nat: vec![ip(nat)],
        nat_configs: vec![],
        frontends: vec![],
        destination: None,
        visibility: Visibility::Readers,
        auto_approval: vec![],
        alias: None,
        cross_region: true,
        fqdns: vec![],
        proxy_protocol: false,
        shared_backend: false,
        deny: None,
        max_sessions: None,
        max_sessions_per_endpoint: None,
        rates: None,
        drain: crate::model::DRAIN,
        balance: crate::snapshot::Balance::LeastSessions,
        timeouts: TimeoutOverrides::default(),
        targets,
        tags: crate::model::Tags::new(),
        foreign: String::new(),
    }
}

pub(crate) fn endpoint(vnet: &str, address: Option<&str>, resource: &str) -> PrivateEndpoint {
    PrivateEndpoint {
        region: "westeurope".into(),
        addresses: address.map(|a| EndpointIp { member: String::new(), ip: Some(ip(a)) }).into_iter().collect(),
        ..PrivateEndpoint::new(key(vnet), "endpoints", key(resource))
    }
}

pub(crate) fn model() -> Model {
    let mut model = Model::default();
    model.vnets.insert(key("spoke"), vnet("10.1.0.0/16", vec![subnet("endpoints", "10.1.9.0/24")]));
    model.vnets.insert(key("core"), vnet("10.20.0.0/16", vec![subnet("nat", "10.20.99.0/24")]));
    model.resources.insert(key("orders-db"), resource("core", "10.20.99.4", vec![target("", "", "10.20.0.2")]));
    model.endpoints.insert(key("orders"), endpoint("spoke", Some("10.1.9.4"), "orders-db"));
    model
}

pub(crate) fn attachment(vnet: &str) -> AttachmentSpec {
    AttachmentSpec {
        vnet: key(vnet),
        netns: Some(vnet.into()),
        device: format!("pl-{vnet}"),
        mtu: 1500,
        proxy_on: vec![],
        reach: vec![],
        allow: None,
        pinned: Pinned::default(),
    }
}

pub(crate) fn host(vnets: &[&str]) -> HostConfig {
    HostConfig {
        state: PathBuf::from("/nowhere"),
        socket: PathBuf::from("/nowhere/socket"),
        socket_group: None,
        api: None,
        metrics: None,
        workers: None,
        offload: true,
        max_sessions: 1 << 20,
        on_exit: OnExit::Block,
        deny: DenyMode::Answer,
        deny_rate: 1000,
        timeouts: TimeoutOverrides::default(),
        limits: Limits::default(),
        quotas: Quotas::default(),
        on_request: vec![],
        flow_log: None,
        audit: crate::model::AuditLimits::default(),
        cloud: crate::model::resource_types::Cloud::default(),
        attachments: vnets.iter().map(|vnet| attachment(vnet)).collect(),
    }
}

/// A connection in a state.
pub(crate) fn connection(state: crate::snapshot::ConnectionState) -> crate::model::state::Connection {
    crate::model::state::Connection {
        link: 1,
        state,
        description: String::new(),
        decided_by: crate::model::state::DecidedBy::Nobody,
        decided_at: noon(),
        ends_at: None,
        created_at: noon(),
        requester: root().actor(),
        by_id: false,
        history: Vec::new(),
    }
}

/// So many random cases; seeds of those that failed are kept below `tests/regressions`, and run first.
pub(crate) fn cases(cases: u32) -> proptest::test_runner::Config {
    let kept = proptest::test_runner::FileFailurePersistence::SourceParallel("tests/regressions");
    proptest::test_runner::Config { cases, failure_persistence: Some(Box::new(kept)), ..Default::default() }
}
