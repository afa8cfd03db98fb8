//! `[[resource]]` and `[[endpoint]]` to the model.

use super::build::{Builder, Kind};
use super::file::{Endpoint, File, Port, Resource, Target};
use crate::control::model::{
    self, BackendSpec, EndpointIp, Key, LinkResource, PortSpec, PrivateEndpoint, Protocol, TargetSpec,
};
use crate::control::validate::Object;

impl Builder {
    /// Builds every link resource.
    pub(super) fn resources(&mut self, file: &File) {
        for (index, table) in file.resources.iter().flatten().enumerate() {
            if let Some(key) = self.resources.key(index) {
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
        let vnet = table.vnet.as_ref().map_or_else(nowhere, |name| self.refer(Kind::Vnet, key, name));
        let region = self.value(&object, "region", table.region.as_ref()).or_else(|| self.region(&vnet));
        let targets = table.targets.iter().flatten().enumerate();
        let targets = targets.map(|(index, target)| self.target(&object, index, target)).collect();
        LinkResource {
            kind: self.value(&object, "type", table.kind.as_ref()),
            region: region.unwrap_or_default(),
            vnet,
            nat: self.values(&object, "nat", table.nat.as_ref()).into_iter().map(|address| address.0).collect(),
            auto_approval: self.values(&object, "auto_approval", table.auto_approval.as_ref()),
            shared_backend: self.value(&object, "shared_backend", table.shared_backend.as_ref()).unwrap_or_default(),
            deny: self.value(&object, "deny", table.deny.as_ref()).map(|word| word.0),
            max_sessions: self.value(&object, "max_sessions", table.max_sessions.as_ref()),
            max_sessions_per_endpoint: self.value(
                &object,
                "max_sessions_per_endpoint",
                table.max_sessions_per_endpoint.as_ref(),
            ),
            timeouts: self.timeouts(&object, table.timeouts.as_ref()),
            targets,
        }
    }

    fn region(&self, vnet: &Key) -> Option<String> {
        self.model.vnets.get(vnet).map(|vnet| vnet.region.clone())
    }

    fn target(&mut self, object: &Object, index: usize, table: &Target) -> TargetSpec {
        let field = |name: &str| format!("targets[{index}].{name}");
        self.place(object.at(format!("targets[{index}]")), &table.span);
        if let Some(fqdns) = &table.fqdns {
            let remedy = "leave `fqdns` out, or keep them for a version that does";
            self.warning(&fqdns.span, "this version does not serve DNS: `fqdns` has no effect", remedy);
        }
        let backends = self.values(object, &field("backends"), table.backends.as_ref());
        let backends = backends.into_iter().filter_map(|backend| {
            let drain = backend.0.drain.is_some_and(|drain| drain.value);
            Some(BackendSpec { address: backend.0.address?.value.0, drain })
        });
        let backends = backends.collect();
        let mut target = TargetSpec {
            subresource: self.value(object, &field("subresource"), table.subresource.as_ref()).unwrap_or_default(),
            member: self.value(object, &field("member"), table.member.as_ref()).unwrap_or_default(),
            fqdns: self.values(object, &field("fqdns"), table.fqdns.as_ref()),
            backends,
            ports: Vec::new(),
            icmp: false,
        };
        for port in table.ports.iter().flatten() {
            match port.protocol.as_ref().map(|protocol| protocol.value.0) {
                Some(Protocol::Icmp) => {
                    self.icmp(object, port);
                    target.icmp = true;
                }
                Some(protocol) => {
                    let field = format!("targets[{index}].ports[{}]", target.ports.len());
                    target.ports.extend(self.port(object, &field, protocol, port));
                }
                None => {}
            }
        }
        target
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
            if let Some(key) = self.endpoints.key(index) {
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
        self.value(&object, "vnet", table.vnet.as_ref());
        self.value(&object, "resource", table.resource.as_ref());
        let vnet = table.vnet.as_ref().map_or_else(nowhere, |name| self.refer(Kind::Vnet, key, name));
        let resource = table.resource.as_ref();
        let resource = resource.map_or_else(nowhere, |name| self.refer(Kind::Resource, key, name));
        let region = self.value(&object, "region", table.region.as_ref()).or_else(|| self.region(&vnet));
        let subresource = self.value(&object, "subresource", table.subresource.as_ref());
        let subresource = subresource.or_else(|| self.only_subresource(&resource)).unwrap_or_default();
        let mut addresses = self.addresses(&object, table);
        if let Some(member) = self.only_member(&resource, &subresource) {
            for address in addresses.iter_mut().filter(|address| address.member.is_empty()) {
                address.member.clone_from(&member);
            }
        }
        PrivateEndpoint {
            region: region.unwrap_or_default(),
            vnet,
            subnet: self.value(&object, "subnet", table.subnet.as_ref()).unwrap_or_default(),
            addresses,
            resource,
            subresource,
            manual: self.value(&object, "manual", table.manual.as_ref()).unwrap_or_default(),
            request_message: self.value(&object, "request_message", table.request_message.as_ref()).unwrap_or_default(),
            status: self.value(&object, "status", table.status.as_ref()).map(|word| word.0),
            reason: self.value(&object, "reason", table.reason.as_ref()).unwrap_or_default(),
            sources: self.any_or_prefixes(&object, "sources", table.sources.as_ref()),
            max_sessions: self.value(&object, "max_sessions", table.max_sessions.as_ref()),
        }
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
        let targets = &self.model.resources.get(resource)?.targets;
        only(targets.iter().map(|target| &target.subresource))
    }

    /// The member of a subresource that has one.
    fn only_member(&self, resource: &Key, subresource: &str) -> Option<String> {
        let resource: &model::LinkResource = self.model.resources.get(resource)?;
        let targets = resource.targets.iter().filter(|target| target.subresource == subresource);
        only(targets.map(|target| &target.member))
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
