//! `privlink security-group`: rule sets.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::noun::{Made, Noun};
use super::output::{Column, Output, Table, or_dash, properties, references, short};
use crate::model::spelled::port_ranges;
use crate::types::SecurityGroup;

impl Noun for SecurityGroup {
    const ARGUMENT: &'static str = "SECURITY_GROUP";
    const LIST: &'static str = "List rule sets";
    const SHOW: &'static str = "Show one rule set";
    const COLUMNS: &'static [Column<Self>] = &[
        ("SECURITY GROUP", |group| short(&group.id).to_owned()),
        ("RULES", |group| group.spec.rules.len().to_string()),
        ("SUBNETS", subnets),
    ];

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        properties(out, &[("security group", self.id.clone()), ("subnets", subnets(self))])?;
        writeln!(out)?;
        let mut rules = self.spec.rules.clone();
        rules.sort_by_key(|rule| rule.priority);
        let rules = Table::of(
            &rules,
            &[
                ("PRIORITY", |rule| rule.priority.to_string()),
                ("RULE", |rule| rule.name.clone()),
                ("ACCESS", |rule| rule.access.to_string()),
                ("PROTOCOL", |rule| any_or(rule.protocol.iter().map(ToString::to_string))),
                ("SOURCES", |rule| any_or(rule.sources.iter().map(ToString::to_string))),
                ("DESTINATIONS", |rule| any_or(rule.destinations.iter().map(ToString::to_string))),
                ("PORTS", |rule| any_or(rule.ports.iter().map(port_ranges::text))),
            ],
        );
        rules.write(out)
    }
}

impl Made for SecurityGroup {
    type New = super::create::NewSecurityGroup;
    const DELETE: &'static str = "Delete one that no subnet refers to";

    fn create(new: Self::New, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
        super::create::security_group(new, client, output)
    }
}

fn subnets(group: &SecurityGroup) -> String {
    or_dash(&references(&group.status.subnets))
}

/// Values in one cell; none of them: every one.
fn any_or(values: impl Iterator<Item = String>) -> String {
    let list = values.collect::<Vec<_>>().join(" ");
    if list.is_empty() { "*".to_owned() } else { list }
}
