//! The text of an error: plain text, and mentions of objects. A mention keeps the object beside its text, so that
//! objects which the caller may not see can be left out.

use std::fmt;

use super::{DEFAULT, Item, ItemKind, Key};

/// The placeholder for an object that the reader may not see. It reveals neither kind nor name.
pub const UNSEEN: &str = "something that you may not see";

/// The most objects in a list.
const LISTED: usize = 12;

/// An object that not everybody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// An object of the model.
    Item(Item),
    /// A subnet, by VNet and name. It may be readable when its VNet is not.
    Subnet(Key, String),
    /// The facts that a visible resource shows: its region and its subresources.
    Offer(Key),
    /// The count of a quota in a subscription.
    Subscription(String),
    /// Settings of the daemon and its attachments.
    Host,
}

/// An object with the text about it. All facts about the object are in that text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The object.
    pub object: Named,
    words: String,
}

impl Mention {
    /// `words` about `object`.
    pub fn new(object: Named, words: impl fmt::Display) -> Self {
        Self { object, words: words.to_string() }
    }

    /// `words` about the object `key` of `kind`.
    pub fn of(kind: ItemKind, key: &Key, words: impl fmt::Display) -> Self {
        Self::new(Named::Item(Item { kind, key: key.clone() }), words)
    }

    /// An object by its kind and name.
    pub fn item(item: &Item) -> Self {
        Self::new(Named::Item(item.clone()), item)
    }

    /// A VNet by its name.
    pub fn vnet(key: &Key) -> Self {
        Self::of(ItemKind::Vnet, key, format_args!("VNet `{}`", short(key)))
    }

    /// A link resource by its name.
    pub fn resource(key: &Key) -> Self {
        Self::of(ItemKind::Resource, key, format_args!("resource `{}`", short(key)))
    }

    /// `words` about the facts that a link resource shows.
    pub fn offer(key: &Key, words: impl fmt::Display) -> Self {
        Self::new(Named::Offer(key.clone()), words)
    }

    /// An endpoint by its name.
    pub fn endpoint(key: &Key) -> Self {
        Self::of(ItemKind::Endpoint, key, format_args!("endpoint `{}`", short(key)))
    }

    /// A private DNS zone by its name.
    pub fn zone(key: &Key) -> Self {
        Self::of(ItemKind::DnsZone, key, format_args!("zone `{}`", short(key)))
    }

    /// A subnet by its name.
    pub fn subnet(vnet: &Key, name: &str) -> Self {
        Self::new(Named::Subnet(vnet.clone(), name.to_owned()), format_args!("subnet `{name}`"))
    }

    /// A subnet by its bare name, for a list.
    pub fn subnet_name(vnet: &Key, name: &str) -> Self {
        Self::new(Named::Subnet(vnet.clone(), name.to_owned()), name)
    }

    /// Adds more text about it.
    #[must_use]
    pub fn with(mut self, more: impl fmt::Display) -> Self {
        self.words.push_str(&more.to_string());
        self
    }
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// A part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text for everybody.
    Text(String),
    /// An object. A reader who may not see it gets [`UNSEEN`].
    Mention(Mention),
    /// A text that is left out if the reader may not see the object.
    Aside(Mention),
    /// Objects that use something. All invisible ones together become one [`UNSEEN`].
    Users(Vec<Mention>),
    /// Objects to choose from, after a label. Invisible ones are left out.
    Known(&'static str, Vec<Mention>),
}

/// Whether a reader may see an object.
pub type Sees<'a> = &'a dyn Fn(&Named) -> bool;

impl Part {
    /// The part without what the reader may not see.
    fn told(&self, sees: Sees<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Mention(one) | Self::Aside(one) if sees(&one.object) => one.words.clone(),
            Self::Mention(_) => UNSEEN.to_owned(),
            Self::Aside(_) => String::new(),
            Self::Users(all) => {
                let (visible, hidden): (Vec<&Mention>, Vec<&Mention>) = all.iter().partition(|one| sees(&one.object));
                let unseen = (!hidden.is_empty()).then(|| UNSEEN.to_owned());
                let more =
                    visible.len().checked_sub(LISTED).filter(|more| *more > 0).map(|more| format!("{more} more"));
                let shown = visible.iter().take(LISTED).map(ToString::to_string);
                let mut all: Vec<String> = shown.chain(more).chain(unseen).collect();
                let last = all.pop().unwrap_or_default();
                if all.is_empty() { last } else { format!("{} and {last}", all.join(", ")) }
            }
            Self::Known(label, all) => {
                let visible: Vec<&Mention> = all.iter().filter(|one| sees(&one.object)).collect();
                format!("{label}: {}", listed(&visible).unwrap_or_else(|| "none that you may see".to_owned()))
            }
        }
    }

    fn is_seen(&self, sees: Sees<'_>) -> bool {
        match self {
            Self::Text(_) | Self::Aside(_) | Self::Known(..) => true,
            Self::Mention(one) => sees(&one.object),
            Self::Users(all) => all.iter().all(|one| sees(&one.object)),
        }
    }
}

/// `None`: there are none.
fn listed(all: &[&Mention]) -> Option<String> {
    let shown: Vec<String> = all.iter().take(LISTED).map(ToString::to_string).collect();
    match (shown.is_empty(), all.len().saturating_sub(shown.len())) {
        (true, _) => None,
        (false, 0) => Some(shown.join(", ")),
        (false, more) => Some(format!("{} and {more} more", shown.join(", "))),
    }
}

impl From<Mention> for Part {
    fn from(mention: Mention) -> Self {
        Self::Mention(mention)
    }
}

/// Text about the object that the error is about, or from the request itself: the reader knows both. The name of any
/// other object must be a [`Mention`].
#[derive(Clone, Debug)]
pub struct Itself(String);

/// See [`Itself`].
pub fn itself(words: impl Into<String>) -> Itself {
    Itself(words.into())
}

impl From<Itself> for Part {
    fn from(words: Itself) -> Self {
        Self::Text(words.0)
    }
}

/// Types that are text for everybody. Strings made at run time are not: they may contain the name of an object that not
/// everybody may see.
macro_rules! text {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Part {
            fn from(text: $kind) -> Self {
                Self::Text(text.to_string())
            }
        })*
    };
}

text!(&'static str, u16, u64, usize, std::net::IpAddr, ipnet::IpNet, &ipnet::IpNet);

/// A sentence of parts. Two are equal if their texts are equal.
#[derive(Clone, Debug, Default)]
pub struct Sentence(Vec<Part>);

impl PartialEq for Sentence {
    fn eq(&self, other: &Self) -> bool {
        let (text, other) = (self.to_string(), other.to_string());
        text == other
    }
}

impl Eq for Sentence {}

impl Sentence {
    /// `template` with its `{}` filled by `parts`, one after the other; see `sentence!`.
    pub fn fill(template: &'static str, parts: impl IntoIterator<Item = Part>) -> Self {
        let mut parts = parts.into_iter();
        let mut pieces = template.split("{}");
        let first = pieces.next().map(|text| Part::Text(text.to_owned()));
        let rest = pieces.flat_map(|text| parts.next().into_iter().chain([Part::Text(text.to_owned())]));
        Self(first.into_iter().chain(rest).collect())
    }

    /// The same, followed by `more`.
    #[must_use]
    pub fn and(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// The sentence without what the reader may not see.
    #[must_use]
    pub fn told(&self, sees: Sees<'_>) -> Self {
        Self(vec![Part::Text(self.0.iter().map(|part| part.told(sees)).collect())])
    }

    /// Whether the reader may see all of it.
    pub fn is_seen(&self, sees: Sees<'_>) -> bool {
        self.0.iter().all(|part| part.is_seen(sees))
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.to_string().is_empty()
    }

    /// Whether the full text contains `text`.
    pub fn contains(&self, text: &str) -> bool {
        self.to_string().contains(text)
    }
}

/// A [`Sentence`]: a template in which each `{}` is a text, a number, an address or a [`Mention`].
macro_rules! sentence {
    ($template:literal $(, $part:expr)* $(,)?) => {
        $crate::model::sentence::Sentence::fill($template, [$($crate::model::sentence::Part::from($part)),*])
    };
}
pub(crate) use sentence;

impl From<Itself> for Sentence {
    fn from(words: Itself) -> Self {
        Part::from(words).into()
    }
}

impl From<&'static str> for Sentence {
    fn from(text: &'static str) -> Self {
        Part::from(text).into()
    }
}

impl From<Part> for Sentence {
    fn from(part: Part) -> Self {
        Self(vec![part])
    }
}

impl From<Mention> for Sentence {
    fn from(mention: Mention) -> Self {
        Part::from(mention).into()
    }
}

/// The full text: for the daemon's log, and for readers who may see everything.
impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| f.write_str(&part.told(&|_| true)))
    }
}

impl PartialEq<&str> for Sentence {
    fn eq(&self, other: &&str) -> bool {
        self.to_string() == **other
    }
}

impl PartialEq<String> for Sentence {
    fn eq(&self, other: &String) -> bool {
        let text = self.to_string();
        text == *other
    }
}

/// A key as users write it: without the default group.
pub fn short(key: &Key) -> String {
    if *key == Key::new(DEFAULT, &*key.name) { key.name.clone() } else { key.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("team", name)
    }

    fn only(name: &'static str) -> impl Fn(&Named) -> bool {
        move |object| matches!(object, Named::Item(item) if item.key == key(name))
    }

    #[test]
    fn what_the_reader_may_not_see_has_neither_kind_nor_name() {
        let said = sentence!("address {} is that of {}", "10.0.0.4", Mention::resource(&key("db")).with(" (tcp 80)"));
        assert_eq!(said, "address 10.0.0.4 is that of resource `team/db` (tcp 80)");
        assert_eq!(said.told(&only("db")), said.to_string());
        assert_eq!(said.told(&only("x")), "address 10.0.0.4 is that of something that you may not see");
        assert!(said.is_seen(&only("db")) && !said.is_seen(&only("x")));
    }

    #[test]
    fn a_list_tells_the_reader_of_what_it_sees() {
        let all = || ["a", "b", "c"].map(|name| Mention::vnet(&key(name))).to_vec();
        let users: Sentence = Part::Users(all()).into();
        assert_eq!(users.told(&only("b")), "VNet `team/b` and something that you may not see");
        assert_eq!(users.told(&only("x")), UNSEEN);
        let known: Sentence = Part::Known("known VNets", all()).into();
        assert_eq!(known.told(&only("b")), "known VNets: VNet `team/b`");
        let none: Sentence = Part::Known("known VNets", vec![]).into();
        assert_eq!(known.told(&only("x")), none.told(&|_| true), "what is unseen is as if it were not");
        let aside = sentence!("full{}", Part::Aside(Mention::vnet(&key("a")).with(": by 3")));
        assert_eq!(
            (aside.to_string(), aside.told(&only("x")).to_string()),
            ("fullVNet `team/a`: by 3".into(), "full".into())
        );
    }
}
