//! `privlink flows`: live sessions.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::output::{Format, Output, Table, bytes, seconds, short};
use crate::types::{Flow, segment};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Only those of this endpoint: `name` or `group/name`
    #[arg(long, value_name = "ENDPOINT", add = super::noun::named::<crate::types::Endpoint>())]
    endpoint: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(super) fn show(options: &Options, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let endpoint = options.endpoint.as_deref().map(|endpoint| format!("&endpoint={}", segment(endpoint)));
    let list = client.get::<Flow>(&format!("/flows?limit={}{}", options.limit, endpoint.unwrap_or_default()))?;
    let (wide, width) = (output.format == Format::Wide, output.width);
    output.list(&list, |items, out| if wide { all(items, out) } else { table(items, width, out) })?;
    if list.items.len() >= options.limit as usize {
        writeln!(output.talk, "privlink: the first {} sessions; `--limit N` shows more", options.limit)?;
    }
    Ok(())
}

/// Every column, however wide.
fn all(items: &[Flow], out: &mut dyn Write) -> io::Result<()> {
    let head = [
        "ENDPOINT",
        "LINK",
        "VNET",
        "PROTOCOL",
        "CONSUMER",
        "ADDRESS",
        "NAT",
        "BACKEND",
        "STATE",
        "IDLE",
        "TO SERVICE",
        "PACKETS",
        "TO CONSUMER",
        "PACKETS",
        "WORKER",
    ];
    let mut table = Table::new(head);
    for flow in items {
        table.row([
            flow.endpoint.clone(),
            flow.link_identifier.to_string(),
            flow.vnet.clone(),
            flow.protocol.clone(),
            flow.consumer.to_string(),
            flow.endpoint_address.to_string(),
            flow.nat.to_string(),
            flow.backend.to_string(),
            flow.state.clone(),
            seconds(flow.idle_seconds.into()),
            bytes(flow.bytes_to_service),
            flow.packets_to_service.to_string(),
            bytes(flow.bytes_to_consumer),
            flow.packets_to_consumer.to_string(),
            flow.worker.to_string(),
        ]);
    }
    table.write(out)
}

fn table(items: &[Flow], width: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let head = [
        "ENDPOINT",
        "LINK",
        "PROTOCOL",
        "CONSUMER",
        "ADDRESS",
        "NAT",
        "BACKEND",
        "STATE",
        "IDLE",
        "TO SERVICE",
        "TO CONSUMER",
    ];
    let mut table = Table::new(head);
    for flow in items {
        table.row([
            short(&flow.endpoint).to_owned(),
            flow.link_identifier.to_string(),
            flow.protocol.clone(),
            flow.consumer.to_string(),
            flow.endpoint_address.to_string(),
            flow.nat.to_string(),
            flow.backend.to_string(),
            flow.state.clone(),
            seconds(flow.idle_seconds.into()),
            bytes(flow.bytes_to_service),
            bytes(flow.bytes_to_consumer),
        ]);
    }
    table.within(width).write(out)
}
