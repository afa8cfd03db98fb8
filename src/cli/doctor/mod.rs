//! `privlink doctor`: from a client's place, why a name does not lead through its endpoint. Each check is one line with
//! its evidence, in the order in which a connection meets them; the first that fails says what to do.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::{Format, Output, short};
use super::terminal::{GREEN, PLAIN, RED, YELLOW};
use crate::types::{Diagnosis, Explanation, Finding, List, Outcome, Vnet, segment};

/// What this host says.
mod host;

/// From what was seen to a finding.
mod judge;

use judge::{Daemon, Dialled};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The name that the application asks for
    #[arg(value_name = "FQDN")]
    name: String,
    /// VNet that this host is in: `name` or `group/name`; omitted: the one whose address space holds an address of this
    /// host
    #[arg(long, value_name = "VNET", add = super::noun::named::<crate::types::Vnet>())]
    vnet: Option<String>,
    /// Port that the application connects to, by TCP; omitted: the first that the endpoint exposes
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

pub(super) fn examine(options: &Options, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let findings = walk(options, client)?;
    let failed = findings.iter().any(|finding| finding.outcome == Outcome::Failed);
    let colours = output.format != Format::Json && super::terminal::shows_colours(output.width.is_some());
    output.list(&List::new(findings), |findings, out| write(findings, colours, out))?;
    // Everything is said already.
    if failed { Err(Error::new(Exit::Failed, "")) } else { Ok(()) }
}

/// Every check in its order.
fn walk(options: &Options, client: &Client) -> Result<Vec<Finding>, Error> {
    let name = options.name.trim_end_matches('.').to_lowercase();
    let daemon = ask_daemon(&name, options.vnet.as_deref(), client)?;
    let servers = host::servers();
    let said = servers.iter().find_map(|server| host::ask(*server, &name));
    let listed = host::hosts(&name);
    // Without an answer of either, programs wait long, and get none.
    let system = (said.is_some() || !listed.is_empty()).then(|| host::system(&name));
    let mut findings = vec![
        judge::daemon(&daemon),
        judge::resolver(&daemon, &servers, said.as_ref()),
        judge::name(&daemon, &name, said.as_ref()),
        judge::hosts(&daemon, &name, &listed, system.as_ref(), said.as_ref()),
    ];
    let addresses = judge::targets(&daemon, said.as_ref());
    let ways: Vec<_> = addresses.iter().map(|address| (*address, host::way(*address))).collect();
    let here = daemon.known().and_then(|known| known.device.as_deref()).is_some_and(host::has_device);
    findings.push(judge::address(&daemon, &addresses));
    findings.push(judge::connection(&daemon, &addresses));
    findings.push(judge::route(&daemon, &ways, here));
    let tried: Vec<Dialled> = ways.iter().map(|(address, way)| dial(options, &daemon, client, *address, way)).collect();
    findings.push(judge::policy(&tried));
    findings.push(judge::sessions(&daemon, &tried));
    findings.push(judge::backend(&tried));
    Ok(findings)
}

/// What the daemon knows of the name; a reference that leads nowhere is wrong usage, not a finding.
fn ask_daemon(name: &str, vnet: Option<&str>, client: &Client) -> Result<Daemon, Error> {
    let unreachable = |failure: &Error| matches!(failure.exit, Exit::Unreachable | Exit::Denied | Exit::NotReady);
    let vnet = match vnet.map(str::to_owned).map_or_else(|| find_vnet(client), Ok) {
        Ok(vnet) => vnet,
        Err(failure) if unreachable(&failure) => return Ok(Daemon::Silent(failure)),
        Err(failure) => return Err(failure),
    };
    match diagnosis(name, &vnet, client) {
        Ok(found) => Ok(Daemon::Knows(Box::new(found))),
        Err(failure) if unreachable(&failure) => Ok(Daemon::Silent(failure)),
        Err(failure) => Err(failure),
    }
}

fn diagnosis(name: &str, vnet: &str, client: &Client) -> Result<Diagnosis, Error> {
    let path = format!("/vnets/{}/diagnosis?name={}", segment(vnet), segment(name));
    let found = client.get::<Diagnosis>(&path)?.items.into_iter().next();
    found.ok_or_else(|| Error::new(Exit::Failed, "the daemon says nothing"))
}

/// The VNet that an address of this host lies in.
fn find_vnet(client: &Client) -> Result<String, Error> {
    let own = host::own_addresses();
    let holds = |vnet: &Vnet| {
        let mut prefixes = vnet.address_space.iter().filter_map(|prefix| prefix.parse::<ipnet::IpNet>().ok());
        prefixes.any(|prefix| own.iter().any(|address| prefix.contains(address)))
    };
    let mut found = client.get::<Vnet>("/vnets")?.items;
    found.retain(holds);
    match found.as_slice() {
        [one] => Ok(one.id.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|vnet| short(&vnet.id)).collect();
            let message = match names.as_slice() {
                [] => "no VNet has an address of this host in its address space".to_owned(),
                names => format!("an address of this host lies in several VNets: {}", names.join(", ")),
            };
            Err(Error::new(Exit::Usage, message).with_remedy("say which one it is in: `--vnet VNET`"))
        }
    }
}

/// How long counters may lag behind.
const LAG: Duration = Duration::from_millis(50);
const LOOKS: usize = 40;

/// Judges the packet, and sends it where that is possible.
fn dial(
    options: &Options,
    daemon: &Daemon,
    client: &Client,
    address: IpAddr,
    way: &Result<host::Way, String>,
) -> Dialled {
    let known = daemon.known().and_then(|known| known.addresses.iter().find(|one| one.address == address.to_string()));
    let exposed = known.and_then(|known| known.ports.iter().find_map(|port| judge::first_tcp(port)));
    let mut tried = Dialled { address, port: options.port.or(exposed), ..Dialled::default() };
    let (Ok(way), Some(port)) = (way, tried.port) else { return tried };
    if let (Some(known), Some(source), Some(vnet)) = (known, way.source, daemon.vnet()) {
        let question = format!(
            "/explain?vnet={}&source={}&destination={}&port={port}&protocol=tcp",
            segment(vnet),
            segment(&source.to_string()),
            segment(&known.address)
        );
        tried.explained = client.get::<Explanation>(&question).map(|list| list.items.into_iter().next()).ok().flatten();
    }
    if tried.explained.as_ref().is_some_and(|explained| !explained.admitted) {
        return tried;
    }
    tried.connected = Some(host::dial(address, port));
    let before = known.map_or(0, |known| known.sessions_opened);
    // What the workers counted shows a moment later.
    for look in 0..LOOKS {
        let now = known.and_then(|known| opened(options, daemon, client, &known.address));
        tried.opened = now.map(|now| now.saturating_sub(before));
        if tried.opened != Some(0) || tried.connected.as_ref().is_some_and(Result::is_err) && look > 2 {
            break;
        }
        std::thread::sleep(LAG);
    }
    tried
}

/// Sessions that the endpoint behind `address` has opened so far.
fn opened(options: &Options, daemon: &Daemon, client: &Client, address: &str) -> Option<u64> {
    let name = options.name.trim_end_matches('.').to_lowercase();
    let now = diagnosis(&name, daemon.vnet()?, client).ok()?;
    now.addresses.iter().find(|one| one.address == address).map(|one| one.sessions_opened)
}

/// One line each; the remedy of the first that fails stands below it.
fn write(findings: &[Finding], colours: bool, out: &mut dyn Write) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut first = true;
    for Finding { check, outcome, evidence, remedy } in findings {
        let (word, colour) = match outcome {
            Outcome::Ok => ("ok     ", GREEN),
            Outcome::Failed => ("FAILED ", RED),
            Outcome::Unknown => ("unknown", YELLOW),
        };
        let word = if colours { format!("{colour}{word}{PLAIN}") } else { word.to_owned() };
        writeln!(out, "{word}  {check:<width$}  {evidence}")?;
        if *outcome == Outcome::Failed && first {
            first = false;
            remedy.lines().try_for_each(|line| writeln!(out, "         {:<width$}  → {line}", ""))?;
        }
    }
    Ok(())
}
