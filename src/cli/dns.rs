//! `privlink dns`: private names of a VNet, and what other name servers need to know of them.

use super::client::Client;
use super::dns_export::{Form, export};
use super::exit::{Error, Exit};
use super::noun::{self, Look};
use super::output::{Output, Table, short};
use crate::types::{DnsName, DnsPlan, Lint, List, PrivateZone, segment};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Say what a VNet's resolver makes of a name, and whose it is
    Query {
        /// The name that an application asks for
        name: String,
        /// `name` or `group/name`
        #[arg(long, value_name = "VNET", add = super::noun::named::<crate::types::Vnet>())]
        vnet: String,
        /// Ask the running resolver, and show who told what: zone, chain, cache, upstream
        #[arg(long)]
        explain: bool,
        /// Type of the records
        #[arg(long = "type", value_name = "TYPE", default_value = "A", requires = "explain")]
        kind: String,
    },
    /// Write what another program needs, to serve these names or to ask the VNet's resolver for them
    Export {
        /// `name` or `group/name`
        #[arg(long, value_name = "VNET", add = super::noun::named::<crate::types::Vnet>())]
        vnet: String,
        /// What for
        #[arg(long, value_enum)]
        format: Form,
    },
    /// Private DNS zones
    #[command(subcommand)]
    Zone(Look<PrivateZone>),
    /// Say which names will surprise somebody; ends with 1 if there are any
    Lint {
        /// `name` or `group/name`; omitted: every VNet
        #[arg(long, value_name = "VNET", add = super::noun::named::<crate::types::Vnet>())]
        vnet: Option<String>,
        /// Ask no upstream whether a zone is in public use: go by the model and Azure's tables alone
        #[arg(long)]
        no_ask: bool,
    },
}

pub(super) fn execute(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let plans = |vnet: &str| client.get::<DnsPlan>(&format!("/vnets/{}/dns", segment(vnet)));
    match command {
        Command::Query { name, vnet, explain: true, kind } => {
            super::dns_explain::execute(name, vnet, kind, client, output)
        }
        Command::Query { name, vnet, .. } => query(name, plans(vnet)?, output),
        Command::Export { vnet, format } => {
            output.list(&plans(vnet)?, |plans, out| plans.iter().try_for_each(|plan| export(plan, *format, out)))
        }
        Command::Zone(command) => noun::look(command, client, output),
        Command::Lint { vnet, no_ask } => lint(vnet.as_deref(), !no_ask, client, output),
    }
}

/// Names that will surprise somebody. What nobody could be asked is said, and is no surprise.
fn lint(vnet: Option<&str>, ask: bool, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let wanted = vnet.map(|vnet| format!("&vnet={}", segment(vnet))).unwrap_or_default();
    let list = client.get::<Lint>(&format!("/lint?ask={ask}{wanted}"))?;
    output.list(&list, |found, out| {
        found.iter().filter(|one| !one.is_untold()).try_for_each(|Lint { code, vnet, message, evidence, remedy }| {
            writeln!(out, "{}: {code}: {message}", short(vnet))?;
            evidence.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
            writeln!(out, "  {remedy}")
        })
    })?;
    for Lint { message, remedy, .. } in list.items.iter().filter(|one| one.is_untold()) {
        writeln!(output.talk, "{message}; {remedy}")?;
    }
    writeln!(
        output.talk,
        "What clients on other hosts ask is not seen from here: `privlink doctor FQDN` there says it."
    )?;
    // Everything is said already.
    if list.items.iter().all(Lint::is_untold) { Ok(()) } else { Err(Error::new(Exit::Failed, "")) }
}

/// The chain from `name` on.
fn query(name: &str, list: List<DnsPlan>, output: &mut Output<'_>) -> Result<(), Error> {
    let Some(plan) = list.items.into_iter().next() else { return Ok(()) };
    let (mut at, mut chain): (String, Vec<DnsName>) = (name.trim_end_matches('.').to_lowercase(), Vec::new());
    while let Some(known) = plan.names.iter().find(|known| known.name == at && chain.len() < plan.names.len()) {
        at.clone_from(&known.alias);
        chain.push(known.clone());
    }
    if chain.is_empty() {
        let upstream = match plan.upstream.as_slice() {
            [] => "refused, since the VNet names no upstream".to_owned(),
            servers => format!("asked of {}", servers.join(", ")),
        };
        let message = format!("{name} is no private name of {}: it is {upstream}", short(&plan.vnet));
        return Err(Error::new(Exit::NotFound, message));
    }
    output.list(&List::new(chain), |chain, out| {
        let mut table = Table::new(["NAME", "ZONE", "LEADS TO", "ENDPOINT", "STATE", "ANSWERED"]);
        for name in chain {
            let mut row = |to: &str, endpoint: &str, state: &str, answered: &str| {
                table.row([&*name.name, &*name.zone, to, endpoint, state, answered].map(str::to_owned));
            };
            if !name.alias.is_empty() {
                row(&name.alias, "-", "-", "yes");
            }
            for one in &name.addresses {
                row(&one.address, short(&one.endpoint), &one.state, if one.answered { "yes" } else { "no" });
            }
        }
        table.write(out)
    })
}
