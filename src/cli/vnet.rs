//! `privlink vnet`: networks.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::output::{Output, Table, properties, short};
use crate::types::{Vnet, segment};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List VNets
    List,
    /// Show one VNet
    Show {
        /// `name` or `group/name`
        #[arg(add = super::complete::vnets())]
        vnet: String,
    },
    /// Make one
    Create(super::create::NewVnet),
    /// Delete it
    Delete {
        /// `name` or `group/name`
        #[arg(add = super::complete::vnets())]
        vnet: String,
    },
}

pub(super) fn execute(command: Command, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Command::List => output.list(&client.get::<Vnet>("/vnets")?, table),
        Command::Create(new) => super::create::vnet(new, client, output),
        Command::Delete { vnet } => {
            let path = format!("/vnets/{}", segment(&vnet));
            output.list(&client.delete::<crate::types::Done>(&path)?, super::access::done)
        }
        Command::Show { vnet } => {
            let path = format!("/vnets/{}", segment(&vnet));
            output.list(&client.get::<Vnet>(&path)?, |items, out| items.iter().try_for_each(|one| show(one, out)))
        }
    }
}

fn table(items: &[Vnet], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["VNET", "REGION", "ADDRESS SPACE", "PEERINGS", "ENDPOINTS"]);
    for vnet in items {
        table.row([
            short(&vnet.id).to_owned(),
            vnet.region.clone(),
            vnet.address_space.join(" "),
            peerings(vnet),
            vnet.endpoints.len().to_string(),
        ]);
    }
    table.write(out)
}

fn peerings(vnet: &Vnet) -> String {
    let all: Vec<_> =
        vnet.peerings.iter().map(|peering| format!("{} ({})", short(&peering.vnet), peering.state)).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(" ") }
}

fn attachment(vnet: &Vnet) -> String {
    match (&vnet.device, &vnet.netns) {
        (Some(device), Some(netns)) => format!("{device} in {netns}"),
        (Some(device), None) => device.clone(),
        (None, _) => "none on this host".to_owned(),
    }
}

fn show(vnet: &Vnet, out: &mut dyn Write) -> io::Result<()> {
    let endpoints: Vec<_> = vnet.endpoints.iter().map(|id| short(id)).collect();
    properties(
        out,
        &[
            ("vnet", vnet.id.clone()),
            ("region", vnet.region.clone()),
            ("address space", vnet.address_space.join(" ")),
            ("on-premises", vnet.on_premises.join(" ")),
            ("attachment", attachment(vnet)),
            ("peerings", peerings(vnet)),
            ("endpoints", endpoints.join(" ")),
        ],
    )?;
    writeln!(out)?;
    let mut table = Table::new(["SUBNET", "PREFIX", "DEDICATED"]);
    for subnet in &vnet.subnets {
        let dedicated = if subnet.dedicated { "yes" } else { "no" };
        table.row([subnet.name.clone(), subnet.prefixes.join(" "), dedicated.to_owned()]);
    }
    table.write(out)
}
