//! `[[resource]]`.

use std::collections::BTreeSet;
use std::fs;

use super::daemon::{ECHO, ESTABLISHED, OPENING, UDP, a_piece_is_given_up, a_piece_is_kept, ends, stays};
use super::{Client, Edits, Flip, How, Row, See, health, live, refused, stored};
use crate::lab::{ask, cli, json};
use crate::peers::{connect, greeted};

const CLIENT: Client = ("spoke", "10.1.0.5");
const FEW: &str = "10.1.9.11:7";
const MIRROR: &str = "10.1.9.13:8";
const QUEUE: &str = "10.1.9.18:7";

/// A part of the name of a resource that nothing is bound to.
const fn named(property: &'static str, edit: Edits, delete: [&'static str; 2], shown: &'static str) -> Row {
    let (before, after) = (See::SaysNot("resource list --json", shown), See::Says("resource list --json", shown));
    Row { property, how: How::Anew { delete, refused: None, flip: Flip { given: &[], edit, before, after } } }
}

const fn timeout(property: &'static str, edit: Edits, before: fn(), after: fn()) -> Row {
    live(property, edit, See::By(before), See::By(after))
}

/// The account's queue, which one backend and one port serve.
const fn queue(property: &'static str, edit: Edits, after: See) -> Row {
    live(property, edit, See::Tcp(CLIENT, QUEUE, "queue"), after)
}

/// The port of the service in short form; [`super::world`]'s mirror says where it was asked.
const fn mirror(property: &'static str, edit: Edits, after: See) -> Row {
    live(property, edit, See::Tcp(CLIENT, MIRROR, "10.20.0.4:7100 asked by 10.20.99.7"), after)
}

pub(super) const ROWS: &[Row] = &[
    live(
        "resource.alias",
        &[("alias = \"mirror\"", "alias = \"looking-glass\"")],
        See::Says("resource show mirror", "mirror."),
        See::Says("resource show mirror", "looking-glass."),
    ),
    live(
        "resource.auto_approval",
        &[("visibility = [\"*\"]", "visibility = [\"*\"]\nauto_approval = [\"trusted\"]")],
        See::By(|| assert_eq!(state_of_a_request(), "Pending")),
        See::By(|| assert_eq!(state_of_a_request(), "Approved")),
    ),
    Row {
        property: "resource.cross_region",
        how: How::Live(Flip {
            given: &[("visibility = [\"*\"]", "visibility = [\"*\"]\nregion = \"elsewhere\"")],
            edit: &[("visibility = [\"*\"]", "visibility = [\"*\"]\ncross_region = false")],
            before: See::Tcp(CLIENT, "10.1.9.10:7", "first"),
            after: See::Refused("`echo` takes endpoints of its own region `elsewhere` only"),
        }),
    },
    Row {
        property: "resource.balance",
        how: How::Live(Flip {
            given: &[(
                "backends = [\"10.20.0.3\"], ports = [{ protocol = \"tcp\", port = 7, backend_port = 7000 }, { protocol = \"tcp\", port = 9",
                "backends = [\"10.20.0.3\", \"10.20.0.4\"], ports = [{ protocol = \"tcp\", port = 7, backend_port = 7000 }, { protocol = \"tcp\", port = 9",
            )],
            edit: &[("name = \"few\"\nvnet = \"core\"", "name = \"few\"\nvnet = \"core\"\nbalance = \"source\"")],
            before: See::By(|| assert_eq!(servers_of_few(), ["fourth", "second"])),
            after: See::By(|| assert_eq!(servers_of_few().len(), 1, "one client, one server")),
        }),
    },
    live(
        "resource.drain",
        &[
            ("nat = [\"10.20.99.8\"]", "nat = [\"10.20.99.8\"]\ndrain = \"1s\""),
            ("address = \"10.20.0.8\", drain = false", "address = \"10.20.0.8\", drain = true"),
        ],
        See::By(health::hold),
        See::By(health::reset),
    ),
    live(
        "resource.deny",
        &[("visibility = [\"*\"]", "visibility = [\"*\"]\ndeny = \"drop\"")],
        See::Reset(CLIENT, "10.1.9.10:99"),
        See::Silence(CLIENT, "10.1.9.10:99"),
    ),
    mirror(
        "resource.destination",
        &[("destination = \"10.20.0.4\"", "destination = \"10.20.0.3\"")],
        See::Tcp(CLIENT, MIRROR, "10.20.0.3:7100 asked by 10.20.99.7"),
    ),
    mirror(
        "resource.ports.backend_port",
        &[("backend_port = 7100", "backend_port = 7101")],
        See::Tcp(CLIENT, MIRROR, "10.20.0.4:7101 asked by 10.20.99.7"),
    ),
    mirror("resource.ports.port", &[("port = 8,", "port = 80,")], See::Dropped(CLIENT, MIRROR, "port_not_exposed")),
    mirror(
        "resource.ports.protocol",
        &[("protocol = \"tcp\", port = 8,", "protocol = \"udp\", port = 8,")],
        See::Dropped(CLIENT, MIRROR, "port_not_exposed"),
    ),
    mirror(
        "resource.nat",
        &[("nat = [\"10.20.99.7\"]", "nat = [\"10.20.99.70\"]")],
        See::Tcp(CLIENT, MIRROR, "10.20.0.4:7100 asked by 10.20.99.70"),
    ),
    stored(
        "resource.proxy_protocol",
        &[("visibility = [\"*\"]", "visibility = [\"*\"]\nproxy_protocol = true")],
        "the PROXY header is not sent",
    ),
    // A session by UDP lives on, so the one seen before fills the limit.
    live(
        "resource.max_sessions",
        &[("name = \"few\"\nvnet = \"core\"", "name = \"few\"\nvnet = \"core\"\nmax_sessions = 1")],
        See::Udp(CLIENT, FEW, 5, "second"),
        See::DroppedUdp(CLIENT, FEW, 5, 1, "session_limit"),
    ),
    live(
        "resource.max_sessions_per_endpoint",
        &[("name = \"few\"\nvnet = \"core\"", "name = \"few\"\nvnet = \"core\"\nmax_sessions_per_endpoint = 1")],
        See::Udp(CLIENT, FEW, 5, "second"),
        See::DroppedUdp(CLIENT, FEW, 5, 1, "session_limit"),
    ),
    // What passes then, `rates` measures.
    live(
        "resource.rates.bits_per_second",
        &[(
            "name = \"few\"\nvnet = \"core\"",
            "name = \"few\"\nvnet = \"core\"\nrates = { bits_per_second = 7000000 }",
        )],
        See::SaysNot("resource show few", "7 Mbit/s each way"),
        See::Says("resource show few", "7 Mbit/s each way"),
    ),
    // What passes then, `rates` measures.
    live(
        "resource.rates.new_sessions_per_second",
        &[(
            "name = \"few\"\nvnet = \"core\"",
            "name = \"few\"\nvnet = \"core\"\nrates = { new_sessions_per_second = 70 }",
        )],
        See::SaysNot("resource show few", "70 new sessions a second"),
        See::Says("resource show few", "70 new sessions a second"),
    ),
    named(
        "resource.name",
        &[("name = \"thing\"", "name = \"renamed\"")],
        ["resource delete thing", "resource delete renamed"],
        "default/renamed",
    ),
    named(
        "resource.resource_group",
        &[("name = \"thing\"", "name = \"thing\"\nresource_group = \"team\"")],
        ["resource delete default/thing", "resource delete team/thing"],
        "team/thing",
    ),
    named(
        "resource.subscription",
        &[("name = \"thing\"", "name = \"thing\"\nsubscription = \"dev\"")],
        ["resource delete default/default/thing", "resource delete dev/default/thing"],
        "dev/default/thing",
    ),
    refused(
        "resource.region",
        &[("name = \"thing\"", "name = \"thing\"\nregion = \"elsewhere\"")],
        "Example.Own/things is not offered in region `elsewhere`",
    ),
    Row {
        property: "resource.shared_backend",
        how: How::Live(Flip {
            given: &[
                ("visibility = [\"*\"]", "visibility = [\"*\"]\nshared_backend = true"),
                ("nat = [\"10.20.99.6\"]", "nat = [\"10.20.99.6\"]\nshared_backend = true"),
                ("[\"10.20.0.3\"]", "[\"10.20.0.2\"]"),
            ],
            edit: &[("nat = [\"10.20.99.6\"]\nshared_backend = true", "nat = [\"10.20.99.6\"]")],
            before: See::Tcp(CLIENT, FEW, "first"),
            after: See::Refused("shared_backend"),
        }),
    },
    refused(
        "resource.type",
        &[("\"Microsoft.Storage/storageAccounts\"", "\"Microsoft.Sql/servers\"")],
        "Microsoft.Sql/servers has no subresource `blob`",
    ),
    live(
        "resource.visibility",
        &[("visibility = [\"*\"]", "visibility = [\"dev\"]")],
        See::By(|| assert_eq!(a_stranger_asks(), Ok(()))),
        See::By(|| assert!(a_stranger_asks().expect_err("not to be seen").contains("there is no resource"))),
    ),
    // The other core has the same addresses.
    Row {
        property: "resource.vnet",
        how: How::Live(Flip {
            given: &[],
            edit: &[("name = \"echo\"\nvnet = \"core\"", "name = \"echo\"\nvnet = \"core2\"")],
            before: See::Tcp(CLIENT, "10.1.9.10:7", "first"),
            after: See::Tcp(CLIENT, "10.1.9.10:7", "second core"),
        }),
    },
    live(
        "resource.targets.backends",
        &[("[\"10.20.0.2\"]", "[\"10.20.0.11\"]")],
        See::Tcp(CLIENT, "10.1.9.10:7", "first"),
        See::Tcp(CLIENT, "10.1.9.10:7", "eleventh"),
    ),
    queue(
        "resource.targets.backends.address",
        &[("address = \"10.20.0.8\"", "address = \"10.20.0.7\"")],
        See::Tcp(CLIENT, QUEUE, "file"),
    ),
    queue(
        "resource.targets.backends.drain",
        &[("drain = false", "drain = true")],
        See::Dropped(CLIENT, QUEUE, "no_backend"),
    ),
    refused(
        "resource.targets.member",
        &[("member = \"a\", backends", "member = \"c\", backends")],
        "`account` has no member `a`",
    ),
    queue(
        "resource.targets.ports.backend_port",
        &[(
            "drain = false }], ports = [{ protocol = \"tcp\", port = 7, backend_port = 7000",
            "drain = false }], ports = [{ protocol = \"tcp\", port = 7, backend_port = 7001",
        )],
        See::Reset(CLIENT, QUEUE),
    ),
    queue(
        "resource.targets.ports.port",
        &[(
            "drain = false }], ports = [{ protocol = \"tcp\", port = 7,",
            "drain = false }], ports = [{ protocol = \"tcp\", port = \"8-9\",",
        )],
        See::Dropped(CLIENT, QUEUE, "port_not_exposed"),
    ),
    queue(
        "resource.targets.ports.protocol",
        &[("drain = false }], ports = [{ protocol = \"tcp\"", "drain = false }], ports = [{ protocol = \"udp\"")],
        See::Dropped(CLIENT, QUEUE, "port_not_exposed"),
    ),
    refused(
        "resource.targets.subresource",
        &[("subresource = \"queue\", backends", "subresource = \"table\", backends")],
        "`account` has no subresource `queue`",
    ),
    timeout(
        "resource.timeouts.tcp_established",
        &[("nat = [\"10.20.99.6\"]", "nat = [\"10.20.99.6\"]\ntimeouts = { tcp_established = \"1s\" }")],
        || stays(&ESTABLISHED),
        || ends(&ESTABLISHED),
    ),
    timeout(
        "resource.timeouts.tcp_transitory",
        &[("nat = [\"10.20.99.6\"]", "nat = [\"10.20.99.6\"]\ntimeouts = { tcp_transitory = \"1s\" }")],
        || stays(&OPENING),
        || ends(&OPENING),
    ),
    timeout(
        "resource.timeouts.udp",
        &[("nat = [\"10.20.99.6\"]", "nat = [\"10.20.99.6\"]\ntimeouts = { udp = \"1s\" }")],
        || stays(&UDP),
        || ends(&UDP),
    ),
    timeout(
        "resource.timeouts.icmp",
        &[("nat = [\"10.20.99.6\"]", "nat = [\"10.20.99.6\"]\ntimeouts = { icmp = \"1s\" }")],
        || stays(&ECHO),
        || ends(&ECHO),
    ),
    timeout(
        "resource.timeouts.fragment",
        &[("nat = [\"10.20.99.6\"]", "nat = [\"10.20.99.6\"]\ntimeouts = { fragment = \"1s\" }")],
        a_piece_is_kept,
        a_piece_is_given_up,
    ),
];

/// The servers that four connections of one client reach, open at the same time.
fn servers_of_few() -> Vec<String> {
    let mut streams: Vec<_> = (0..4).map(|_| connect(CLIENT.0, "10.1.0.5:0", FEW).expect("connected")).collect();
    let names: BTreeSet<String> = streams.iter_mut().map(|stream| greeted(stream).expect("greeted")).collect();
    names.into_iter().collect()
}

/// What becomes of a request from the subscription `trusted`.
fn state_of_a_request() -> String {
    ask("endpoint create asking --vnet spoke --subnet quiet --resource echo --manual --subscription trusted");
    let state = json("connection show trusted/default/asking")["state"].as_str().expect("a state").to_owned();
    ask("endpoint delete trusted/default/asking");
    state
}

/// A token that may make endpoints in `spoke` and knows nothing of `core` asks for `echo`.
fn a_stranger_asks() -> Result<(), String> {
    const TOKEN: &str = "/run/privlink/stranger.token";
    if fs::metadata(TOKEN).is_err() {
        ask(&format!("token create stranger --out {TOKEN}"));
        let network = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/virtualNetworks/spoke";
        for scope in [network, "/subscriptions/default/resourceGroups/strangers"] {
            let role = ["--principal", "token:stranger", "--role", "Network Contributor", "--scope", scope];
            let output = privlink().args(["assignment", "create"]).args(role).output().expect("the command line");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let create =
        "endpoint create asking --vnet default/spoke --subnet quiet --resource default/echo --manual --group strangers";
    let output = privlink().args(create.split_whitespace()).env("PRIVLINK_TOKEN_FILE", TOKEN).output();
    let output = output.expect("the command line");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    assert!(cli("endpoint delete strangers/asking").status.success());
    Ok(())
}

fn privlink() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_privlink"))
}
