//! `privlink dns`: private names of a VNet, and what other name servers need to know of them.

use std::io::{self, Write};

use clap::ValueEnum;

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{Output, Table, short};
use crate::interface::{DnsName, DnsPlan, List, segment};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say what a VNet's resolver makes of a name, and whose it is
    Query {
        /// The name that an application asks for
        name: String,
        /// `name` or `group/name`
        #[arg(long, value_name = "VNET", add = super::complete::vnets())]
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
        #[arg(long, value_name = "VNET", add = super::complete::vnets())]
        vnet: String,
        /// What for
        #[arg(long, value_enum)]
        format: Form,
    },
}

/// What an export is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Lines for /etc/hosts, for testing
    Hosts,
    /// Zone files of the private zones, one after the other
    Zone,
    /// Aliases for the provider's own public zones
    Public,
    /// dnsmasq that asks the VNet's resolver for the public zones
    Dnsmasq,
    /// unbound that does
    Unbound,
    /// BIND that does
    Bind,
}

pub(super) fn execute(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    if let Command::Query { name, vnet, explain: true, kind } = command {
        return super::dns_explain::execute(name, vnet, kind, client, output);
    }
    let (Command::Query { vnet, .. } | Command::Export { vnet, .. }) = command;
    let list = client.get::<DnsPlan>(&format!("/vnets/{}/dns", segment(vnet)))?;
    match command {
        Command::Query { name, .. } => query(name, list, output),
        Command::Export { format, .. } => {
            output.list(&list, |plans, out| plans.iter().try_for_each(|plan| export(plan, *format, out)))
        }
    }
}

/// The chain from `name` on.
fn query(name: &str, list: List<DnsPlan>, output: &mut Output<'_>) -> Result<(), Failure> {
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
        return Err(Failure::new(Exit::NotFound, message));
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

/// Names that an application asks for, and the addresses behind them that are answered.
fn reached(plan: &DnsPlan) -> impl Iterator<Item = (&DnsName, Vec<&str>)> {
    plan.names.iter().map(|name| {
        let host = plan.names.iter().find(|host| host.name == name.alias).unwrap_or(name);
        let answered = host.addresses.iter().filter(|one| one.answered).map(|one| &*one.address);
        (name, answered.collect())
    })
}

/// Zones that the VNet's resolver is to be asked about: the public ones, where a name leads to a private one, never
/// the private ones themselves (seed, *DNS configuration*); else the name alone.
fn forwarded(plan: &DnsPlan) -> Vec<&str> {
    let aliased = |name: &DnsName| plan.names.iter().any(|other| other.alias == name.name);
    let mut zones: Vec<&str> = plan.names.iter().filter(|name| !aliased(name)).map(|name| name.zone.as_str()).collect();
    zones.sort_unstable();
    zones.dedup();
    zones
}

fn export(plan: &DnsPlan, form: Form, out: &mut dyn Write) -> io::Result<()> {
    let vnet = short(&plan.vnet);
    match form {
        Form::Hosts => {
            writeln!(out, "# Private names of {vnet}, for testing only: nothing here follows a change.")?;
            for (name, addresses) in reached(plan) {
                addresses.iter().try_for_each(|address| writeln!(out, "{address}\t{}", name.name))?;
            }
            Ok(())
        }
        Form::Public => {
            writeln!(out, "; Aliases for the public zones of the services that {vnet} reaches.")?;
            let aliases = plan.names.iter().filter(|name| !name.alias.is_empty());
            aliases.into_iter().try_for_each(|one| writeln!(out, "{}. {} IN CNAME {}.", one.name, plan.ttl, one.alias))
        }
        Form::Zone => zones(plan, out),
        Form::Dnsmasq | Form::Unbound | Form::Bind => {
            let comment = if form == Form::Bind { "//" } else { "#" };
            writeln!(out, "{comment} Asks the resolver of {vnet} for the public names of its private endpoints.")?;
            forwarded(plan).iter().try_for_each(|zone| forward(zone, &plan.listen, form, out))
        }
    }
}

fn zones(plan: &DnsPlan, out: &mut dyn Write) -> io::Result<()> {
    let mut all: Vec<&str> =
        plan.names.iter().filter(|name| name.alias.is_empty()).map(|name| name.zone.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    for zone in all {
        writeln!(out, "; zone {zone}\n$ORIGIN {zone}.\n$TTL {}", plan.ttl)?;
        writeln!(out, "@ IN SOA localhost. hostmaster 1 3600 300 2419200 {}\n@ IN NS localhost.", plan.ttl)?;
        for name in plan.names.iter().filter(|name| name.alias.is_empty() && name.zone == zone) {
            for one in name.addresses.iter().filter(|one| one.answered) {
                let kind = if one.address.contains(':') { "AAAA" } else { "A" };
                writeln!(out, "{}. IN {kind} {}", name.name, one.address)?;
            }
        }
    }
    Ok(())
}

fn forward(zone: &str, servers: &[String], form: Form, out: &mut dyn Write) -> io::Result<()> {
    match form {
        Form::Dnsmasq => servers.iter().try_for_each(|server| writeln!(out, "server=/{zone}/{server}")),
        Form::Unbound => {
            writeln!(out, "forward-zone:\n  name: \"{zone}.\"")?;
            servers.iter().try_for_each(|server| writeln!(out, "  forward-addr: {server}"))
        }
        Form::Bind => {
            let servers = servers.join("; ");
            writeln!(out, "zone \"{zone}\" {{ type forward; forward only; forwarders {{ {servers}; }}; }};")
        }
        Form::Hosts | Form::Zone | Form::Public => Ok(()),
    }
}
