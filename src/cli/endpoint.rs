//! `privlink endpoint`: the consumer's side.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::output::{Output, Table, addresses, bound, bytes, count, elapsed, properties, short};
use crate::types::{AcceptNames, Deleted, Done, Endpoint, Traffic, segment};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List endpoints
    List,
    /// Show one endpoint
    Show {
        /// `name` or `group/name`
        #[arg(add = super::complete::endpoints())]
        endpoint: String,
    },
    /// Create an endpoint
    Create(Box<super::create::NewEndpoint>),
    /// Let names that its resource gives answer in its VNet
    AcceptNames {
        /// `name` or `group/name`
        #[arg(add = super::complete::endpoints())]
        endpoint: String,
        /// Whole names, or `*.example.com` for every name below
        #[arg(required = true)]
        names: Vec<String>,
        /// Accept them no longer
        #[arg(long)]
        remove: bool,
    },
    /// Delete an endpoint; its sessions are reset and its addresses are free at once
    Delete {
        /// `name` or `group/name`
        #[arg(add = super::complete::endpoints())]
        endpoint: String,
    },
}

pub(super) fn execute(command: Command, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Command::List => output.list(&client.get::<Endpoint>("/endpoints")?, table),
        Command::Show { endpoint } => {
            let path = format!("/endpoints/{}", segment(&endpoint));
            output.list(&client.get::<Endpoint>(&path)?, |items, out| items.iter().try_for_each(|one| show(one, out)))
        }
        Command::Create(new) => super::create::endpoint(*new, client, output),
        Command::AcceptNames { endpoint, names, remove } => {
            let path = format!("/endpoints/{}/accept-names", segment(&endpoint));
            let list = client.post::<Done>(&path, &AcceptNames { names, remove })?;
            output.list(&list, |items, out| {
                items.iter().flat_map(|done| &done.lines).try_for_each(|line| writeln!(out, "{line}"))
            })
        }
        Command::Delete { endpoint } => {
            let path = format!("/endpoints/{}", segment(&endpoint));
            let list = client.delete::<Deleted>(&path)?;
            output.list(&list, |items, out| {
                items.iter().try_for_each(|Deleted { endpoint, in_force_microseconds, .. }| {
                    writeln!(out, "{}: deleted, in force after {}", short(endpoint), elapsed(*in_force_microseconds))
                })
            })?;
            output.warn(list.items.iter().flat_map(|deleted| &deleted.warnings))
        }
    }
}

fn table(items: &[Endpoint], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["ENDPOINT", "ADDRESS", "VNET", "RESOURCE", "STATE", "SESSIONS"]);
    for endpoint in items {
        table.row([
            short(&endpoint.id).to_owned(),
            addresses(endpoint),
            short(&endpoint.vnet).to_owned(),
            bound(&endpoint.resource, &endpoint.subresource),
            super::connection::state(&endpoint.state, endpoint.ending.as_ref()),
            endpoint.traffic.sessions.to_string(),
        ]);
    }
    table.write(out)
}

fn show(endpoint: &Endpoint, out: &mut dyn Write) -> io::Result<()> {
    let decision = endpoint.decision.as_ref().map(|decision| format!("by {} at {}", decision.by, decision.at));
    // Whoever owns what it is bound to sees its connection, and not its network.
    let network =
        (!endpoint.vnet.is_empty()).then(|| format!("{} (subnet {})", short(&endpoint.vnet), endpoint.subnet));
    properties(
        out,
        &[
            ("endpoint", endpoint.id.clone()),
            ("address", addresses(endpoint)),
            ("vnet", network.unwrap_or_default()),
            ("resource", bound(&endpoint.resource, &endpoint.subresource)),
            ("state", format!("{}{}", endpoint.state, super::connection::until(endpoint.ending.as_ref()))),
            ("reason", endpoint.reason.clone()),
            ("decided", decision.unwrap_or_default()),
            ("request", endpoint.request_message.clone()),
            ("sources", endpoint.sources.join(" ")),
            ("accepts", endpoint.accept_names.join(" ")),
            ("waiting", waiting(endpoint)),
            ("at most", endpoint.rates.map(|rates| rates.to_string()).unwrap_or_default()),
            ("rate limited", limited(&endpoint.traffic)),
            ("backends", endpoint.backends.map(|count| count.to_string()).unwrap_or_default()),
            ("sessions", format!("{}, {} opened", endpoint.traffic.sessions, endpoint.traffic.sessions_opened)),
            ("to service", to_service(&endpoint.traffic)),
            ("to consumer", to_consumer(&endpoint.traffic)),
        ],
    )
}

/// Names that do not answer yet, and what makes them.
fn waiting(endpoint: &Endpoint) -> String {
    let names = endpoint.waiting_names.join(" ");
    match names.as_str() {
        "" => names,
        _ => format!("{names} (not answered until `privlink endpoint accept-names {} NAME…`)", short(&endpoint.id)),
    }
}

/// Packets that a rate did not let pass, if there are any.
pub(super) fn limited(traffic: &Traffic) -> String {
    if traffic.rate_limited == 0 { String::new() } else { count(traffic.rate_limited, "packet") }
}

pub(super) fn to_service(traffic: &Traffic) -> String {
    format!("{}, {}", count(traffic.packets_to_service, "packet"), bytes(traffic.bytes_to_service))
}

pub(super) fn to_consumer(traffic: &Traffic) -> String {
    format!("{}, {}", count(traffic.packets_to_consumer, "packet"), bytes(traffic.bytes_to_consumer))
}
