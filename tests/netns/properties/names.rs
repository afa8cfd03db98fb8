//! `dns` of a VNet and the names of resources, as `dig` sees them.

use super::{Edits, Flip, How, Row, See};
use crate::lab::eventually;
pub(super) use crate::support::dns::RESOLVER;
use crate::support::dns::dig;

/// The VNet of the clients has a resolver, with these settings too.
macro_rules! resolver {
    ($settings:literal) => {
        ("peerings = [\"hub\"]", concat!("peerings = [\"hub\"]\ndns = { listen = \"10.1.255.254\"", $settings, " }"))
    };
}

pub(super) const fn row(property: &'static str, given: Edits, edit: Edits, before: fn(), after: fn()) -> Row {
    let (before, after) = (See::By(before), See::By(after));
    Row { property, how: How::Live(Flip { given, edit, before, after }) }
}

/// Waits until the resolver at an address says this of a name.
pub(super) fn says(at: &str, name: &str, text: &str) {
    let question = format!("+time=6 @{at} {name} A");
    eventually(&format!("{question} says {text}"), || dig("spoke", &question).contains(text));
}

const FILE: &str = "account.file.core.windows.net";

const SPOKE: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/virtualNetworks/spoke?api-version=2026-03-01";

pub(super) const ROWS: &[Row] = &[
    row(
        "vnet.dns.listen",
        &[resolver!("")],
        &[("listen = \"10.1.255.254\"", "listen = \"10.1.255.253\"")],
        || says(RESOLVER, FILE, "NOERROR"),
        || {
            says("10.1.255.253", FILE, "NOERROR");
            says(RESOLVER, FILE, "no servers could be reached");
        },
    ),
    row(
        "vnet.dns.upstream",
        &[resolver!("")],
        &[("listen = \"10.1.255.254\"", "upstream = \"10.1.0.77\", listen = \"10.1.255.254\"")],
        || says(RESOLVER, "www.example.com", "REFUSED"),
        || says(RESOLVER, "www.example.com", "SERVFAIL"),
    ),
    row(
        "vnet.dns.answer",
        &[resolver!("")],
        &[("listen = \"10.1.255.254\"", "answer = \"Pending\", listen = \"10.1.255.254\"")],
        || says(RESOLVER, FILE, "NOERROR"),
        || says(RESOLVER, FILE, "NXDOMAIN"),
    ),
    row(
        "vnet.dns.ttl",
        &[resolver!("")],
        &[("listen = \"10.1.255.254\"", "ttl = \"77s\", listen = \"10.1.255.254\"")],
        || says(RESOLVER, FILE, " 10 IN\tCNAME"),
        || says(RESOLVER, FILE, " 77 IN\tCNAME"),
    ),
    // What names then answer, `consent` asks.
    Row {
        property: "vnet.dns.accept_names",
        how: How::Live(Flip {
            given: &[resolver!(", accept_names = []")],
            edit: &[("accept_names = []", "accept_names = [\"*.echo.example\"]")],
            before: See::Shows(SPOKE, "\"acceptNames\":[]"),
            after: See::Shows(SPOKE, "\"acceptNames\":[\"*.echo.example\"]"),
        }),
    },
    row(
        "resource.fqdns",
        &[resolver!("")],
        &[("visibility = [\"*\"]", "visibility = [\"*\"]\nfqdns = [\"echo.example\"]")],
        || says(RESOLVER, "echo.example", "REFUSED"),
        || says(RESOLVER, "echo.example", "10.1.9.10"),
    ),
    row(
        "resource.targets.fqdns",
        &[resolver!("")],
        &[("subresource = \"file\",", "subresource = \"file\", fqdns = [\"shares.file.core.windows.net\"],")],
        || says(RESOLVER, FILE, "NOERROR"),
        || {
            says(RESOLVER, "shares.file.core.windows.net", "shares.privatelink.file.core.windows.net.");
            says(RESOLVER, FILE, "REFUSED");
        },
    ),
];
