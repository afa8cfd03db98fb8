//! `privlink dns zone`: private DNS zones, of somebody's own and automatic.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::output::{Output, Table, properties, short};
use crate::types::{PrivateZone, segment};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List zones: those of somebody's own, and those that came about with endpoints
    List,
    /// Show one zone with its records
    Show {
        /// Its name; `group/name` where several of somebody's own have it
        #[arg(add = super::complete::zones())]
        zone: String,
    },
}

pub(super) fn execute(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    match command {
        Command::List => output.list(&client.get::<PrivateZone>("/dns-zones")?, table),
        Command::Show { zone } => {
            let list = client.get::<PrivateZone>(&format!("/dns-zones/{}", segment(zone)))?;
            output.list(&list, |zones, out| {
                zones.iter().enumerate().try_for_each(|(index, zone)| {
                    if index > 0 {
                        writeln!(out)?;
                    }
                    show(zone, out)
                })
            })
        }
    }
}

fn table(zones: &[PrivateZone], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["ZONE", "KIND", "RECORD SETS", "LINKS"]);
    for zone in zones {
        table.row([short(&zone.id).to_owned(), zone.kind.clone(), zone.record_sets.to_string(), links(zone)]);
    }
    table.write(out)
}

/// VNets, each with what becomes of unknown names there.
fn links(zone: &PrivateZone) -> String {
    let one = |link: &crate::types::PrivateZoneLink| format!("{} ({})", short(&link.vnet), link.resolution_policy);
    let all: Vec<String> = zone.links.iter().map(one).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(" ") }
}

fn show(zone: &PrivateZone, out: &mut dyn Write) -> io::Result<()> {
    properties(
        out,
        &[
            ("zone", zone.id.clone()),
            ("kind", zone.kind.clone()),
            ("links", links(zone)),
            ("record sets", zone.record_sets.to_string()),
        ],
    )?;
    writeln!(out)?;
    let mut table = Table::new(["NAME", "TYPE", "TTL", "DATA", "ENDPOINT"]);
    for record in &zone.records {
        let ttl = record.ttl.map_or_else(|| "-".to_owned(), |ttl| ttl.to_string());
        let endpoint = if record.endpoint.is_empty() { "-" } else { short(&record.endpoint) };
        table.row([&*record.name, &*record.kind, &*ttl, &*record.data, endpoint].map(str::to_owned));
    }
    table.write(out)
}
