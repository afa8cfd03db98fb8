//! One request, and what a handler needs of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::header::HeaderName;
use axum::http::{HeaderMap, Uri, header};
use serde_json::Value;

use super::body::Body;
use super::{ApiState, Error};
use crate::access::rights::{Right, Rights, Verb};
use crate::control::{Changed, Command, Delete, Deletion, Put, Unchanged, View};
use crate::model::state::{Item, ItemKind};
use crate::model::{Caller, Key, Model, Vnet, actions, grammar};

/// A request that a handler answers.
#[derive(Debug)]
pub(super) struct ArmRequest {
    /// The API's state.
    pub(super) state: ApiState,
    /// Who asks.
    pub(super) caller: Caller,
    /// The view when the handler began.
    pub(super) view: Arc<View>,
    /// The query parameters, by lower-case name.
    pub(super) query: BTreeMap<String, String>,
    /// The path parameters, by name.
    pub(super) parameters: BTreeMap<&'static str, String>,
    /// The body.
    pub(super) body: Body,
    /// `If-Match`.
    pub(super) if_match: Option<String>,
    /// `If-None-Match`.
    pub(super) if_none_match: Option<String>,
    /// Scheme and host as the client named them.
    pub(super) base: String,
    /// The path as it was asked for.
    pub(super) path: String,
    /// Whether the request only reads.
    pub(super) looks: Looks,
}

/// How a request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// An object or a list: GET.
    At,
    /// Whether an object exists: HEAD, which Azure answers without a body and a tag.
    Whether,
    /// It is not a plain read, or its handler decides.
    Not,
}

impl ArmRequest {
    /// A part of the path.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// A parameter after the `?`.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Whether `$expand` requests endpoints' interfaces, its only allowed value.
    ///
    /// # Errors
    /// 400.
    pub(super) fn expands_interfaces(&self) -> Result<bool, Error> {
        let Some(wanted) = self.query("$expand") else { return Ok(false) };
        let known = |name: &str| ["networkinterfaces", "properties/networkinterfaces"].contains(&&*name.to_lowercase());
        match wanted.split(',').map(str::trim).find(|name| !known(name)) {
            Some(other) => {
                Err(Error::bad_value("$expand", format!("`{other}` is not expanded: `networkInterfaces` is")))
            }
            None => Ok(true),
        }
    }

    /// The model in force.
    pub(super) fn model(&self) -> &Model {
        &self.view.state.model
    }

    /// Checks that every part of the path is a valid name, before any check of rights uses it. Objects with an invalid
    /// name from an earlier release can still be reached by callers who may read them.
    ///
    /// # Errors
    /// 400.
    pub(super) fn check_names(&self) -> Result<(), Error> {
        const NAMES: [&str; 10] =
            ["subscription", "group", "provider", "type", "name", "subnet", "peering", "link", "connection", "zones"];
        let named = NAMES.into_iter().filter_map(|name| Some((name, self.parameters.get(name)?)));
        let group = Key::of_group(self.parameter("subscription"), self.parameter("group"));
        for (part, text) in named {
            let (fits, remedy) = match part {
                "group" => (grammar::is_group(text), grammar::GROUP_REMEDY),
                _ => (grammar::is_part(text), grammar::PART_REMEDY),
            };
            let there = || match part {
                "group" => self.model().has_group(&group) && self.sees(ItemKind::ResourceGroup, &group),
                "name" => ItemKind::ALL.into_iter().any(|kind| {
                    let key = self.key();
                    self.model().keys_of(kind).contains(&&key) && self.sees(kind, &key)
                }),
                _ => false,
            };
            if !fits && !there() {
                let code = if part == "group" { "InvalidResourceGroupName" } else { "InvalidResourceName" };
                return Err(Error::bad_name(code, part, text, remedy));
            }
        }
        Ok(())
    }

    /// The object that the path names.
    pub(super) fn key(&self) -> Key {
        Key::of(self.parameter("subscription"), self.parameter("group"), self.parameter("name"))
    }

    /// Whether `key` is in the group, or in the subscription, that the path names.
    pub(super) fn covers(&self, key: &Key) -> bool {
        let same = |name: &str, own: &str| {
            self.parameters.get(name).is_none_or(|asked| asked.to_lowercase() == own.to_lowercase())
        };
        same("subscription", &key.subscription) && same("group", &key.group)
    }

    /// Checks a right. The answer is the same whether or not the object exists.
    ///
    /// # Errors
    /// 403, naming action and scope.
    pub(super) fn demand(&self, right: &Right) -> Result<(), Error> {
        self.view.rights(&self.caller).demand(right).map_err(Error::from)
    }

    /// Whether the caller has a right.
    pub(super) fn hold(&self, right: &Right) -> bool {
        self.view.rights(&self.caller).hold(right)
    }

    /// Checks the right to see an object.
    ///
    /// # Errors
    /// 403, naming action and scope.
    pub(super) fn may_read(&self, kind: ItemKind, key: &Key) -> Result<(), Error> {
        self.demand(&Right::on(self.model(), &Item { kind, key: key.clone() }, Verb::Read))
    }

    /// Whether the caller may see an object.
    pub(super) fn sees(&self, kind: ItemKind, key: &Key) -> bool {
        self.may_read(kind, key).is_ok()
    }

    /// The visible part of the view from when the handler began.
    pub(super) fn reader(&self) -> Reader<'_> {
        self.reader_of(&self.view)
    }

    /// The visible part of `view`.
    pub(super) fn reader_of<'a>(&'a self, view: &'a View) -> Reader<'a> {
        Reader { request: self, view, rights: view.rights(&self.caller) }
    }

    /// The key of a VNet as its first write spelled it.
    pub(super) fn spelled(&self, vnet: &Key) -> Key {
        self.model().vnets.entry(vnet).map_or(vnet, |(key, _)| key).clone()
    }

    /// Checks `If-Match` and `If-None-Match`. `now` is the shown object, `None` if it does not exist.
    ///
    /// # Errors
    /// 412.
    pub(super) fn check_conditions(&self, now: Option<&Value>) -> Result<(), Error> {
        let tag = now.and_then(|object| object.get("etag")).and_then(Value::as_str).map(bare);
        let listed = |tags: &str| tag.is_some_and(|tag| lists(tags, tag));
        if self.if_match.as_deref().is_some_and(|wanted| !listed(wanted)) {
            return Err(Error::precondition("it is not, or no longer, what If-Match names"));
        }
        if self.if_none_match.as_deref().is_some_and(listed) {
            return Err(Error::precondition("it exists (If-None-Match)"));
        }
        Ok(())
    }

    /// Checks that the group of the path is there.
    ///
    /// # Errors
    /// 404.
    pub(super) fn demand_group(&self) -> Result<(), Error> {
        let (subscription, group) = (self.parameter("subscription"), self.parameter("group"));
        if self.model().has_group(&Key::of_group(subscription, group)) {
            return Ok(());
        }
        Err(Error::absent_group(group))
    }

    /// Runs `command` if `items` have not changed since this handler read them.
    ///
    /// # Errors
    /// The refusal; code [`PRECONDITION_FAILED`](super::PRECONDITION_FAILED) where they are not.
    pub(super) fn change<C: Command>(&self, items: Vec<Item>, command: C) -> Result<C::Output, Error> {
        let seen = Arc::clone(&self.view.state);
        super::super::execute::note_what_may_vanish(&self.state, &command);
        let command = Unchanged { items, seen, then: command };
        let force = super::body::is_forced(self.body.json()?);
        self.state.control.apply_with(&self.caller, command, force).map_err(Error::from)
    }

    /// Creates or changes the objects of `model`, if `items` have not changed since this handler read them.
    ///
    /// # Errors
    /// As of [`ArmRequest::change`].
    pub(super) fn put(&self, items: Vec<Item>, model: Model) -> Result<Changed, Error> {
        self.change(items, Put { items: Box::new(model), create_only: false })
    }

    /// Deletes the object of `kind` that the path names.
    ///
    /// # Errors
    /// As of [`ArmRequest::change`].
    pub(super) fn delete(&self, kind: ItemKind, key: &Key) -> Result<Deletion, Error> {
        let item = Item { kind, key: key.clone() };
        self.change(vec![item], Delete { kind, reference: key.folded().to_owned() })
    }

    /// The same request with the current view, for the answer after a change.
    pub(super) fn afresh(&self) -> Arc<View> {
        self.state.control.view()
    }
}

/// The part of the view that one caller may read. Everything shown besides an object's own fields comes from it, so
/// that neither the answer nor its tag reveals hidden objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    request: &'a ArmRequest,
    view: &'a View,
    rights: Rights<'a>,
}

impl<'a> Reader<'a> {
    /// What it is read for.
    pub(super) fn request(&self) -> &'a ArmRequest {
        self.request
    }

    /// Everything: for what the shown object itself says and leads to.
    pub(super) fn view(&self) -> &'a View {
        self.view
    }

    /// Whether the reader has a right.
    pub(super) fn holds(&self, right: &Right) -> bool {
        self.rights.hold(right)
    }

    /// Whether the reader may see an object, which need not exist.
    pub(super) fn sees(&self, kind: ItemKind, key: &Key) -> bool {
        self.holds(&Right::on(&self.view.state.model, &Item { kind, key: key.clone() }, Verb::Read))
    }

    /// Whether the reader may see a subnet.
    pub(super) fn sees_subnet(&self, vnet: &Key, name: &str) -> bool {
        self.sees(ItemKind::Vnet, vnet) || self.holds(&Right::subnet(vnet, name, actions::read(actions::SUBNETS)))
    }

    /// A VNet that the reader may see.
    pub(super) fn vnet(&self, key: &Key) -> Option<&'a Vnet> {
        self.view.state.model.vnets.get(key).filter(|_| self.sees(ItemKind::Vnet, key))
    }
}

/// Whether `tags`, as a client lists them, name `tag`.
pub(super) fn lists(tags: &str, tag: &str) -> bool {
    tags.split(',').any(|one| bare(one) == "*" || bare(one) == bare(tag))
}

/// A tag without what a client may add or leave out: `W/` and quotes (RFC 9110 §8.8.3).
fn bare(tag: &str) -> &str {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").or_else(|| tag.strip_prefix("w/")).unwrap_or(tag);
    tag.trim_matches('"')
}

/// A condition. Some clients send an empty one; it counts as absent.
pub(super) fn tag(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name).and_then(|value| value.to_str().ok());
    text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The option that every request has.
const VERSION: &str = "api-version";

/// The query parameters. An empty one counts as absent.
///
/// # Errors
/// 400: `api-version` is missing (any value is accepted), a parameter is not in `options`, or one appears twice.
pub(super) fn query(uri: &Uri, options: &[&str]) -> Result<BTreeMap<String, String>, Error> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name).to_lowercase(), decode(&value.replace('+', " ")))
    });
    let mut query: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in decoded {
        if name != VERSION && !options.contains(&&*name) {
            let known = if options.is_empty() { "no options".to_owned() } else { options.join(", ") };
            return Err(Error::bad_value(&name, format!("this path does not take it: it takes {known}")));
        }
        if query.insert(name.clone(), value).is_some() {
            return Err(Error::bad_value(&name, "it is there twice: send it once"));
        }
    }
    query.retain(|_, value| !value.is_empty());
    if !query.contains_key(VERSION) {
        return Err(Error::missing_version());
    }
    Ok(query)
}

/// Decodes percent-encoding. Invalid UTF-8 becomes a replacement character.
pub(in super::super) fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Scheme and host as the client used them, so that it can follow links.
pub(in crate::api) fn base(headers: &HeaderMap, uri: &Uri, secure: bool) -> String {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str)).unwrap_or("localhost");
    let fit = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    format!("{}://{}", if secure { "https" } else { "http" }, if fit { host } else { "localhost" })
}
