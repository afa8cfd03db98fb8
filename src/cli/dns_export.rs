//! A VNet's private names as other programs read them: what serves them, and what asks the VNet's resolver for them.

use std::io::{self, Write};

use clap::ValueEnum;

use super::output::short;
use crate::types::{DnsName, DnsPlan};

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
    /// `CoreDNS` that does: server blocks of a Corefile
    Coredns,
    /// systemd-resolved that does: a file of /etc/systemd/resolved.conf.d
    Resolved,
}

/// Names that an application asks for, and the addresses behind them that are answered.
fn reached(plan: &DnsPlan) -> impl Iterator<Item = (&DnsName, Vec<&str>)> {
    let single = plan.names.iter().filter(|name| !name.name.starts_with("*."));
    single.map(|name| (name, addresses(plan, name, plan.names.len())))
}

/// The addresses of `name`, or of the name that it leads to.
fn addresses<'a>(plan: &'a DnsPlan, name: &'a DnsName, most: usize) -> Vec<&'a str> {
    let answered = name.addresses.iter().filter(|one| one.answered).map(|one| one.address.as_str());
    let written = name.records.iter().filter(|record| ["A", "AAAA"].contains(&record.kind.as_str()));
    let found: Vec<&str> = answered.chain(written.map(|record| record.data.as_str())).collect();
    let record = name.records.iter().find(|record| record.kind == "CNAME");
    let to = record.map_or(name.alias.as_str(), |record| record.data.trim_end_matches('.'));
    match plan.names.iter().find(|other| !to.is_empty() && other.name == to) {
        Some(next) if found.is_empty() && most > 0 => addresses(plan, next, most - 1),
        _ => found,
    }
}

/// Zones that the VNet's resolver is to be asked about: the public ones, where a name leads to a private one, never
/// the private ones themselves; else the name alone, or the zone that is somebody's own.
fn forwarded(plan: &DnsPlan) -> Vec<String> {
    let aliased = |name: &DnsName| plan.names.iter().any(|other| other.alias == name.name);
    let of_names = plan.names.iter().filter(|name| !aliased(name)).map(|name| &name.zone);
    let own = plan.zones.iter().filter(|zone| zone.own).map(|zone| &zone.name);
    let mut zones: Vec<String> = of_names.chain(own).map(|zone| public(zone)).collect();
    zones.sort_unstable();
    zones.dedup();
    zones
}

/// `blob.core.windows.net` for `privatelink.blob.core.windows.net`.
fn public(zone: &str) -> String {
    zone.split('.').filter(|label| *label != "privatelink").collect::<Vec<_>>().join(".")
}

pub(super) fn export(plan: &DnsPlan, form: Form, out: &mut dyn Write) -> io::Result<()> {
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
        Form::Dnsmasq | Form::Unbound | Form::Bind | Form::Coredns | Form::Resolved => {
            let comment = if form == Form::Bind { "//" } else { "#" };
            writeln!(out, "{comment} Asks the resolver of {vnet} for the public names of its private endpoints.")?;
            if form == Form::Resolved {
                let domains: Vec<String> = forwarded(plan).iter().map(|zone| format!("~{zone}")).collect();
                return writeln!(out, "[Resolve]\nDNS={}\nDomains={}", plan.listen.join(" "), domains.join(" "));
            }
            forwarded(plan).iter().try_for_each(|zone| forward(zone, &plan.listen, form, out))
        }
    }
}

fn zones(plan: &DnsPlan, out: &mut dyn Write) -> io::Result<()> {
    let own = plan.zones.iter().filter(|zone| zone.own).map(|zone| zone.name.as_str());
    let held = plan.names.iter().filter(|name| name.alias.is_empty()).map(|name| name.zone.as_str());
    let mut all: Vec<&str> = held.chain(own).collect();
    all.sort_unstable();
    all.dedup();
    for zone in all {
        writeln!(out, "; zone {zone}\n$ORIGIN {zone}.\n$TTL {}", plan.ttl)?;
        writeln!(out, "@ IN SOA localhost. hostmaster 1 3600 300 2419200 {}", plan.ttl)?;
        writeln!(out, "@ IN NS localhost.")?;
        for name in plan.names.iter().filter(|name| name.zone == zone) {
            if !name.alias.is_empty() {
                writeln!(out, "{}. IN CNAME {}.", name.name, name.alias)?;
            }
            for one in name.addresses.iter().filter(|one| one.answered) {
                let kind = if one.address.contains(':') { "AAAA" } else { "A" };
                writeln!(out, "{}. IN {kind} {}", name.name, one.address)?;
            }
            for record in &name.records {
                writeln!(out, "{}. {} IN {} {}", name.name, record.ttl, record.kind, record.data)?;
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
        Form::Coredns => writeln!(out, "{zone} {{\n    forward . {}\n}}", servers.join(" ")),
        Form::Resolved | Form::Hosts | Form::Zone | Form::Public => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DnsAddress, DnsWritten, DnsZone};

    /// Two endpoints of one account, a zone of somebody's own, a private zone of their own without a record.
    fn plan() -> DnsPlan {
        let address =
            |address: &str, answered| DnsAddress { address: address.to_owned(), answered, ..DnsAddress::default() };
        let written = |kind: &str, data: &str| DnsWritten { kind: kind.to_owned(), ttl: 60, data: data.to_owned() };
        let zone = |name: &str| DnsZone { name: name.to_owned(), own: true, ..DnsZone::default() };
        let name =
            |name: &str, zone: &str| DnsName { name: name.to_owned(), zone: zone.to_owned(), ..DnsName::default() };
        DnsPlan {
            vnet: "default/spoke".to_owned(),
            listen: vec!["10.1.255.254".to_owned(), "fd01::53".to_owned()],
            ttl: 10,
            names: vec![
                DnsName {
                    alias: "account.privatelink.blob.core.windows.net".to_owned(),
                    ..name("account.blob.core.windows.net", "blob.core.windows.net")
                },
                DnsName {
                    addresses: vec![address("10.1.9.8", true), address("10.1.9.9", false), address("fd01:9::8", true)],
                    ..name("account.privatelink.blob.core.windows.net", "privatelink.blob.core.windows.net")
                },
                DnsName {
                    records: vec![written("CNAME", "account.blob.core.windows.net.")],
                    ..name("files.corp.example", "corp.example")
                },
                DnsName {
                    records: vec![written("A", "10.9.9.9"), written("TXT", "\"x\"")],
                    ..name("*.corp.example", "corp.example")
                },
            ],
            zones: vec![zone("corp.example"), zone("privatelink.table.core.windows.net")],
            ..DnsPlan::default()
        }
    }

    fn text(form: Form) -> String {
        let mut out = Vec::new();
        export(&plan(), form, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn forwarders_ask_for_public_zones_and_never_for_private_ones() {
        for (form, line) in [
            (Form::Dnsmasq, "server=/table.core.windows.net/fd01::53\n"),
            (Form::Unbound, "forward-zone:\n  name: \"blob.core.windows.net.\"\n  forward-addr: 10.1.255.254\n"),
            (
                Form::Bind,
                "zone \"corp.example\" { type forward; forward only; forwarders { 10.1.255.254; fd01::53; }; };\n",
            ),
            (Form::Coredns, "\ncorp.example {\n    forward . 10.1.255.254 fd01::53\n}\n"),
            (
                Form::Resolved,
                "[Resolve]\nDNS=10.1.255.254 fd01::53\nDomains=~blob.core.windows.net ~corp.example ~table.core.windows.net\n",
            ),
        ] {
            let said = text(form);
            assert!(said.contains(line), "{form:?}: {said}");
            assert!(!said.contains("privatelink"), "{form:?}: {said}");
        }
    }

    #[test]
    fn hosts_and_zones_have_what_is_answered_and_what_is_written() {
        let hosts = text(Form::Hosts);
        for line in ["10.1.9.8\taccount.blob.core.windows.net", "fd01:9::8\tfiles.corp.example"] {
            assert!(hosts.lines().any(|one| one == line), "{line}: {hosts}");
        }
        assert!(!hosts.contains("10.1.9.9") && !hosts.contains('*'), "{hosts}");
        let zones = text(Form::Zone);
        for line in [
            "account.privatelink.blob.core.windows.net. IN AAAA fd01:9::8",
            "files.corp.example. 60 IN CNAME account.blob.core.windows.net.",
            "*.corp.example. 60 IN TXT \"x\"",
            "; zone privatelink.table.core.windows.net",
        ] {
            assert!(zones.lines().any(|one| one == line), "{line}: {zones}");
        }
        assert!(!zones.contains("10.1.9.9") && !zones.contains("; zone blob.core.windows.net"), "{zones}");
    }
}
