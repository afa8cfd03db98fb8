//! Decisions about several connections of one resource: they are listed, and whoever decides is asked.

use std::io::{self, Write};

use super::{Chosen, Decision, decide, in_words};
use crate::cli::client::Client;
use crate::cli::confirm::agreed;
use crate::cli::exit::Error;
use crate::cli::output::{Format, Output, Table, count, left, short};
use crate::types::{DecideAll, DecidedAll, Ending, List, Transition, segment};

/// Decides about the one connection that is named, or about those that are chosen.
pub(super) fn choose(
    action: &str,
    chosen: Chosen,
    for_seconds: Option<u64>,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let Chosen { endpoint, decision, subscription, vnet, yes, dry_run } = chosen;
    if let Some(endpoint) = endpoint {
        return decide(action, &endpoint, decision, for_seconds, client, output);
    }
    let Decision { reason, resource, if_state } = decision;
    let resource = resource.unwrap_or_default();
    let path = format!("/resources/{}/connections/{action}", segment(&resource));
    let wanted = DecideAll { reason, subscription, vnet, if_state, for_seconds, dry_run, listed: None };
    if yes {
        return carry_out(&path, &wanted, &resource, client, output);
    }
    let found = client.post::<DecidedAll>(&path, &DecideAll { dry_run: true, ..wanted.clone() })?;
    let all: Vec<Transition> = found.items.iter().flat_map(|found| found.connections.clone()).collect();
    if dry_run || all.is_empty() {
        return show(all, &resource, output, table);
    }
    let question = format!("{action} {}?", count(all.len() as u64, "connection"));
    let talk: &mut dyn Write = if output.format == Format::Json { &mut *output.talk } else { &mut *output.data };
    table(&all, talk)?;
    agreed(&question, "nothing was decided", talk)?;
    let listed = found.items.first().map(|found| found.listed.clone());
    carry_out(&path, &DecideAll { listed, ..wanted }, &resource, client, output)
}

fn carry_out(
    path: &str,
    wanted: &DecideAll,
    resource: &str,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let done = client.post::<DecidedAll>(path, wanted)?;
    let warnings: Vec<String> = done.items.iter().flat_map(|done| done.warnings.clone()).collect();
    let all = done.items.into_iter().flat_map(|done| done.connections).collect();
    show(all, resource, output, |all, out| all.iter().try_for_each(|one| writeln!(out, "{}", in_words(one))))?;
    output.warn(&warnings)
}

/// Shows `all` by `human`, or says that there is none.
fn show(
    all: Vec<Transition>,
    resource: &str,
    output: &mut Output<'_>,
    human: fn(&[Transition], &mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    output.list(&List::new(all), |all, out| match all {
        [] => writeln!(out, "no connection of {} is to be decided", short(resource)),
        all => human(all, out),
    })
}

fn table(all: &[Transition], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["ENDPOINT", "STATE", "NEW STATE", "ENDS"]);
    for Transition { endpoint, from, to, ending, .. } in all {
        let ends = |end: &Ending| format!("in {} ({})", left(end.approval_seconds_left), end.approval_ends_at);
        let ends = ending.as_ref().map_or_else(|| "never".to_owned(), ends);
        let ends = if to == "Approved" { ends } else { "-".to_owned() };
        table.row([short(endpoint).to_owned(), from.clone(), to.clone(), ends]);
    }
    // Whole on a narrow terminal, too: whoever decides must be able to tell the endpoints apart.
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_says_when_each_approval_ends() {
        let one = |endpoint: &str, to: &str, left: Option<u64>| Transition {
            endpoint: format!("default/{endpoint}"),
            from: "Pending".to_owned(),
            to: to.to_owned(),
            changed: true,
            ending: left.map(|left| Ending {
                approval_ends_at: "2026-12-01T08:00:00Z".to_owned(),
                approval_seconds_left: left,
            }),
            in_force_microseconds: 0,
            warnings: Vec::new(),
        };
        let all = [
            one("orders", "Approved", Some(28_800)),
            one("billing-of-the-northern-branch", "Approved", None),
            one("old", "Rejected", None),
        ];
        let mut out = Vec::new();
        table(&all, &mut out).expect("writes");
        let expected = "ENDPOINT                        STATE    NEW STATE  ENDS\n\
                        orders                          Pending  Approved   in 8 h (2026-12-01T08:00:00Z)\n\
                        billing-of-the-northern-branch  Pending  Approved   never\n\
                        old                             Pending  Rejected   -\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
