//! `[[endpoint]]`: most of what an endpoint is cannot change during its life.

use super::{Client, Edits, Flip, How, Row, See, live, refused};

const CLIENT: Client = ("spoke", "10.1.0.5");
const ORDERS: &str = "10.1.9.10:7";
const SHOW_ORDERS: &str = "connection show orders";

/// A part of the name of an endpoint.
const fn named(property: &'static str, edit: Edits, delete: [&'static str; 2], shown: &'static str) -> Row {
    let (before, after) = (See::SaysNot("endpoint list --json", shown), See::Says("endpoint list --json", shown));
    Row { property, how: How::Anew { delete, refused: None, flip: Flip { given: &[], edit, before, after } } }
}

/// What one endpoint is, and what changing that in place is refused with.
const fn anew(property: &'static str, delete: &'static str, says: &'static str, flip: Flip) -> Row {
    Row { property, how: How::Anew { delete: [delete, delete], refused: Some(says), flip } }
}

pub(super) const ROWS: &[Row] = &[
    anew(
        "endpoint.addresses.ip",
        "endpoint delete members",
        "its address cannot change",
        Flip {
            given: &[],
            edit: &[("ip = \"10.1.9.15\" }", "ip = \"10.1.9.25\" }")],
            before: See::Dropped(CLIENT, "10.1.9.25:7", "unknown_endpoint"),
            after: See::Tcp(CLIENT, "10.1.9.25:7", "member b"),
        },
    ),
    anew(
        "endpoint.addresses.member",
        "endpoint delete members",
        "its address cannot change",
        Flip {
            given: &[],
            edit: &[
                ("{ member = \"a\", ip", "{ member = \"b\", ip"),
                ("{ member = \"b\", ip = \"10.1.9.15\"", "{ member = \"a\", ip = \"10.1.9.15\""),
            ],
            before: See::Tcp(CLIENT, "10.1.9.14:7", "member a"),
            after: See::Tcp(CLIENT, "10.1.9.14:7", "member b"),
        },
    ),
    anew(
        "endpoint.ip",
        "endpoint delete orders",
        "its address cannot change",
        Flip {
            given: &[],
            edit: &[("ip = \"10.1.9.10\"", "ip = \"10.1.9.20\"")],
            before: See::Dropped(CLIENT, "10.1.9.20:7", "unknown_endpoint"),
            after: See::Tcp(CLIENT, "10.1.9.20:7", "first"),
        },
    ),
    Row {
        property: "endpoint.manual",
        how: How::Anew {
            delete: ["endpoint delete pending", "endpoint delete pending"],
            refused: None,
            flip: Flip {
                given: &[],
                edit: &[(
                    "ip = \"10.1.9.17\"\nresource = \"echo\"\nmanual = true",
                    "ip = \"10.1.9.17\"\nresource = \"echo\"\nmanual = false",
                )],
                before: See::Dropped(CLIENT, "10.1.9.17:7", "not_approved_pending"),
                after: See::Tcp(CLIENT, "10.1.9.17:7", "first"),
            },
        },
    },
    // The session by UDP that was seen before lives on, and fills the limit.
    live(
        "endpoint.max_sessions",
        &[("name = \"few\"\nvnet = \"spoke\"", "name = \"few\"\nvnet = \"spoke\"\nmax_sessions = 1")],
        See::Udp(CLIENT, "10.1.9.11:7", 5, "second"),
        See::DroppedUdp(CLIENT, "10.1.9.11:7", 5, 1, "session_limit"),
    ),
    // What passes then, `rates` measures.
    live(
        "endpoint.rates.bits_per_second",
        &[(
            "name = \"few\"\nvnet = \"spoke\"",
            "name = \"few\"\nvnet = \"spoke\"\nrates = { bits_per_second = 7000000 }",
        )],
        See::SaysNot("endpoint show few", "7 Mbit/s each way"),
        See::Says("endpoint show few", "7 Mbit/s each way"),
    ),
    // What passes then, `rates` measures.
    live(
        "endpoint.rates.new_sessions_per_second",
        &[(
            "name = \"few\"\nvnet = \"spoke\"",
            "name = \"few\"\nvnet = \"spoke\"\nrates = { new_sessions_per_second = 70 }",
        )],
        See::SaysNot("endpoint show few", "70 new sessions a second"),
        See::Says("endpoint show few", "70 new sessions a second"),
    ),
    // What names then answer, `consent` asks.
    Row {
        property: "endpoint.accept_names",
        how: How::Live(Flip {
            given: &[("name = \"few\"\nvnet = \"spoke\"", "name = \"few\"\nvnet = \"spoke\"\naccept_names = []")],
            edit: &[("accept_names = []", "accept_names = [\"*.echo.example\"]")],
            before: See::SaysNot("endpoint show few", "*.echo.example"),
            after: See::Says("endpoint show few", "*.echo.example"),
        }),
    },
    named(
        "endpoint.name",
        &[("name = \"named\"", "name = \"renamed\"")],
        ["endpoint delete named", "endpoint delete renamed"],
        "default/renamed",
    ),
    named(
        "endpoint.resource_group",
        &[("name = \"named\"", "name = \"named\"\nresource_group = \"team\"")],
        ["endpoint delete default/named", "endpoint delete team/named"],
        "team/named",
    ),
    Row {
        property: "endpoint.subscription",
        how: How::Anew {
            delete: ["endpoint delete pending", "endpoint delete trusted/default/pending"],
            refused: None,
            flip: Flip {
                given: &[("visibility = [\"*\"]", "visibility = [\"*\"]\nauto_approval = [\"trusted\"]")],
                edit: &[("name = \"pending\"", "name = \"pending\"\nsubscription = \"trusted\"")],
                before: See::Dropped(CLIENT, "10.1.9.17:7", "not_approved_pending"),
                after: See::Tcp(CLIENT, "10.1.9.17:7", "first"),
            },
        },
    },
    refused(
        "endpoint.region",
        &[("name = \"orders\"", "name = \"orders\"\nregion = \"elsewhere\"")],
        "region `elsewhere` is not that of VNet `spoke`, `local`",
    ),
    live(
        "endpoint.request_message",
        &[("\"first words\"", "\"other words\"")],
        See::Says(SHOW_ORDERS, "first words"),
        See::Says(SHOW_ORDERS, "other words"),
    ),
    // A reason goes with a decision: it changes with the next one.
    live(
        "endpoint.reason",
        &[("status = \"Approved\"\nreason = \"first reason\"", "status = \"Rejected\"\nreason = \"other reason\"")],
        See::Says(SHOW_ORDERS, "first reason"),
        See::Says(SHOW_ORDERS, "other reason"),
    ),
    live(
        "endpoint.status",
        &[("status = \"Approved\"", "status = \"Rejected\"")],
        See::Tcp(CLIENT, ORDERS, "first"),
        See::Dropped(CLIENT, ORDERS, "not_approved_rejected"),
    ),
    anew(
        "endpoint.resource",
        "endpoint delete orders",
        "its resource cannot change",
        Flip {
            given: &[],
            edit: &[("ip = \"10.1.9.10\"\nresource = \"echo\"", "ip = \"10.1.9.10\"\nresource = \"few\"")],
            before: See::Tcp(CLIENT, ORDERS, "first"),
            after: See::Tcp(CLIENT, ORDERS, "second"),
        },
    ),
    live(
        "endpoint.sources",
        &[("name = \"orders\"", "name = \"orders\"\nsources = [\"10.1.0.6/32\"]")],
        See::Tcp(CLIENT, ORDERS, "first"),
        See::Dropped(CLIENT, ORDERS, "denied_by_rule"),
    ),
    anew(
        "endpoint.subnet",
        "endpoint delete placed",
        "its subnet cannot change",
        Flip {
            given: &[],
            edit: &[(
                "name = \"placed\"\nvnet = \"spoke\"\nsubnet = \"endpoints\"",
                "name = \"placed\"\nvnet = \"spoke\"\nsubnet = \"whole\"",
            )],
            before: See::Tcp(CLIENT, "10.1.9.4:7", "first"),
            after: See::Tcp(CLIENT, "10.1.12.4:7", "first"),
        },
    ),
    anew(
        "endpoint.subresource",
        "endpoint delete part",
        "its subresource cannot change",
        Flip {
            given: &[],
            edit: &[("subresource = \"file\"\n", "subresource = \"queue\"\n")],
            before: See::Tcp(CLIENT, "10.1.9.16:7", "file"),
            after: See::Tcp(CLIENT, "10.1.9.16:7", "queue"),
        },
    ),
    anew(
        "endpoint.vnet",
        "endpoint delete placed",
        "its vnet cannot change",
        Flip {
            given: &[],
            edit: &[("name = \"placed\"\nvnet = \"spoke\"", "name = \"placed\"\nvnet = \"hub\"")],
            before: See::Tcp(CLIENT, "10.1.9.4:7", "first"),
            after: See::Tcp(CLIENT, "10.3.9.4:7", "first"),
        },
    ),
];
