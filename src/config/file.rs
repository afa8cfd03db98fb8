//! The tables of the file. A key that has no effect must not look as if it had one: it is refused by name.

use super::build::Builder;
use super::read::{At, OneOrMany, table};
use super::spec::{Part, Spec};
use super::values::{ApiAddress, Keyword, Listener, Prefix, Retention, Shorthand, Size};
use crate::model::{self, Cloud, DenyMode, Limits, OnExit, TimeoutOverrides};

table! {
    /// The configuration of privlink.
    File {
        /// The process: state, sockets, limits.
        "daemon" daemon Optional Daemon,
        /// Where each VNet meets this host.
        "attachment" attachments Optional Vec<Attachment>,
        /// Networks.
        "vnet" vnets Optional Vec<Spec<model::Vnet>>,
        /// Rule sets that subnets refer to.
        "security_group" security_groups Optional Vec<Spec<model::SecurityGroup>>,
        /// Private DNS zones of your own: records, and the VNets that see them.
        "dns_zone" dns_zones Optional Vec<Spec<model::DnsZone>>,
        /// Types of link resources: one's own, or limited to regions.
        "resource_type" resource_types Optional Vec<ResourceType>,
        /// What may be reached.
        "resource" resources Optional Vec<Spec<model::LinkResource>>,
        /// Who may reach it, by which address.
        "endpoint" endpoints Optional Vec<Spec<model::PrivateEndpoint>>,
        /// Roles of one's own: what may be done.
        "role" roles Optional Vec<Spec<model::RoleDefinition>>,
        /// Who has which role where.
        "assignment" assignments Optional Vec<Spec<model::RoleAssignment>>,
    }
}

impl File {
    /// Builds the objects of every kind, and before an object those that it refers to.
    pub(super) fn build(&self, builder: &mut Builder) {
        builder.declare(self.vnets.as_ref(), self.broken);
        builder.declare(self.security_groups.as_ref(), self.broken);
        builder.declare(self.dns_zones.as_ref(), self.broken);
        builder.declare(self.resources.as_ref(), self.broken);
        builder.declare(self.endpoints.as_ref(), self.broken);
        builder.resource_types(self);
        builder.objects(self.vnets.as_ref());
        builder.objects(self.security_groups.as_ref());
        builder.objects(self.dns_zones.as_ref());
        builder.objects(self.resources.as_ref());
        builder.objects(self.endpoints.as_ref());
        builder.access(self);
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
        "timeouts" timeouts Optional Part<TimeoutOverrides>,
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
    /// A type of link resources: one's own, or one that is limited to regions.
    ResourceType {
        /// Provider and type, such as "Microsoft.Storage/storageAccounts".
        "name" name Required At<String>,
        /// Regions its resources may be in; every one unless set.
        "regions" regions Optional OneOrMany<String>,
    }
}
