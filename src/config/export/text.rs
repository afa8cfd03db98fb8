//! Each object as the tables of the file that are read as the same object again. What of it a file has no word for stands
//! in comments.

use std::fmt::{self, Write as _};

use schemars::JsonSchema;
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::config::schema::{forms, item_of, keys, whole};
use crate::control::seen::Exportable;
use crate::model::registry::Kind;
use crate::model::spelled::Written;
use crate::model::state::Connection;
use crate::model::{ConnectionState, DnsZone, Key, LinkResource, PrivateEndpoint, Visibility, Vnet, ZoneGroup};

/// The JSON schema of a value, or an object.
type Schema = serde_json::Map<String, Json>;

/// A file being written.
#[derive(Debug, Default)]
pub(super) struct Text(pub(super) String);

impl Text {
    pub(super) fn comment(&mut self, about: fmt::Arguments<'_>) {
        // A name may hold no line break; what is in force may come from a release that knew no such rule.
        let line = about.to_string().replace(char::is_control, " ");
        self.line(format_args!("# {line}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// The object `key` as its spec says it; a comment says which other `parts` of it there are, which stay as they are.
    pub(super) fn object<K: Kind + JsonSchema>(&mut self, key: &Key, spec: &K, parts: &[(&str, bool)]) {
        let table = K::KIND.table();
        let schema = whole::<K>();
        let written = if K::KIND.is_in_groups() {
            serde_json::to_value(Written::new(key, spec.clone()))
        } else {
            serde_json::to_value(spec)
        };
        match (schema.as_object(), written) {
            (Some(schema), Ok(Json::Object(object))) => {
                self.section(&format!("[[{table}]]"), table, schema, &object, key, parts);
            }
            (_, written) => {
                let why = written.err().map_or_else(String::new, |error| error.to_string());
                self.comment(format_args!("{table} {key} is left out: {why}"));
            }
        }
    }

    /// A table under its header, and then the tables within it, as `schema` has them in order.
    fn section(
        &mut self,
        header: &str,
        path: &str,
        schema: &Schema,
        object: &Schema,
        home: &Key,
        parts: &[(&str, bool)],
    ) {
        self.line(format_args!("{header}"));
        let mut within = Vec::new();
        for key in keys(schema) {
            let about = schema["properties"][key].as_object();
            let Some((value, about)) = object.get(key).zip(about).filter(|(value, about)| !goes_unsaid(about, value))
            else {
                continue;
            };
            match table_of(about) {
                Some(table) if !table.contains_key("x-inline") => within.push((key, table, value)),
                _ => self.line(format_args!("{key} = {}", in_line(about, value, home))),
            }
        }
        self.unworded(parts);
        for (key, schema, value) in within {
            let path = format!("{path}.{key}");
            match value {
                Json::Array(all) => {
                    for one in all.iter().filter_map(Json::as_object) {
                        self.section(&format!("[[{path}]]"), &path, schema, one, home, &[]);
                    }
                }
                Json::Object(one) => self.section(&format!("[{path}]"), &path, schema, one, home, &[]),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
            }
        }
    }

    pub(super) fn vnet(&mut self, key: &Key, vnet: &Vnet) {
        let parts = [
            ("tags", !vnet.tags.is_empty()),
            ("names and switches of peerings", !vnet.peering_labels.is_empty()),
            ("properties that mean nothing here", !vnet.foreign.is_empty()),
        ];
        self.object(key, vnet, &parts);
    }

    pub(super) fn dns_zone(&mut self, live: &Exportable, key: &Key, zone: &DnsZone) {
        if let Some(link) = zone.links.iter().find(|link| !live.known.vnets.contains_key(&link.vnet)) {
            return self.left_out("dns_zone", key, format_args!("its link {} leads to a VNet", link.name));
        }
        if let Some(set) = zone.records.iter().find(|record| record.set.ttl == 0) {
            let what = format_args!("its record {} may be kept for no time, which", set.name);
            return self.comment(format_args!("dns_zone {key} is left out: {what} a file has no word for"));
        }
        let parts = [
            ("tags", !zone.tags.is_empty()),
            ("its start of authority", zone.soa != <_>::default()),
            ("metadata of records", zone.records.iter().any(|record| !record.metadata.is_empty())),
            ("names, tags and registration of links", !zone.links.is_empty()),
        ];
        self.object(key, zone, &parts);
    }

    pub(super) fn resource(&mut self, live: &Exportable, key: &Key, resource: &LinkResource) {
        let Some(vnet) = &resource.vnet else {
            return self
                .comment(format_args!("resource {key} is left out: it has no VNet yet, and nothing reaches it"));
        };
        if !live.known.vnets.contains_key(vnet) {
            return self.left_out("resource", key, format_args!("it is in a VNet"));
        }
        let mut said = resource.clone();
        said.visibility = match (&resource.visibility, &resource.kind) {
            (Visibility::Readers, Some(_)) => Visibility::Subscriptions(Vec::new()),
            // What the file says by silence.
            (Visibility::ById, _) => Visibility::Readers,
            (other, _) => other.clone(),
        };
        let parts = [
            ("tags", !resource.tags.is_empty()),
            ("properties that mean nothing here", !resource.foreign.is_empty()),
            ("that its NAT addresses come from a subnet", !resource.nat_configs.is_empty()),
            ("that its targets follow a load balancer", !resource.frontends.is_empty()),
            ("that its server takes every port", resource.destination.is_some()),
        ];
        self.object(key, &said, &parts);
    }

    pub(super) fn endpoint(&mut self, live: &Exportable, key: &Key, endpoint: &PrivateEndpoint) {
        let connection = live.state.connections.get(key);
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
        let (status, reason) = decision(endpoint, connection);
        let group = Some(ZoneGroup::of(zones.cloned())).filter(|group| !group.zones.is_empty());
        let said = PrivateEndpoint { status, reason, zone_group: group.map(Box::new), ..endpoint.clone() };
        self.object(key, &said, &[("tags, and names of its parts", endpoint.labels.is_some())]);
        if let Some(end) = connection.and_then(|connection| connection.ends_at) {
            self.comment(format_args!("its approval ends at {end:.0}, and an apply leaves that as it is"));
        }
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

/// The table, or that of each item of the list, that `schema` describes; `None`: it describes neither.
fn table_of(schema: &Schema) -> Option<&Schema> {
    let schema = item_of(schema).map_or(schema, |item| item.schema);
    // Of two forms, that of the table.
    let schema = forms(schema).map_or(schema, |[_, table]| table);
    schema.contains_key("properties").then_some(schema)
}

/// Whether a switch or a word is as it is unless set.
fn goes_unsaid(schema: &Schema, value: &Json) -> bool {
    schema.get("default") == Some(value) && (value.is_boolean() || schema.contains_key("enum"))
}

/// `value` as it is written behind its key.
fn in_line(schema: &Schema, value: &Json, home: &Key) -> Value {
    match value {
        Json::Array(all) => {
            let item = item_of(schema).map_or(schema, |item| item.schema);
            all.iter().map(|one| in_line(item, one, home)).collect::<Vec<_>>().into()
        }
        Json::Object(all) => {
            let Some(table) = table_of(schema) else { return Table::new().into() };
            let property = |key: &str| table["properties"][key].as_object();
            let fields = keys(table).into_iter().filter_map(|key| Some((key, all.get(key)?, property(key)?)));
            let fields = fields.filter(|(_, one, about)| !goes_unsaid(about, one));
            let fields = fields.map(|(key, one, schema)| (key.to_owned(), in_line(schema, one, home)));
            let mut fields: Table = fields.collect();
            let alone = schema.get("x-alone").and_then(Json::as_str).filter(|_| fields.len() == 1);
            alone.and_then(|key| fields.remove(key)).unwrap_or_else(|| fields.into())
        }
        Json::String(text) if schema.contains_key("x-kind") => match Key::try_from(text.clone()) {
            Ok(key) => beside(home, &key).into(),
            Err(_) => text.as_str().into(),
        },
        Json::String(port) if schema.get("format").is_some_and(|format| format == "ports") => {
            port.parse::<i64>().map_or_else(|_| port.as_str().into(), Value::from)
        }
        Json::String(text) => text.as_str().into(),
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => number.as_i64().unwrap_or(i64::MAX).into(),
        Json::Null => Table::new().into(),
    }
}

/// How the file calls `key` beside `home`.
fn beside(home: &Key, key: &Key) -> String {
    if key.subscription != home.subscription {
        return format!("{}/{}/{}", key.subscription, key.group, key.name);
    }
    if key.group == home.group { key.name.clone() } else { format!("{}/{}", key.group, key.name) }
}
