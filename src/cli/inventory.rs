//! `privlink nic` and `privlink group`: what follows from other objects.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::output::{Output, Table, short};
use crate::types::{Group, Interface, segment};

/// Interfaces.
#[derive(Debug, clap::Subcommand)]
pub(super) enum NicCommand {
    /// List the interfaces of endpoints
    List,
    /// Show one interface
    Show {
        /// Its name, or that of its endpoint
        nic: String,
    },
}

/// Resource groups.
#[derive(Debug, clap::Subcommand)]
pub(super) enum GroupCommand {
    /// List resource groups
    List,
}

pub(super) fn nic(command: &NicCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let path = match command {
        NicCommand::List => "/nics".to_owned(),
        NicCommand::Show { nic } => format!("/nics/{}", segment(nic)),
    };
    output.list(&client.get::<Interface>(&path)?, nics)
}

pub(super) fn group(command: &GroupCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        GroupCommand::List => output.list(&client.get::<Group>("/groups")?, groups),
    }
}

fn nics(items: &[Interface], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["NIC", "ENDPOINT", "SUBNET", "MEMBER", "ADDRESS", "NAMES"]);
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    for nic in items {
        for address in &nic.addresses {
            table.row([
                short(&nic.id).to_owned(),
                short(&nic.endpoint).to_owned(),
                format!("{}/{}", short(&nic.vnet), nic.subnet),
                dash(&address.member),
                address.ip.clone(),
                dash(&address.fqdns.join(" ")),
            ]);
        }
    }
    table.write(out)
}

fn groups(items: &[Group], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["GROUP", "SUBSCRIPTION", "REGION", "OBJECTS"]);
    for group in items {
        let region = if group.region.is_empty() { "-".to_owned() } else { group.region.clone() };
        let objects = group.objects.map_or_else(|| "-".to_owned(), |count| count.to_string());
        table.row([group.name.clone(), group.subscription.clone(), region, objects]);
    }
    table.write(out)
}
