//! What objects are called: keys by the grammar of ids, names within an object by the narrower one of most kinds.

use super::{Findings, Object};
use crate::model::Key;
use crate::model::grammar::{GROUP_REMEDY, is_group};
use crate::model::sentence::itself;

/// Most characters of a name (Azure's bound for names of this kind).
pub const NAME_MAX: usize = 80;

/// Whether `text` may name something: 1 to 80 letters, digits, `-`, `_` and `.`, the first a letter or digit.
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

pub(super) fn check_name(field: &str, what: &str, name: &str, object: &Object, findings: &mut Findings) {
    if !is_name(name) {
        findings.error(
            "InvalidResourceName",
            object.at(field),
            itself(format!("`{name}` is not a valid {what}")),
            itself(format!("use 1 to {NAME_MAX} letters, digits, `-`, `_` and `.`, and begin with a letter or digit")),
        );
    }
}

pub(super) fn check_key(key: &Key, object: &Object, findings: &mut Findings) {
    check_name("name", "name", &key.name, object, findings);
    check_owner(key, object, findings);
}

/// Checks subscription and resource group. Groups have a grammar of their own; what an earlier release took goes on.
pub(super) fn check_owner(key: &Key, object: &Object, findings: &mut Findings) {
    if !is_group(&key.group) {
        let at = object.at("resource_group");
        let message = itself(format!("`{}` is not a valid resource group name", key.group));
        if is_name(&key.group) {
            // Under another group it would be another object beside this one, which has its addresses.
            let remedy = itself(format!("leave it so, or delete it and make it anew in another group: {GROUP_REMEDY}"));
            findings.tightened("InvalidResourceGroupName", at, &key.group, message, remedy);
        } else {
            findings.error("InvalidResourceGroupName", at, message, GROUP_REMEDY);
        }
    }
    check_name("subscription", "subscription", &key.subscription, object, findings);
}
