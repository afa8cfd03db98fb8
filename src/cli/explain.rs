//! `privlink explain`: what would become of a session's first packet, and which check decides.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::{Output, short};
use crate::types::{Explanation, segment};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// VNet the packet comes from: `name` or `group/name`
    #[arg(long, value_name = "VNET", add = super::noun::named::<crate::types::Vnet>())]
    vnet: String,
    /// Address of the consumer
    #[arg(value_name = "SRC")]
    source: IpAddr,
    /// Address and port it asks for, such as `10.1.9.4:5432/tcp`, or `10.1.9.4/icmp`; without protocol: tcp
    #[arg(value_name = "DST:PORT[/PROTOCOL]", value_parser = destination)]
    destination: Destination,
    /// End with 1 where the packet would be dropped
    #[arg(long)]
    exit_code: bool,
}

/// Where a packet is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    address: IpAddr,
    port: u16,
    protocol: String,
}

/// Parses `10.1.9.4:5432`, `10.1.9.4:53/udp`, `[fd00::4]:443/tcp` or `10.1.9.4/icmp`.
fn destination(text: &str) -> Result<Destination, String> {
    let (place, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    match protocol.as_str() {
        "icmp" => {
            let bare = place.trim_start_matches('[').trim_end_matches(']');
            let address = bare.parse().map_err(|_| format!("`{place}` is not an address"))?;
            Ok(Destination { address, port: 0, protocol })
        }
        "tcp" | "udp" => {
            let place: SocketAddr = place.parse().map_err(|_| format!("`{place}` is not of the form ADDRESS:PORT"))?;
            Ok(Destination { address: place.ip(), port: place.port(), protocol })
        }
        other => Err(format!("`{other}` is not tcp, udp or icmp")),
    }
}

pub(super) fn show(options: &Options, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let Destination { address, port, protocol } = &options.destination;
    let path = format!(
        "/explain?vnet={}&source={}&destination={}&port={port}&protocol={protocol}",
        segment(&options.vnet),
        segment(&options.source.to_string()),
        segment(&address.to_string()),
    );
    let explained = client.get::<Explanation>(&path)?;
    output.list(&explained, |items, out| items.iter().try_for_each(|one| write(one, out)))?;
    if options.exit_code && !explained.items.iter().all(|one| one.admitted) {
        // Everything is said already.
        return Err(Error::new(Exit::Failed, ""));
    }
    Ok(())
}

fn write(explanation: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    let Explanation { source, message, remedy, reason, check, .. } = explanation;
    let asked = match (explanation.protocol.as_str(), explanation.destination.contains(':')) {
        ("icmp", _) => format!("{} icmp", explanation.destination),
        (protocol, true) => format!("[{}]:{} {protocol}", explanation.destination, explanation.port),
        (protocol, false) => format!("{}:{} {protocol}", explanation.destination, explanation.port),
    };
    writeln!(out, "{source} → {asked}, from {}", short(&explanation.vnet))?;
    for check in &explanation.checks {
        writeln!(out, "  {} {:<12} {}", check.number, check.outcome, check.question)?;
    }
    match reason {
        None => writeln!(out, "passes: {message}")?,
        Some(reason) => writeln!(out, "dropped as {reason}, check {check} of 7: {message}")?,
    }
    explanation.rates.iter().try_for_each(|rate| writeln!(out, "  at most: {rate}"))?;
    if remedy.is_empty() { Ok(()) } else { writeln!(out, "  {remedy}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_address_a_port_and_a_protocol() {
        for (text, expected) in [
            ("10.1.9.4:5432", Some(("10.1.9.4", 5432, "tcp"))),
            ("10.1.9.4:53/udp", Some(("10.1.9.4", 53, "udp"))),
            ("10.1.9.4:53/UDP", Some(("10.1.9.4", 53, "udp"))),
            ("[fd00::4]:443/tcp", Some(("fd00::4", 443, "tcp"))),
            ("10.1.9.4/icmp", Some(("10.1.9.4", 0, "icmp"))),
            ("10.1.9.4", None),
            ("10.1.9.4:70000", None),
            ("10.1.9.4:1/sctp", None),
        ] {
            let parsed = destination(text).ok();
            let seen = parsed.as_ref().map(|place| (place.address.to_string(), place.port, place.protocol.clone()));
            let expected = expected.map(|(ip, port, protocol)| (ip.to_owned(), port, protocol.to_owned()));
            assert_eq!(seen, expected, "{text}");
        }
    }
}
