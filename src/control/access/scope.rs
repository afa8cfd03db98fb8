//! Where a role is assigned and an action is judged: a place in Azure's tree of resource ids.

use super::text::{Caseless, Malformed, caseless};
use crate::control::model::{Key, KeyParts};

caseless! {
    /// `/`, `/subscriptions/S`, `/subscriptions/S/resourceGroups/G`, or a resource of a group:
    /// `…/providers/NAMESPACE/TYPE/NAME[/SUBTYPE/NAME…]`. Shown as written, compared without regard to case.
    Scope, check
}

/// Longest scope, in bytes.
const MAX: usize = 2048;

fn check(text: &str) -> Result<(), Malformed> {
    let error = |remedy| Err(Malformed::new(text, "scope", remedy));
    if text == "/" {
        return Ok(());
    }
    let Some(path) = text.strip_prefix('/') else {
        return error("begin with `/`, as in /subscriptions/NAME/resourceGroups/NAME");
    };
    if text.len() > MAX {
        return error("a scope has at most 2048 characters");
    }
    let segments: Vec<&str> = path.split('/').collect();
    if !segments.iter().all(|segment| is_segment(segment)) {
        return error("each part is 1 to 128 letters, digits, `-`, `_` and `.`, and begins with a letter or digit");
    }
    let is = |at: usize, word: &str| segments.get(at).is_some_and(|segment| segment.eq_ignore_ascii_case(word));
    let rooted = is(0, "subscriptions");
    match segments.len() {
        2 if rooted => Ok(()),
        4 if rooted && is(2, "resourceGroups") => Ok(()),
        // subscriptions S resourceGroups G providers NAMESPACE, then pairs of type and name.
        length if length >= 8 && rooted && is(2, "resourceGroups") && is(4, "providers") => {
            if length % 2 == 0 {
                Ok(())
            } else {
                error("a type is without a name at the end: write NAMESPACE/TYPE/NAME, then SUBTYPE/NAME")
            }
        }
        _ => error(
            "write `/`, /subscriptions/S, /subscriptions/S/resourceGroups/G, or go on with /providers/NAMESPACE/TYPE/NAME",
        ),
    }
}

fn is_segment(text: &str) -> bool {
    text.len() <= 128
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl Scope {
    /// Everything.
    pub fn root() -> Self {
        Self(Caseless::new("/"))
    }

    /// The thing `key` of type `kind`, such as `Microsoft.Network/privateEndpoints`.
    ///
    /// # Errors
    /// A part is not fit for a scope; parts that `control::validate` accepts are.
    pub fn resource(key: &Key, kind: &str) -> Result<Self, Malformed> {
        let KeyParts { subscription, group, name, .. } = &**key;
        format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/{kind}/{name}").parse()
    }

    /// The part `name` of this thing, such as a subnet (`kind` is `subnets`) of a network.
    ///
    /// # Errors
    /// A part is not fit for a scope, or this is none of a thing.
    pub fn child(&self, kind: &str, name: &str) -> Result<Self, Malformed> {
        format!("{self}/{kind}/{name}").parse()
    }

    /// A subscription.
    ///
    /// # Errors
    /// The name cannot stand in a scope.
    pub fn subscription(name: &str) -> Result<Self, Malformed> {
        format!("/subscriptions/{name}").parse()
    }

    /// A resource group.
    ///
    /// # Errors
    /// One of the names cannot stand in a scope.
    pub fn group(subscription: &str, group: &str) -> Result<Self, Malformed> {
        format!("/subscriptions/{subscription}/resourceGroups/{group}").parse()
    }

    /// Whether what is granted here holds at `other`: it is this place or lies below it.
    pub fn covers(&self, other: &Self) -> bool {
        let below = other.0.folded().strip_prefix(self.0.folded());
        self.is_root() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0.written() == "/"
    }

    pub(super) fn folded(&self) -> &str {
        self.0.folded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "/subscriptions/prod/resourceGroups/shop";

    fn scope(text: &str) -> Scope {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_scope_keeps_its_spelling_and_is_compared_without_case() {
        let one = scope("/Subscriptions/Prod/RESOURCEGROUPS/shop");
        assert_eq!(one, scope(GROUP));
        assert_eq!(one.to_string(), "/Subscriptions/Prod/RESOURCEGROUPS/shop");
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&json).unwrap().to_string(), one.to_string());
    }

    #[test]
    fn each_form_is_a_scope_and_nothing_else_is() {
        let thing = format!("{GROUP}/providers/Microsoft.Network/virtualNetworks/v");
        for text in ["/", "/subscriptions/a", GROUP, &thing, &format!("{thing}/subnets/s")] {
            assert!(text.parse::<Scope>().is_ok(), "{text}");
        }
        for text in [
            "",
            "subscriptions/a",
            "//",
            "/subscriptions",
            "/subscriptions/",
            "/subscriptions/a/",
            "/subscriptions//resourceGroups/g",
            "/subscriptions/a/resourceGroups",
            "/subscriptions/a/groups/g",
            "/tenants/a",
            "/subscriptions/*",
            "/subscriptions/a b",
            "/subscriptions/..",
            "/subscriptions/a%2Fb",
            &format!("{GROUP}/providers/Microsoft.Network"),
            &format!("{GROUP}/providers/Microsoft.Network/virtualNetworks"),
            &format!("{thing}/subnets"),
            &format!("/subscriptions/{}", "a".repeat(129)),
            &format!("{thing}{}", "/subnets/s".repeat(300)),
        ] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_covers_itself_and_what_lies_below_by_whole_parts() {
        let thing = format!("{GROUP}/providers/Microsoft.Network/virtualNetworks/v");
        for (upper, lower, covers) in [
            ("/", "/", true),
            ("/", "/subscriptions/a", true),
            ("/subscriptions/a", "/", false),
            ("/subscriptions/a", "/subscriptions/a", true),
            ("/subscriptions/a", "/subscriptions/ab", false),
            ("/subscriptions/ab", "/subscriptions/a", false),
            ("/subscriptions/PROD", GROUP, true),
            (GROUP, &format!("{GROUP}s"), false),
            (GROUP, &thing, true),
            (&thing, &format!("{thing}/subnets/s"), true),
            (&thing, &format!("{thing}2"), false),
            (&thing, GROUP, false),
        ] {
            assert_eq!(scope(upper).covers(&scope(lower)), covers, "{upper} over {lower}");
        }
    }

    #[test]
    fn the_scope_of_a_thing_is_its_resource_id() {
        let network = Scope::resource(&Key::of("prod", "shop", "v"), "Microsoft.Network/virtualNetworks").unwrap();
        assert_eq!(network.to_string(), format!("{GROUP}/providers/Microsoft.Network/virtualNetworks/v"));
        let subnet = network.child("subnets", "s").unwrap();
        assert_eq!(subnet.to_string(), format!("{network}/subnets/s"));
        assert!(Scope::resource(&Key::of("prod", "shop", "a/b"), "Microsoft.Network/virtualNetworks").is_err());
        assert!(Scope::root().child("subnets", "s").is_err());
    }
}
