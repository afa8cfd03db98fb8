//! Rule sets: names, priorities, ports and prefixes of their rules.

use std::collections::{HashMap, HashSet};

use super::{Findings, Object, check_key, check_name, check_prefix};
use crate::model::sentence::itself;
use crate::model::{Key, SecurityGroup, SecurityRule};
use crate::snapshot::Protocol;

/// Priorities a rule may have, as in Azure.
const PRIORITIES: std::ops::RangeInclusive<u16> = 100..=4096;

pub(super) fn check(key: &Key, group: &SecurityGroup, findings: &mut Findings) {
    let object = Object::SecurityGroup(key.clone());
    check_key(key, &object, findings);
    if group.rules.is_empty() {
        let remedy = "add rules; without one everything is allowed";
        findings.warning("NoRules", object.at(""), "the security group has no rules", remedy);
    }
    let mut names = HashSet::new();
    let mut priorities: HashMap<u16, &str> = HashMap::new();
    for (index, rule) in group.rules.iter().enumerate() {
        let field = format!("rules[{index}]");
        check_name(&format!("{field}.name"), "rule name", &rule.name, &object, findings);
        if !names.insert(rule.name.to_lowercase()) {
            let message = itself(format!("the group has a rule `{}` already", rule.name));
            findings.error("DuplicateName", object.at(format!("{field}.name")), message, "choose another name");
        }
        let at = object.at(format!("{field}.priority"));
        if !PRIORITIES.contains(&rule.priority) {
            let message = itself(format!("priority {} is out of range", rule.priority));
            findings.error("InvalidPriority", at, message, "choose a number between 100 and 4096");
        } else if let Some(other) = priorities.insert(rule.priority, &rule.name) {
            let message = itself(format!("priority {} is that of rule `{other}` already", rule.priority));
            findings.error(
                "DuplicatePriority",
                at,
                message,
                "give each rule a priority of its own: it decides their order",
            );
        }
        check_rule(&object, &field, rule, findings);
    }
}

fn check_rule(object: &Object, field: &str, rule: &SecurityRule, findings: &mut Findings) {
    for (name, prefixes) in [("sources", &rule.sources), ("destinations", &rule.destinations)] {
        for (index, prefix) in prefixes.iter().enumerate() {
            check_prefix(prefix, object.at(format!("{field}.{name}[{index}]")), findings);
        }
    }
    for (index, &(first, last)) in rule.ports.iter().enumerate() {
        if first > last {
            let message = itself(format!("port range {first}-{last} is reversed"));
            findings.error(
                "InvalidPort",
                object.at(format!("{field}.ports[{index}]")),
                message,
                itself(format!("write \"{last}-{first}\"")),
            );
        }
    }
    if rule.protocol == Some(Protocol::Icmp) && !rule.ports.is_empty() {
        let message = "ICMP has no ports, so this rule would match nothing";
        findings.error("InvalidPort", object.at(format!("{field}.ports")), message, "leave `ports` out");
    }
}
