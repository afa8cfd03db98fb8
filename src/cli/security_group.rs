//! `privlink security-group`: rule sets.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::output::{Output, Table, properties, short};
use crate::model::spelled::port_ranges;
use crate::types::{Done, SecurityGroup, segment};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List rule sets
    List,
    /// Show one rule set
    Show {
        /// `name` or `group/name`
        #[arg(add = super::complete::security_groups())]
        security_group: String,
    },
    /// Make one
    Create(super::create::NewSecurityGroup),
    /// Delete one that no subnet refers to
    Delete {
        /// `name` or `group/name`
        #[arg(add = super::complete::security_groups())]
        security_group: String,
    },
}

pub(super) fn execute(command: Command, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let path = |name: &str| format!("/security-groups/{}", segment(name));
    match command {
        Command::List => output.list(&client.get::<SecurityGroup>("/security-groups")?, table),
        Command::Show { security_group } => {
            let list = client.get::<SecurityGroup>(&path(&security_group))?;
            output.list(&list, |items, out| items.iter().try_for_each(|one| show(one, out)))
        }
        Command::Create(new) => super::create::security_group(new, client, output),
        Command::Delete { security_group } => {
            output.list(&client.delete::<Done>(&path(&security_group))?, super::access::done)
        }
    }
}

fn table(items: &[SecurityGroup], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["SECURITY GROUP", "RULES", "SUBNETS"]);
    for group in items {
        table.row([short(&group.id).to_owned(), group.spec.rules.len().to_string(), subnets(group)]);
    }
    table.write(out)
}

fn subnets(group: &SecurityGroup) -> String {
    let names: Vec<_> = group.status.subnets.iter().map(|subnet| short(subnet)).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(" ") }
}

fn show(group: &SecurityGroup, out: &mut dyn Write) -> io::Result<()> {
    properties(out, &[("security group", group.id.clone()), ("subnets", subnets(group))])?;
    writeln!(out)?;
    let mut rules: Vec<_> = group.spec.rules.iter().collect();
    rules.sort_by_key(|rule| rule.priority);
    let mut table = Table::new(["PRIORITY", "RULE", "ACCESS", "PROTOCOL", "SOURCES", "DESTINATIONS", "PORTS"]);
    for rule in rules {
        table.row([
            rule.priority.to_string(),
            rule.name.clone(),
            rule.access.to_string(),
            rule.protocol.map_or_else(|| "*".to_owned(), |protocol| protocol.to_string()),
            any_or(rule.sources.iter().map(ToString::to_string)),
            any_or(rule.destinations.iter().map(ToString::to_string)),
            any_or(rule.ports.iter().map(port_ranges::text)),
        ]);
    }
    table.write(out)
}

/// Values in one cell; none of them: every one.
fn any_or(values: impl Iterator<Item = String>) -> String {
    let list = values.collect::<Vec<_>>().join(" ");
    if list.is_empty() { "*".to_owned() } else { list }
}
