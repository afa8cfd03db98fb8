//! `[[resource]]` and `[[endpoint]]` to the model.

use super::build::Builder;
use super::file::{Endpoint, File, Health, Port, Resource, ResourceType, Target};
use super::read::At;
use super::values::IdleTime;
use crate::model;
use crate::model::ids::ArmId;
use crate::model::resource_types::PRIVATE_LINK_SERVICE;
use crate::model::rules::{Object, short};
use crate::model::{
    BackendSpec, DRAIN, EndpointIp, HealthCheck, Key, LinkResource, PortSpec, PrivateEndpoint, Protocol, TargetSpec,
    Visibility, ids, resource_types,
};

impl Builder {
    /// Builds every resource type.
    pub(super) fn resource_types(&mut self, file: &File) {
        for table in file.resource_types.iter().flatten() {
            self.resource_type(table);
        }
    }

    fn resource_type(&mut self, table: &ResourceType) {
        let Some(name) = &table.name else { return };
        let key = model::ResourceType::key(&name.value);
        let object = Object::ResourceType(name.value.clone());
        if self.model.resource_types.contains_key(&key) {
            let message = format!("a second resource_type named `{}`", name.value);
            self.error(&object, &name.span, message, "name all regions of a type in one list; case does not matter");
            return;
        }
        self.place(object.at(""), &table.span);
        self.broken(&object, table.broken);
        self.value(&object, "name", Some(name));
        let regions = self.values(&object, "regions", table.regions.as_ref());
        self.model.resource_types.insert(key, model::ResourceType { name: name.value.clone(), regions });
    }

    /// Builds every link resource.
    pub(super) fn resources(&mut self, file: &File) {
        for (index, table) in file.resources.iter().flatten().enumerate() {
            if let Some(key) = self.key::<model::LinkResource>(index) {
                let resource = self.resource(&key, table);
                self.model.resources.insert(key, resource);
            }
        }
    }

    fn resource(&mut self, key: &Key, table: &Resource) -> LinkResource {
        let object = Object::Resource(key.clone());
        self.place(object.at(""), &table.span);
        self.broken(&object, table.broken);
        self.value(&object, "name", table.name.as_ref());
        self.value(&object, "resource_group", table.resource_group.as_ref());
        self.value(&object, "subscription", table.subscription.as_ref());
        self.value(&object, "vnet", table.vnet.as_ref());
        let vnet = table.vnet.as_ref().map_or_else(nowhere, |name| self.refer::<model::Vnet>(key, name));
        let region = self.value(&object, "region", table.region.as_ref()).or_else(|| self.region(&vnet));
        let kind = self.kind(&object, table);
        let targets = self.targets(&object, table, kind.is_some());
        let visibility = self.visibility(&object, table, kind.as_deref());
        LinkResource {
            kind,
            region: region.unwrap_or_default(),
            vnet: Some(vnet),
            nat_configs: Vec::new(),
            frontends: Vec::new(),
            destination: None,
            nat: self.values(&object, "nat", table.nat.as_ref()).into_iter().map(|address| address.0).collect(),
            visibility,
            auto_approval: self.values(&object, "auto_approval", table.auto_approval.as_ref()),
            alias: self.value(&object, "alias", table.alias.as_ref()),
            cross_region: self.value(&object, "cross_region", table.cross_region.as_ref()).unwrap_or(true),
            fqdns: self.values(&object, "fqdns", table.fqdns.as_ref()),
            proxy_protocol: self.value(&object, "proxy_protocol", table.proxy_protocol.as_ref()).unwrap_or_default(),
            shared_backend: self.value(&object, "shared_backend", table.shared_backend.as_ref()).unwrap_or_default(),
            deny: self.value(&object, "deny", table.deny.as_ref()).map(|word| word.0),
            drain: self.value(&object, "drain", table.drain.as_ref()).map_or(DRAIN, |time| time.0),
            balance: self.value(&object, "balance", table.balance.as_ref()).map(|word| word.0).unwrap_or_default(),
            max_sessions: self.value(&object, "max_sessions", table.max_sessions.as_ref()),
            max_sessions_per_endpoint: self.value(
                &object,
                "max_sessions_per_endpoint",
                table.max_sessions_per_endpoint.as_ref(),
            ),
            rates: self.rates(&object, table.rates.as_ref()),
            timeouts: self.timeouts(&object, table.timeouts.as_ref()),
            targets,
            tags: model::Tags::new(),
            foreign: String::new(),
        }
    }

    /// A known type in Azure's spelling; none for a private link service.
    fn kind(&mut self, object: &Object, table: &Resource) -> Option<String> {
        let named = self.value(object, "type", table.kind.as_ref())?;
        let name = resource_types::find(&named).map_or(named, |known| known.name.to_owned());
        (name != PRIVATE_LINK_SERVICE).then_some(name)
    }

    fn visibility(&mut self, object: &Object, table: &Resource, kind: Option<&str>) -> Visibility {
        let Some(list) = &table.visibility else { return Visibility::unsaid(kind) };
        let names = self.values(object, "visibility", Some(list));
        if !names.iter().any(|name| name == "*") {
            return Visibility::Subscriptions(names);
        }
        if names.len() > 1 {
            let remedy = "write \"*\" alone to show it to everyone, or name subscriptions";
            self.error(object, &list.span, "`*` stands beside other subscriptions", remedy);
        }
        Visibility::Everyone
    }

    /// The targets, or the one that `destination` and `ports` are short for.
    fn targets(&mut self, object: &Object, table: &Resource, typed: bool) -> Vec<TargetSpec> {
        let Some(destination) = &table.destination else {
            if table.ports.is_some() {
                let remedy = "add `destination = \"10.20.0.2\"`, or move `ports` into `targets`";
                self.error(object, &table.span, "`ports` stands without `destination`", remedy);
            } else if table.targets.is_none() && !table.broken {
                let remedy = "add `targets`, or `destination` and `ports` for a service with one server";
                self.error(object, &table.span, "`targets` is missing", remedy);
            }
            let targets = table.targets.iter().flatten().enumerate();
            return targets.map(|(index, target)| self.target(object, index, target)).collect();
        };
        let span = &destination.span;
        if table.targets.is_some() {
            let remedy = "`destination` and `ports` are short for one target: keep them, or `targets`";
            self.error(object, span, "`destination` beside `targets`", remedy);
        } else if typed {
            let remedy = "write `targets` with a `subresource` each";
            self.error(object, span, "only a private link service has a `destination`", remedy);
        } else if table.ports.is_none() && !table.broken {
            let remedy = "add the ports that it exposes, such as `ports = [{ protocol = \"tcp\", port = 5432 }]`";
            self.error(object, span, "`destination` needs `ports`", remedy);
        }
        for field in ["targets", "targets[0]", "targets[0].backends[0]"] {
            self.place(object.at(field), span);
        }
        let backends = vec![BackendSpec { address: destination.value.0, drain: false }];
        let (ports, icmp) = self.ports(object, 0, table.ports.as_deref().unwrap_or_default());
        vec![TargetSpec {
            subresource: String::new(),
            member: String::new(),
            fqdns: Vec::new(),
            backends,
            ports,
            icmp,
            health: None,
            port_checks: Vec::new(),
            balance: None,
        }]
    }

    fn region(&self, vnet: &Key) -> Option<String> {
        self.known_vnet(vnet).map(|vnet| vnet.region.clone())
    }

    fn target(&mut self, object: &Object, index: usize, table: &Target) -> TargetSpec {
        let field = |name: &str| format!("targets[{index}].{name}");
        self.place(object.at(format!("targets[{index}]")), &table.span);
        let backends = self.values(object, &field("backends"), table.backends.as_ref());
        let backends = backends.into_iter().filter_map(|backend| {
            let drain = backend.0.drain.is_some_and(|drain| drain.value);
            Some(BackendSpec { address: backend.0.address?.value.0, drain })
        });
        let backends = backends.collect();
        let (ports, icmp) = self.ports(object, index, table.ports.as_deref().unwrap_or_default());
        let health = table.health.as_ref().and_then(|health| self.health(object, index, health, &ports));
        TargetSpec {
            health,
            port_checks: Vec::new(),
            balance: None,
            subresource: self.value(object, &field("subresource"), table.subresource.as_ref()).unwrap_or_default(),
            member: self.value(object, &field("member"), table.member.as_ref()).unwrap_or_default(),
            fqdns: self.values(object, &field("fqdns"), table.fqdns.as_ref()),
            backends,
            ports,
            icmp,
        }
    }

    /// How the servers of target `index` are checked.
    fn health(&mut self, object: &Object, index: usize, table: &Health, ports: &[PortSpec]) -> Option<HealthCheck> {
        let field = |name: &str| format!("targets[{index}].health.{name}");
        self.place(object.at(format!("targets[{index}].health")), &table.span);
        let named = self.value(object, &field("port"), table.port.as_ref());
        let Some(otherwise) = HealthCheck::of(named, ports) else {
            let remedy = "name the `port` at which its servers take TCP connections";
            self.error(object, &table.span, "nothing to check: the target exposes no TCP port", remedy);
            return None;
        };
        let time = |this: &mut Self, name: &str, at: Option<&At<IdleTime>>, otherwise| {
            this.value(object, &field(name), at).map_or(otherwise, |time: IdleTime| time.0)
        };
        Some(HealthCheck {
            port: otherwise.port,
            interval: time(self, "interval", table.interval.as_ref(), otherwise.interval),
            timeout: time(self, "timeout", table.timeout.as_ref(), otherwise.timeout),
            fall: self.value(object, &field("fall"), table.fall.as_ref()).unwrap_or(otherwise.fall),
            rise: self.value(object, &field("rise"), table.rise.as_ref()).unwrap_or(otherwise.rise),
            path: self.value(object, &field("path"), table.path.as_ref()),
        })
    }

    /// The ports of target `index`, and whether it takes ICMP echo.
    fn ports(&mut self, object: &Object, index: usize, tables: &[Port]) -> (Vec<PortSpec>, bool) {
        let (mut ports, mut icmp) = (Vec::new(), false);
        for port in tables {
            match port.protocol.as_ref().map(|protocol| protocol.value.0) {
                Some(Protocol::Icmp) => {
                    self.icmp(object, port);
                    icmp = true;
                }
                Some(protocol) => {
                    let field = format!("targets[{index}].ports[{}]", ports.len());
                    ports.extend(self.port(object, &field, protocol, port));
                }
                None => {}
            }
        }
        (ports, icmp)
    }

    fn icmp(&mut self, object: &Object, table: &Port) {
        let ports = table.port.as_ref().map(|port| &port.span);
        if let Some(span) = ports.or(table.backend_port.as_ref().map(|port| &port.span)) {
            self.error(object, span, "icmp has no ports", "write `{ protocol = \"icmp\" }`");
        }
    }

    fn port(&mut self, object: &Object, field: &str, protocol: Protocol, table: &Port) -> Option<PortSpec> {
        self.place(object.at(field), &table.span);
        let Some(ports) = self.value(object, &format!("{field}.port"), table.port.as_ref()) else {
            if !table.broken {
                let remedy = "add the port that endpoints expose, such as `port = 5432`";
                self.error(object, &table.span, format!("a {protocol} port needs `port`"), remedy);
            }
            return None;
        };
        let backend = self.value(object, &format!("{field}.backend_port"), table.backend_port.as_ref());
        Some(PortSpec { protocol, first: ports.0, last: ports.1, backend_first: backend.unwrap_or(ports.0) })
    }

    /// Builds every endpoint.
    pub(super) fn endpoints(&mut self, file: &File) {
        for (index, table) in file.endpoints.iter().flatten().enumerate() {
            if let Some(key) = self.key::<model::PrivateEndpoint>(index) {
                let endpoint = self.endpoint(&key, table);
                self.model.endpoints.insert(key, endpoint);
            }
        }
    }

    fn endpoint(&mut self, key: &Key, table: &Endpoint) -> PrivateEndpoint {
        let object = Object::Endpoint(key.clone());
        self.place(object.at(""), &table.span);
        self.broken(&object, table.broken);
        self.value(&object, "name", table.name.as_ref());
        self.value(&object, "resource_group", table.resource_group.as_ref());
        self.value(&object, "subscription", table.subscription.as_ref());
        let (vnet, subnet) = self.subnet_of(&object, key, table);
        let resource = self.requested(&object, key, table);
        let region = self.value(&object, "region", table.region.as_ref()).or_else(|| self.region(&vnet));
        let subresource = self.value(&object, "subresource", table.subresource.as_ref());
        let subresource = subresource.or_else(|| self.only_subresource(&resource)).unwrap_or_default();
        let addresses = self.addresses(&object, table);
        let mut made = PrivateEndpoint {
            region: region.unwrap_or_default(),
            vnet,
            subnet,
            addresses,
            resource,
            subresource,
            manual: self.value(&object, "manual", table.manual.as_ref()).unwrap_or_default(),
            request_message: self.value(&object, "request_message", table.request_message.as_ref()).unwrap_or_default(),
            status: self.value(&object, "status", table.status.as_ref()).map(|word| word.0),
            reason: self.value(&object, "reason", table.reason.as_ref()).unwrap_or_default(),
            sources: self.any_or_prefixes(&object, "sources", table.sources.as_ref()),
            max_sessions: self.value(&object, "max_sessions", table.max_sessions.as_ref()),
            rates: self.rates(&object, table.rates.as_ref()),
            accept_names: self.accepted(&object, "accept_names", table.accept_names.as_ref()),
            zone_group: self.zone_group(key, table),
            labels: None,
        };
        if let Some(resource) = self.known_resource(&made.resource) {
            made.spell_as(resource);
        }
        made
    }

    /// The VNet and the name of the subnet: a resource ID of a subnet names both.
    fn subnet_of(&mut self, object: &Object, key: &Key, table: &Endpoint) -> (Key, String) {
        let named = self.value(object, "vnet", table.vnet.as_ref());
        let subnet = self.value(object, "subnet", table.subnet.as_ref()).unwrap_or_default();
        let vnet = table.vnet.as_ref().map(|name| self.refer::<model::Vnet>(key, name));
        let Some(at) = table.subnet.as_ref().filter(|_| ArmId::is_meant(&subnet)) else {
            if named.is_none() && !table.broken {
                let remedy = "add `vnet`: Name of the VNet it is in; or write `subnet` as a resource ID";
                self.error(object, &table.span, "`vnet` is missing", remedy);
            }
            return (vnet.unwrap_or_else(nowhere), subnet);
        };
        let id = match ArmId::parse(&subnet).map(|id| (id.is(ids::SUBNET), id)) {
            Ok((true, id)) => id,
            Ok((false, id)) => {
                let message = format!("`{subnet}` is the ID of a {}, and a subnet is meant", id.kind());
                let remedy = "write the name of a subnet of the VNet, or the ID of one: …/virtualNetworks/V/subnets/S";
                self.error(object, &at.span, message, remedy);
                return (vnet.unwrap_or_else(nowhere), subnet);
            }
            Err(message) => {
                self.error(object, &at.span, message, "write the name of a subnet of the VNet, or its whole ID");
                return (vnet.unwrap_or_else(nowhere), subnet);
            }
        };
        let reference = At { value: ids::vnet(id.key()).to_string(), span: at.span.clone() };
        let own = self.refer::<model::Vnet>(key, &reference);
        if let Some((vnet, at)) = vnet.zip(table.vnet.as_ref()).filter(|(vnet, _)| *vnet != own) {
            let message = format!("the subnet is in VNet `{}`, not in `{}`", short(&own), short(&vnet));
            self.error(object, &at.span, message, "leave `vnet` out: the subnet's ID names it");
        }
        self.place(object.at("vnet"), &at.span);
        (own, id.name().to_owned())
    }

    /// What the endpoint is to be bound to. Who has an alias need not see what it stands for, so it can only be
    /// requested.
    fn requested(&mut self, object: &Object, key: &Key, table: &Endpoint) -> Key {
        self.value(object, "resource", table.resource.as_ref());
        let Some(name) = &table.resource else { return nowhere() };
        let resource = self.refer::<model::LinkResource>(key, name);
        let by_alias = ids::is_alias(&name.value) && !resource.name.eq_ignore_ascii_case(&name.value);
        if by_alias && !table.manual.as_ref().is_some_and(|manual| manual.value) {
            let remedy = "set `manual = true`, or name the service by `group/name` or resource ID";
            self.error(object, &name.span, "a connection by alias is a request to the service's owner", remedy);
        }
        resource
    }

    fn addresses(&mut self, object: &Object, table: &Endpoint) -> Vec<EndpointIp> {
        if let (Some(ip), Some(_)) = (&table.ip, &table.addresses) {
            let remedy = "`ip = x` means `addresses = [{ ip = x }]`: keep one";
            self.error(object, &ip.span, "`ip` beside `addresses`", remedy);
        }
        if let Some(ip) = self.value(object, "addresses[0].ip", table.ip.as_ref()) {
            if let Some(at) = &table.ip {
                self.place(object.at("addresses"), &at.span);
            }
            return vec![EndpointIp { member: String::new(), ip: Some(ip.0) }];
        }
        let mut addresses = Vec::new();
        for (index, address) in table.addresses.iter().flatten().enumerate() {
            let field = |name: &str| format!("addresses[{index}].{name}");
            self.place(object.at(format!("addresses[{index}]")), &address.span);
            if index == 0 {
                self.place(object.at("addresses"), &address.span);
            }
            addresses.push(EndpointIp {
                member: self.value(object, &field("member"), address.member.as_ref()).unwrap_or_default(),
                ip: self.value(object, &field("ip"), address.ip.as_ref()).map(|ip| ip.0),
            });
        }
        addresses
    }

    /// The subresource of a typed resource that has one.
    fn only_subresource(&self, resource: &Key) -> Option<String> {
        let targets = &self.known_resource(resource)?.targets;
        only(targets.iter().map(|target| &target.subresource))
    }
}

/// The value that all of `values` share.
fn only<'a>(mut values: impl Iterator<Item = &'a String>) -> Option<String> {
    let first = values.next()?;
    values.all(|other| other == first).then(|| first.clone())
}

/// Stands for a reference that could not be read.
fn nowhere() -> Key {
    Key::new("", "")
}
