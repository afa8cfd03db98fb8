//! Rules that came later than the states they judge. Such a rule refuses a change only for a violation that the change
//! brings: one that stood before stays in force, blocks nothing, and is shown by `status` with its remedy.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Object, Severity, Violation};
use crate::model::Key;

/// The violations of tightened rules that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing(Arc<Vec<Violation>>);

impl Standing {
    /// In the order of the rules.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// The same after a change of the one endpoint `key`, which now breaks what is in `found`.
    #[must_use]
    pub fn with_endpoint(&self, key: &Key, found: Vec<Violation>) -> Self {
        let is_its = |violation: &Violation| matches!(&violation.at.object, Object::Endpoint(other) if other == key);
        if found.is_empty() && !self.0.iter().any(is_its) {
            return self.clone();
        }
        let others = self.0.iter().filter(|violation| !is_its(violation)).cloned();
        Self(Arc::new(others.chain(found).collect()))
    }
}

impl From<Vec<Violation>> for Standing {
    fn from(violations: Vec<Violation>) -> Self {
        Self(Arc::new(violations))
    }
}

/// The violations of tightened rules in `found`, where nothing in `found` refuses the change. `before` is what the model
/// before the change breaks; it is asked for only where it matters.
///
/// # Errors
/// What refuses the change: errors, and violations that did not stand before.
pub fn judge(found: &[Violation], before: impl FnOnce() -> Vec<Violation>) -> Result<Vec<Violation>, Vec<Violation>> {
    let mut errors = Vec::new();
    let mut tightened = Vec::new();
    for violation in found {
        match violation.severity {
            Severity::Error => errors.push(violation.clone()),
            Severity::Tightened => tightened.push(violation),
            Severity::Warning => {}
        }
    }
    if !tightened.is_empty() {
        let before = before();
        let mut known: HashMap<Identity<'_>, usize> = HashMap::new();
        for violation in &before {
            *known.entry(Identity::of(violation)).or_default() += 1;
        }
        for &violation in &tightened {
            match known.get_mut(&Identity::of(violation)) {
                Some(count) if *count > 0 => *count -= 1,
                Some(_) | None => errors.push(violation.clone()),
            }
        }
    }
    if errors.is_empty() { Ok(tightened.into_iter().cloned().collect()) } else { Err(errors) }
}

/// Those of `violations` that `others` does not have.
pub fn not_in(violations: &[Violation], others: &[Violation]) -> Vec<Violation> {
    let known: std::collections::HashSet<Identity<'_>> = others.iter().map(Identity::of).collect();
    violations.iter().filter(|violation| !known.contains(&Identity::of(violation))).cloned().collect()
}

/// What makes two violations the same: the rule, the object, the field and its value. Positions in lists do not count,
/// so that removing an element beside it changes nothing.
#[derive(PartialEq, Eq, Hash)]
struct Identity<'a> {
    code: &'static str,
    object: &'a Object,
    field: String,
    value: &'a str,
}

impl<'a> Identity<'a> {
    fn of(violation: &'a Violation) -> Self {
        let Violation { code, at, value, .. } = violation;
        let field = at.field.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        Self { code, object: &at.object, field, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    fn violation(field: &str, value: &str) -> Violation {
        Violation {
            at: Object::Resource(key("orders-db")).at(field),
            also: Vec::new(),
            involves: Vec::new(),
            code: "BackendOutsideVnet",
            message: "outside".into(),
            remedy: "move it".into(),
            severity: Severity::Tightened,
            value: value.into(),
            left_out: false,
        }
    }

    #[test]
    fn what_stood_before_refuses_nothing_and_what_is_new_does() {
        let [old, moved, other, twice] = [
            violation("targets[0].backends[1]", "10.9.9.9"),
            violation("targets[0].backends[0]", "10.9.9.9"),
            violation("targets[0].backends[0]", "10.9.9.8"),
            violation("targets[1].backends[0]", "10.9.9.9"),
        ];
        for (before, found, refused) in [
            (vec![&old], vec![&old], vec![]),
            (vec![&old], vec![&moved], vec![]),
            (vec![], vec![&old], vec![&old]),
            (vec![&old], vec![&other], vec![&other]),
            // The same address in a second place is one more reference.
            (vec![&old], vec![&old, &twice], vec![&twice]),
            (vec![&old, &other], vec![], vec![]),
        ] {
            let owned = |list: &[&Violation]| list.iter().map(|&one| one.clone()).collect::<Vec<_>>();
            let judged = judge(&owned(&found), || owned(&before));
            let expected = if refused.is_empty() { Ok(owned(&found)) } else { Err(owned(&refused)) };
            assert_eq!(judged, expected, "{before:?} to {found:?}");
        }
    }

    #[test]
    fn an_error_refuses_whether_it_stood_before_or_not() {
        let error = Violation { severity: Severity::Error, ..violation("nat[0]", "10.9.9.9") };
        assert_eq!(judge(std::slice::from_ref(&error), || vec![error.clone()]), Err(vec![error]));
    }

    #[test]
    fn the_model_before_is_not_looked_at_where_nothing_is_broken() {
        let warning = Violation { severity: Severity::Warning, ..violation("nat[0]", "10.9.9.9") };
        assert_eq!(judge(&[warning], || unreachable!("it costs a walk over the model")), Ok(vec![]));
    }

    #[test]
    fn a_change_of_one_endpoint_replaces_what_that_one_breaks() {
        let at = |name: &str| Violation { at: Object::Endpoint(key(name)).at("name"), ..violation("", "x") };
        let standing = Standing::from(vec![at("one"), at("two")]);
        assert_eq!(standing.with_endpoint(&key("three"), vec![]), standing);
        assert_eq!(standing.with_endpoint(&key("one"), vec![]), Standing::from(vec![at("two")]));
        let changed = Violation { value: "y".into(), ..at("two") };
        let expected = Standing::from(vec![at("one"), changed.clone()]);
        assert_eq!(standing.with_endpoint(&key("two"), vec![changed]), expected);
    }
}
