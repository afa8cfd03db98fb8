//! `privlink status`: what is wrong first, then every endpoint, then what happened to packets.

use std::io::{self, Write};

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::{Output, bound, count, short};
use crate::types::{Condition, Line, Severity, Status, Totals};

pub(super) fn show(client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let list = client.get::<Status>("/status")?;
    output.list(&list, |items, out| items.iter().try_for_each(|status| write(status, out)))?;
    if list.items.iter().any(|status| !status.ready) {
        return Err(Error::new(Exit::NotReady, "the daemon is not ready: nothing passes yet"));
    }
    Ok(())
}

/// The screen of one daemon.
fn write(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    for condition in &status.conditions {
        write_condition(condition, out)?;
    }
    if !status.conditions.is_empty() {
        writeln!(out)?;
    }
    if let Some(last) = &status.last_reload {
        writeln!(out, "the file was last read anew at {} by {}: {}", last.at, last.by, last.outcome)?;
        let lines = last.message.iter().filter(|_| last.outcome != "applied").flat_map(|message| message.lines());
        lines.into_iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        writeln!(out)?;
    }
    if status.endpoints.is_empty() {
        // The path of the file is for who operates the daemon.
        let file = if status.config.is_empty() { "what you may see" } else { &status.config };
        writeln!(out, "no endpoint is configured in {file}")?;
    }
    for line in &status.endpoints {
        writeln!(out, "{}", endpoint(line))?;
    }
    if !status.clean_up.is_empty() {
        writeln!(out, "\nclean-up")?;
        for line in &status.clean_up {
            writeln!(out, "  {}", left_over(line))?;
        }
    }
    write_totals(&status.totals, out)
}

fn write_condition(condition: &Condition, out: &mut dyn Write) -> io::Result<()> {
    let severity = match condition.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "note",
    };
    writeln!(out, "{severity}: {}", condition.message)?;
    if condition.remedy.is_empty() { Ok(()) } else { writeln!(out, "  {}", condition.remedy) }
}

/// `orders 10.1.9.4 → orders-db Approved, 2 backends, 14 sessions`
fn endpoint(line: &Line) -> String {
    let Line { endpoint, addresses, resource, subresource, state, ending, backends, sessions, .. } = line;
    format!(
        "{} {} → {} {}, {}{}",
        short(endpoint),
        addresses.join(" "),
        bound(resource, subresource),
        super::connection::state(state, ending.as_ref()),
        backends.map(|backends| count(backends, "backend") + ", ").unwrap_or_default(),
        count(*sessions, "session"),
    )
}

/// Who ended a Disconnected endpoint, when and why, and that it can only be deleted.
fn left_over(line: &Line) -> String {
    let name = short(&line.endpoint);
    let who = line.decision.as_ref().map(|decision| format!(" by {} at {}", decision.by, decision.at));
    let why = if line.reason.is_empty() { String::new() } else { format!(" ({})", line.reason) };
    format!(
        "{name} {} → {} {}{}{why}: privlink endpoint delete {name}",
        line.addresses.join(" "),
        bound(&line.resource, &line.subresource),
        line.state,
        who.unwrap_or_default(),
    )
}

fn write_totals(totals: &Totals, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\npackets: {} read, {} forwarded, {} dropped", totals.read, totals.forwarded, totals.dropped)?;
    let width = totals.drops.keys().map(String::len).max().unwrap_or(0);
    let mut drops: Vec<_> = totals.drops.iter().filter(|(_, count)| **count > 0).collect();
    drops.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), reason.as_str()));
    drops.into_iter().try_for_each(|(reason, count)| writeln!(out, "  {reason:<width$}  {count}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Decision;

    fn line(endpoint: &str, state: &str, backends: u64, sessions: u64) -> Line {
        Line {
            endpoint: endpoint.to_owned(),
            addresses: vec!["10.1.9.4".to_owned()],
            resource: "default/orders-db".to_owned(),
            state: state.to_owned(),
            backends: Some(backends),
            sessions,
            ..Line::default()
        }
    }

    #[test]
    fn one_endpoint_is_one_line() {
        assert_eq!(
            endpoint(&line("default/orders", "Approved", 2, 14)),
            "orders 10.1.9.4 → orders-db Approved, 2 backends, 14 sessions"
        );
        let typed = Line { subresource: "blob".to_owned(), ..line("team/files", "Pending", 1, 1) };
        assert_eq!(endpoint(&typed), "team/files 10.1.9.4 → orders-db (blob) Pending, 1 backend, 1 session");
        let ending = Some(crate::types::Ending { approval_seconds_left: 28_799, ..Default::default() });
        let ends = Line { ending, ..line("default/orders", "Approved", 2, 14) };
        let text = "orders 10.1.9.4 → orders-db Approved, 7 h 59 min left, 2 backends, 14 sessions";
        assert_eq!(endpoint(&ends), text);
        let unseen = Line { backends: None, ..line("default/orders", "Approved", 0, 3) };
        assert_eq!(endpoint(&unseen), "orders 10.1.9.4 → orders-db Approved, 3 sessions");
    }

    #[test]
    fn the_screen_shows_what_is_wrong_first_and_what_to_delete_last() {
        let status = Status {
            ready: true,
            conditions: vec![Condition {
                severity: Severity::Error,
                code: "StateDamaged".to_owned(),
                message: "the state is damaged".to_owned(),
                remedy: "approve anew".to_owned(),
            }],
            endpoints: vec![line("default/orders", "Approved", 2, 14)],
            clean_up: vec![Line {
                reason: "contract ended".to_owned(),
                decision: Some(Decision { by: "uid:0".to_owned(), at: "2026-11-23T20:00:00Z".to_owned() }),
                ..line("default/old", "Disconnected", 2, 0)
            }],
            totals: Totals {
                read: 10,
                forwarded: 7,
                dropped: 3,
                drops: [("not_syn".to_owned(), 1), ("malformed".to_owned(), 2)].into(),
                ..Totals::default()
            },
            ..Status::default()
        };
        let mut out = Vec::new();
        write(&status, &mut out).expect("writes");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "error: the state is damaged\n  approve anew\n\n\
             orders 10.1.9.4 → orders-db Approved, 2 backends, 14 sessions\n\n\
             clean-up\n  old 10.1.9.4 → orders-db Disconnected by uid:0 at 2026-11-23T20:00:00Z (contract ended): \
             privlink endpoint delete old\n\n\
             packets: 10 read, 7 forwarded, 3 dropped\n  malformed  2\n  not_syn    1\n"
        );
    }
}
