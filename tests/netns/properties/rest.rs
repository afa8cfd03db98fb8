//! What Azure's clients write: most of it is what a file says too, the rest is flipped here by `PUT`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::run::Lab;
use super::world::{self, BASE, Steady};
use super::{Client, See, properties, table};
use crate::lab::{ip, isolated, rest};
use crate::peers::serve;

/// The bodies that are written, by their names in the API's own schema.
const BODIES: [&str; 11] = [
    "ResourceGroup",
    "VirtualNetwork",
    "LoadBalancer",
    "PrivateLinkService",
    "TypedResource",
    "PrivateEndpoint",
    "Connection",
    "PrivateDnsZone",
    "VirtualNetworkLink",
    "RecordSet",
    "PrivateDnsZoneGroup",
];

/// What a property does.
enum Does {
    /// What this property of a file does.
    As(&'static str),
    /// Another value (JSON) at this place of that object, and what is seen of both. `Refused`: the code.
    Put(&'static Object, &'static str, &'static str, [See; 2]),
}

use Does::{As, Put};

/// An object, as it is written first.
struct Object {
    path: &'static str,
    body: &'static str,
}

const GROUP: Object =
    Object { path: "/subscriptions/s/resourcegroups/g", body: r#"{"location":"local","tags":{"team":"first"}}"# };

macro_rules! network {
    ($rest:literal) => {
        concat!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/", $rest)
    };
}

macro_rules! core {
    ($rest:literal) => {
        concat!("/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/virtualNetworks/", $rest)
    };
}

const VNET: Object = Object {
    path: network!("virtualNetworks/v"),
    body: r#"{"location":"local","tags":{"team":"first"},"properties":{"addressSpace":{"addressPrefixes":["10.8.0.0/16"]},
        "subnets":[{"name":"a","properties":{"addressPrefix":"10.8.1.0/24","privateLinkServiceNetworkPolicies":"Enabled",
            "delegations":[{"name":"d","properties":{"serviceName":"Microsoft.Sql/managedInstances"}}]}}]}}"#,
};

const PEERING: Object = Object {
    path: core!("spoke/virtualNetworkPeerings/hub"),
    body: concat!(
        r#"{"name":"hub","properties":{"allowVirtualNetworkAccess":true,"allowForwardedTraffic":false,"remoteVirtualNetwork":{"id":""#,
        core!("hub"),
        r#""}}}"#
    ),
};

const BALANCER: Object = Object {
    path: network!("loadBalancers/lb"),
    body: concat!(
        r#"{"location":"local","tags":{"team":"first"},"sku":{"name":"Standard"},"properties":{
        "frontendIPConfigurations":[
            {"name":"fe","properties":{"privateIPAddress":"10.20.99.60","subnet":{"id":""#,
        core!("core/subnets/nat"),
        r#""}}},{"name":"fe2","properties":{"privateIPAddress":"10.20.99.61"}},
            {"name":"fe3","properties":{"privateIPAddress":"10.20.99.62"}}],
        "backendAddressPools":[
            {"name":"one","properties":{"loadBalancerBackendAddresses":[{"name":"b","properties":{
                "ipAddress":"10.20.0.12","adminState":"None","virtualNetwork":{"id":""#,
        core!("core"),
        r#""}}}]}},{"name":"two","properties":{"loadBalancerBackendAddresses":[{"name":"b","properties":{"ipAddress":"10.20.0.13"}}]}}],
        "loadBalancingRules":[
            {"name":"r","properties":{"protocol":"Tcp","frontendPort":7,"backendPort":7000,
                "frontendIPConfiguration":{"id":""#,
        network!("loadBalancers/lb/frontendIPConfigurations/fe"),
        r#""},"backendAddressPool":{"id":""#,
        network!("loadBalancers/lb/backendAddressPools/one"),
        r#""}}},{"name":"r2","properties":{"protocol":"Tcp","frontendPort":7,"backendPort":7000,
                "frontendIPConfiguration":{"id":""#,
        network!("loadBalancers/lb/frontendIPConfigurations/fe2"),
        r#""},"backendAddressPool":{"id":""#,
        network!("loadBalancers/lb/backendAddressPools/two"),
        r#""}}}]}}"#
    ),
};

const SERVICE: Object = Object {
    path: network!("privateLinkServices/pls"),
    body: concat!(
        r#"{"location":"local","tags":{"team":"first"},"properties":{"visibility":{"subscriptions":["*"]},
        "loadBalancerFrontendIpConfigurations":[{"id":""#,
        network!("loadBalancers/lb/frontendIPConfigurations/fe"),
        r#""}],"ipConfigurations":[{"name":"nat","properties":{"privateIPAddress":"10.20.99.50","privateIPAllocationMethod":"Static",
            "privateIPAddressVersion":"IPv4","primary":true,"subnet":{"id":""#,
        core!("core/subnets/nat"),
        r#""}}}]}}"#
    ),
};

const STORE: Object = Object {
    path: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/stored",
    body: concat!(
        r#"{"location":"local","tags":{"team":"first"},"kind":"StorageV2","sku":{"name":"Standard_LRS"},"properties":{"privlink":{
        "vnet":""#,
        core!("core"),
        r#"","nat":["10.20.99.51"],"targets":[{"subresource":"blob","backends":["10.20.0.14"],"ports":[{"protocol":"tcp","port":7}]}]}}}"#
    ),
};

const ENDPOINT: Object = Object {
    path: network!("privateEndpoints/pe"),
    body: concat!(
        r#"{"location":"local","tags":{"team":"first"},"properties":{"customNetworkInterfaceName":"nic","subnet":{"id":""#,
        core!("spoke/subnets/quiet"),
        r#""},"privateLinkServiceConnections":[{"name":"c","properties":{"privateLinkServiceId":""#,
        network!("privateLinkServices/pls"),
        r#""}}],"ipConfigurations":[{"name":"first","properties":{"groupId":"","memberName":"","privateIPAddress":"10.1.7.50"}}]}}"#
    ),
};

const ZONE: Object = Object {
    path: network!("privateDnsZones/rest.internal"),
    body: r#"{"location":"global","tags":{"team":"first"}}"#,
};

const LINK: Object = Object {
    path: network!("privateDnsZones/rest.internal/virtualNetworkLinks/l"),
    body: concat!(
        r#"{"location":"global","tags":{"team":"first"},"properties":{"registrationEnabled":false,"virtualNetwork":{"id":""#,
        core!("spoke"),
        r#""}}}"#
    ),
};

const RECORDS: Object = Object {
    path: network!("privateDnsZones/rest.internal/TXT/www"),
    body: r#"{"properties":{"ttl":60,"metadata":{"team":"first"},"txtRecords":[{"value":["hello"]}]}}"#,
};

const AUTHORITY: Object = Object {
    path: network!("privateDnsZones/rest.internal/SOA/@"),
    body: r#"{"properties":{"soaRecord":{"email":"first.rest.internal","refreshTime":11,"retryTime":12,"expireTime":13,"minimumTtl":14}}}"#,
};

const ZONES: Object = Object {
    path: network!("privateEndpoints/pe/privateDnsZoneGroups/default"),
    body: concat!(
        r#"{"properties":{"privateDnsZoneConfigs":[{"name":"first","properties":{"privateDnsZoneId":""#,
        network!("privateDnsZones/rest.internal"),
        r#""}}]}}"#
    ),
};

/// In the order of their dependencies.
const OBJECTS: [&Object; 12] =
    [&GROUP, &VNET, &PEERING, &BALANCER, &SERVICE, &STORE, &ENDPOINT, &ZONE, &LINK, &RECORDS, &AUTHORITY, &ZONES];

/// A time of a zone's start of authority.
const fn soa(at: &'static str, texts: [&'static str; 2]) -> Does {
    shown(&AUTHORITY, at, "99", texts)
}

/// What a record set says is what a file says, whatever the type.
const VALUES: Does = As("dns_zone.records.values");

const CLIENT: Client = ("spoke", "10.1.0.5");
const BALANCED: &str = "10.1.7.50:7";

const fn passes(name: &'static str) -> See {
    See::Tcp(CLIENT, BALANCED, name)
}

/// Written and shown, and no packet asks.
const fn shown(object: &'static Object, at: &'static str, value: &'static str, texts: [&'static str; 2]) -> Does {
    Put(object, at, value, [See::Shows(object.path, texts[0]), See::Shows(object.path, texts[1])])
}

/// A pointer to the parts of the load balancer.
macro_rules! pool {
    ($rest:literal) => {
        concat!("/properties/backendAddressPools/0", $rest)
    };
}
macro_rules! server {
    ($rest:literal) => {
        concat!("/properties/backendAddressPools/0/properties/loadBalancerBackendAddresses/0", $rest)
    };
}
macro_rules! rule {
    ($rest:literal) => {
        concat!("/properties/loadBalancingRules/0", $rest)
    };
}

const TEAMS: [&str; 2] = [r#""team":"first""#, r#""team":"second""#];
const SECOND: &str = r#"{"team":"second"}"#;

static ROWS: &[(&str, Does)] = &[
    ("ResourceGroup.location", shown(&GROUP, "/location", "\"elsewhere\"", ["\"local\"", "\"elsewhere\""])),
    ("ResourceGroup.tags", shown(&GROUP, "/tags", SECOND, TEAMS)),
    ("VirtualNetwork.location", As("vnet.region")),
    ("VirtualNetwork.tags", shown(&VNET, "/tags", SECOND, TEAMS)),
    ("VirtualNetwork.properties.addressSpace.addressPrefixes", As("vnet.address_space")),
    ("VirtualNetwork.properties.privlink.onPremises", As("vnet.on_premises")),
    ("VirtualNetwork.properties.privlink.dns.acceptNames", As("vnet.dns.accept_names")),
    ("VirtualNetwork.properties.privlink.dns.answer", As("vnet.dns.answer")),
    ("VirtualNetwork.properties.privlink.dns.listen", As("vnet.dns.listen")),
    ("VirtualNetwork.properties.privlink.dns.ttlInSeconds", As("vnet.dns.ttl")),
    ("VirtualNetwork.properties.privlink.dns.upstream", As("vnet.dns.upstream")),
    ("VirtualNetwork.properties.privlink.lockdown", As("vnet.lockdown")),
    ("VirtualNetwork.properties.privlink.publicPrefixes", As("vnet.public_prefixes")),
    ("VirtualNetwork.properties.privlink.workloads.class", As("vnet.workloads.class")),
    ("VirtualNetwork.properties.privlink.workloads.prefix", As("vnet.workloads.prefix")),
    ("VirtualNetwork.properties.privlink.workloads.privateEndpoints", As("vnet.workloads.private_endpoints")),
    ("VirtualNetwork.properties.subnets.name", As("vnet.subnets.name")),
    ("VirtualNetwork.properties.subnets.properties.addressPrefix", As("vnet.subnets.prefix")),
    ("VirtualNetwork.properties.subnets.properties.addressPrefixes", As("vnet.subnets.prefixes")),
    (
        "VirtualNetwork.properties.subnets.properties.delegations.name",
        shown(
            &VNET,
            "/properties/subnets/0/properties/delegations/0/name",
            "\"e\"",
            ["\"delegations\":[{\"name\":\"d\"", "\"delegations\":[{\"name\":\"e\""],
        ),
    ),
    ("VirtualNetwork.properties.subnets.properties.delegations.properties.serviceName", As("vnet.subnets.delegations")),
    ("VirtualNetwork.properties.subnets.properties.networkSecurityGroup.id", As("vnet.subnets.security_group")),
    (
        "VirtualNetwork.properties.subnets.properties.privateEndpointNetworkPolicies",
        As("vnet.subnets.network_policies"),
    ),
    // Nothing in it has a NAT address: `vnet.subnets.nat` says what the mark decides.
    (
        "VirtualNetwork.properties.subnets.properties.privateLinkServiceNetworkPolicies",
        shown(
            &VNET,
            "/properties/subnets/0/properties/privateLinkServiceNetworkPolicies",
            "\"Disabled\"",
            ["\"privateLinkServiceNetworkPolicies\":\"Enabled\"", "\"privateLinkServiceNetworkPolicies\":\"Disabled\""],
        ),
    ),
    ("VirtualNetwork.properties.subnets.properties.privlink.dedicated", As("vnet.subnets.dedicated")),
    ("VirtualNetwork.properties.subnets.properties.serviceEndpoints.service", As("vnet.subnets.service_endpoints")),
    // Of a peering with a path of its own, the path names it.
    (
        "VirtualNetwork.properties.virtualNetworkPeerings.name",
        shown(&PEERING, "/name", "\"other\"", ["\"name\":\"hub\"", "\"name\":\"hub\""]),
    ),
    (
        "VirtualNetwork.properties.virtualNetworkPeerings.properties.allowVirtualNetworkAccess",
        Put(
            &PEERING,
            "/properties/allowVirtualNetworkAccess",
            "false",
            [
                See::Tcp(("spoke", "10.3.0.5"), "10.1.9.10:7", "first"),
                See::Dropped(("spoke", "10.3.0.5"), "10.1.9.10:7", "source_not_allowed"),
            ],
        ),
    ),
    // Peering is direct, never transitive: what is asked for is kept, and listed as without effect.
    (
        "VirtualNetwork.properties.virtualNetworkPeerings.properties.allowForwardedTraffic",
        shown(
            &PEERING,
            "/properties/allowForwardedTraffic",
            "true",
            ["\"allowForwardedTraffic\":false", "\"storedOnly\":[\"allowForwardedTraffic\"]"],
        ),
    ),
    ("VirtualNetwork.properties.virtualNetworkPeerings.properties.remoteVirtualNetwork.id", As("vnet.peerings")),
    ("LoadBalancer.location", shown(&BALANCER, "/location", "\"elsewhere\"", ["\"local\"", "\"elsewhere\""])),
    ("LoadBalancer.tags", shown(&BALANCER, "/tags", SECOND, TEAMS)),
    // There is one sort of load balancer here: another is kept, and listed as without effect.
    ("LoadBalancer.sku", shown(&BALANCER, "/sku/name", "\"Basic\"", ["\"name\":\"Standard\"", "\"sku.name\"]"])),
    (
        "LoadBalancer.properties.backendAddressPools.name",
        Put(&BALANCER, pool!("/name"), "\"third\"", [passes("balanced one"), See::Refused("InvalidRequestFormat")]),
    ),
    (
        "LoadBalancer.properties.backendAddressPools.properties.loadBalancerBackendAddresses.name",
        shown(&BALANCER, server!("/name"), "\"server\"", ["\"name\":\"b\"", "\"name\":\"server\""]),
    ),
    (
        "LoadBalancer.properties.backendAddressPools.properties.loadBalancerBackendAddresses.properties.adminState",
        Put(
            &BALANCER,
            server!("/properties/adminState"),
            "\"Drain\"",
            [passes("balanced one"), See::Dropped(CLIENT, BALANCED, "no_backend")],
        ),
    ),
    (
        "LoadBalancer.properties.backendAddressPools.properties.loadBalancerBackendAddresses.properties.ipAddress",
        Put(
            &BALANCER,
            server!("/properties/ipAddress"),
            "\"10.20.0.13\"",
            [passes("balanced one"), passes("balanced two")],
        ),
    ),
    (
        "LoadBalancer.properties.backendAddressPools.properties.loadBalancerBackendAddresses.properties.virtualNetwork.id",
        Put(
            &BALANCER,
            server!("/properties/virtualNetwork/id"),
            concat!("\"", core!("core2"), "\""),
            [See::Shows(BALANCER.path, "virtualNetworks/core\""), See::Shows(BALANCER.path, "virtualNetworks/core2\"")],
        ),
    ),
    (
        "LoadBalancer.properties.frontendIPConfigurations.name",
        Put(
            &BALANCER,
            "/properties/frontendIPConfigurations/0/name",
            "\"third\"",
            [passes("balanced one"), See::Refused("InvalidRequestFormat")],
        ),
    ),
    (
        "LoadBalancer.properties.frontendIPConfigurations.properties.privateIPAddress",
        shown(
            &BALANCER,
            "/properties/frontendIPConfigurations/0/properties/privateIPAddress",
            "\"10.20.99.66\"",
            ["10.20.99.60", "10.20.99.66"],
        ),
    ),
    (
        "LoadBalancer.properties.frontendIPConfigurations.properties.subnet.id",
        Put(
            &BALANCER,
            "/properties/frontendIPConfigurations/0/properties/subnet/id",
            concat!("\"", core!("core2/subnets/nat"), "\""),
            [
                See::Shows(BALANCER.path, "virtualNetworks/core/subnets/nat"),
                See::Shows(BALANCER.path, "virtualNetworks/core2/subnets/nat"),
            ],
        ),
    ),
    (
        "LoadBalancer.properties.loadBalancingRules.name",
        shown(&BALANCER, rule!("/name"), "\"seven\"", ["\"name\":\"r\"", "\"name\":\"seven\""]),
    ),
    (
        "LoadBalancer.properties.loadBalancingRules.properties.backendAddressPool.id",
        Put(
            &BALANCER,
            rule!("/properties/backendAddressPool/id"),
            concat!("\"", network!("loadBalancers/lb/backendAddressPools/two"), "\""),
            [passes("balanced one"), passes("balanced two")],
        ),
    ),
    (
        "LoadBalancer.properties.loadBalancingRules.properties.backendPort",
        Put(
            &BALANCER,
            rule!("/properties/backendPort"),
            "7001",
            [passes("balanced one"), passes("balanced one, other port")],
        ),
    ),
    (
        "LoadBalancer.properties.loadBalancingRules.properties.frontendIPConfiguration.id",
        Put(
            &BALANCER,
            rule!("/properties/frontendIPConfiguration/id"),
            concat!("\"", network!("loadBalancers/lb/frontendIPConfigurations/fe3"), "\""),
            [passes("balanced one"), See::Dropped(CLIENT, BALANCED, "port_not_exposed")],
        ),
    ),
    (
        "LoadBalancer.properties.loadBalancingRules.properties.frontendPort",
        Put(
            &BALANCER,
            rule!("/properties/frontendPort"),
            "8",
            [passes("balanced one"), See::Dropped(CLIENT, BALANCED, "port_not_exposed")],
        ),
    ),
    (
        "LoadBalancer.properties.loadBalancingRules.properties.protocol",
        Put(
            &BALANCER,
            rule!("/properties/protocol"),
            "\"Udp\"",
            [passes("balanced one"), See::Dropped(CLIENT, BALANCED, "port_not_exposed")],
        ),
    ),
    ("PrivateLinkService.location", As("resource.region")),
    ("PrivateLinkService.tags", shown(&SERVICE, "/tags", SECOND, TEAMS)),
    ("PrivateLinkService.properties.autoApproval.subscriptions", As("resource.auto_approval")),
    ("PrivateLinkService.properties.destinationIPAddress", As("resource.destination")),
    ("PrivateLinkService.properties.enableProxyProtocol", As("resource.proxy_protocol")),
    ("PrivateLinkService.properties.fqdns", As("resource.fqdns")),
    (
        "PrivateLinkService.properties.ipConfigurations.name",
        shown(
            &SERVICE,
            "/properties/ipConfigurations/0/name",
            "\"second\"",
            ["\"name\":\"nat\"", "\"name\":\"second\""],
        ),
    ),
    // Another than the first one is kept, and listed as without effect.
    (
        "PrivateLinkService.properties.ipConfigurations.properties.primary",
        shown(
            &SERVICE,
            "/properties/ipConfigurations/0/properties/primary",
            "false",
            ["\"primary\":true", "\"ipConfigurations.nat.primary"],
        ),
    ),
    ("PrivateLinkService.properties.ipConfigurations.properties.privateIPAddress", As("resource.nat")),
    (
        "PrivateLinkService.properties.ipConfigurations.properties.privateIPAddressVersion",
        Put(
            &SERVICE,
            "/properties/ipConfigurations/0/properties/privateIPAddressVersion",
            "\"IPv6\"",
            [passes("balanced one"), See::Refused("")],
        ),
    ),
    (
        "PrivateLinkService.properties.ipConfigurations.properties.privateIPAllocationMethod",
        shown(
            &SERVICE,
            "/properties/ipConfigurations/0/properties/privateIPAllocationMethod",
            "\"Dynamic\"",
            ["\"privateIPAllocationMethod\":\"Static\"", "\"privateIPAllocationMethod\":\"Dynamic\""],
        ),
    ),
    (
        "PrivateLinkService.properties.ipConfigurations.properties.subnet.id",
        Put(
            &SERVICE,
            "/properties/ipConfigurations/0/properties/subnet/id",
            concat!("\"", core!("core2/subnets/nat"), "\""),
            [passes("balanced one"), passes("balanced elsewhere")],
        ),
    ),
    (
        "PrivateLinkService.properties.loadBalancerFrontendIpConfigurations.id",
        Put(
            &SERVICE,
            "/properties/loadBalancerFrontendIpConfigurations/0/id",
            concat!("\"", network!("loadBalancers/lb/frontendIPConfigurations/fe2"), "\""),
            [passes("balanced one"), passes("balanced two")],
        ),
    ),
    ("PrivateLinkService.properties.visibility.subscriptions", As("resource.visibility")),
    ("TypedResource.location", As("resource.region")),
    ("TypedResource.tags", shown(&STORE, "/tags", SECOND, TEAMS)),
    ("TypedResource.kind", shown(&STORE, "/kind", "\"BlobStorage\"", ["StorageV2", "BlobStorage"])),
    ("TypedResource.sku", shown(&STORE, "/sku/name", "\"Premium_LRS\"", ["Standard_LRS", "Premium_LRS"])),
    ("TypedResource.properties.autoApproval.subscriptions", As("resource.auto_approval")),
    ("TypedResource.properties.visibility.subscriptions", As("resource.visibility")),
    ("PrivateEndpoint.location", As("endpoint.region")),
    ("PrivateEndpoint.tags", shown(&ENDPOINT, "/tags", SECOND, TEAMS)),
    (
        "PrivateEndpoint.properties.customNetworkInterfaceName",
        shown(
            &ENDPOINT,
            "/properties/customNetworkInterfaceName",
            "\"card\"",
            ["/networkInterfaces/nic\"", "/networkInterfaces/card\""],
        ),
    ),
    (
        "PrivateEndpoint.properties.ipConfigurations.name",
        shown(
            &ENDPOINT,
            "/properties/ipConfigurations/0/name",
            "\"second\"",
            ["\"name\":\"first\"", "\"name\":\"second\""],
        ),
    ),
    (
        "PrivateEndpoint.properties.ipConfigurations.properties.groupId",
        Put(
            &ENDPOINT,
            "/properties/ipConfigurations/0/properties/groupId",
            "\"blob\"",
            [passes("balanced one"), See::Refused("InvalidRequestFormat")],
        ),
    ),
    ("PrivateEndpoint.properties.ipConfigurations.properties.memberName", As("endpoint.addresses.member")),
    ("PrivateEndpoint.properties.ipConfigurations.properties.privateIPAddress", As("endpoint.addresses.ip")),
    ("PrivateEndpoint.properties.manualPrivateLinkServiceConnections.name", As("endpoint.manual")),
    ("PrivateEndpoint.properties.manualPrivateLinkServiceConnections.properties.groupIds", As("endpoint.subresource")),
    (
        "PrivateEndpoint.properties.manualPrivateLinkServiceConnections.properties.privateLinkServiceId",
        As("endpoint.resource"),
    ),
    (
        "PrivateEndpoint.properties.manualPrivateLinkServiceConnections.properties.requestMessage",
        As("endpoint.request_message"),
    ),
    (
        "PrivateEndpoint.properties.privateLinkServiceConnections.name",
        shown(
            &ENDPOINT,
            "/properties/privateLinkServiceConnections/0/name",
            "\"d\"",
            ["\"name\":\"c\"", "\"name\":\"d\""],
        ),
    ),
    ("PrivateEndpoint.properties.privateLinkServiceConnections.properties.groupIds", As("endpoint.subresource")),
    (
        "PrivateEndpoint.properties.privateLinkServiceConnections.properties.privateLinkServiceId",
        As("endpoint.resource"),
    ),
    (
        "PrivateEndpoint.properties.privateLinkServiceConnections.properties.requestMessage",
        As("endpoint.request_message"),
    ),
    ("PrivateEndpoint.properties.privlink.acceptNames", As("endpoint.accept_names")),
    ("PrivateEndpoint.properties.privlink.maxSessions", As("endpoint.max_sessions")),
    ("PrivateEndpoint.properties.privlink.rates.bitsPerSecond", As("endpoint.rates.bits_per_second")),
    ("PrivateEndpoint.properties.privlink.rates.newSessionsPerSecond", As("endpoint.rates.new_sessions_per_second")),
    ("PrivateEndpoint.properties.privlink.sources", As("endpoint.sources")),
    ("PrivateEndpoint.properties.subnet.id", As("endpoint.subnet")),
    ("Connection.properties.privateLinkServiceConnectionState.status", As("endpoint.status")),
    ("Connection.properties.privateLinkServiceConnectionState.description", As("endpoint.reason")),
    // Zones are nowhere in particular.
    (
        "PrivateDnsZone.location",
        Put(&ZONE, "/location", "\"local\"", [See::Shows(ZONE.path, "global"), See::Refused("InvalidRequestFormat")]),
    ),
    ("PrivateDnsZone.tags", shown(&ZONE, "/tags", SECOND, TEAMS)),
    (
        "VirtualNetworkLink.location",
        Put(&LINK, "/location", "\"local\"", [See::Shows(LINK.path, "global"), See::Refused("InvalidRequestFormat")]),
    ),
    ("VirtualNetworkLink.tags", shown(&LINK, "/tags", SECOND, TEAMS)),
    // Stored only: no host is registered.
    (
        "VirtualNetworkLink.properties.registrationEnabled",
        shown(
            &LINK,
            "/properties/registrationEnabled",
            "true",
            ["\"registrationEnabled\":false", "\"storedOnly\":[\"registrationEnabled\"]"],
        ),
    ),
    ("VirtualNetworkLink.properties.resolutionPolicy", As("dns_zone.links.resolution_policy")),
    ("VirtualNetworkLink.properties.virtualNetwork.id", As("dns_zone.links.vnet")),
    ("RecordSet.properties.ttl", As("dns_zone.records.ttl")),
    ("RecordSet.properties.metadata", shown(&RECORDS, "/properties/metadata", SECOND, TEAMS)),
    ("RecordSet.properties.aRecords.ipv4Address", VALUES),
    ("RecordSet.properties.aaaaRecords.ipv6Address", VALUES),
    ("RecordSet.properties.cnameRecord.cname", VALUES),
    ("RecordSet.properties.mxRecords.exchange", VALUES),
    ("RecordSet.properties.mxRecords.preference", VALUES),
    ("RecordSet.properties.ptrRecords.ptrdname", VALUES),
    ("RecordSet.properties.srvRecords.port", VALUES),
    ("RecordSet.properties.srvRecords.priority", VALUES),
    ("RecordSet.properties.srvRecords.target", VALUES),
    ("RecordSet.properties.srvRecords.weight", VALUES),
    ("RecordSet.properties.txtRecords.value", VALUES),
    (
        "RecordSet.properties.soaRecord.email",
        shown(
            &AUTHORITY,
            "/properties/soaRecord/email",
            "\"second.rest.internal\"",
            ["first.rest.internal", "second.rest.internal"],
        ),
    ),
    (
        "RecordSet.properties.soaRecord.refreshTime",
        soa("/properties/soaRecord/refreshTime", ["\"refreshTime\":11", "\"refreshTime\":99"]),
    ),
    (
        "RecordSet.properties.soaRecord.retryTime",
        soa("/properties/soaRecord/retryTime", ["\"retryTime\":12", "\"retryTime\":99"]),
    ),
    (
        "RecordSet.properties.soaRecord.expireTime",
        soa("/properties/soaRecord/expireTime", ["\"expireTime\":13", "\"expireTime\":99"]),
    ),
    (
        "RecordSet.properties.soaRecord.minimumTtl",
        soa("/properties/soaRecord/minimumTtl", ["\"minimumTtl\":14", "\"minimumTtl\":99"]),
    ),
    (
        "PrivateDnsZoneGroup.properties.privateDnsZoneConfigs.name",
        shown(
            &ZONES,
            "/properties/privateDnsZoneConfigs/0/name",
            "\"second\"",
            ["privateDnsZoneConfigs/first", "privateDnsZoneConfigs/second"],
        ),
    ),
    ("PrivateDnsZoneGroup.properties.privateDnsZoneConfigs.properties.privateDnsZoneId", As("endpoint.dns_zones")),
];

/// Those below `properties.privlink` of services and typed resources: what a file says of a resource.
const EXTENSION: &[(&str, &str)] = &[
    ("balance", "resource.balance"),
    ("crossRegion", "resource.cross_region"),
    ("drainInSeconds", "resource.drain"),
    ("maxSessions", "resource.max_sessions"),
    ("maxSessionsPerEndpoint", "resource.max_sessions_per_endpoint"),
    ("nat", "resource.nat"),
    ("rates.bitsPerSecond", "resource.rates.bits_per_second"),
    ("rates.newSessionsPerSecond", "resource.rates.new_sessions_per_second"),
    ("sharedBackend", "resource.shared_backend"),
    ("targets.backends", "resource.targets.backends"),
    ("targets.backends.address", "resource.targets.backends.address"),
    ("targets.backends.drain", "resource.targets.backends.drain"),
    ("targets.fqdns", "resource.targets.fqdns"),
    ("targets.health.fall", "resource.targets.health.fall"),
    ("targets.health.intervalInSeconds", "resource.targets.health.interval"),
    ("targets.health.port", "resource.targets.health.port"),
    ("targets.health.rise", "resource.targets.health.rise"),
    ("targets.health.timeoutInSeconds", "resource.targets.health.timeout"),
    ("targets.member", "resource.targets.member"),
    ("targets.ports.backendPort", "resource.targets.ports.backend_port"),
    ("targets.ports.lastPort", "resource.targets.ports.port"),
    ("targets.ports.port", "resource.targets.ports.port"),
    ("targets.ports.protocol", "resource.targets.ports.protocol"),
    ("targets.subresource", "resource.targets.subresource"),
    ("vnet", "resource.vnet"),
];

/// Answered, never taken: what a consumer must do is said by the state of the connection.
const READ_ONLY: &str = "Connection.properties.privateLinkServiceConnectionState.actionsRequired";

#[test]
fn the_table_names_every_property_of_azures_bodies() {
    let schemas: Value =
        serde_json::from_str(include_str!("../../../src/api/arm/schemas.json")).expect("the API's schemas");
    let mut known = BTreeSet::new();
    for body in BODIES {
        properties(&schemas, &schemas[body], &format!("{body}."), &mut known);
    }
    // An order that goes with a write, and is not kept.
    let force = ["PrivateLinkService", "TypedResource"].map(|body| format!("{body}.properties.privlink.force"));
    let mut named: BTreeSet<String> = ROWS.iter().map(|(property, _)| (*property).to_owned()).collect();
    named.insert(READ_ONLY.to_owned());
    named.extend(force);
    for (body, (key, _)) in
        ["PrivateLinkService", "TypedResource"].iter().flat_map(|b| EXTENSION.iter().map(move |e| (b, e)))
    {
        named.insert(format!("{body}.properties.privlink.{key}"));
    }
    let (missing, unknown) = (known.difference(&named), named.difference(&known));
    let (missing, unknown): (Vec<_>, Vec<_>) = (missing.collect(), unknown.collect());
    assert!(missing.is_empty() && unknown.is_empty(), "without a row: {missing:#?}\nwithout a property: {unknown:#?}");
    let file: BTreeSet<&str> = table().map(|row| row.property).collect();
    let same = ROWS.iter().filter_map(|(_, does)| if let As(of) = does { Some(*of) } else { None });
    for of in same.chain(EXTENSION.iter().map(|(_, of)| *of)) {
        assert!(file.contains(of), "the file has no property {of}");
    }
}

#[test]
fn every_property_of_azures_own_changes_what_the_table_says() {
    isolated("properties::rest::every_property_of_azures_own_changes_what_the_table_says", || {
        world::build();
        for server in ["10.20.0.12", "10.20.0.13", "10.20.0.14"] {
            ip(&format!("-n core address add {server}/32 dev lo"));
        }
        serve("core", "10.20.0.12:7000", "balanced one");
        serve("core", "10.20.0.12:7001", "balanced one, other port");
        serve("core", "10.20.0.13:7000", "balanced two");
        ip("-n core2 address add 10.20.0.12/32 dev lo");
        serve("core2", "10.20.0.12:7000", "balanced elsewhere");
        let _lab = Lab::start(BASE);
        for object in OBJECTS {
            written(object.path, object.body);
        }
        let steady = Steady::begin();
        for (property, does) in ROWS {
            let Put(object, at, value, [before, after]) = does else { continue };
            before.look(property);
            let changed = with(object, at, value);
            if let See::Refused(code) = after {
                let (status, answer) = rest("PUT", object.path, &changed);
                let said = answer["error"]["code"].as_str().unwrap_or_default();
                assert!(status == 400 && said.contains(code), "{property}: {status} {answer}");
            } else {
                written(object.path, &changed);
                after.look(property);
                written(object.path, object.body);
            }
            before.look(property);
            steady.lives(property);
        }
    });
}

/// The object with another value at a place.
fn with(object: &Object, at: &str, value: &str) -> String {
    let mut body: Value = serde_json::from_str(object.body).expect(object.path);
    let value: Value = serde_json::from_str(value).expect(value);
    if let Some(place) = body.pointer_mut(at) {
        *place = value;
    } else {
        let (parent, key) = at.rsplit_once('/').expect("a place");
        body.pointer_mut(parent).expect(at)[key] = value;
    }
    body.to_string()
}

fn written(path: &str, body: &str) {
    let (status, answer) = rest("PUT", path, body);
    assert!(matches!(status, 200 | 201), "{path}: {status} {answer:#}");
}
