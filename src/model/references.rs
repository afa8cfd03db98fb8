//! Resolves references that users write: `name` or `group/name`. Case does not matter.

use super::error::{Error, ErrorKind};
use super::sentence::itself;
use super::{DEFAULT, Key, Map, Model};

/// The only key of `keys` that `reference` names. `kind` is its name in messages.
///
/// # Errors
/// `NotFound`: none matches (the nearest name is suggested), or several match (all are listed).
pub fn resolve<'a, V>(kind: &str, reference: &str, objects: &'a Map<V>) -> Result<&'a Key, Error> {
    resolve_seen(kind, reference, objects, &|_| true)
}

/// As [`resolve`] among the objects that are `seen`. Others count as absent.
///
/// # Errors
/// See [`resolve`]. The errors do not reveal other objects.
pub fn resolve_seen<'a, V>(
    kind: &str,
    reference: &str,
    objects: &'a Map<V>,
    seen: &dyn Fn(&Key) -> bool,
) -> Result<&'a Key, Error> {
    let wanted = reference.trim().to_lowercase();
    let exact = Key::try_from(wanted.clone()).ok().and_then(|key| objects.entry(&key));
    if let Some((key, _)) = exact.filter(|(key, _)| seen(key)) {
        return Ok(key);
    }
    // The lower-case form of a key ends with each form of a reference to it.
    let named = |key: &&Key| key.folded().strip_suffix(&wanted).is_some_and(|front| front.ends_with('/'));
    let matches: Vec<&Key> = objects.keys().filter(named).filter(|key| seen(key)).collect();
    let absent = || {
        let near = if wanted.contains('/') { wanted.clone() } else { format!("{DEFAULT}/{wanted}") };
        let nearby = Key::try_from(near).map(|key| objects.around(&key, MEANT_EACH_WAY));
        unknown(kind, reference, nearby.into_iter().flatten().filter(|key| seen(key)))
    };
    match matches.as_slice() {
        _ if wanted.is_empty() || wanted.starts_with('/') => Err(absent()),
        [one] => Ok(one),
        [] => Err(absent()),
        several => Err(Error::new(
            ErrorKind::NotFound,
            "AmbiguousReference",
            itself(format!("`{reference}` names several: {}", listed(several))),
            "name the one you mean as group/name",
        )),
    }
}

/// Checks that an endpoint is bound to the resource that the caller gave, if any, among those that are `seen`.
///
/// # Errors
/// `NotFound`: it is bound to another one.
pub fn check_bound(
    model: &Model,
    seen: &dyn Fn(&Key) -> bool,
    (endpoint, bound): (&Key, &Key),
    named: Option<&str>,
) -> Result<(), Error> {
    let Some(named) = named else { return Ok(()) };
    let resource = resolve_seen("resource", named, &model.resources, seen)?;
    if resource == bound {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotFound,
        "ConnectionNotFound",
        itself(format!("endpoint {endpoint} is bound to {bound}, not to {resource}")),
        "leave --resource out, or name the endpoint that you mean",
    ))
}

/// There must be few `candidates`: each costs the square of a name's length.
pub(crate) fn unknown<'a>(kind: &str, reference: &str, candidates: impl Iterator<Item = &'a Key>) -> Error {
    let wanted = reference.trim().to_lowercase();
    let distance = |key: &Key| {
        edit_distance(&wanted, &key.name.to_lowercase()).min(edit_distance(&wanted, &key.to_string().to_lowercase()))
    };
    let short = wanted.len() <= LONGEST_MEANT;
    let nearest = candidates.filter(|_| short).map(|key| (distance(key), key)).min();
    let remedy = match nearest {
        Some((distance, key)) if distance <= (wanted.chars().count() / 2).max(1) => format!("did you mean {key}?"),
        Some(_) | None => format!("`privlink {} list` shows what there is", command(kind)),
    };
    // Only visible objects are suggested.
    Error::new(ErrorKind::NotFound, "NotFound", itself(format!("there is no {kind} `{reference}`")), itself(remedy))
}

/// The number of objects before and after an unknown name, in the order of names, that are searched for a suggestion.
/// So the cost of an unknown name does not grow with the number of objects.
const MEANT_EACH_WAY: usize = 64;

/// The longest reference, in bytes, that gets a suggestion.
const LONGEST_MEANT: usize = 128;

/// What the command line calls a kind.
fn command(kind: &str) -> String {
    match kind {
        "private DNS zone" => "dns zone".to_owned(),
        other => other.replace(' ', "-"),
    }
}

fn listed(keys: &[&Key]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Levenshtein distance. Names are short, so the quadratic algorithm is good enough.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Map<()> {
        [("default", "orders"), ("billing", "Orders"), ("default", "accounts")]
            .map(|(group, name)| (Key::new(group, name), ()))
            .into_iter()
            .collect()
    }

    #[test]
    fn a_name_is_found_without_regard_to_case_or_by_group() {
        let keys = keys();
        assert_eq!(resolve("endpoint", "ACCOUNTS", &keys).unwrap(), &Key::new("default", "accounts"));
        for reference in ["Billing/orders", "default/Billing/ORDERS"] {
            assert_eq!(resolve("endpoint", reference, &keys).unwrap(), &Key::new("billing", "orders"), "{reference}");
        }
    }

    #[test]
    fn a_part_of_a_name_is_not_the_name() {
        for reference in ["ders", "", "/", "/orders", "ing/orders"] {
            assert_eq!(resolve("endpoint", reference, &keys()).unwrap_err().kind, ErrorKind::NotFound, "{reference}");
        }
    }

    #[test]
    fn an_ambiguous_name_lists_the_candidates() {
        let refusal = resolve("endpoint", "orders", &keys()).unwrap_err();
        assert_eq!((refusal.kind, refusal.code), (ErrorKind::NotFound, "AmbiguousReference"));
        assert!(refusal.message.contains("default/orders") && refusal.message.contains("billing/Orders"), "{refusal}");
    }

    #[test]
    fn what_was_meant_is_looked_for_among_few() {
        let many: Map<()> = (0..30_000).map(|number| (Key::new("default", format!("name-{number:05}")), ())).collect();
        let looked_at = std::cell::Cell::new(0);
        let seen = |_: &Key| {
            looked_at.set(looked_at.get() + 1);
            true
        };
        let refusal = resolve_seen("endpoint", "name-1777x", &many, &seen).unwrap_err();
        assert!(refusal.remedy.contains("did you mean default/name-1777"), "{refusal}");
        assert!(looked_at.take() <= 2 * MEANT_EACH_WAY, "{}", looked_at.get());
        let refusal = resolve_seen("endpoint", &"n".repeat(LONGEST_MEANT + 1), &many, &seen).unwrap_err();
        assert!(refusal.remedy.contains("endpoint list"), "{refusal}");
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let refusal = resolve("endpoint", "acounts", &keys()).unwrap_err();
        assert_eq!(refusal.remedy, "did you mean default/accounts?");
        let refusal = resolve("endpoint", "zzzzzzzz", &keys()).unwrap_err();
        assert!(refusal.remedy.contains("privlink endpoint list"), "{refusal}");
        let refusal = resolve("endpoint", "x", &Map::<()>::default()).unwrap_err();
        assert!(refusal.remedy.contains("privlink endpoint list"), "the same where there is none: {refusal}");
    }
}
