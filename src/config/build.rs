//! From the tables of the file to the model: defaults are filled in, short names become keys, and the place of
//! every value is kept, so that a rule broken between two objects can still be shown in the file.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_json::Value;

use super::read::{At, OneOrMany, UNREAD_MAX, nearest};
use super::report::Mistake;
use super::spec::{Part, Reference, Spec};
use crate::model::ids::ArmId;
use crate::model::registry::{Kind, Known, of_kind};
use crate::model::rules::{Locator, Object, Severity, Violation, short};
use crate::model::{DEFAULT, Item, ItemKind, Key, LinkResource, Model, ids};

/// Objects that a remedy lists, at most.
const LISTED_MAX: usize = 12;

/// Names among which the one that was meant is looked for, of the file and of what lives, each.
const MEANT_MAX: usize = 512;

/// Objects by their name alone, in lower case.
type ByName = HashMap<String, Vec<Key>>;

/// What is built, and what went wrong on the way.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Everything noted so far.
    pub(super) mistakes: Vec<Mistake>,
    /// The objects built so far.
    pub(super) model: Model,
    /// What references may lead to besides; empty for a file that stands for itself.
    pub(super) live: Model,
    /// What is not in the file may live all the same: a reference to it is worth a warning.
    pub(super) unknown_may_live: bool,
    /// What the tables of each kind declare.
    names: [Names; ItemKind::ALL.len()],
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
    /// The same in order.
    sorted: Vec<Key>,
    by_name: ByName,
    /// Some table has no readable name: a reference that finds nothing may mean that one.
    incomplete: bool,
    /// Live objects of the kind: a document may name thousands of them.
    living: OnceCell<ByName>,
}

fn by_name<'a>(keys: impl IntoIterator<Item = &'a Key>) -> ByName {
    let mut names = ByName::new();
    for key in keys {
        names.entry(key.name.to_lowercase()).or_default().push(key.clone());
    }
    names
}

impl Builder {
    /// Nothing built, and `mistakes` noted.
    pub(super) fn new(mistakes: Vec<Mistake>, live: Model) -> Self {
        Self { mistakes, live, ..Self::default() }
    }

    /// What references may lead to.
    pub(super) fn known(&self) -> Known<'_> {
        Known { own: &self.model, live: &self.live }
    }

    /// Notes the names that the tables of a kind declare, so that references may point forward. Of a `broken` file
    /// without such tables it is not known which it has.
    pub(super) fn declare<K: Kind>(&mut self, specs: Option<&Vec<Spec<K>>>, broken: bool) {
        let mut names = Names { incomplete: specs.is_none() && broken, ..Names::default() };
        for spec in specs.into_iter().flatten() {
            let Some(name) = &spec.name else {
                names.incomplete = true;
                names.keys.push(None);
                continue;
            };
            let or_default = |value: &Option<At<String>>| value.as_ref().map_or(DEFAULT, |at| &at.value).to_owned();
            let key = Key::of(or_default(&spec.subscription), or_default(&spec.resource_group), &name.value);
            if names.known.insert(key.clone()) {
                names.keys.push(Some(key));
                continue;
            }
            let table = K::KIND.table();
            self.mistakes.push(Mistake::error(
                name.span.clone(),
                format!("a second {table} named `{}` in resource group `{}`", key.name, key.group),
                "choose another name; names are compared without regard to case",
            ));
            names.keys.push(None);
        }
        names.sorted = names.known.iter().cloned().collect();
        names.sorted.sort_unstable();
        names.by_name = by_name(&names.sorted);
        self.names[K::KIND as usize] = names;
    }

    fn names<K: Kind>(&self) -> &Names {
        &self.names[K::KIND as usize]
    }

    /// The key of the table `index` of a kind.
    pub(super) fn key<K: Kind>(&self, index: usize) -> Option<Key> {
        self.names::<K>().keys.get(index).cloned().flatten()
    }

    /// Whether a table of the kind is named so.
    pub(super) fn declares<K: Kind>(&self, key: &Key) -> bool {
        self.names::<K>().known.contains(key)
    }

    /// Remembers where a field stands.
    pub(super) fn place(&mut self, at: Locator, span: &Range<usize>) {
        self.places.insert(at, span.clone());
    }

    /// Where a field stands that was read.
    pub(super) fn place_of(&self, at: &Locator) -> Option<Range<usize>> {
        self.places.get(at).cloned()
    }

    /// Remembers where the items of the list `list` stand that have another index than in the file: `new`, by the old.
    pub(super) fn renumber<K>(&mut self, object: &Object, spec: &Spec<K>, list: &str, new: &HashMap<usize, usize>) {
        for (place, span) in &spec.places {
            let index = place.strip_prefix(list).and_then(|rest| rest.strip_prefix('[')?.split_once(']'));
            let Some((index, rest)) = index else { continue };
            if let Some(index) = index.parse().ok().and_then(|index: usize| new.get(&index)) {
                self.place(object.at(format!("{list}[{index}]{rest}")), span);
            }
        }
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

    /// Builds every object of a kind.
    pub(super) fn objects<K: Kind>(&mut self, specs: Option<&Vec<Spec<K>>>) {
        for (index, spec) in specs.into_iter().flatten().enumerate() {
            let Some(key) = self.key::<K>(index) else { continue };
            let object = Object::from(Item { kind: K::KIND, key: key.clone() });
            if let Some(value) = self.object(&object, &key, spec) {
                K::map_mut(&mut self.model).insert(key, value);
            }
        }
    }

    /// What an object says. The places of its values are kept, references become keys and defaults are filled in.
    pub(super) fn object<K: Kind>(&mut self, object: &Object, key: &Key, spec: &Spec<K>) -> Option<K> {
        self.place(object.at(""), &spec.span);
        self.broken(object, spec.broken);
        spec.places.iter().for_each(|(path, span)| self.place(object.at(path.clone()), span));
        let mut written = Value::Object(spec.written.clone());
        for Reference { path, kind, name } in &spec.references {
            let meant = of_kind!(*kind, K => self.refer::<K>(key, name));
            let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
            if let Some(value) = written.pointer_mut(&pointer) {
                *value = meant.to_string().into();
            }
        }
        if K::KIND == ItemKind::Endpoint {
            self.unfold_endpoint(object, key, spec, &mut written);
        }
        if K::KIND == ItemKind::Resource {
            self.unfold_resource(object, spec, &mut written);
        }
        if K::KIND == ItemKind::DnsZone {
            self.unfold_zone(object, key, spec, &mut written);
        }
        let read: Result<K, _> = serde_json::from_value(written);
        if let Err(error) = &read
            && !self.broken.contains(object)
        {
            self.error(object, &spec.span, error.to_string(), "correct the value");
        }
        let mut value = read.ok()?;
        value.complete(&self.known());
        Some(value)
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

    /// What the table under the key `field` says, whose places are kept.
    pub(super) fn part<T: Copy + Default>(&mut self, object: &Object, field: &str, part: Option<&Part<T>>) -> T {
        let Some(part) = part else { return T::default() };
        for (path, span) in &part.places {
            let path = if path.is_empty() { field.to_owned() } else { format!("{field}.{path}") };
            self.place(object.at(path), span);
        }
        part.value
    }

    /// The key that `name` means for the object `home`. Where it means none, that is noted, and the answer is a key
    /// that nothing has.
    pub(super) fn refer<K: Kind>(&mut self, home: &Key, name: &At<String>) -> Key {
        match self.resolve::<K>(home, &name.value) {
            Ok(key) => key,
            Err(unknown) => {
                if unknown.absent && self.unknown_may_live {
                    let message = format!("{} in this file; `apply` looks for it in the live state", unknown.message);
                    self.mistakes.push(Mistake::warning(name.span.clone(), message, unknown.remedy));
                } else if !(unknown.absent && self.names::<K>().incomplete) {
                    self.mistakes.push(Mistake::error(name.span.clone(), unknown.message, unknown.remedy));
                }
                self.unresolved.insert(name.span.start);
                let key = home.beside(&name.value);
                if Key::try_from(key.to_string()).is_ok() { key } else { Key::nowhere() }
            }
        }
    }

    fn living_by_name<K: Kind>(&self) -> &ByName {
        self.names::<K>().living.get_or_init(|| by_name(K::map(&self.live).keys()))
    }

    /// The object called exactly `key`: the file's own before a live one.
    fn exact<K: Kind>(&self, key: &Key) -> Option<Key> {
        let live = || K::map(&self.live).entry(key).map(|(key, _)| key);
        self.names::<K>().known.get(key).or_else(live).cloned()
    }

    /// A resource ID; else `name` beside `home`, else the only one of that name anywhere; `group/name` and
    /// `subscription/group/name` as written; else an alias.
    fn resolve<K: Kind>(&self, home: &Key, text: &str) -> Result<Key, Unknown> {
        if ArmId::is_meant(text) {
            return self.resolve_id::<K>(text);
        }
        if let Some(key) = self.exact::<K>(&home.beside(text)) {
            return Ok(key);
        }
        if K::KIND == ItemKind::Resource && ids::is_alias(text) {
            let owner = ids::by_alias(&self.model, text).or_else(|| ids::by_alias(&self.live, text));
            return owner.cloned().ok_or_else(|| self.unknown::<K>(text));
        }
        if !text.contains('/') {
            let name = text.to_lowercase();
            for candidates in [&self.names::<K>().by_name, self.living_by_name::<K>()] {
                match candidates.get(&name).map(Vec::as_slice).unwrap_or_default() {
                    [] => {}
                    [one] => return Ok(one.clone()),
                    many => {
                        let list: Vec<String> = many.iter().take(LISTED_MAX).map(|key| format!("`{key}`")).collect();
                        let list = list.join(" or ");
                        let message = format!("`{text}` may mean {list}");
                        return Err(Unknown {
                            absent: true,
                            message,
                            remedy: format!("write the resource group too: {list}"),
                        });
                    }
                }
            }
        }
        Err(self.unknown::<K>(text))
    }

    fn resolve_id<K: Kind>(&self, text: &str) -> Result<Key, Unknown> {
        let wrong = |message: String, remedy: &str| Unknown { absent: false, message, remedy: remedy.to_owned() };
        let remedy = "write the whole ID, or a name";
        let id = ArmId::parse(text).map_err(|message| wrong(message, remedy))?;
        let is_resource = K::KIND == ItemKind::Resource;
        let wanted = if is_resource {
            self.known()
                .get::<LinkResource>(id.key())
                .map(|resource| ids::resource(resource.kind.as_deref(), id.key()).kind())
        } else {
            Some(K::TYPE.to_owned())
        };
        if let Some(wanted) = wanted.filter(|wanted| !id.is(wanted)) {
            let what = if is_resource {
                format!("and `{}` is a {wanted}", short(id.key()))
            } else {
                format!("and a {} is meant", noun(K::KIND))
            };
            let remedy = format!("write an ID with /providers/{wanted}/ in it, or a name");
            return Err(wrong(format!("`{text}` is the ID of a {}, {what}", id.kind()), &remedy));
        }
        self.exact::<K>(id.key()).ok_or_else(|| self.unknown::<K>(text))
    }

    /// There is none. Suggestions cost a walk over many names; nobody reads those of the thousandth mistake.
    fn unknown<K: Kind>(&self, text: &str) -> Unknown {
        let message = format!("there is no {} `{text}`", noun(K::KIND));
        if self.mistakes.len() >= UNREAD_MAX {
            return Unknown { absent: true, message, remedy: "correct the mistakes above first".to_owned() };
        }
        let own = &self.names::<K>().sorted;
        let count = own.len() + K::map(&self.live).len();
        let candidates = own.iter().take(MEANT_MAX).chain(K::map(&self.live).keys().take(MEANT_MAX));
        let labels: Vec<String> = candidates.map(short).collect();
        let remedy = match nearest(text, labels.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if count > LISTED_MAX => format!("there are {count} of them: check the name"),
            None if count == 0 => "known ones: none".to_owned(),
            None => format!("known ones: {}", labels.join(", ")),
        };
        Unknown { absent: true, message, remedy }
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
            let Violation { code, message, remedy, severity, .. } = violation;
            // Whoever wrote the file may see all that it is judged against.
            let (message, remedy) = (message.to_string(), remedy.to_string());
            self.mistakes.push(Mistake { span, severity, code: Some(code), message, remedy });
        }
    }

    /// Whether something noted refuses the file.
    pub(super) fn refused(&self) -> bool {
        self.mistakes.iter().any(|mistake| mistake.severity == Severity::Error)
    }

    /// The place of a field, or of what it is part of.
    pub(super) fn find(&self, mut at: Locator) -> Range<usize> {
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

/// The word of messages for an object of the kind.
fn noun(kind: ItemKind) -> String {
    let known = [(ItemKind::Vnet, "VNet"), (ItemKind::DnsZone, "private DNS zone")];
    known.into_iter().find(|(known, _)| *known == kind).map_or_else(|| kind.to_string(), |(_, noun)| noun.to_owned())
}

/// Why a reference leads nowhere.
struct Unknown {
    /// Nothing is called so, but for what could not be read.
    absent: bool,
    message: String,
    remedy: String,
}
