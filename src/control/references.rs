//! From what a person types to the one thing meant: `name` or `group/name`, without regard to case.

use super::model::{Key, Map, Model};
use super::refusal::{Kind, Refusal};

/// The one key of `keys` that `reference` names. `kind` is the word for it in messages.
///
/// # Errors
/// `NotFound`: none is called so (the nearest name is suggested), or several are (all are listed).
pub fn resolve<'a, V>(kind: &str, reference: &str, objects: &'a Map<V>) -> Result<&'a Key, Refusal> {
    resolve_seen(kind, reference, objects, &|_| true)
}

/// [`resolve`] among the objects that are `seen`: the others are as if they were not.
///
/// # Errors
/// See [`resolve`]; nothing in them tells that there are others.
pub fn resolve_seen<'a, V>(
    kind: &str,
    reference: &str,
    objects: &'a Map<V>,
    seen: &dyn Fn(&Key) -> bool,
) -> Result<&'a Key, Refusal> {
    let wanted = reference.trim().to_lowercase();
    let exact = Key::try_from(wanted.clone()).ok().and_then(|key| objects.entry(&key));
    if let Some((key, _)) = exact.filter(|(key, _)| seen(key)) {
        return Ok(key);
    }
    // The folded form of a key ends with every way to name it.
    let named = |key: &&Key| key.folded().strip_suffix(&wanted).is_some_and(|front| front.ends_with('/'));
    let matches: Vec<&Key> = objects.keys().filter(named).filter(|key| seen(key)).collect();
    let absent = || unknown(kind, reference, objects.keys().filter(|key| seen(key)));
    match matches.as_slice() {
        _ if wanted.is_empty() || wanted.starts_with('/') => Err(absent()),
        [one] => Ok(one),
        [] => Err(absent()),
        several => Err(Refusal::new(
            Kind::NotFound,
            "AmbiguousReference",
            format!("`{reference}` names several: {}", listed(several)),
            "name the one you mean as group/name",
        )),
    }
}

/// Checks that an endpoint is bound to the resource that the caller named, if any, among those that are `seen`.
///
/// # Errors
/// `NotFound`: it is bound to another one.
pub fn check_bound(
    model: &Model,
    seen: &dyn Fn(&Key) -> bool,
    (endpoint, bound): (&Key, &Key),
    named: Option<&str>,
) -> Result<(), Refusal> {
    let Some(named) = named else { return Ok(()) };
    let resource = resolve_seen("resource", named, &model.resources, seen)?;
    if resource == bound {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::NotFound,
        "ConnectionNotFound",
        format!("endpoint {endpoint} is bound to {bound}, not to {resource}"),
        "leave --resource out, or name the endpoint that you mean",
    ))
}

pub(super) fn unknown<'a>(kind: &str, reference: &str, keys: impl Iterator<Item = &'a Key>) -> Refusal {
    let wanted = reference.trim().to_lowercase();
    let mut keys = keys.peekable();
    let any = keys.peek().is_some();
    // Looking for what may have been meant costs the square of the name's length, and that for each candidate.
    let short = wanted.len() <= LONGEST_MEANT;
    let distance = |key: &Key| {
        edit_distance(&wanted, &key.name.to_lowercase()).min(edit_distance(&wanted, &key.to_string().to_lowercase()))
    };
    let nearest = keys.take(if short { MOST_MEANT } else { 0 }).map(|key| (distance(key), key)).min();
    let remedy = match nearest {
        Some((distance, key)) if distance <= (wanted.chars().count() / 2).max(1) => format!("did you mean {key}?"),
        Some(_) | None if any => format!("`privlink {} list` shows what there is", command(kind)),
        Some(_) | None => format!("there is no {kind} at all"),
    };
    Refusal::new(Kind::NotFound, "NotFound", format!("there is no {kind} `{reference}`"), remedy)
}

/// Objects among which the one that was meant is looked for.
const MOST_MEANT: usize = 512;

/// Bytes of the longest reference for which one is looked for: a subscription, a group and a name.
const LONGEST_MEANT: usize = 256;

fn command(kind: &str) -> &str {
    kind.split(' ').next_back().unwrap_or(kind)
}

fn listed(keys: &[&Key]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Levenshtein distance; names are short, so the quadratic form will do.
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
            assert_eq!(resolve("endpoint", reference, &keys()).unwrap_err().kind, Kind::NotFound, "{reference}");
        }
    }

    #[test]
    fn an_ambiguous_name_lists_the_candidates() {
        let refusal = resolve("endpoint", "orders", &keys()).unwrap_err();
        assert_eq!((refusal.kind, refusal.code), (Kind::NotFound, "AmbiguousReference"));
        assert!(refusal.message.contains("default/orders") && refusal.message.contains("billing/Orders"), "{refusal}");
    }

    #[test]
    fn what_was_meant_is_looked_for_within_bounds() {
        let many: Map<()> = (0..30_000).map(|number| (Key::new("default", format!("name-{number:05}")), ())).collect();
        let looked_at = std::cell::Cell::new(0);
        let counted = many.keys().inspect(|_| looked_at.set(looked_at.get() + 1));
        let refusal = unknown("endpoint", "name-0000x", counted);
        assert!(refusal.remedy.contains("did you mean default/name-00000?"), "{refusal}");
        assert!(looked_at.get() <= MOST_MEANT + 1, "{}", looked_at.get());
        looked_at.set(0);
        let counted = many.keys().inspect(|_| looked_at.set(looked_at.get() + 1));
        let refusal = unknown("endpoint", &"n".repeat(LONGEST_MEANT + 1), counted);
        assert!(refusal.remedy.contains("endpoint list"), "{refusal}");
        assert_eq!(looked_at.get(), 1, "whether there is any");
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let refusal = resolve("endpoint", "acounts", &keys()).unwrap_err();
        assert_eq!(refusal.remedy, "did you mean default/accounts?");
        let refusal = resolve("endpoint", "zzzzzzzz", &keys()).unwrap_err();
        assert!(refusal.remedy.contains("privlink endpoint list"), "{refusal}");
        let refusal = resolve("endpoint", "x", &Map::<()>::default()).unwrap_err();
        assert_eq!(refusal.remedy, "there is no endpoint at all");
    }
}
