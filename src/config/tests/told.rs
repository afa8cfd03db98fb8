//! What each rule tells whoever sees one object of the model and no other: nothing that this object does not say itself.

use std::collections::BTreeSet;

use super::*;
use crate::model::error::ErrorDetail;
use crate::model::registry::of_kind;
use crate::model::sentence::Named;
use crate::model::state::{Item, ItemKind};
use crate::testing::TOLD_BY_ROWS;

/// Every object of `model`, with what it says.
fn objects(model: &Model) -> Vec<(Item, BTreeSet<String>)> {
    let mut all = Vec::new();
    for kind in ItemKind::ALL {
        for key in model.keys_of(kind) {
            let mut said = BTreeSet::from([key.name.clone(), key.to_string()]);
            words(&shown(model, kind, key), &mut said);
            all.push((Item { kind, key: key.clone() }, said));
        }
    }
    all
}

fn shown(model: &Model, kind: ItemKind, key: &Key) -> Json {
    of_kind!(kind, K => serde_json::to_value(K::map(model).get(key))).expect("JSON")
}

fn words(value: &Json, said: &mut BTreeSet<String>) {
    match value {
        Json::String(text) => {
            said.insert(text.clone());
            said.extend(text.split('/').map(str::to_owned));
        }
        Json::Array(all) => all.iter().for_each(|one| words(one, said)),
        Json::Object(all) => all.values().for_each(|one| words(one, said)),
        Json::Number(number) => _ = said.insert(number.to_string()),
        Json::Bool(_) | Json::Null => {}
    }
}

#[test]
fn no_rule_tells_the_owner_of_one_object_what_another_says() {
    let (mut provoked, mut leaks) = (BTreeSet::new(), Vec::new());
    for row in MISTAKES.split("\n\n") {
        // Names that are no words of the rules.
        let named = |text: String, (old, new): &(&str, &str)| text.replace(old, new);
        let text = [(r#""nat""#, r#""yonder""#), (r#""endpoints""#, r#""hither""#), (r#""rules""#, r#""sieve""#)];
        let text = text.iter().fold(changed(row), named);
        let Ok(root) = syntax_tree(&text, "f") else { continue };
        let Ok((mut builder, file)) = begin(&root, &Places::Text(&text), "f", Beside::Nothing) else { continue };
        let host = builder.host(&file);
        builder.imply_nat();
        let all = objects(&builder.model);
        assert!(all.len() > 4, "{}: {all:?}", row.lines().next().unwrap_or_default());
        for violation in validate(&builder.model, Some(&host)) {
            provoked.insert(violation.code);
            let rule = ErrorDetail::from(&violation);
            for (own, said) in &all {
                let sees = |named: &Named| match named {
                    Named::Item(item) => item == own,
                    Named::Subnet(vnet, _) => own.kind == ItemKind::Vnet && *vnet == own.key,
                    Named::Offer(key) => own.kind == ItemKind::Resource && *key == own.key,
                    Named::Subscription(_) | Named::Host => false,
                };
                let told = rule.told(&sees).to_string();
                // What it says itself, and what is said whatever there is.
                let parts = |text: &str| -> BTreeSet<String> {
                    let ends = |c: char| !(c.is_alphanumeric() || ".-_:/".contains(c));
                    text.split(ends).map(|word| word.trim_end_matches(['.', ':']).to_owned()).collect()
                };
                let others = all.iter().filter(|(other, _)| other != own).flat_map(|(_, words)| words);
                let secret = |word: &&String| {
                    word.len() > 2 && !said.contains(*word) && !OF_THE_RULE.contains(&(rule.code, word.as_str()))
                };
                let told_words = parts(&told);
                let leaked: Vec<&String> = others.filter(secret).filter(|word| told_words.contains(*word)).collect();
                if !leaked.is_empty() {
                    leaks.push(format!("{} to {own}: {leaked:?}: {told}", rule.code));
                }
            }
        }
    }
    leaks.sort();
    leaks.dedup();
    assert!(leaks.is_empty(), "{} rules tell too much:\n{}", leaks.len(), leaks.join("\n"));
    let expected: BTreeSet<&str> = TOLD_BY_ROWS.iter().copied().collect();
    let missing: Vec<_> = expected.difference(&provoked).collect();
    assert!(missing.is_empty(), "no row provokes these any more: {missing:?}; there are {provoked:?}");
}

/// Words that a rule says whatever there is, where a row says them as values, too.
const OF_THE_RULE: [(&str, &str); 9] = [
    ("InvalidAddressSpace", "10.1.0.0/16"),
    ("InvalidRegion", "westeurope"),
    ("InvalidResourceType", "Microsoft.Storage/storageAccounts"),
    ("InvalidSubresource", "blob"),
    ("NoPorts", "tcp"),
    ("NoTargets", "tcp"),
    ("NoTargets", "10.20.0.2"),
    ("PrivateEndpointCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled", "Disabled"),
    ("PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled", "Disabled"),
];
