//! Which audit records a caller may read: those about objects that it may read. A caller who may read every object gets
//! the log as it is stored. Others get no numbers and hashes, which would reveal how much they do not see.

use super::codec::Record;
use super::views::View;
use crate::access::rights::{Right, Rights, Verb};
use crate::model::error::Error;
use crate::model::state::{Item, ItemKind};
use crate::model::{Caller, Key, Principal, actions};

/// One caller's view of the audit log.
#[derive(Debug)]
pub struct AuditReader<'a> {
    view: &'a View,
    rights: Rights<'a>,
    whole: bool,
}

/// The subject of a record.
#[derive(Debug, PartialEq, Eq)]
enum About {
    /// An object.
    Object(Item),
    /// The connection of an endpoint.
    Connection(Key),
    /// A token.
    Token,
    /// An author's file, or a requester's refused requests.
    Own(String),
    /// The daemon itself.
    Other,
}

impl About {
    /// The subject of a record whose `object` is `text`.
    fn of(text: &str) -> Self {
        let key = |rest: &str| Key::try_from(rest.to_owned()).ok();
        if let Some(connection) = text.strip_prefix("connection ").and_then(key) {
            return Self::Connection(connection);
        }
        if text.starts_with("token ") {
            return Self::Token;
        }
        if let Some(who) = text.strip_prefix("file of ").or_else(|| text.strip_prefix("requests of ")) {
            return Self::Own(who.to_owned());
        }
        // "resource group" begins with the name of another kind, "resource".
        let named = |kind: &ItemKind| text.strip_prefix(&*kind.to_string()).and_then(|rest| rest.strip_prefix(' '));
        let kind =
            ItemKind::ALL.into_iter().filter(|kind| named(kind).is_some()).max_by_key(|kind| kind.to_string().len());
        let item = kind.and_then(|kind| Some(Item { kind, key: key(named(&kind)?)? }));
        item.map_or(Self::Other, Self::Object)
    }
}

impl View {
    /// What `caller` may read of the audit log.
    ///
    /// # Errors
    /// 403: the caller may not read the log in any scope.
    pub fn audit_for<'a>(&'a self, caller: &'a Caller) -> Result<AuditReader<'a>, Error> {
        let (rights, read) = (self.rights(caller), actions::read(actions::AUDIT));
        _ = rights.demand_somewhere(&read)?;
        let whole = rights.hold(&Right::anywhere(read)) && self.is_whole_to(caller);
        Ok(AuditReader { view: self, rights, whole })
    }

    /// Checks that `caller` may read the whole audit log.
    ///
    /// # Errors
    /// 403: the caller may not read the log, or not every type of object.
    pub fn demand_whole_audit(&self, caller: &Caller) -> Result<(), Error> {
        self.rights(caller).demand(&Right::anywhere(actions::read(actions::AUDIT)))?;
        self.demand_whole(caller)
    }
}

impl AuditReader<'_> {
    /// Whether the caller may see every record, with its number and hash.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The part of `record` that the caller may see. `None`: it may not see the record.
    pub fn told(&self, record: Record) -> Option<Record> {
        if self.whole {
            return Some(record);
        }
        match About::of(&record.object) {
            About::Object(item) if item.kind == ItemKind::Endpoint => self.of_endpoint(&item.key, false, record),
            About::Object(item) => {
                let right = if item.kind == ItemKind::Resource {
                    // A later object with the same key may be of another type.
                    Right::read_of(record.resource_type.as_deref()?, &item.key)
                } else if item.kind == ItemKind::Assignment {
                    Right { action: actions::read(actions::ROLE_ASSIGNMENTS), scope: record.scope.clone()? }
                } else {
                    Right::on(&self.view.state.model, &item, Verb::Read)
                };
                self.reads(&right).then_some(record)
            }
            About::Connection(key) => self.of_endpoint(&key, true, record),
            About::Token => self.reads(&Right::anywhere(actions::read(actions::TOKENS))).then_some(record),
            // A later token with the same name is another principal.
            About::Own(who) => match self.rights.caller().subject.principal() {
                own @ (Principal::Uid(_) | Principal::Gid(_)) if own.to_string() == who => Some(record),
                Principal::Uid(_) | Principal::Gid(_) | Principal::Token(_) | Principal::TokenId(_) => None,
            },
            About::Other => None,
        }
    }

    /// Whether the caller has `right`, and may read the log in that scope.
    fn reads(&self, right: &Right) -> bool {
        let log = Right { action: actions::read(actions::AUDIT), scope: right.scope.clone() };
        self.rights.hold(right) && self.rights.hold(&log)
    }

    /// A record of an endpoint or its connection. A reader of the endpoint sees all of it. A reader of the resource's
    /// connections sees records of this connection, without details of the consumer's network.
    fn of_endpoint(&self, key: &Key, of_connection: bool, record: Record) -> Option<Record> {
        let state = &self.view.state;
        let item = Item { kind: ItemKind::Endpoint, key: key.clone() };
        if self.reads(&Right::on(&state.model, &item, Verb::Read)) {
            return Some(record);
        }
        let (endpoint, connection) = (state.model.endpoints.get(key)?, state.connections.get(key)?);
        let this_one = record.link == Some(connection.link);
        if !this_one || !self.reads(&Right::other_side(&state.model, key, endpoint)) {
            return None;
        }
        match (of_connection, record.action.as_str()) {
            (true, _) => Some(record),
            // Details of the consumer's network belong to the consumer.
            (false, "create") => {
                Some(Record { detail: String::new(), changes: Vec::new(), changes_left_out: None, ..record })
            }
            (false, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_about_what_its_object_names() {
        let object = |kind, key| About::Object(Item { kind, key });
        for (text, expected) in [
            ("endpoint shop/orders", object(ItemKind::Endpoint, Key::new("shop", "orders"))),
            ("resource shop/orders", object(ItemKind::Resource, Key::new("shop", "orders"))),
            ("resource group shop/shop", object(ItemKind::ResourceGroup, Key::of_group("default", "shop"))),
            ("dns zone t/shop/a.b", object(ItemKind::DnsZone, Key::of("t", "shop", "a.b"))),
            ("role Reader", object(ItemKind::Role, Key::global("Reader"))),
            ("connection shop/orders", About::Connection(Key::new("shop", "orders"))),
            ("token ci", About::Token),
            ("file of uid:1000", About::Own("uid:1000".to_owned())),
            ("requests of token:ci", About::Own("token:ci".to_owned())),
            ("requests of others", About::Own("others".to_owned())),
            ("requests from 192.0.2.1", About::Other),
            ("resource", About::Other),
            ("endpoint a/b/c/d", About::Other),
            ("", About::Other),
        ] {
            assert_eq!(About::of(text), expected, "{text}");
        }
        for kind in ItemKind::ALL {
            let item = Item { kind, key: Key::new("g", "n") };
            assert_eq!(About::of(&item.to_string()), About::Object(item), "what a record says is read again");
        }
    }
}
