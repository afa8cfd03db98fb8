//! `privlink endpoint`: the consumer's side.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::noun::{self, Noun};
use super::output::{Column, Output, addresses, bound, bytes, count, elapsed, properties, short};
use crate::types::{AcceptNames, Deleted, Done, Endpoint, Traffic};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Look(noun::Look<Endpoint>),
    /// Create an endpoint
    Create(Box<super::create::NewEndpoint>),
    /// Let names that its resource gives answer in its VNet
    AcceptNames {
        /// `name` or `group/name`
        #[arg(add = super::noun::named::<Endpoint>())]
        endpoint: String,
        /// Whole names, or `*.example.com` for every name below
        #[arg(required = true)]
        names: Vec<String>,
        /// Accept them no longer
        #[arg(long)]
        remove: bool,
    },
    /// Delete an endpoint; its sessions are reset and its addresses are free at once
    Delete(noun::Named<Endpoint>),
}

pub(super) fn execute(command: Command, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Command::Look(command) => noun::look(&command, client, output),
        Command::Create(new) => super::create::endpoint(*new, client, output),
        Command::AcceptNames { endpoint, names, remove } => {
            let path = format!("{}/accept-names", noun::path::<Endpoint>(&endpoint));
            output.list(&client.post::<Done>(&path, &AcceptNames { names, remove })?, super::output::done)
        }
        Command::Delete(endpoint) => delete(&endpoint, client, output),
    }
}

impl Noun for Endpoint {
    const ARGUMENT: &'static str = "ENDPOINT";
    const LIST: &'static str = "List endpoints";
    const SHOW: &'static str = "Show one endpoint";
    const COLUMNS: &'static [Column<Self>] = &[
        ("ENDPOINT", |endpoint| short(&endpoint.id).to_owned()),
        ("ADDRESS", addresses),
        ("VNET", |endpoint| short(&endpoint.vnet).to_owned()),
        ("RESOURCE", |endpoint| bound(&endpoint.resource, &endpoint.subresource)),
        ("STATE", |endpoint| super::connection::state(&endpoint.state, endpoint.ending.as_ref())),
        ("SESSIONS", |endpoint| endpoint.traffic.sessions.to_string()),
    ];

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let decision = self.decision.as_ref().map(|decision| format!("by {} at {}", decision.by, decision.at));
        // Whoever owns what it is bound to sees its connection, and not its network.
        let network = (!self.vnet.is_empty()).then(|| format!("{} (subnet {})", short(&self.vnet), self.subnet));
        properties(
            out,
            &[
                ("endpoint", self.id.clone()),
                ("address", addresses(self)),
                ("vnet", network.unwrap_or_default()),
                ("resource", bound(&self.resource, &self.subresource)),
                ("state", format!("{}{}", self.state, super::connection::until(self.ending.as_ref()))),
                ("reason", self.reason.clone()),
                ("decided", decision.unwrap_or_default()),
                ("request", self.request_message.clone()),
                ("sources", self.sources.join(" ")),
                ("accepts", self.accept_names.join(" ")),
                ("waiting", waiting(self)),
                ("at most", self.rates.map(|rates| rates.to_string()).unwrap_or_default()),
                ("rate limited", limited(&self.traffic)),
                ("backends", self.backends.map(|count| count.to_string()).unwrap_or_default()),
                ("sessions", format!("{}, {} opened", self.traffic.sessions, self.traffic.sessions_opened)),
                ("to service", to_service(&self.traffic)),
                ("to consumer", to_consumer(&self.traffic)),
            ],
        )
    }
}

fn delete(endpoint: &noun::Named<Endpoint>, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let list = client.delete::<Deleted>(&endpoint.path())?;
    output.list(&list, |items, out| {
        items.iter().try_for_each(|Deleted { endpoint, in_force_microseconds, .. }| {
            writeln!(out, "{}: deleted, in force after {}", short(endpoint), elapsed(*in_force_microseconds))
        })
    })?;
    output.warn(list.items.iter().flat_map(|deleted| &deleted.warnings))
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
