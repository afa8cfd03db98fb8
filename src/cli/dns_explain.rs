//! `privlink dns query --explain`: what the running resolver makes of a name, and who told it.

use super::client::Client;
use super::exit::Error;
use super::output::{Output, Table};
use crate::types::{DnsExplanation, DnsHop, segment};

pub(super) fn execute(
    name: &str,
    vnet: &str,
    kind: &str,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let path = format!("/vnets/{}/dns/explain?name={}&type={}", segment(vnet), segment(name), segment(kind));
    let list = client.get::<DnsExplanation>(&path)?;
    output.list(&list, |all, out| {
        for explanation in all {
            let mut table = Table::new(["NAME", "TTL", "TYPE", "DATA", "TOLD BY"]);
            for hop in &explanation.hops {
                if hop.records.is_empty() {
                    table.row([&*hop.name, "-", "-", "-", &told_by(hop, None)].map(str::to_owned));
                }
                for record in &hop.records {
                    let cells = [
                        &*record.name,
                        &record.ttl.to_string(),
                        &record.kind,
                        &record.data,
                        &told_by(hop, record.zone.as_deref()),
                    ];
                    table.row(cells.map(str::to_owned));
                }
            }
            table.write(out)?;
            let why = explanation.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
            writeln!(out, "{}{why}", explanation.code)?;
            explanation.waiting.iter().try_for_each(|why| writeln!(out, "waiting: {why}"))?;
        }
        Ok(())
    })
}

fn told_by(hop: &DnsHop, zone: Option<&str>) -> String {
    let server = hop.server.as_deref().unwrap_or("no server");
    match (&*hop.source, hop.seconds_left, hop.milliseconds) {
        ("plan", ..) => zone.map_or("the plan".to_owned(), |zone| format!("zone {zone}")),
        (_, Some(left), _) => format!("cache ({left} s left), from {server}"),
        (_, _, Some(took)) => format!("upstream {server} ({took} ms)"),
        _ => server.to_owned(),
    }
}
