//! `privlink who`: who is behind the NAT address and port that a server sees.

use std::io::{self, Write};
use std::net::SocketAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::{Format, Output, Table, bytes, count, short};
use crate::types::{Lost, Who, segment};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Peer that the server sees; the identifier of an echo stands for the port
    #[arg(value_name = "NAT_IP:PORT")]
    nat: SocketAddr,
    /// The server: a NAT port is reused across servers, so that without it several sessions may match
    #[arg(long, value_name = "IP:PORT")]
    backend: Option<SocketAddr>,
    /// Only sessions alive then, such as `2026-01-31T09:30:00Z`; without a zone: local time
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let local = || text.parse::<DateTime>().and_then(|time| TimeZone::system().to_timestamp(time));
    text.parse::<Timestamp>()
        .or_else(|_| local())
        .map_err(|_| format!("`{text}` is not a time such as 2026-01-31T09:30:00Z or 2026-01-31T09:30"))
}

pub(super) fn show(options: &Options, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let parameter = |name: &str, value: Option<String>| {
        value.map_or_else(String::new, |value| format!("&{name}={}", segment(&value)))
    };
    let list = client.get::<Who>(&format!(
        "/who?nat={}{}{}",
        segment(&options.nat.to_string()),
        parameter("backend", options.backend.map(|backend| backend.to_string())),
        parameter("at", options.at.map(|at| at.to_string())),
    ))?;
    let found = list.items.iter().any(|who| !who.matches.is_empty());
    output.list(&list, |items, out| items.iter().try_for_each(|who| table(who, out)))?;
    for who in &list.items {
        if who.more > 0 {
            writeln!(output.talk, "privlink: {} more match; `--backend` and `--at` narrow them", who.more)?;
        }
        if let Some(lost) = &who.lost {
            writeln!(output.talk, "warning: {}", missing(lost))?;
        }
        output.warn(&who.warnings)?;
    }
    if found {
        return Ok(());
    }
    // A program has read so in the answer, which is one document.
    let message = match output.format {
        Format::Json => String::new(),
        Format::Table | Format::Wide => format!("no session is known that had {}", options.nat),
    };
    Err(Error::new(Exit::NotFound, message))
}

fn missing(lost: &Lost) -> String {
    let Lost { records, kills, since } = lost;
    let killed = format!("those alive at {} of the daemon", count(*kills, "kill"));
    let counted = count(*records, "ended session");
    let what = match (records, kills) {
        (_, 0) => counted,
        (0, _) => killed,
        _ => format!("{counted}, and {killed}"),
    };
    format!("not in the flow log since {since}: {what}")
}

fn table(who: &Who, out: &mut dyn Write) -> io::Result<()> {
    if who.matches.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        "ENDPOINT",
        "LINK",
        "PROTOCOL",
        "CLIENT",
        "BACKEND",
        "REQUESTER",
        "APPROVER",
        "FROM",
        "UNTIL",
        "STATE",
        "TO SERVICE",
        "TO CONSUMER",
    ]);
    for found in &who.matches {
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.row([
            found.endpoint.as_deref().map_or_else(
                || format!("connection {}, deleted", found.link_identifier),
                |endpoint| short(endpoint).to_owned(),
            ),
            found.link_identifier.to_string(),
            found.protocol.clone(),
            found.consumer.to_string(),
            found.backend.to_string(),
            or_unknown(&found.requester),
            or_unknown(&found.approver),
            found.from.clone(),
            or_unknown(&found.until),
            found.state.clone(),
            bytes(found.bytes_to_service),
            bytes(found.bytes_to_consumer),
        ]);
    }
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_zone_or_is_local() {
        assert_eq!(time("2026-01-31T09:30:00Z"), time("2026-01-31T10:30:00+01:00"));
        assert!(time("2026-01-31T09:30").is_ok() && time("2026-01-31 09:30:12.5").is_ok());
        assert!(time("yesterday").is_err());
    }

    #[test]
    fn what_is_missing_is_said_with_its_number() {
        let lost = |records, kills| missing(&Lost { records, kills, since: "2026-01-31T09:30:00.0Z".to_owned() });
        assert_eq!(lost(2, 0), "not in the flow log since 2026-01-31T09:30:00.0Z: 2 ended sessions");
        assert!(lost(0, 1).ends_with(": those alive at 1 kill of the daemon"));
        assert!(lost(1, 2).ends_with(": 1 ended session, and those alive at 2 kills of the daemon"));
    }
}
