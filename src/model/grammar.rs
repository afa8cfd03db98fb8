//! The grammar of names: the parts of scopes and resource IDs, and names of objects.

use std::borrow::Cow;

/// Most characters of the name of a resource group (Azure's bound).
const GROUP_MAX: usize = 90;

/// Most characters of any other part: names of DNS zones are the longest (RFC 1035 §2.3.4).
const PART_MAX: usize = 253;

/// The rule for names of resource groups, for messages.
pub const GROUP_REMEDY: &str =
    "use 1 to 90 letters and digits of any script, `-`, `_`, `.`, `(` and `)`, and end with anything but a `.`";

/// The rule for all other parts, for messages.
pub const PART_REMEDY: &str = "use 1 to 253 letters, digits, `-`, `_` and `.`, and begin with a letter, a digit or `_`";

/// Whether `text` may name a resource group, as in Azure.
pub fn is_group(text: &str) -> bool {
    let allowed = |letter: char| letter.is_alphanumeric() || "-_.()".contains(letter);
    (1..=GROUP_MAX).contains(&text.chars().count()) && text.chars().all(allowed) && !text.ends_with('.')
}

/// Whether `text` may be any other part of an ID: the common rule for names of all kinds and types.
pub fn is_part(text: &str) -> bool {
    text.len() <= PART_MAX
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether `text` may name a resource group in an ID. Older releases also allowed a dot at the end.
pub fn stands_for_group(text: &str) -> bool {
    is_group(text) || is_part(text)
}

/// `text` as a part of the scope of an existing object. A name that the grammar does not allow (an earlier release may
/// have) is written with percent signs, which no parsed scope can contain. So the object stays below its own group, and
/// no other scope can match it.
pub(crate) fn written(text: &str, fits: fn(&str) -> bool) -> Cow<'_, str> {
    if fits(text) {
        return text.into();
    }
    let folded = text.to_lowercase();
    let encoded = percent_encoding::utf8_percent_encode(&folded, percent_encoding::NON_ALPHANUMERIC);
    format!("%{encoded}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_what_azure_allows() {
        for (name, fits) in [
            ("shop", true),
            ("Réseau_(prod)-1.x", true),
            ("日本", true),
            ("(x)", true),
            ("-", true),
            (&"é".repeat(90), true),
            (&"é".repeat(91), false),
            ("", false),
            ("dot.", false),
            ("a b", false),
            ("a/b", false),
            ("a%2Fb", false),
            ("a\u{202e}b", false),
            ("a\0", false),
            ("a*", false),
        ] {
            assert_eq!(is_group(name), fits, "{name}");
        }
        assert!(stands_for_group("dot.") && !stands_for_group("é."));
    }

    #[test]
    fn any_other_part_is_ascii() {
        for (name, fits) in [
            ("a", true),
            ("0-_.", true),
            ("_tcp.example.com", true),
            (&"a".repeat(253), true),
            (&"a".repeat(254), false),
            ("", false),
            ("..", false),
            (".a", false),
            ("-a", false),
            ("a(b)", false),
            ("é", false),
            ("a b", false),
            ("%61", false),
        ] {
            assert_eq!(is_part(name), fits, "{name}");
        }
    }

    #[test]
    fn what_no_id_can_name_has_a_place_that_nothing_else_has() {
        for (name, place) in [("shop", "shop"), ("a/b", "%a%2Fb"), ("", "%"), ("..", "%%2E%2E"), ("A b", "%a%20b")] {
            assert_eq!(written(name, is_part), place);
        }
        assert!(!is_part(&written("a/b", is_part)) && !is_group(&written("a/b", is_part)));
    }
}
