//! `create` of every kind: what the arguments say is a document, which the daemon reads like any other.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::client::Client;
use super::exit::{Error, Exit};
use super::output::{Output, addresses, bound, short};
use super::values;
use crate::types::{ApplyReport, Body, Document, Endpoint, Resource, SecurityGroup, Vnet, segment};

/// Where an object belongs.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Resource group; `default` unless set
    #[arg(long)]
    group: Option<String>,
    /// Subscription; `default` unless set
    #[arg(long)]
    subscription: Option<String>,
}

/// A new endpoint.
#[derive(Debug, clap::Args)]
pub(super) struct NewEndpoint {
    /// Its name
    name: String,
    /// The consumer's VNet
    #[arg(long, add = super::noun::named::<crate::types::Vnet>())]
    vnet: String,
    /// Subnet that gives the address
    #[arg(long)]
    subnet: String,
    /// What it is bound to: name, group/name, an alias or an ARM id
    #[arg(long, add = super::noun::named::<crate::types::Resource>())]
    resource: String,
    /// Which part of it, for a typed resource
    #[arg(long)]
    subresource: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Its address; omitted: the lowest free one
    #[arg(long)]
    ip: Option<String>,
    /// Address for one member of the subresource; repeatable
    #[arg(long = "member", value_name = "MEMBER=IP", value_parser = values::member, conflicts_with = "ip")]
    members: Vec<Map<String, Value>>,
    /// Ask the resource's owner: the connection starts Pending
    #[arg(long)]
    manual: bool,
    /// What the owner reads, at most 140 characters
    #[arg(long, value_name = "TEXT")]
    request_message: Option<String>,
    /// Only these prefixes may use it; repeatable
    #[arg(long = "source", value_name = "PREFIX")]
    sources: Vec<String>,
    /// Names that its resource gives and that may answer in its VNet
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    accept_names: Vec<String>,
    /// Live sessions at once
    #[arg(long)]
    max_sessions: Option<u32>,
    #[command(flatten)]
    rates: NewRates,
    /// Private DNS zone of your own that its records stand in; repeatable, five at most
    #[arg(long = "dns-zone", value_name = "ZONE")]
    dns_zones: Vec<String>,
}

/// What may pass in a second.
#[derive(Debug, clap::Args)]
struct NewRates {
    /// Bits that may pass in a second, in each direction by itself
    #[arg(long, value_name = "BITS")]
    bits_per_second: Option<i64>,
    /// Sessions that may be opened in a second
    #[arg(long, value_name = "SESSIONS")]
    new_sessions_per_second: Option<u32>,
}

impl NewRates {
    fn said(self) -> Option<Map<String, Value>> {
        let said = Said(Map::new())
            .maybe("bits_per_second", self.bits_per_second)
            .maybe("new_sessions_per_second", self.new_sessions_per_second.map(i64::from));
        Some(said.0).filter(|said| !said.is_empty())
    }
}

/// A new link resource with one target; several targets are written in a document.
#[derive(Debug, clap::Args)]
pub(super) struct NewResource {
    /// Its name
    name: String,
    /// VNet that its backends are in
    #[arg(long, add = super::noun::named::<crate::types::Vnet>())]
    vnet: String,
    /// Address under which backends see clients, from a subnet of its VNet; repeatable
    #[arg(long = "nat", value_name = "IP", required = true)]
    nat: Vec<String>,
    /// Address of a server; repeatable
    #[arg(long = "backend", value_name = "IP", required = true)]
    backends: Vec<String>,
    /// What endpoints expose: `5432`, `443:10000/tcp` (port of the endpoint, then of the backend), `8000-8100/udp`,
    /// `icmp`; repeatable
    #[arg(long = "port", value_name = "PORT[:BACKEND][/PROTOCOL]", required = true, value_parser = values::port)]
    ports: Vec<Map<String, Value>>,
    /// Such as `Microsoft.Storage/storageAccounts`; omitted: a private link service of your own
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Part of a typed resource that the target is, such as `blob`
    #[arg(long)]
    subresource: Option<String>,
    /// Member of the subresource, where it has several
    #[arg(long)]
    member: Option<String>,
    /// Region; its VNet's unless set
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Subscription that may see it, or `*`; repeatable
    #[arg(long, value_name = "SUBSCRIPTION")]
    visibility: Vec<String>,
    /// Subscription whose requests are approved at once; repeatable
    #[arg(long, value_name = "SUBSCRIPTION")]
    auto_approval: Vec<String>,
    /// Its backends serve another resource too
    #[arg(long)]
    shared_backend: bool,
    /// Sessions at once
    #[arg(long)]
    max_sessions: Option<u32>,
    #[command(flatten)]
    rates: NewRates,
    /// Take NAT addresses although a neighbour answers for them
    #[arg(long)]
    force: bool,
}

/// A new VNet.
#[derive(Debug, clap::Args)]
pub(super) struct NewVnet {
    /// Its name
    name: String,
    /// Prefix of the network; repeatable
    #[arg(long, value_name = "PREFIX", required = true)]
    address_space: Vec<String>,
    /// A subnet, in the keys of the file: `name=endpoints,prefix=10.1.9.0/24,dedicated`; repeatable
    #[arg(long = "subnet", value_name = "KEY=VALUE,…", value_parser = values::pairs)]
    subnets: Vec<Map<String, Value>>,
    /// Region; its endpoints are in the same one
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Prefix that reaches it over VPN; repeatable
    #[arg(long, value_name = "PREFIX")]
    on_premises: Vec<String>,
    /// VNet it is peered with; counts when both list each other; repeatable
    #[arg(long = "peering", value_name = "VNET", add = super::noun::named::<crate::types::Vnet>())]
    peerings: Vec<String>,
}

/// A new rule set.
#[derive(Debug, clap::Args)]
pub(super) struct NewSecurityGroup {
    /// Its name
    name: String,
    /// A rule, in the keys of the file: `name=web,priority=100,access=allow,protocol=tcp,sources=10.1.0.0/16,ports=443`;
    /// repeatable, and so is a key within it
    #[arg(long = "rule", value_name = "KEY=VALUE,…", required = true, value_parser = values::pairs)]
    rules: Vec<Map<String, Value>>,
    #[command(flatten)]
    place: Place,
}

/// What arguments say, in the keys of the file; what is not said is left out.
struct Said(Map<String, Value>);

impl Said {
    fn new(name: String, place: Place) -> Self {
        Self(values::table([("name", name.into())]))
            .maybe("resource_group", place.group)
            .maybe("subscription", place.subscription)
    }

    fn maybe(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        self.0.extend(value.map(|value| (key.to_owned(), value.into())));
        self
    }

    fn list<T: Into<Value>>(self, key: &str, values: Vec<T>) -> Self {
        let list: Vec<Value> = values.into_iter().map(Into::into).collect();
        self.maybe(key, Some(list).filter(|list| !list.is_empty()))
    }

    fn flag(self, key: &str, set: bool) -> Self {
        self.maybe(key, set.then_some(true))
    }
}

pub(super) fn endpoint(new: NewEndpoint, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let said = Said::new(new.name, new.place)
        .maybe("vnet", Some(new.vnet))
        .maybe("subnet", Some(new.subnet))
        .maybe("resource", Some(new.resource))
        .maybe("subresource", new.subresource)
        .maybe("ip", new.ip)
        .list("addresses", new.members)
        .flag("manual", new.manual)
        .maybe("request_message", new.request_message)
        .list("sources", new.sources)
        .list("accept_names", new.accept_names)
        .maybe("max_sessions", new.max_sessions.map(i64::from))
        .maybe("rates", new.rates.said())
        .list("dns_zones", new.dns_zones);
    create::<Endpoint>("endpoint", "endpoints", said, false, client, output, |endpoint, out| {
        let addresses = addresses(endpoint);
        let name = short(&endpoint.id);
        let resource = bound(&endpoint.resource, &endpoint.subresource);
        writeln!(out, "{name}: created, {addresses} → {resource}, {}", endpoint.state)?;
        writeln!(out, "  next: {}", next_step(endpoint))
    })
}

/// What is left to do until packets pass.
fn next_step(endpoint: &Endpoint) -> String {
    let (name, vnet) = (short(&endpoint.id), short(&endpoint.vnet));
    let address = endpoint.addresses.first().map(|address| address.ip.as_str()).unwrap_or_default();
    match endpoint.state.as_str() {
        "Approved" => format!("connect to {address} from {vnet}"),
        "Pending" => {
            let wait = format!("privlink wait connection {name} --for state=Approved --timeout 1h");
            format!("the owner of {} decides; until then: {wait}", short(&endpoint.resource))
        }
        _ => format!("privlink connection show {name}"),
    }
}

pub(super) fn resource(new: NewResource, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let target = Said(Map::new())
        .maybe("subresource", new.subresource)
        .maybe("member", new.member)
        .list("backends", new.backends)
        .list("ports", new.ports);
    let said = Said::new(new.name, new.place)
        .maybe("type", new.kind)
        .maybe("vnet", Some(new.vnet))
        .maybe("region", new.region)
        .list("nat", new.nat)
        .list("visibility", new.visibility)
        .list("auto_approval", new.auto_approval)
        .flag("shared_backend", new.shared_backend)
        .maybe("max_sessions", new.max_sessions.map(i64::from))
        .maybe("rates", new.rates.said())
        .list("targets", vec![target.0]);
    create::<Resource>("resource", "resources", said, new.force, client, output, |resource, out| {
        writeln!(out, "{}: created", short(&resource.id))?;
        let name = short(&resource.id);
        writeln!(out, "  next: privlink endpoint create NAME --vnet VNET --subnet SUBNET --resource {name}")
    })
}

pub(super) fn vnet(new: NewVnet, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let said = Said::new(new.name, new.place)
        .list("address_space", new.address_space)
        .maybe("region", new.region)
        .list("on_premises", new.on_premises)
        .list("peerings", new.peerings)
        .list("subnets", new.subnets);
    create::<Vnet>("vnet", "vnets", said, false, client, output, |vnet, out| {
        writeln!(out, "{}: created", short(&vnet.id))?;
        writeln!(out, "  next: an [[attachment]] in the daemon's file joins it to this host")
    })
}

pub(super) fn security_group(new: NewSecurityGroup, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
    let said = Said::new(new.name, new.place).list("rules", new.rules);
    create::<SecurityGroup>("security_group", "security-groups", said, false, client, output, |group, out| {
        writeln!(out, "{}: created", short(&group.id))?;
        let name = short(&group.id);
        writeln!(out, "  next: name it in a subnet: security_group = \"{name}\", network_policies = \"Enabled\"")
    })
}

/// Has the object made, and shows it as it stands then; `kind` is the file's word for it, `path` the API's.
fn create<T: Serialize + DeserializeOwned>(
    kind: &str,
    path: &str,
    Said(object): Said,
    force: bool,
    client: &Client,
    output: &mut Output<'_>,
    human: impl Fn(&T, &mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let document = Body::Tables(values::table([(kind, Value::Array(vec![Value::Object(object)]))]));
    let name = "the command line".to_owned();
    let document = Document { name, document, create_only: true, force, ..Document::default() };
    let applied = client.post::<ApplyReport>("/apply", &document)?;
    // The daemon says which one it made: kind and name.
    let made = applied.items.iter().flat_map(|one| &one.created).find_map(|item| item.rsplit_once(' '));
    let (_, made) = made.ok_or_else(|| Error::new(Exit::Failed, "the daemon does not say what it made"))?;
    match client.get::<T>(&format!("/{path}/{}", segment(made))) {
        Ok(list) => output.list(&list, |items, out| items.iter().try_for_each(|one| human(one, out)))?,
        // Whoever may make something may not see it by that.
        Err(failure) if failure.exit == Exit::NotFound => output.list(&applied, super::document::applied)?,
        Err(failure) => return Err(failure),
    }
    output.warn(applied.items.iter().flat_map(|one| &one.warnings))
}
