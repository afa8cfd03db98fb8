//! `[[vnet]]`, `[[security_group]]` and `[[resource_type]]`.

use super::{Client, Edits, Flip, How, Row, See, live, refused};

const CLIENT: Client = ("spoke", "10.1.0.5");
const ORDERS: &str = "10.1.9.10:7";
const RULED: &str = "10.1.8.10:7";

/// Denied by the rule before, allowed after.
const fn lifts(property: &'static str, edit: Edits) -> Row {
    live(property, edit, See::Dropped(CLIENT, RULED, "denied_by_rule"), See::Tcp(CLIENT, RULED, "first"))
}

/// A part of the name of a VNet.
const fn vnet(property: &'static str, edit: Edits, delete: [&'static str; 2], shown: &'static str) -> Row {
    let (before, after) = (See::SaysNot("vnet list --json", shown), See::Says("vnet list --json", shown));
    let flip = Flip { given: &[], edit, before, after };
    Row { property, how: How::Anew { delete, refused: None, flip } }
}

pub(super) const ROWS: &[Row] = &[
    live(
        "vnet.address_space",
        &[("address_space = [\"10.1.0.0/16\"]", "address_space = [\"10.1.0.0/16\", \"172.16.0.0/24\"]")],
        See::Dropped(("spoke", "172.16.0.9"), ORDERS, "source_not_allowed"),
        See::Tcp(("spoke", "172.16.0.9"), ORDERS, "first"),
    ),
    live(
        "vnet.on_premises",
        &[("on_premises = [\"192.168.40.0/24\"]", "on_premises = [\"192.168.41.0/24\"]")],
        See::Tcp(("spoke", "192.168.40.5"), ORDERS, "first"),
        See::Dropped(("spoke", "192.168.40.5"), ORDERS, "source_not_allowed"),
    ),
    live(
        "vnet.peerings",
        &[("peerings = [\"hub\"]", "peerings = []")],
        See::Tcp(("spoke", "10.3.0.5"), ORDERS, "first"),
        See::Dropped(("spoke", "10.3.0.5"), ORDERS, "source_not_allowed"),
    ),
    Row {
        property: "vnet.region",
        how: How::Live(Flip {
            given: &[("name = \"orders\"", "name = \"orders\"\nregion = \"local\"")],
            edit: &[("peerings = [\"hub\"]", "peerings = [\"hub\"]\nregion = \"elsewhere\"")],
            before: See::Tcp(CLIENT, ORDERS, "first"),
            after: See::Refused("region `local` is not that of VNet `spoke`, `elsewhere`"),
        }),
    },
    vnet(
        "vnet.name",
        &[("name = \"spare\"", "name = \"renamed\"")],
        ["vnet delete spare", "vnet delete renamed"],
        "default/renamed",
    ),
    vnet(
        "vnet.resource_group",
        &[("name = \"spare\"", "name = \"spare\"\nresource_group = \"team\"")],
        ["vnet delete default/spare", "vnet delete team/spare"],
        "team/spare",
    ),
    vnet(
        "vnet.subscription",
        &[("name = \"spare\"", "name = \"spare\"\nsubscription = \"dev\"")],
        ["vnet delete default/default/spare", "vnet delete dev/default/spare"],
        "dev/default/spare",
    ),
    live(
        "vnet.subnets.dedicated",
        &[("prefix = \"10.1.12.0/25\", dedicated = true", "prefix = \"10.1.12.0/25\"")],
        See::Dropped(CLIENT, "10.1.12.9:7", "unknown_endpoint"),
        See::NoRoute(CLIENT, "10.1.12.9:7"),
    ),
    refused(
        "vnet.subnets.nat",
        &[(
            "name = \"core\"\naddress_space = [\"10.20.0.0/16\"]\nsubnets = [{ name = \"nat\", prefix = \"10.20.99.0/24\", nat = true",
            "name = \"core\"\naddress_space = [\"10.20.0.0/16\"]\nsubnets = [{ name = \"nat\", prefix = \"10.20.99.0/24\", nat = false",
        )],
        "is in subnet `nat`, which does not take NAT addresses",
    ),
    live(
        "vnet.subnets.prefix",
        &[("10.1.12.0/25", "10.1.12.0/24")],
        See::NoRoute(CLIENT, "10.1.12.200:7"),
        See::Dropped(CLIENT, "10.1.12.200:7", "unknown_endpoint"),
    ),
    live(
        "vnet.subnets.prefixes",
        &[("[\"10.1.13.0/26\"]", "[\"10.1.13.0/26\", \"10.1.13.128/26\"]")],
        See::NoRoute(CLIENT, "10.1.13.130:7"),
        See::Dropped(CLIENT, "10.1.13.130:7", "unknown_endpoint"),
    ),
    refused(
        "vnet.subnets.delegations",
        &[("name = \"quiet\",", "name = \"quiet\", delegations = [\"Microsoft.Sql/managedInstances\"],")],
        "subnet `quiet` is delegated to Microsoft.Sql/managedInstances",
    ),
    refused("vnet.subnets.name", &[("name = \"quiet\"", "name = \"silent\"")], "VNet `spoke` has no subnet `quiet`"),
    lifts("vnet.subnets.network_policies", &[("network_policies = \"Enabled\"", "network_policies = \"Disabled\"")]),
    lifts("vnet.subnets.security_group", &[(", security_group = \"default/default/rules\"", "")]),
    Row {
        property: "vnet.subnets.service_endpoints",
        how: How::Live(Flip {
            given: &[("workers = 2", "workers = 2\nlimits = { service_endpoints = false }")],
            edit: &[("name = \"quiet\",", "name = \"quiet\", service_endpoints = [\"Microsoft.Storage\"],")],
            before: See::Tcp(CLIENT, ORDERS, "first"),
            after: See::Refused("subnet `quiet` has service endpoints (Microsoft.Storage)"),
        }),
    },
    live(
        "vnet.workloads.class",
        &[("\"Azure Container Instance\"", "\"Batch\"")],
        See::Says("explain --vnet spoke 10.1.5.5 10.1.9.10:7", "Azure Container Instance"),
        See::Says("explain --vnet spoke 10.1.5.5 10.1.9.10:7", "Batch"),
    ),
    live(
        "vnet.workloads.prefix",
        &[("prefix = \"10.1.5.0/24\"", "prefix = \"10.1.6.0/24\"")],
        See::Dropped(("spoke", "10.1.5.5"), ORDERS, "workload_excluded"),
        See::Tcp(("spoke", "10.1.5.5"), ORDERS, "first"),
    ),
    live(
        "vnet.workloads.private_endpoints",
        &[("private_endpoints = false", "private_endpoints = true")],
        See::Dropped(("spoke", "10.1.5.5"), ORDERS, "workload_excluded"),
        See::Tcp(("spoke", "10.1.5.5"), ORDERS, "first"),
    ),
    refused(
        "security_group.name",
        &[("name = \"rules\"", "name = \"laws\"")],
        "there is no security group `default/default/rules`",
    ),
    refused(
        "security_group.resource_group",
        &[("name = \"rules\"", "name = \"rules\"\nresource_group = \"team\"")],
        "there is no security group `default/default/rules`",
    ),
    refused(
        "security_group.subscription",
        &[("name = \"rules\"", "name = \"rules\"\nsubscription = \"dev\"")],
        "there is no security group `default/default/rules`",
    ),
    lifts("security_group.rules.access", &[("access = \"deny\"", "access = \"allow\"")]),
    lifts("security_group.rules.destinations", &[("[\"10.1.8.10/32\"]", "[\"10.1.8.11/32\"]")]),
    live(
        "security_group.rules.name",
        &[("name = \"no-fives\"", "name = \"nobody\"")],
        See::Says("explain --vnet spoke 10.1.0.5 10.1.8.10:7", "no-fives"),
        See::Says("explain --vnet spoke 10.1.0.5 10.1.8.10:7", "nobody"),
    ),
    lifts("security_group.rules.ports", &[("ports = [7]", "ports = [8]")]),
    lifts("security_group.rules.priority", &[("priority = 200", "priority = 400")]),
    lifts("security_group.rules.protocol", &[("protocol = \"tcp\", sources", "protocol = \"udp\", sources")]),
    lifts(
        "security_group.rules.sources",
        &[("sources = [\"10.1.0.5/32\"], destinations", "sources = [\"10.1.0.6/32\"], destinations")],
    ),
    Row {
        property: "resource_type.name",
        how: How::Live(Flip {
            given: &[("name = \"Example.Own/things\"", "name = \"Example.Another/things\"")],
            edit: &[("name = \"Example.Other/things\"", "name = \"Example.Own/things\"")],
            before: See::Tcp(CLIENT, ORDERS, "first"),
            after: See::Refused("Example.Own/things is not offered in region `local`"),
        }),
    },
    refused(
        "resource_type.regions",
        &[("regions = [\"local\"]", "regions = [\"northeurope\"]")],
        "Example.Own/things is not offered in region `local`",
    ),
];
