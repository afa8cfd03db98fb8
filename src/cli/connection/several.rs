//! Decisions about several connections of one resource: they are listed, and whoever decides is asked.

use std::io::{self, IsTerminal as _, Write};

use super::{Chosen, Decision, decide, in_words};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Format, Output, Table, count, left, short};
use crate::interface::{DecideAll, DecidedAll, List, Transition, segment};

/// Decides about the one connection that is named, or about those that are chosen.
pub(super) fn choose(
    action: &str,
    chosen: Chosen,
    for_seconds: Option<u64>,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
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
    if !io::stdin().is_terminal() {
        let message = format!("{question} Nobody can be asked here, and nothing was decided");
        return Err(Failure::new(Exit::Usage, message).with_remedy("add --yes to decide without being asked"));
    }
    write!(talk, "{question} [y/N] ")?;
    talk.flush()?;
    let mut said = String::new();
    io::stdin().read_line(&mut said)?;
    if !["y", "yes"].contains(&said.trim().to_lowercase().as_str()) {
        return Err(Failure::new(Exit::Failed, "nothing was decided"));
    }
    let listed = found.items.first().map(|found| found.listed.clone());
    carry_out(&path, &DecideAll { listed, ..wanted }, &resource, client, output)
}

fn carry_out(
    path: &str,
    wanted: &DecideAll,
    resource: &str,
    client: &Client,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
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
) -> Result<(), Failure> {
    output.list(&List::new(all), |all, out| match all {
        [] => writeln!(out, "no connection of {} would change", short(resource)),
        all => human(all, out),
    })
}

fn table(all: &[Transition], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["ENDPOINT", "STATE", "WILL BE", "FOR"]);
    for Transition { endpoint, from, to, ending, .. } in all {
        let lasts = ending.as_ref().map_or_else(|| "good".to_owned(), |end| left(end.approval_seconds_left));
        let lasts = if to == "Approved" { lasts } else { "-".to_owned() };
        table.row([short(endpoint).to_owned(), from.clone(), to.clone(), lasts]);
    }
    table.write(out)
}
