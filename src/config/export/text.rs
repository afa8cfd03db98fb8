//! Each object as the tables of the file that are read as the same object again. What of it a file has no word for stands
//! in comments.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use serde::Serialize;
use toml::{Table, Value};

use crate::config::values::Words;
use crate::control::seen::Exportable;
use crate::model::decisions::Connection;
use crate::model::spelled::Written;
use crate::model::{
    ConnectionState, DenyMode, DnsZone, HealthCheck, Key, LinkResource, PortSpec, PrivateEndpoint, Protocol, Rates,
    RoleAssignment, RoleDefinition, Subnet, TargetSpec, TimeoutOverrides, Visibility, Vnet, write_values,
};

/// A file being written.
#[derive(Debug, Default)]
pub(super) struct Text(pub(super) String);

/// The keys of a table in the order in which they are written.
#[derive(Debug, Default)]
struct Keys(Vec<(&'static str, Value)>);

impl Keys {
    /// Name, resource group and subscription of an object.
    fn named(key: &Key) -> Self {
        let mut keys = Self::default();
        keys.put("name", &*key.name);
        let default = crate::model::DEFAULT;
        keys.some("resource_group", Some(&*key.group).filter(|group| *group != default));
        keys.some("subscription", Some(&*key.subscription).filter(|subscription| *subscription != default));
        keys
    }

    fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push((key, value.into()));
    }

    fn some(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// `true`, where it is; it is what `false` is left out for.
    fn flag(&mut self, key: &'static str, value: bool) {
        self.some(key, value.then_some(true));
    }

    fn text(&mut self, key: &'static str, text: &str) {
        self.some(key, (!text.is_empty()).then_some(text));
    }

    fn list<T: Display>(&mut self, key: &'static str, list: impl IntoIterator<Item = T>) {
        let list: Vec<Value> = list.into_iter().map(|one| Value::String(one.to_string())).collect();
        self.some(key, (!list.is_empty()).then_some(list));
    }

    fn time(&mut self, key: &'static str, time: Option<Duration>) {
        self.some(key, time.map(in_units));
    }

    fn into_inline(self) -> Value {
        Value::Table(self.0.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Table>())
    }
}

impl Text {
    pub(super) fn comment(&mut self, about: fmt::Arguments<'_>) {
        // A name may hold no line break; what is in force may come from a release that knew no such rule.
        let line = about.to_string().replace(char::is_control, " ");
        self.line(format_args!("# {line}"));
    }

    /// A table: `[[vnet]]` begins an object.
    fn table(&mut self, header: &str, keys: Keys) {
        self.line(format_args!("{header}"));
        for (key, value) in keys.0 {
            self.line(format_args!("{key} = {value}"));
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    pub(super) fn vnet(&mut self, key: &Key, vnet: &Vnet) {
        let mut keys = Keys::named(key);
        keys.put("region", &*vnet.region);
        keys.0.push(("address_space", texts(&vnet.address_space)));
        keys.list("on_premises", &vnet.on_premises);
        keys.list("peerings", vnet.peerings.iter().map(|peer| beside(key, peer)));
        keys.flag("lockdown", vnet.lockdown);
        keys.list("public_prefixes", &vnet.public_prefixes);
        self.table("[[vnet]]", keys);
        self.unworded(&[
            ("tags", !vnet.tags.is_empty()),
            ("names and switches of peerings", !vnet.peering_labels.is_empty()),
            ("properties that mean nothing here", !vnet.foreign.is_empty()),
        ]);
        if let Some(dns) = &vnet.dns {
            let mut keys = Keys::default();
            keys.list("listen", &dns.listen);
            keys.list("upstream", &dns.upstream);
            keys.list("answer", &dns.answer);
            keys.time("ttl", Some(dns.ttl));
            keys.some("accept_names", dns.accept_names.as_ref().map(|names| texts(names.iter())));
            self.table("[vnet.dns]", keys);
        }
        for subnet in &vnet.subnets {
            self.subnet(key, subnet);
        }
        for workload in &vnet.workloads {
            let mut keys = Keys::default();
            keys.put("class", &*workload.class);
            keys.put("prefix", workload.prefix.to_string());
            keys.put("private_endpoints", workload.private_endpoints);
            self.table("[[vnet.workloads]]", keys);
        }
    }

    fn subnet(&mut self, home: &Key, subnet: &Subnet) {
        let mut keys = Keys::default();
        keys.put("name", &*subnet.name);
        keys.list("prefixes", &subnet.prefixes);
        keys.flag("dedicated", subnet.dedicated);
        keys.some("nat", subnet.service_policies.map(|policies| !policies));
        keys.list("delegations", &subnet.delegations);
        keys.list("service_endpoints", &subnet.service_endpoints);
        let default = subnet.network_policies == <_>::default();
        keys.some("network_policies", (!default).then(|| word(subnet.network_policies)));
        keys.some("security_group", subnet.security_group.as_ref().map(|group| beside(home, group)));
        self.table("[[vnet.subnets]]", keys);
    }

    /// The object `key` as its spec says it, under the header `kind`.
    pub(super) fn spec(&mut self, kind: &str, key: &Key, spec: impl Serialize) {
        let document = BTreeMap::from([(kind, [Written::new(key, spec)])]);
        match toml::to_string(&document) {
            Ok(text) => self.0 += &text,
            Err(error) => self.comment(format_args!("{kind} {key} is left out: {error}")),
        }
    }

    pub(super) fn dns_zone(&mut self, live: &Exportable, key: &Key, zone: &DnsZone) {
        if let Some(link) = zone.links.iter().find(|link| !live.known.vnets.contains_key(&link.vnet)) {
            return self.left_out("dns_zone", key, format_args!("its link {} leads to a VNet", link.name));
        }
        if let Some(set) = zone.records.iter().find(|record| record.set.ttl == 0) {
            let what = format_args!("its record {} may be kept for no time, which", set.name);
            return self.comment(format_args!("dns_zone {key} is left out: {what} a file has no word for"));
        }
        self.table("[[dns_zone]]", Keys::named(key));
        self.unworded(&[
            ("tags", !zone.tags.is_empty()),
            ("its start of authority", zone.soa != <_>::default()),
            ("metadata of records", zone.records.iter().any(|record| !record.metadata.is_empty())),
            ("names, tags and registration of links", !zone.links.is_empty()),
        ]);
        for record in &zone.records {
            let mut keys = Keys::default();
            keys.put("name", &*record.name);
            keys.put("type", record.set.data.kind().to_string());
            keys.time("ttl", Some(Duration::from_secs(record.set.ttl.into())));
            keys.0.push(("values", texts(write_values(&record.set.data))));
            self.table("[[dns_zone.records]]", keys);
        }
        for link in &zone.links {
            let mut keys = Keys::default();
            keys.put("vnet", beside(key, &link.vnet));
            let default = link.policy == <_>::default();
            keys.some("resolution_policy", (!default).then(|| word(link.policy)));
            self.table("[[dns_zone.links]]", keys);
        }
    }

    pub(super) fn resource(&mut self, live: &Exportable, key: &Key, resource: &LinkResource) {
        let Some(vnet) = &resource.vnet else {
            return self
                .comment(format_args!("resource {key} is left out: it has no VNet yet, and nothing reaches it"));
        };
        if !live.known.vnets.contains_key(vnet) {
            return self.left_out("resource", key, format_args!("it is in a VNet"));
        }
        let mut keys = Keys::named(key);
        keys.some("type", resource.kind.as_deref());
        keys.put("region", &*resource.region);
        keys.put("vnet", beside(key, vnet));
        keys.0.push(("nat", texts(&resource.nat)));
        match &resource.visibility {
            Visibility::Readers if resource.kind.is_some() => keys.0.push(("visibility", Value::Array(Vec::new()))),
            Visibility::Readers | Visibility::ById => {}
            Visibility::Everyone => keys.put("visibility", "*"),
            Visibility::Subscriptions(list) => keys.0.push(("visibility", texts(list))),
        }
        keys.list("auto_approval", &resource.auto_approval);
        keys.flag("shared_backend", resource.shared_backend);
        keys.some("deny", resource.deny.map(word::<DenyMode>));
        keys.some("max_sessions", resource.max_sessions.map(i64::from));
        keys.some("max_sessions_per_endpoint", resource.max_sessions_per_endpoint.map(i64::from));
        keys.some("rates", resource.rates.as_ref().map(rates));
        keys.some("timeouts", timeouts(&resource.timeouts));
        let default = resource.balance == <_>::default();
        keys.some("balance", (!default).then(|| word(resource.balance)));
        keys.time("drain", Some(resource.drain));
        keys.some("cross_region", (!resource.cross_region).then_some(false));
        keys.some("alias", resource.alias.as_deref());
        keys.list("fqdns", &resource.fqdns);
        keys.flag("proxy_protocol", resource.proxy_protocol);
        self.table("[[resource]]", keys);
        self.unworded(&[
            ("tags", !resource.tags.is_empty()),
            ("properties that mean nothing here", !resource.foreign.is_empty()),
            ("that its NAT addresses come from a subnet", !resource.nat_configs.is_empty()),
            ("that its targets follow a load balancer", !resource.frontends.is_empty()),
            ("that its server takes every port", resource.destination.is_some()),
        ]);
        resource.targets.iter().for_each(|target| self.target(target));
    }

    fn target(&mut self, target: &TargetSpec) {
        // How sessions are spread is the resource's, or a load balancer's.
        let TargetSpec { subresource, member, fqdns, backends, ports, icmp, health, port_checks: _, balance: _ } =
            target;
        let mut keys = Keys::default();
        keys.text("subresource", subresource);
        keys.text("member", member);
        keys.list("fqdns", fqdns);
        let backends = backends.iter().map(|backend| {
            let mut keys = Keys::default();
            keys.put("address", backend.address.to_string());
            keys.flag("drain", backend.drain);
            if backend.drain { keys.into_inline() } else { Value::String(backend.address.to_string()) }
        });
        keys.put("backends", backends.collect::<Vec<_>>());
        let icmp = icmp.then(|| {
            let mut keys = Keys::default();
            keys.put("protocol", word(Protocol::Icmp));
            keys.into_inline()
        });
        keys.put("ports", ports.iter().copied().map(port).chain(icmp).collect::<Vec<_>>());
        keys.some("health", health.as_ref().map(check));
        self.table("[[resource.targets]]", keys);
    }

    pub(super) fn endpoint(&mut self, live: &Exportable, key: &Key, endpoint: &PrivateEndpoint) {
        let connection = live.decisions.connections.get(key);
        if connection.is_some_and(|connection| connection.state == ConnectionState::Disconnected) {
            let why = "it is Disconnected, which no file can ask for, and can only be deleted";
            return self.comment(format_args!("endpoint {key} is left out: {why}"));
        }
        if !live.known.vnets.contains_key(&endpoint.vnet) {
            return self.left_out("endpoint", key, format_args!("it is in a VNet"));
        }
        if !live.known.resources.contains_key(&endpoint.resource) {
            return self.left_out("endpoint", key, format_args!("it is bound to a resource"));
        }
        let zones = endpoint.zone_group.iter().flat_map(|group| &group.zones).map(|one| &one.zone);
        if zones.clone().any(|zone| !live.known.dns_zones.contains_key(zone)) {
            return self.left_out("endpoint", key, format_args!("its records stand in a private DNS zone"));
        }
        let mut keys = Keys::named(key);
        keys.put("region", &*endpoint.region);
        keys.put("vnet", beside(key, &endpoint.vnet));
        keys.put("subnet", &*endpoint.subnet);
        let addresses = endpoint.addresses.iter().map(|address| {
            let mut keys = Keys::default();
            keys.text("member", &address.member);
            keys.some("ip", address.ip.map(|ip| ip.to_string()));
            keys.into_inline()
        });
        keys.put("addresses", addresses.collect::<Vec<_>>());
        keys.put("resource", beside(key, &endpoint.resource));
        keys.text("subresource", &endpoint.subresource);
        keys.flag("manual", endpoint.manual);
        keys.text("request_message", &endpoint.request_message);
        let (status, reason) = decision(endpoint, connection);
        keys.some("status", status.map(word));
        keys.text("reason", &reason);
        keys.list("sources", &endpoint.sources);
        keys.some("max_sessions", endpoint.max_sessions.map(i64::from));
        keys.some("rates", endpoint.rates.as_ref().map(rates));
        keys.some("accept_names", endpoint.accept_names.as_ref().map(|names| texts(names.iter())));
        keys.list("dns_zones", zones.map(|zone| beside(key, zone)));
        self.table("[[endpoint]]", keys);
        self.unworded(&[("tags, and names of its parts", endpoint.labels.is_some())]);
        if let Some(end) = connection.and_then(|connection| connection.ends_at) {
            self.comment(format_args!("its approval ends at {end:.0}, and an apply leaves that as it is"));
        }
    }

    pub(super) fn role(&mut self, role: &RoleDefinition) {
        let RoleDefinition { name, description, actions, not_actions, assignable_scopes } = role;
        let mut keys = Keys::default();
        keys.put("name", name.to_string());
        keys.text("description", description);
        keys.0.push(("actions", texts(actions)));
        keys.list("not_actions", not_actions);
        keys.0.push(("assignable_scopes", texts(assignable_scopes)));
        self.table("[[role]]", keys);
    }

    pub(super) fn assignment(&mut self, given: &RoleAssignment) {
        let mut keys = Keys::default();
        keys.put("principal", given.principal.to_string());
        keys.put("role", given.role.to_string());
        keys.put("scope", given.scope.to_string());
        self.table("[[assignment]]", keys);
    }

    /// Says which parts of the object before stay as they are, whatever the file says.
    fn unworded(&mut self, parts: &[(&str, bool)]) {
        let there: Vec<&str> = parts.iter().filter(|(_, there)| *there).map(|(part, _)| *part).collect();
        if !there.is_empty() {
            self.comment(format_args!("stays as it is: {}", there.join("; ")));
        }
    }

    fn left_out(&mut self, kind: &str, key: &Key, what: fmt::Arguments<'_>) {
        self.comment(format_args!("{kind} {key} is left out: {what} that you may not see"));
    }
}

/// What the file says of a connection: what its author asked for, unless something else was decided since.
fn decision(endpoint: &PrivateEndpoint, connection: Option<&Connection>) -> (Option<ConnectionState>, String) {
    let asked =
        endpoint.status.unwrap_or(if endpoint.manual { ConnectionState::Pending } else { ConnectionState::Approved });
    match connection {
        Some(now) if now.state != asked => (Some(now.state), now.description.clone()),
        _ => (endpoint.status, endpoint.reason.clone()),
    }
}

fn port(port: PortSpec) -> Value {
    let PortSpec { protocol, first, last, backend_first } = port;
    let mut keys = Keys::default();
    keys.put("protocol", word(protocol));
    if first == last {
        keys.put("port", i64::from(first));
    } else {
        keys.put("port", format!("{first}-{last}"));
    }
    keys.some("backend_port", (backend_first != first).then_some(i64::from(backend_first)));
    keys.into_inline()
}

fn check(health: &HealthCheck) -> Value {
    let HealthCheck { port, interval, timeout, fall, rise, path } = health;
    let mut keys = Keys::default();
    keys.put("port", i64::from(*port));
    keys.time("interval", Some(*interval));
    keys.time("timeout", Some(*timeout));
    keys.put("fall", i64::from(*fall));
    keys.put("rise", i64::from(*rise));
    keys.some("path", path.as_deref());
    keys.into_inline()
}

fn rates(rates: &Rates) -> Value {
    let Rates { bits_per_second, new_sessions_per_second } = *rates;
    let mut keys = Keys::default();
    keys.some("bits_per_second", bits_per_second.and_then(|bits| i64::try_from(bits).ok()));
    keys.some("new_sessions_per_second", new_sessions_per_second.map(i64::from));
    keys.into_inline()
}

fn timeouts(overrides: &TimeoutOverrides) -> Option<Value> {
    let TimeoutOverrides { tcp_established, tcp_transitory, udp, icmp, fragment } = *overrides;
    let mut keys = Keys::default();
    keys.time("tcp_established", tcp_established);
    keys.time("tcp_transitory", tcp_transitory);
    keys.time("udp", udp);
    keys.time("icmp", icmp);
    keys.time("fragment", fragment);
    (!keys.0.is_empty()).then(|| keys.into_inline())
}

fn texts<T: Display>(list: impl IntoIterator<Item = T>) -> Value {
    Value::Array(list.into_iter().map(|one| Value::String(one.to_string())).collect())
}

/// The word of the file for `value`.
fn word<T: Words + PartialEq>(value: T) -> &'static str {
    T::WORDS.iter().find(|(_, meaning)| *meaning == value).map_or("", |(word, _)| word)
}

/// How the file calls `key` beside `home`.
fn beside(home: &Key, key: &Key) -> String {
    if key.subscription != home.subscription {
        return format!("{}/{}/{}", key.subscription, key.group, key.name);
    }
    if key.group == home.group { key.name.clone() } else { format!("{}/{}", key.group, key.name) }
}

/// `2h4m`; whole seconds, as everything here is.
fn in_units(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let mut text = String::new();
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
        text += &number.to_string();
        text += unit;
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
