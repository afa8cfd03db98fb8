//! `privlink nic` and `privlink group`: what follows from other objects.

use super::client::Client;
use super::exit::Error;
use super::noun::Noun;
use super::output::{Column, Output, Table, or_dash, short};
use crate::types::{Group, Interface, Listed as _};

/// Resource groups.
#[derive(Debug, clap::Subcommand)]
pub(super) enum GroupCommand {
    /// List resource groups
    List,
}

pub(super) fn group(command: &GroupCommand, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let GroupCommand::List = command;
    let columns: &[Column<Group>] = &[
        ("GROUP", |group| group.name.clone()),
        ("SUBSCRIPTION", |group| group.subscription.clone()),
        ("REGION", |group| or_dash(&group.region)),
        ("OBJECTS", |group| or_dash(&group.objects.map(|count| count.to_string()).unwrap_or_default())),
    ];
    output.list(&client.get::<Group>(Group::PATH)?, |items, out| Table::of(items, columns).write(out))
}

impl Noun for Interface {
    const ARGUMENT: &'static str = "NIC";
    const NAMED: &'static str = "Its name, or that of its endpoint";
    const LIST: &'static str = "List the interfaces of endpoints";
    const SHOW: &'static str = "Show one interface";
    const COLUMNS: &'static [Column<Self>] = &[];

    /// A row for each address.
    fn table(items: &[Self]) -> Table {
        let mut table = Table::new(["NIC", "ENDPOINT", "SUBNET", "MEMBER", "ADDRESS", "NAMES"]);
        for nic in items {
            for address in &nic.addresses {
                table.row([
                    short(&nic.id).to_owned(),
                    short(&nic.endpoint).to_owned(),
                    format!("{}/{}", short(&nic.vnet), nic.subnet),
                    or_dash(&address.member),
                    address.ip.clone(),
                    or_dash(&address.fqdns.join(" ")),
                ]);
            }
        }
        table
    }
}
