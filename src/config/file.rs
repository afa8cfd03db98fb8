//! The tables of the file. A key that has no effect must not look as if it had one: it is refused by name.

/// Roles and assignments.
mod access;

/// Resolvers and zones.
mod dns;

pub(super) use access::{Assignment, Role};
pub(super) use dns::{Dns, DnsZone, Link, Record};

use super::read::{At, Node, OneOrMany, Read, Reader, table};
use super::spec::Spec;
use super::values::{
    Address, ApiAddress, IdleTime, Keyword, Listener, Ports, Prefix, PrefixOrAny, Retention, Shorthand, Size,
};
use crate::model::{Balance, Cloud, ConnectionState, DenyMode, Limits, NetworkPolicies, OnExit, Protocol};

table! {
    /// The configuration of privlink.
    File {
        /// The process: state, sockets, limits.
        "daemon" daemon Optional Daemon,
        /// Where each VNet meets this host.
        "attachment" attachments Optional Vec<Attachment>,
        /// Networks.
        "vnet" vnets Optional Vec<Vnet>,
        /// Rule sets that subnets refer to.
        "security_group" security_groups Optional Vec<Spec<crate::model::SecurityGroup>>,
        /// Private DNS zones of your own: records, and the VNets that see them.
        "dns_zone" dns_zones Optional Vec<DnsZone>,
        /// Types of link resources: one's own, or limited to regions.
        "resource_type" resource_types Optional Vec<ResourceType>,
        /// What may be reached.
        "resource" resources Optional Vec<Resource>,
        /// Who may reach it, by which address.
        "endpoint" endpoints Optional Vec<Endpoint>,
        /// Roles of one's own: what may be done.
        "role" roles Optional Vec<Role>,
        /// Who has which role where.
        "assignment" assignments Optional Vec<Assignment>,
    }
}

table! {
    /// The process: state, sockets, limits.
    Daemon {
        /// Directory of the durable state.
        "state" state Optional At<String>,
        /// Path of the control socket.
        "socket" socket Optional At<String>,
        /// Group that may read over the control socket.
        "socket_group" socket_group Optional At<String>,
        /// Where the API is served over HTTPS, such as "127.0.0.1:8480"; plain HTTP on loopback with `http://` in front.
        "api" api Optional At<ApiAddress>,
        /// Certificate and key of the API's listener; of the daemon's own authority unless set.
        "tls" tls Optional TlsTable,
        /// Address and port of the metrics listener; none unless set.
        "metrics" metrics Optional At<Listener>,
        /// Data workers, 1 to 64; one per core unless set.
        "workers" workers Optional At<u16>,
        /// Super-packets and partial checksums.
        "offload" offload Optional At<bool>,
        /// Sessions the daemon may hold at once.
        "max_sessions" max_sessions Optional At<u32>,
        /// Whether traffic to endpoints stays blocked when the daemon ends.
        "on_exit" on_exit Optional At<Keyword<OnExit>>,
        /// Whether denied packets are answered or dropped silently.
        "deny" deny Optional At<Keyword<DenyMode>>,
        /// Answers to denied packets per second and worker.
        "deny_rate" deny_rate Optional At<u32>,
        /// Idle times of sessions.
        "timeouts" timeouts Optional Timeouts,
        /// Which of Azure's limitations of 2019 hold: "today" (none), "azure-2019" (all), or a table.
        "limits" limits Optional Shorthand<Keyword<Limits>, LimitsTable>,
        /// How much there may be; unlimited unless set.
        "quotas" quotas Optional QuotasTable,
        /// Program to run for each new request, with its arguments; no shell reads them.
        "on_request" on_request Optional OneOrMany<String>,
        /// What is kept of ended sessions; `false`: nothing.
        "flow_log" flow_log Optional Shorthand<bool, LogLimits>,
        /// What is kept of the audit log.
        "audit" audit Optional LogLimits,
        /// Azure's cloud whose zones name typed resources: "commercial" unless set.
        "cloud" cloud Optional At<Keyword<Cloud>>,
    }
}

table! {
    /// Certificate and key of the API's listener.
    TlsTable {
        /// File of the certificate chain, PEM.
        "cert" cert Optional At<String>,
        /// File of its key, PEM.
        "key" key Optional At<String>,
    }
}

table! {
    /// Idle times of sessions.
    Timeouts {
        /// Established TCP, such as "2h4m".
        "tcp_established" tcp_established Optional At<IdleTime>,
        /// Opening and closing TCP.
        "tcp_transitory" tcp_transitory Optional At<IdleTime>,
        /// UDP.
        "udp" udp Optional At<IdleTime>,
        /// ICMP echo.
        "icmp" icmp Optional At<IdleTime>,
        /// Incomplete datagrams.
        "fragment" fragment Optional At<IdleTime>,
    }
}

table! {
    /// Azure's limitations of 2019: `true` lifts a row, `false` keeps it.
    LimitsTable {
        /// "today" or "azure-2019": what the rows are that are not named; "today" unless set.
        "base" base Optional At<Keyword<Limits>>,
        /// Network policies on subnets of endpoints, and source rules of endpoints.
        "network_policies" network_policies Optional At<bool>,
        /// Endpoints in subnets with service endpoints.
        "service_endpoints" service_endpoints Optional At<bool>,
        /// Private link services of another region.
        "cross_region" cross_region Optional At<bool>,
        /// Workloads such as "Azure Container Instance" that use endpoints.
        "workloads" workloads Optional At<bool>,
    }
}

table! {
    /// How much there may be; what is not set is unlimited.
    QuotasTable {
        /// VNets of a subscription.
        "vnets_per_subscription" vnets_per_subscription Optional At<u32>,
        /// Link resources of a subscription.
        "resources_per_subscription" resources_per_subscription Optional At<u32>,
        /// NAT addresses of a resource, 8 at most in any case.
        "nat_ips_per_resource" nat_ips_per_resource Optional At<u32>,
        /// Endpoints of a subscription.
        "endpoints_per_subscription" endpoints_per_subscription Optional At<u32>,
        /// Endpoints in a VNet.
        "endpoints_per_vnet" endpoints_per_vnet Optional At<u32>,
        /// Endpoints bound to a resource.
        "endpoints_per_resource" endpoints_per_resource Optional At<u32>,
    }
}

table! {
    /// What is kept of a log; the oldest goes first.
    LogLimits {
        /// For how long, such as "7d".
        "retain" retain Optional At<Retention>,
        /// How much at most, such as "256MiB".
        "max_bytes" max_bytes Optional At<Size>,
    }
}

table! {
    /// Where a VNet meets this host: a namespace and a TUN device in it.
    Attachment {
        /// Name of its VNet.
        "vnet" vnet Required At<String>,
        /// Network namespace, a name or a path; the daemon's own unless set.
        "netns" netns Optional At<String>,
        /// Name of the TUN device, at most 15 characters; `pl-` and the VNet's name unless set.
        "device" device Optional At<String>,
        /// MTU of the device, bytes.
        "mtu" mtu Optional At<u16>,
        /// Interfaces that answer ARP for endpoint and NAT addresses.
        "proxy_on" proxy_on Optional OneOrMany<String>,
        /// Prefixes outside its VNet in which the VNet's resources may have backends.
        "reach" reach Optional OneOrMany<Prefix>,
        /// What its VNet may carry on this host. Unless set: in the daemon's own namespace what this file says of the VNet,
        /// in another namespace whatever is not in use there.
        "allow" allow Optional OneOrMany<Prefix>,
    }
}

table! {
    /// A network.
    Vnet {
        /// Name, unique in its resource group.
        "name" name Required At<String>,
        /// Owning subscription.
        "subscription" subscription Optional At<String>,
        /// Resource group.
        "resource_group" resource_group Optional At<String>,
        /// Region; its endpoints are in the same one.
        "region" region Optional At<String>,
        /// Prefixes of the network.
        "address_space" address_space Required OneOrMany<Prefix>,
        /// Prefixes that reach it over VPN or a leased line.
        "on_premises" on_premises Optional OneOrMany<Prefix>,
        /// VNets peered with it; counts when both list each other.
        "peerings" peerings Optional OneOrMany<String>,
        /// Parts of the address space.
        "subnets" subnets Optional Vec<Subnet>,
        /// Classes of sources.
        "workloads" workloads Optional Vec<Workload>,
        /// Its resolver.
        "dns" dns Optional Dns,
        /// Whether names of typed resources lead to its Approved endpoints only.
        "lockdown" lockdown Optional At<bool>,
        /// Public addresses of typed resources: no packet of the VNet reaches them past its endpoints.
        "public_prefixes" public_prefixes Optional OneOrMany<Prefix>,
    }
}

table! {
    /// Part of a VNet's address space.
    Subnet {
        /// Name, unique in its VNet.
        "name" name Required At<String>,
        /// Its prefix.
        "prefix" prefix Optional OneOrMany<Prefix>,
        /// Its prefixes, where it has several.
        "prefixes" prefixes Optional OneOrMany<Prefix>,
        /// Whether it holds endpoints only and is routed to the device whole.
        "dedicated" dedicated Optional At<bool>,
        /// Whether NAT addresses may lie in it; left out: as it is.
        "nat" nat Optional At<bool>,
        /// Specialised workloads it is delegated to; it takes no endpoints then.
        "delegations" delegations Optional OneOrMany<String>,
        /// Service endpoints enabled on it.
        "service_endpoints" service_endpoints Optional OneOrMany<String>,
        /// Whether its endpoints obey the security group.
        "network_policies" network_policies Optional At<Keyword<NetworkPolicies>>,
        /// Name of its security group.
        "security_group" security_group Optional At<String>,
    }
}

table! {
    /// A class of sources within a VNet.
    Workload {
        /// Such as "Azure Container Instance".
        "class" class Required At<String>,
        /// Where it lives.
        "prefix" prefix Required At<Prefix>,
        /// Whether it may use private endpoints.
        "private_endpoints" private_endpoints Required At<bool>,
    }
}

table! {
    /// A type of link resources: one's own, or one that is limited to regions.
    ResourceType {
        /// Provider and type, such as "Microsoft.Storage/storageAccounts".
        "name" name Required At<String>,
        /// Regions its resources may be in; every one unless set.
        "regions" regions Optional OneOrMany<String>,
    }
}

table! {
    /// What may be reached: a private link service, or a typed resource.
    Resource {
        /// Such as "Microsoft.Storage/storageAccounts"; a private link service of your own unless set.
        "type" kind Optional At<String>,
        /// Name, unique in its resource group.
        "name" name Required At<String>,
        /// Owning subscription.
        "subscription" subscription Optional At<String>,
        /// Resource group.
        "resource_group" resource_group Optional At<String>,
        /// Region; its VNet's unless set.
        "region" region Optional At<String>,
        /// Name of the VNet its backends are in.
        "vnet" vnet Required At<String>,
        /// 1 to 8 addresses of a subnet of its VNet: backends see clients under them.
        "nat" nat Required OneOrMany<Address>,
        /// Subscriptions that may see it, or "*" for everyone; [] for who may read it alone, as unless set. A typed
        /// resource may besides be requested by whoever knows its ID, unless set.
        "visibility" visibility Optional OneOrMany<String>,
        /// Subscriptions whose requests are approved at once.
        "auto_approval" auto_approval Optional OneOrMany<String>,
        /// Says that its backends serve another resource too.
        "shared_backend" shared_backend Optional At<bool>,
        /// Whether denied packets are answered or dropped silently; the daemon's choice unless set.
        "deny" deny Optional At<Keyword<DenyMode>>,
        /// Sessions it may hold at once.
        "max_sessions" max_sessions Optional At<u32>,
        /// Sessions each of its endpoints may hold at once.
        "max_sessions_per_endpoint" max_sessions_per_endpoint Optional At<u32>,
        /// What may pass in a second through all its endpoints together; as much as comes unless set.
        "rates" rates Optional Rates,
        /// Idle times of its sessions; the daemon's unless set.
        "timeouts" timeouts Optional Timeouts,
        /// How new sessions find one of several backends: the one with the fewest, or always the same one for one
        /// client address.
        "balance" balance Optional At<Keyword<Balance>>,
        /// How long a backend with `drain = true` keeps the sessions it has; 5 minutes unless set.
        "drain" drain Optional At<IdleTime>,
        /// Whether endpoints of other regions may reach it; they may unless set.
        "cross_region" cross_region Optional At<bool>,
        /// First part of the alias by which it may be requested.
        "alias" alias Optional At<String>,
        /// Names that lead to it.
        "fqdns" fqdns Optional OneOrMany<String>,
        /// Stored: this version does not send the PROXY header.
        "proxy_protocol" proxy_protocol Optional At<bool>,
        /// Its backends and ports.
        "targets" targets Optional Vec<Target>,
        /// Its only backend: with `ports`, the short form of one target.
        "destination" destination Optional At<Address>,
        /// Ports of `destination` that endpoints expose.
        "ports" ports Optional Vec<Port>,
    }
}

table! {
    /// One member of one subresource: its servers and exposed ports.
    Target {
        /// Such as "blob"; a private link service has none.
        "subresource" subresource Optional At<String>,
        /// Needed where a subresource has several members.
        "member" member Optional At<String>,
        /// Names that lead to it.
        "fqdns" fqdns Optional OneOrMany<String>,
        /// Addresses of its servers.
        "backends" backends Required OneOrMany<Backend>,
        /// Ports that endpoints expose.
        "ports" ports Required Vec<Port>,
        /// How its servers are checked; they are taken to be well unless set.
        "health" health Optional Health,
    }
}

table! {
    /// A TCP connection that is opened to every server again and again, with a question by HTTP if there is a `path`.
    Health {
        /// Port of the server; the first TCP port that endpoints reach unless set.
        "port" port Optional At<u16>,
        /// Between two checks, such as "5s".
        "interval" interval Optional At<IdleTime>,
        /// How long a connection may take; 2 seconds unless set.
        "timeout" timeout Optional At<IdleTime>,
        /// So many failures in a row, and a server is down; 3 unless set.
        "fall" fall Optional At<u16>,
        /// So many successes in a row, and it is up again; 2 unless set.
        "rise" rise Optional At<u16>,
        /// What is asked for by HTTP, such as "/healthz": a server that does not answer with status 200 fails the check.
        "path" path Optional At<String>,
    }
}

table! {
    /// One server with its settings.
    BackendTable {
        /// Its address.
        "address" address Required At<Address>,
        /// Whether it takes no new sessions.
        "drain" drain Optional At<bool>,
    }
}

/// One server: its address, or a table.
#[derive(Clone, Debug)]
pub(super) struct Backend(pub(super) BackendTable);

impl Read for Backend {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        if node.get_ref().is_table() {
            return BackendTable::read(node, reader).map(Self);
        }
        let address = At::read(node, reader)?;
        Some(Self(BackendTable { span: node.span(), address: Some(address), ..BackendTable::default() }))
    }
}

impl schemars::JsonSchema for Backend {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Backend".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let forms = [generator.subschema_for::<Address>(), generator.subschema_for::<BackendTable>()];
        schemars::json_schema!({ "anyOf": forms })
    }
}

table! {
    /// An exposed port or range of ports.
    Port {
        /// "tcp", "udp" or "icmp".
        "protocol" protocol Required At<Keyword<Protocol>>,
        /// A port, or a range such as "8000-8100"; icmp has none.
        "port" port Optional At<Ports>,
        /// Port of the backend, of a range the first; the same unless set.
        "backend_port" backend_port Optional At<u16>,
    }
}

table! {
    /// An address in a VNet's subnet that reaches one resource, and nothing else.
    Endpoint {
        /// Name, unique in its resource group.
        "name" name Required At<String>,
        /// Owning subscription.
        "subscription" subscription Optional At<String>,
        /// Resource group.
        "resource_group" resource_group Optional At<String>,
        /// Region; its VNet's, which it must be, unless set.
        "region" region Optional At<String>,
        /// Name of the VNet it is in; needed unless `subnet` is a resource ID.
        "vnet" vnet Optional At<String>,
        /// Name or resource ID of the subnet its address is from.
        "subnet" subnet Required At<String>,
        /// Its address; allocated unless set.
        "ip" ip Optional At<Address>,
        /// Its addresses, one per member of the subresource.
        "addresses" addresses Optional Vec<EndpointAddress>,
        /// Name, resource ID or alias of the resource it reaches.
        "resource" resource Required At<String>,
        /// Which part of the resource; needed where it has several.
        "subresource" subresource Optional At<String>,
        /// Whether the resource's owner is asked: the connection starts Pending.
        "manual" manual Optional At<bool>,
        /// At most 140 characters for the owner.
        "request_message" request_message Optional At<String>,
        /// The owner's first decision: "Approved", "Pending" or "Rejected".
        "status" status Optional At<Keyword<ConnectionState>>,
        /// Why the owner decided so.
        "reason" reason Optional At<String>,
        /// Sources that may use it; all that reach it unless set.
        "sources" sources Optional OneOrMany<PrefixOrAny>,
        /// Sessions it may hold at once.
        "max_sessions" max_sessions Optional At<u32>,
        /// What may pass in a second; as much as comes unless set.
        "rates" rates Optional Rates,
        /// Names that may lead to it in its VNet, such as "api.example.com" or "*.example.com", besides the resource's
        /// own name in the zones of its type, which does by itself.
        "accept_names" accept_names Optional OneOrMany<String>,
        /// At most five private DNS zones of your own that its records stand in; its own, which come about with it,
        /// unless set.
        "dns_zones" dns_zones Optional OneOrMany<String>,
    }
}

table! {
    /// What may pass in a second.
    Rates {
        /// Bits of IP packets, in each direction by itself.
        "bits_per_second" bits_per_second Optional At<u64>,
        /// Sessions opened.
        "new_sessions_per_second" new_sessions_per_second Optional At<u32>,
    }
}

table! {
    /// One address of an endpoint.
    EndpointAddress {
        /// Member it stands for.
        "member" member Optional At<String>,
        /// The address; allocated unless set.
        "ip" ip Optional At<Address>,
    }
}
