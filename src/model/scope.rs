//! Scopes: places in Azure's tree of resource ids, where roles are assigned and actions are checked.

use super::caseless::{Caseless, Malformed, caseless};
use super::grammar::{is_part, stands_for_group, written};
use super::{Key, KeyParts};

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
    let fits = |(at, part): (usize, &&str)| is_part(part) || at == GROUP_AT && stands_for_group(part);
    if !segments.iter().enumerate().all(fits) {
        return error(
            "each part has letters, digits, `-`, `_` and `.`, and begins with a letter, a digit or `_`; a resource group may have `(`, `)` and letters of any script",
        );
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

/// The position of the resource group in a scope: subscriptions S resourceGroups G.
const GROUP_AT: usize = 3;

impl Scope {
    /// The root: everything.
    pub fn root() -> Self {
        Self(Caseless::new("/"))
    }

    // The scope of an object cannot fail, so no object is ever checked at another scope than its own. A name outside
    // the grammar gets a scope that nobody can write (see `grammar::written`).

    /// The object `key` of type `kind`, such as `Microsoft.Network/privateEndpoints`.
    pub fn resource(key: &Key, kind: &str) -> Self {
        let KeyParts { subscription, group, name, .. } = &**key;
        let mut text = format!("{}/providers", Self::group(subscription, group));
        for part in kind.split('/').chain([name.as_str()]) {
            text.push('/');
            text.push_str(&written(part, is_part));
        }
        Self(Caseless::new(&text))
    }

    /// The part `name` of the object `key` of type `kind`, such as a subnet (`parts` is `subnets`) of a network.
    pub fn part(key: &Key, kind: &str, parts: &str, name: &str) -> Self {
        Self(Caseless::new(&format!("{}/{parts}/{}", Self::resource(key, kind), written(name, is_part))))
    }

    /// A subscription.
    pub fn subscription(name: &str) -> Self {
        Self(Caseless::new(&format!("/subscriptions/{}", written(name, is_part))))
    }

    /// A resource group.
    pub fn group(subscription: &str, group: &str) -> Self {
        let group = written(group, stands_for_group);
        Self(Caseless::new(&format!("{}/resourceGroups/{group}", Self::subscription(subscription))))
    }

    /// Whether a role assigned here also applies at `other`: at this scope or below it.
    pub fn covers(&self, other: &Self) -> bool {
        let below = other.0.folded().strip_prefix(self.0.folded());
        self.is_root() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0.written() == "/"
    }

    pub(crate) fn folded(&self) -> &str {
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
        let zone = format!("{GROUP}/providers/Microsoft.Network/privateDnsZones/_tcp.{}", "a".repeat(200));
        for text in ["/subscriptions/a/resourceGroups/Réseau_(prod)", "/subscriptions/a/resourceGroups/x.", &zone] {
            assert!(text.parse::<Scope>().is_ok(), "{text}");
        }
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
            &format!("/subscriptions/{}", "a".repeat(254)),
            "/subscriptions/a(b)",
            "/subscriptions/é",
            "/subscriptions/a/resourceGroups/a b",
            "/subscriptions/a/resourceGroups/é.",
            &format!("/subscriptions/a/resourceGroups/{}", "é".repeat(91)),
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
        const KIND: &str = "Microsoft.Network/virtualNetworks";
        let key = Key::of("prod", "shop", "v");
        let network = Scope::resource(&key, KIND);
        assert_eq!(network, scope(&format!("{GROUP}/providers/Microsoft.Network/virtualNetworks/v")));
        assert_eq!(Scope::part(&key, KIND, "subnets", "s"), scope(&format!("{network}/subnets/s")));
        assert_eq!(
            Scope::group("prod", "Réseau (x)").to_string(),
            "/subscriptions/prod/resourceGroups/%r%C3%A9seau%20%28x%29"
        );
        assert!(Scope::group("prod", "RÉSEAU").covers(&Scope::resource(&Key::of("prod", "réseau", "v"), KIND)));
    }

    #[test]
    fn what_no_scope_can_name_lies_below_its_own_parents_and_is_nobody_elses() {
        const KIND: &str = "Microsoft.Network/virtualNetworks";
        let all = ["a/b", "", "..", "a b", "a%2Fb", "v/subnets/s", "é", "\0"];
        for name in all {
            let place = Scope::resource(&Key::of("prod", "shop", name), KIND);
            assert!(scope("/").covers(&place) && scope(GROUP).covers(&place), "{place}");
            assert!(!scope(&format!("{GROUP}/providers/{KIND}/v")).covers(&place), "{place}");
            assert!(place.to_string().parse::<Scope>().is_err(), "{place}");
            let in_group = Scope::resource(&Key::of("prod", format!("shop/{name}"), "v"), KIND);
            assert!(scope("/subscriptions/prod").covers(&in_group) && !scope(GROUP).covers(&in_group), "{in_group}");
            let elsewhere = Scope::group(&format!("prod/resourceGroups/shop/{name}"), "g");
            assert!(scope("/").covers(&elsewhere) && !scope("/subscriptions/prod").covers(&elsewhere), "{elsewhere}");
            assert!(all.iter().all(|other| *other == name || Scope::group("s", other) != Scope::group("s", name)));
        }
    }
}
