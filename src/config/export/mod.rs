//! The live state as a file: what [`super::check`] accepts and an apply finds unchanged. What a file has no word for stands
//! in comments.

use std::collections::BTreeSet;

use super::report::{Report, Severity};
use super::{SIZE_MAX, check_text, parse_document};
use crate::control::apply::differing;
use crate::control::seen::Exportable;
use crate::model::state::{Item, ItemKind};
use crate::model::{DEFAULT, Model};

/// The tables of the file.
mod text;

use text::Text;

/// How often what cannot be said is left out: it is found where the file is read again, a hundred mistakes at a time.
const ROUNDS: usize = 16;

/// One object, and its lines.
struct Part {
    item: Item,
    text: String,
}

/// The objects that a reader may read, in the form of a configuration file without host matters. Secrets are no part of
/// it: neither tokens nor what Azure's clients wrote that means nothing here.
#[must_use]
pub fn export(live: &Exportable) -> String {
    let head = head(live);
    let mut parts = parts(live);
    for _ in 0..ROUNDS {
        let (text, begins) = joined(&head, &parts);
        if text.len() > SIZE_MAX {
            let warning = format!(
                "# This is larger than a file may be: {} MiB. Divide it before it is applied.\n",
                SIZE_MAX >> 20
            );
            return warning + &text;
        }
        let unfit = unfit(live, &text, &begins, &parts);
        if unfit.is_empty() {
            return text;
        }
        for part in parts.iter_mut().filter(|part| unfit.contains(&part.item)) {
            part.text = format!("# {} is left out: a file cannot say all that it is\n", written(&part.item));
        }
    }
    joined(&head, &parts).0
}

/// A name in a comment: what is in force may come from a release that knew no rule for names.
fn written(item: &Item) -> String {
    item.to_string().replace(char::is_control, " ")
}

/// What is to be known before the objects.
fn head(live: &Exportable) -> String {
    let mut text = Text::default();
    if !live.whole {
        // Whether there is anything else is not for this reader to know.
        text.comment(format_args!("What you may not read is left out."));
    }
    let Model { groups, load_balancers, .. } = &live.state.model;
    for (key, group) in groups {
        let elsewhere = key.subscription != DEFAULT;
        let subscription = if elsewhere { format!(" of subscription {}", key.subscription) } else { String::new() };
        let kept = if group.tags.is_empty() { "region stays as it is" } else { "region and tags stay as they are" };
        text.comment(format_args!("resource group {}{subscription}: its {kept}", key.group));
    }
    for key in load_balancers.keys() {
        text.comment(format_args!(
            "load balancer {key} stays as it is: the targets behind it are written as they follow"
        ));
    }
    text.0
}

fn parts(live: &Exportable) -> Vec<Part> {
    let Model { roles, assignments, vnets, security_groups, dns_zones, resources, endpoints, .. } = &live.state.model;
    let mut parts = Vec::new();
    let mut part = |kind: ItemKind, key: &crate::model::Key, write: &dyn Fn(&mut Text)| {
        let mut text = Text::default();
        write(&mut text);
        parts.push(Part { item: Item { kind, key: key.clone() }, text: text.0 });
    };
    vnets.iter().for_each(|(key, one)| part(ItemKind::Vnet, key, &|text| text.vnet(key, one)));
    security_groups
        .iter()
        .for_each(|(key, one)| part(ItemKind::SecurityGroup, key, &|text| text.object(key, one, &[])));
    dns_zones.iter().for_each(|(key, one)| part(ItemKind::DnsZone, key, &|text| text.dns_zone(live, key, one)));
    resources.iter().for_each(|(key, one)| part(ItemKind::Resource, key, &|text| text.resource(live, key, one)));
    endpoints.iter().for_each(|(key, one)| part(ItemKind::Endpoint, key, &|text| text.endpoint(live, key, one)));
    roles.iter().for_each(|(key, one)| part(ItemKind::Role, key, &|text| text.object(key, one, &[])));
    assignments.iter().for_each(|(key, one)| part(ItemKind::Assignment, key, &|text| text.object(key, one, &[])));
    parts
}

/// The whole text, and the number of the line with which each part begins.
fn joined(head: &str, parts: &[Part]) -> (String, Vec<usize>) {
    let (mut text, mut begins) = (head.to_owned(), Vec::with_capacity(parts.len()));
    let mut line = 1 + head.matches('\n').count();
    for part in parts {
        if !text.is_empty() {
            text.push('\n');
            line += 1;
        }
        begins.push(line);
        text += &part.text;
        line += part.text.matches('\n').count();
    }
    (text, begins)
}

/// Objects that the file does not say as they are: read again they are mistakes, or something else.
fn unfit(live: &Exportable, text: &str, begins: &[usize], parts: &[Part]) -> BTreeSet<Item> {
    let at_fault = |report: &Report| -> BTreeSet<Item> {
        let errors = report.problems.iter().filter(|problem| problem.severity == Severity::Error);
        let lines = errors.filter_map(|problem| problem.line);
        let part = |line: usize| parts.get(begins.partition_point(|begin| *begin <= line).checked_sub(1)?);
        lines.filter_map(part).map(|part| part.item.clone()).collect()
    };
    let document = match parse_document(text, "export", &live.known) {
        Err(report) => return at_fault(&report),
        Ok(document) => document,
    };
    let other = differing(&live.state, &document.model);
    if !other.is_empty() {
        return other;
    }
    check_text(text, "export").err().iter().flat_map(at_fault).collect()
}
