//! From what a person types to the one thing meant: `name` or `group/name`, without regard to case.

use super::model::{Key, Model};
use super::refusal::{Kind, Refusal};

/// The one key of `keys` that `reference` names. `kind` is the word for it in messages.
///
/// # Errors
/// `NotFound`: none is called so (the nearest name is suggested), or several are (all are listed).
pub fn resolve<'a>(
    kind: &str,
    reference: &str,
    keys: impl Iterator<Item = &'a Key> + Clone,
) -> Result<&'a Key, Refusal> {
    let wanted = reference.trim().to_lowercase();
    let matches: Vec<&Key> = keys
        .clone()
        .filter(|key| key.name.to_lowercase() == wanted || key.to_string().to_lowercase() == wanted)
        .collect();
    match matches.as_slice() {
        [one] => Ok(one),
        [] => Err(unknown(kind, reference, keys)),
        several => Err(Refusal::new(
            Kind::NotFound,
            "AmbiguousReference",
            format!("`{reference}` names several: {}", listed(several)),
            "name the one you mean as group/name",
        )),
    }
}

/// Checks that an endpoint is bound to the resource that the caller named, if any.
///
/// # Errors
/// `NotFound`: it is bound to another one.
pub fn check_bound(model: &Model, endpoint: &Key, bound: &Key, named: Option<&str>) -> Result<(), Refusal> {
    let Some(named) = named else { return Ok(()) };
    let resource = resolve("resource", named, model.resources.keys())?;
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
    let distance = |key: &Key| {
        edit_distance(&wanted, &key.name.to_lowercase()).min(edit_distance(&wanted, &key.to_string().to_lowercase()))
    };
    let nearest = keys.map(|key| (distance(key), key)).min();
    let remedy = match nearest {
        Some((distance, key)) if distance <= (wanted.chars().count() / 2).max(1) => format!("did you mean {key}?"),
        Some(_) => format!("`privlink {} list` shows what there is", command(kind)),
        None => format!("there is no {kind} at all"),
    };
    Refusal::new(Kind::NotFound, "NotFound", format!("there is no {kind} `{reference}`"), remedy)
}

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

    fn keys() -> Vec<Key> {
        vec![Key::new("default", "orders"), Key::new("billing", "Orders"), Key::new("default", "accounts")]
    }

    #[test]
    fn a_name_is_found_without_regard_to_case_or_by_group() {
        let keys = keys();
        assert_eq!(resolve("endpoint", "ACCOUNTS", keys.iter()).unwrap(), &keys[2]);
        assert_eq!(resolve("endpoint", "Billing/orders", keys.iter()).unwrap(), &keys[1]);
    }

    #[test]
    fn an_ambiguous_name_lists_the_candidates() {
        let refusal = resolve("endpoint", "orders", keys().iter()).unwrap_err();
        assert_eq!((refusal.kind, refusal.code), (Kind::NotFound, "AmbiguousReference"));
        assert!(refusal.message.contains("default/orders") && refusal.message.contains("billing/Orders"), "{refusal}");
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let refusal = resolve("endpoint", "acounts", keys().iter()).unwrap_err();
        assert_eq!(refusal.remedy, "did you mean default/accounts?");
        let refusal = resolve("endpoint", "zzzzzzzz", keys().iter()).unwrap_err();
        assert!(refusal.remedy.contains("privlink endpoint list"), "{refusal}");
        let refusal = resolve("endpoint", "x", std::iter::empty()).unwrap_err();
        assert_eq!(refusal.remedy, "there is no endpoint at all");
    }
}
