//! What `[[resource_type]]` says, and what is said in short in `[[resource]]` and `[[endpoint]]`.

use std::ops::Range;

use serde_json::{Value, json};

use super::build::Builder;
use super::file::{File, ResourceType};
use super::read::{At, UNREAD_MAX};
use super::spec::Spec;
use crate::model;
use crate::model::ids::ArmId;
use crate::model::rules::{Object, short};
use crate::model::{Key, Protocol, ids, resource_types};

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

    /// The target that `destination` and `ports` are short for; the port of a check that names none.
    pub(super) fn unfold_resource<K>(&mut self, object: &Object, spec: &Spec<K>, written: &mut Value) {
        self.only_target(object, spec, written);
        let short = spec.place("destination").is_some();
        let everyone = |list: &&Vec<Value>| list.len() > 1 && list.iter().any(|one| one == "*");
        if written.get("visibility").and_then(Value::as_array).as_ref().is_some_and(everyone) {
            let remedy = "write \"*\" alone to show it to everyone, or name subscriptions";
            self.error(object, &spec.at("visibility"), "`*` stands beside other subscriptions", remedy);
        }
        for (index, target) in
            written.get_mut("targets").and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            let path = format!("targets[{index}].ports");
            // The short form has them beside `destination`.
            let written = if short { "ports" } else { &path };
            self.ports(object, [written, &path], &mut target["ports"]);
            let at = self.find(object.at(format!("targets[{index}].health")));
            self.check(object, &at, target);
        }
    }

    fn only_target<K>(&mut self, object: &Object, spec: &Spec<K>, written: &mut Value) {
        let Some(table) = written.as_object_mut() else { return };
        let (destination, ports) = (table.remove("destination"), table.remove("ports"));
        let said = spec.place("destination").is_some();
        if !said {
            if spec.place("ports").is_some() {
                let remedy = "add `destination = \"10.20.0.2\"`, or move `ports` into `targets`";
                self.error(object, &spec.span, "`ports` stands without `destination`", remedy);
            } else if spec.place("targets").is_none() && !spec.broken {
                let remedy = "add `targets`, or `destination` and `ports` for a service with one server";
                self.error(object, &spec.span, "`targets` is missing", remedy);
            }
            return;
        }
        let span = spec.at("destination");
        if spec.place("targets").is_some() {
            let remedy = "`destination` and `ports` are short for one target: keep them, or `targets`";
            self.error(object, &span, "`destination` beside `targets`", remedy);
        } else if table.get("type").and_then(Value::as_str).is_some_and(|kind| !resource_types::is_service(kind)) {
            let remedy = "write `targets` with a `subresource` each";
            self.error(object, &span, "only a private link service has a `destination`", remedy);
        } else if spec.place("ports").is_none() && !spec.broken {
            let remedy = "add the ports that it exposes, such as `ports = [{ protocol = \"tcp\", port = 5432 }]`";
            self.error(object, &span, "`destination` needs `ports`", remedy);
        }
        for field in ["targets", "targets[0]", "targets[0].backends[0]"] {
            self.place(object.at(field), &span);
        }
        if let Some(span) = spec.place("ports") {
            self.place(object.at("targets[0].ports"), span);
        }
        let backends: Vec<Value> = destination.into_iter().map(|address| json!({ "address": address })).collect();
        let target = json!({ "backends": backends, "ports": ports.unwrap_or_else(|| json!([])) });
        table.insert("targets".to_owned(), json!([target]));
    }

    /// The ports of a target at `path`, which stand at `written`. ICMP echo, which is no port, goes behind them.
    fn ports(&mut self, object: &Object, [written, path]: [&str; 2], ports: &mut Value) {
        let Some(list) = ports.as_array_mut() else { return };
        let icmp: Value = Protocol::Icmp.to_string().into();
        let mut kept = Vec::new();
        for (index, port) in std::mem::take(list).into_iter().enumerate() {
            let at = self.find(object.at(format!("{written}[{index}]")));
            if port["protocol"] == icmp {
                let number = ["port", "backend_port"].into_iter().find(|key| !port[key].is_null());
                if let Some(key) = number {
                    let at = self.find(object.at(format!("{written}[{index}].{key}")));
                    self.error(object, &at, "icmp has no ports", "write `{ protocol = \"icmp\" }`");
                }
                list.push(json!({ "protocol": icmp }));
                continue;
            }
            if port["port"].is_null() {
                let known = self.mistakes.iter().take(UNREAD_MAX);
                if !known.map(|mistake| mistake.span.start).any(|start| at.contains(&start)) {
                    let message = format!("a {} port needs `port`", port["protocol"].as_str().unwrap_or_default());
                    self.error(object, &at, message, "add the port that endpoints expose, such as `port = 5432`");
                }
                continue;
            }
            for key in ["", ".protocol", ".port", ".backend_port"] {
                if let Some(span) = self.place_of(&object.at(format!("{written}[{index}]{key}"))) {
                    self.place(object.at(format!("{path}[{}]{key}", kept.len())), &span);
                }
            }
            kept.push(port);
        }
        list.splice(0..0, kept);
    }

    /// The check of a target, which is at `span`: without a port of its own, it asks the first TCP port.
    fn check(&mut self, object: &Object, span: &Range<usize>, target: &mut Value) {
        let Some(health) = target.get("health").filter(|health| health["port"].is_null()) else { return };
        let mut health = health.clone();
        let ports = target["ports"].as_array().into_iter().flatten();
        let tcp = ports.into_iter().find(|port| port["protocol"] == Protocol::Tcp.to_string());
        let first =
            |port: &Value| model::spelled::port_ranges::parse(port["port"].as_str()?).map(|(first, _)| first.into());
        let mapped = |port: &Value| Some(port["backend_port"].clone()).filter(|port| !port.is_null());
        let port = tcp.and_then(|port| mapped(port).or_else(|| first(port)));
        if port.is_none() {
            let remedy = "name the `port` at which its servers take TCP connections";
            self.error(object, span, "nothing to check: the target exposes no TCP port", remedy);
        }
        health["port"] = port.unwrap_or_else(|| json!(0));
        target["health"] = health;
    }

    /// The VNet and the name of a subnet that is written as a resource ID.
    pub(super) fn unfold_endpoint<K>(&mut self, object: &Object, key: &Key, spec: &Spec<K>, written: &mut Value) {
        self.requested(object, spec, written);
        let subnet = spec.text("subnet");
        let Some(subnet) = subnet.filter(|subnet| ArmId::is_meant(&subnet.value)) else {
            if spec.place("vnet").is_none() && !spec.broken {
                let remedy = "add `vnet`: Name of the VNet it is in; or write `subnet` as a resource ID";
                self.error(object, &spec.span, "`vnet` is missing", remedy);
            }
            return;
        };
        let id = match ArmId::parse(&subnet.value).map(|id| (id.is(ids::SUBNET), id)) {
            Ok((true, id)) => id,
            Ok((false, id)) => {
                let message = format!("`{}` is the ID of a {}, and a subnet is meant", subnet.value, id.kind());
                let remedy = "write the name of a subnet of the VNet, or the ID of one: …/virtualNetworks/V/subnets/S";
                self.error(object, &subnet.span, message, remedy);
                return;
            }
            Err(message) => {
                let remedy = "write the name of a subnet of the VNet, or its whole ID";
                self.error(object, &subnet.span, message, remedy);
                return;
            }
        };
        let reference = At { value: ids::vnet(id.key()).to_string(), span: subnet.span.clone() };
        let own = self.refer::<model::Vnet>(key, &reference);
        let named = written["vnet"].as_str().and_then(|vnet| Key::try_from(vnet.to_owned()).ok());
        if let Some(vnet) = named.filter(|vnet| *vnet != own) {
            let message = format!("the subnet is in VNet `{}`, not in `{}`", short(&own), short(&vnet));
            self.error(object, &spec.at("vnet"), message, "leave `vnet` out: the subnet's ID names it");
        }
        self.place(object.at("vnet"), &subnet.span);
        written["vnet"] = own.to_string().into();
        written["subnet"] = id.name().into();
    }

    /// Who has an alias need not see what it stands for, so it can only be requested.
    fn requested<K>(&mut self, object: &Object, spec: &Spec<K>, written: &Value) {
        let Some(reference) = spec.references.iter().find(|reference| reference.path == "resource") else { return };
        let text = &reference.name.value;
        let own_name =
            |key: &Value| Key::try_from(key.as_str()?.to_owned()).ok().map(|key| key.name.eq_ignore_ascii_case(text));
        if ids::is_alias(text) && own_name(&written["resource"]) != Some(true) && written["manual"] != true {
            let remedy = "set `manual = true`, or name the service by `group/name` or resource ID";
            self.error(
                object,
                &reference.name.span,
                "a connection by alias is a request to the service's owner",
                remedy,
            );
        }
    }
}
