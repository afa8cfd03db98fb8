//! Private DNS zones of one's own, the zones of endpoints, and lockdown, as `dig` sees them.

use super::names::{RESOLVER, row, says};
use super::{Edits, Row, See, live, refused};
use crate::lab::eventually;
use crate::support::dns::dig;

/// The VNet of the clients has a resolver.
const RESOLVED: (&str, &str) = ("peerings = [\"hub\"]", "peerings = [\"hub\"]\ndns = { listen = \"10.1.255.254\" }");

/// An endpoint names the zone in full.
const GROUPED: (&str, &str) =
    ("ip = \"10.1.9.10\"", "ip = \"10.1.9.10\"\ndns_zones = \"default/default/corp.internal\"");

const WWW: &str = "www.corp.internal";
const CLIENT: super::Client = ("spoke", "10.1.0.5");

/// What the zone is called cannot change under an endpoint's feet.
const fn named(property: &'static str, edit: Edits) -> Row {
    refused(property, edit, "there is no private DNS zone `default/default/corp.internal`")
}

/// Waits until the resolver says this of the records of another type than A.
fn says_of(name: &str, kind: &str, text: &str) {
    let question = format!("+time=6 @{RESOLVER} {name} {kind}");
    eventually(&format!("{question} says {text}"), || dig("spoke", &question).contains(text));
}

pub(super) const ROWS: &[Row] = &[
    named("dns_zone.name", &[GROUPED, ("name = \"corp.internal\"", "name = \"corp.example\"")]),
    named(
        "dns_zone.resource_group",
        &[GROUPED, ("name = \"corp.internal\"", "name = \"corp.internal\"\nresource_group = \"team\"")],
    ),
    named(
        "dns_zone.subscription",
        &[GROUPED, ("name = \"corp.internal\"", "name = \"corp.internal\"\nsubscription = \"dev\"")],
    ),
    row(
        "dns_zone.records.name",
        &[RESOLVED],
        &[("name = \"www\"", "name = \"*\"")],
        || says(RESOLVER, "other.corp.internal", "NXDOMAIN"),
        || says(RESOLVER, "other.corp.internal", "10.0.0.1"),
    ),
    row(
        "dns_zone.records.type",
        &[RESOLVED],
        &[("type = \"A\"", "type = \"TXT\"")],
        || says(RESOLVER, WWW, "10.0.0.1"),
        || says_of(WWW, "TXT", "TXT\t\"10.0.0.1\""),
    ),
    row(
        "dns_zone.records.ttl",
        &[RESOLVED],
        &[("ttl = \"1m\"", "ttl = \"2m\"")],
        || says(RESOLVER, WWW, "\t60\tIN\tA"),
        || says(RESOLVER, WWW, "\t120\tIN\tA"),
    ),
    row(
        "dns_zone.records.values",
        &[RESOLVED],
        &[("values = [\"10.0.0.1\"]", "values = [\"10.0.0.2\", \"10.0.0.3\"]")],
        || says(RESOLVER, WWW, "10.0.0.1"),
        || says(RESOLVER, WWW, "10.0.0.3"),
    ),
    row(
        "dns_zone.links.vnet",
        &[RESOLVED],
        &[("links = [{ vnet = \"spoke\" }]", "links = [{ vnet = \"hub\" }]")],
        || says(RESOLVER, WWW, "10.0.0.1"),
        || says(RESOLVER, WWW, "REFUSED"),
    ),
    row(
        "dns_zone.links.resolution_policy",
        &[RESOLVED],
        &[(
            "links = [{ vnet = \"spoke\" }]",
            "links = [{ vnet = \"spoke\", resolution_policy = \"NxDomainRedirect\" }]",
        )],
        || says(RESOLVER, "none.corp.internal", "NXDOMAIN"),
        || says(RESOLVER, "none.corp.internal", "REFUSED"),
    ),
    row(
        "endpoint.dns_zones",
        &[RESOLVED, ("visibility = [\"*\"]", "visibility = [\"*\"]\nfqdns = [\"echo.corp.internal\"]")],
        &[("ip = \"10.1.8.10\"", "ip = \"10.1.8.10\"\ndns_zones = \"corp.internal\"")],
        || says_of("echo.corp.internal", "MX", "SOA\techo.corp.internal."),
        || says(RESOLVER, "echo.corp.internal", "10.1.8.10"),
    ),
    row(
        "vnet.lockdown",
        &[RESOLVED],
        &[("dns = { listen", "lockdown = true\ndns = { listen")],
        || says(RESOLVER, "other.blob.core.windows.net", "REFUSED"),
        || {
            says(RESOLVER, "other.blob.core.windows.net", "the VNet is locked down");
            says(RESOLVER, "www.example.com", "REFUSED");
        },
    ),
    live(
        "vnet.public_prefixes",
        &[("peerings = [\"hub\"]", "peerings = [\"hub\"]\nlockdown = true\npublic_prefixes = \"203.0.113.0/24\"")],
        See::NoRoute(CLIENT, "203.0.113.9:443"),
        See::Unreachable(CLIENT, "203.0.113.9:443"),
    ),
];
