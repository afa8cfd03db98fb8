//! `privlink resource`: what may be reached.

use std::io::{self, Write};

use super::client::Client;
use super::endpoint::{limited, to_consumer, to_service};
use super::exit::Error;
use super::output::{Output, Table, properties, short};
use crate::types::{Resource, Target, segment};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List link resources
    List,
    /// Show one link resource
    Show {
        /// `name` or `group/name`
        #[arg(add = super::complete::resources())]
        resource: String,
    },
    /// Make one
    Create(Box<super::create::NewResource>),
    /// Delete it
    Delete {
        /// `name` or `group/name`
        #[arg(add = super::complete::resources())]
        resource: String,
    },
}

pub(super) fn execute(command: Command, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Command::List => output.list(&client.get::<Resource>("/resources")?, table),
        Command::Create(new) => super::create::resource(*new, client, output),
        Command::Delete { resource } => {
            let path = format!("/resources/{}", segment(&resource));
            output.list(&client.delete::<crate::types::Done>(&path)?, super::access::done)
        }
        Command::Show { resource } => {
            let path = format!("/resources/{}", segment(&resource));
            output.list(&client.get::<Resource>(&path)?, |items, out| items.iter().try_for_each(|one| show(one, out)))
        }
    }
}

fn table(items: &[Resource], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["RESOURCE", "TYPE", "VNET", "NAT", "ENDPOINTS", "SESSIONS"]);
    for resource in items {
        table.row([
            short(&resource.id).to_owned(),
            resource.kind.clone(),
            short(&resource.vnet).to_owned(),
            resource.nat.join(" "),
            resource.endpoints.len().to_string(),
            resource.traffic.sessions.to_string(),
        ]);
    }
    table.write(out)
}

fn show(resource: &Resource, out: &mut dyn Write) -> io::Result<()> {
    let shared: Vec<_> = resource.shares_backends_with.iter().map(|id| short(id)).collect();
    let shared = match shared.as_slice() {
        [] => String::new(),
        others => format!("with {}: addresses cannot keep their data apart", others.join(" ")),
    };
    let endpoints: Vec<_> = resource.endpoints.iter().map(|id| short(id)).collect();
    properties(
        out,
        &[
            ("resource", resource.id.clone()),
            ("type", resource.kind.clone()),
            ("vnet", format!("{} ({})", short(&resource.vnet), resource.region)),
            ("nat", resource.nat.join(" ")),
            ("alias", resource.alias.clone()),
            ("balance", resource.balance.clone()),
            ("at most", resource.rates.map(|rates| rates.to_string()).unwrap_or_default()),
            ("rate limited", limited(&resource.traffic)),
            ("shares backends", shared),
            ("endpoints", endpoints.join(" ")),
            ("sessions", format!("{}, {} opened", resource.traffic.sessions, resource.traffic.sessions_opened)),
            ("to service", to_service(&resource.traffic)),
            ("to consumer", to_consumer(&resource.traffic)),
        ],
    )?;
    writeln!(out)?;
    let mut table = Table::new(["SUBRESOURCE", "MEMBER", "PORTS", "BACKENDS"]);
    for Target { subresource, member, backends, ports } in &resource.targets {
        table.row([or_dash(subresource), or_dash(member), ports.join(", "), backends.join(", ")]);
    }
    table.write(out)
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
