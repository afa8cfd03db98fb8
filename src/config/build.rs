//! From the tables of the file to the model: defaults are filled in, short names become keys, and the place of
//! every value is kept, so that a rule broken between two objects can still be shown in the file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::file::{File, Timeouts};
use super::read::{At, OneOrMany, nearest};
use super::report::Mistake;
use crate::control::model::{DEFAULT, Key, Model, TimeoutOverrides};
use crate::control::validate::{Locator, Object, Severity, Violation};

/// Errors that hide what follows from them, at most: a file with more of them has its first ones corrected first.
const UNREAD_MAX: usize = 200;

/// What is built, and what went wrong on the way.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Everything noted so far.
    pub(super) mistakes: Vec<Mistake>,
    /// The objects built so far.
    pub(super) model: Model,
    /// What each kind of table declares.
    pub(super) vnets: Names,
    /// Security groups.
    pub(super) groups: Names,
    /// Link resources.
    pub(super) resources: Names,
    /// Endpoints.
    pub(super) endpoints: Names,
    places: HashMap<Locator, Range<usize>>,
    broken: HashSet<Object>,
    unresolved: HashSet<usize>,
}

/// The names that one kind of table declares.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// One per table; `None` where it has no readable name or repeats another one's.
    keys: Vec<Option<Key>>,
    known: HashSet<Key>,
    /// Some table has no readable name: a reference that finds nothing may mean that one.
    incomplete: bool,
}

impl Names {
    /// The key of table `index`.
    pub(super) fn key(&self, index: usize) -> Option<Key> {
        self.keys.get(index).cloned().flatten()
    }

    fn candidates(&self) -> Vec<&Key> {
        let mut keys: Vec<&Key> = self.known.iter().collect();
        keys.sort_unstable();
        keys
    }
}

/// Name, group and place of a table, as declared.
type Declared<'a> = [Option<&'a At<String>>; 3];

impl Builder {
    /// Nothing built, and `mistakes` noted.
    pub(super) fn new(mistakes: Vec<Mistake>) -> Self {
        Self { mistakes, ..Self::default() }
    }

    /// Notes the names that the file declares, so that references may point forward.
    pub(super) fn declare(&mut self, file: &File) {
        macro_rules! names {
            ($field:ident, $what:literal) => {{
                let tables = file.$field.as_deref().unwrap_or_default();
                let declared = tables
                    .iter()
                    .map(|table| [table.name.as_ref(), table.resource_group.as_ref(), table.subscription.as_ref()]);
                let unread = file.$field.is_none() && file.broken;
                self.names($what, declared, unread)
            }};
        }
        self.vnets = names!(vnets, "vnet");
        self.groups = names!(security_groups, "security_group");
        self.resources = names!(resources, "resource");
        self.endpoints = names!(endpoints, "endpoint");
    }

    fn names<'a>(&mut self, what: &str, tables: impl Iterator<Item = Declared<'a>>, unread: bool) -> Names {
        let mut names = Names { incomplete: unread, ..Names::default() };
        for [name, group, subscription] in tables {
            let Some(name) = name else {
                names.incomplete = true;
                names.keys.push(None);
                continue;
            };
            let or_default = |value: Option<&At<String>>| value.map_or(DEFAULT, |at| &at.value).to_owned();
            let key = Key::of(or_default(subscription), or_default(group), &name.value);
            if names.known.insert(key.clone()) {
                names.keys.push(Some(key));
                continue;
            }
            self.mistakes.push(Mistake::error(
                name.span.clone(),
                format!("a second {what} named `{}` in resource group `{}`", key.name, key.group),
                "choose another name; names are compared without regard to case",
            ));
            names.keys.push(None);
        }
        names
    }

    /// Remembers where a field stands.
    pub(super) fn place(&mut self, at: Locator, span: &Range<usize>) {
        self.places.insert(at, span.clone());
    }

    /// Remembers that something in an object could not be read: rules about it would only confuse.
    pub(super) fn broken(&mut self, object: &Object, broken: bool) {
        if broken {
            self.broken.insert(object.clone());
        }
    }

    /// An error about an object, which is broken by it.
    pub(super) fn error(&mut self, object: &Object, span: &Range<usize>, message: impl Into<String>, remedy: &str) {
        self.mistakes.push(Mistake::error(span.clone(), message, remedy));
        self.broken(object, true);
    }

    /// A warning.
    pub(super) fn warning(&mut self, span: &Range<usize>, message: impl Into<String>, remedy: &str) {
        self.mistakes.push(Mistake::warning(span.clone(), message, remedy));
    }

    /// The value of a field, whose place is kept.
    pub(super) fn value<T: Clone>(&mut self, object: &Object, field: &str, value: Option<&At<T>>) -> Option<T> {
        let value = value?;
        self.place(object.at(field), &value.span);
        Some(value.value.clone())
    }

    /// The values of a list, whose places are kept.
    pub(super) fn values<T: Clone>(&mut self, object: &Object, field: &str, list: Option<&OneOrMany<T>>) -> Vec<T> {
        let Some(list) = list else { return Vec::new() };
        self.place(object.at(field), &list.span);
        for (index, item) in list.items.iter().enumerate() {
            self.place(object.at(format!("{field}[{index}]")), &item.span);
        }
        list.items.iter().map(|item| item.value.clone()).collect()
    }

    /// Idle times.
    pub(super) fn timeouts(&mut self, object: &Object, timeouts: Option<&Timeouts>) -> TimeoutOverrides {
        let Some(table) = timeouts else { return TimeoutOverrides::default() };
        self.place(object.at("timeouts"), &table.span);
        let mut time = |name: &str, value: Option<&At<super::values::Idle>>| {
            self.value(object, &format!("timeouts.{name}"), value).map(|time| time.0)
        };
        TimeoutOverrides {
            tcp_established: time("tcp_established", table.tcp_established.as_ref()),
            tcp_transitory: time("tcp_transitory", table.tcp_transitory.as_ref()),
            udp: time("udp", table.udp.as_ref()),
            icmp: time("icmp", table.icmp.as_ref()),
            fragment: time("fragment", table.fragment.as_ref()),
        }
    }

    /// The key that `name` means for an object of `group`. Where it means none, that is noted, and the answer is a key
    /// that nothing has.
    pub(super) fn refer(&mut self, kind: Kind, home: &Key, name: &At<String>) -> Key {
        let names = match kind {
            Kind::Vnet => &self.vnets,
            Kind::SecurityGroup => &self.groups,
            Kind::Resource => &self.resources,
        };
        // Suggestions cost a walk over all names; nobody reads those of the thousandth mistake.
        let suggest = self.mistakes.len() < UNREAD_MAX;
        match resolve(kind, &name.value, home, names, suggest) {
            Ok(key) => key,
            Err((message, remedy)) => {
                if !names.incomplete {
                    self.mistakes.push(Mistake::error(name.span.clone(), message, remedy));
                }
                self.unresolved.insert(name.span.start);
                home.beside(&name.value)
            }
        }
    }

    /// Adds broken rules at their places. Those that follow from what is already noted are left out.
    pub(super) fn violations(&mut self, violations: Vec<Violation>) {
        let errors = self.mistakes.iter().filter(|mistake| mistake.severity == Severity::Error);
        let unread: Vec<usize> = errors.map(|mistake| mistake.span.start).take(UNREAD_MAX).collect();
        for violation in violations {
            let span = self.find(violation.at.clone());
            // A field that was read is judged even where its neighbours could not be.
            let read = self.places.contains_key(&violation.at) && !violation.at.field.is_empty();
            let follows = self.broken.contains(&violation.at.object) && !read
                || violation.involves.iter().any(|object| self.broken.contains(object))
                || self.unresolved.contains(&span.start)
                || unread.iter().any(|at| span.contains(at));
            if follows {
                continue;
            }
            let Violation { message, remedy, severity, .. } = violation;
            self.mistakes.push(Mistake { span, severity, message, remedy });
        }
    }

    /// Whether something noted refuses the file.
    pub(super) fn refused(&self) -> bool {
        self.mistakes.iter().any(|mistake| mistake.severity == Severity::Error)
    }

    /// The place of a field, or of what it is part of.
    fn find(&self, mut at: Locator) -> Range<usize> {
        loop {
            if let Some(span) = self.places.get(&at) {
                return span.clone();
            }
            match at.field.rfind(['.', '[']) {
                Some(end) => at.field.truncate(end),
                None if at.field.is_empty() => return 0..0,
                None => at.field.clear(),
            }
        }
    }
}

/// What a reference points at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A network.
    Vnet,
    /// A rule set.
    SecurityGroup,
    /// A link resource.
    Resource,
}

/// `name` in the object's own group, else the only one of that name anywhere; `group/name` as written.
fn resolve(kind: Kind, text: &str, home: &Key, names: &Names, suggest: bool) -> Result<Key, (String, String)> {
    let what = match kind {
        Kind::Vnet => "VNet",
        Kind::SecurityGroup => "security group",
        Kind::Resource => "resource",
    };
    if let Some(key) = names.known.get(&home.beside(text)) {
        return Ok(key.clone());
    }
    if !suggest {
        return Err((format!("there is no {what} `{text}`"), "correct the mistakes above first".to_owned()));
    }
    let candidates = names.candidates();
    if !text.contains('/') {
        let same: Vec<&&Key> = candidates.iter().filter(|key| key.name.to_lowercase() == text.to_lowercase()).collect();
        match same.as_slice() {
            [] => {}
            [one] => return Ok((**one).clone()),
            many => {
                let list: Vec<String> = many.iter().map(|key| format!("`{key}`")).collect();
                let message = format!("`{text}` may mean {}", list.join(" or "));
                return Err((message, format!("write the resource group too: {}", list.join(" or "))));
            }
        }
    }
    let message = format!("there is no {what} `{text}`");
    let labels: Vec<String> = candidates.into_iter().map(crate::control::validate::short).collect();
    let listed = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
    let remedy = match nearest(text, labels.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if labels.len() > 12 => format!("the file has {} of them: check the name", labels.len()),
        None => format!("known ones: {listed}"),
    };
    Err((message, remedy))
}
