//! `privlink dns zone`: private DNS zones, of somebody's own and automatic.

use std::io::{self, Write};

use super::noun::Noun;
use super::output::{Column, Table, or_dash, properties, short};
use crate::types::{PrivateZone, PrivateZoneLink};

impl Noun for PrivateZone {
    const ARGUMENT: &'static str = "ZONE";
    const NAMED: &'static str = "Its name; `group/name` where several of somebody's own have it";
    const LIST: &'static str = "List zones: those of somebody's own, and those that came about with endpoints";
    const SHOW: &'static str = "Show one zone with its records";
    const COLUMNS: &'static [Column<Self>] = &[
        ("ZONE", |zone| short(&zone.id).to_owned()),
        ("KIND", |zone| zone.kind.clone()),
        ("RECORD SETS", |zone| zone.record_sets.to_string()),
        ("LINKS", links),
    ];

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        properties(
            out,
            &[
                ("zone", self.id.clone()),
                ("kind", self.kind.clone()),
                ("links", links(self)),
                ("record sets", self.record_sets.to_string()),
            ],
        )?;
        writeln!(out)?;
        let records = Table::of(
            &self.records,
            &[
                ("NAME", |record| record.name.clone()),
                ("TYPE", |record| record.kind.clone()),
                ("TTL", |record| or_dash(&record.ttl.map(|ttl| ttl.to_string()).unwrap_or_default())),
                ("DATA", |record| record.data.clone()),
                ("ENDPOINT", |record| or_dash(short(&record.endpoint))),
            ],
        );
        records.write(out)
    }
}

/// VNets, each with what becomes of unknown names there.
fn links(zone: &PrivateZone) -> String {
    let one = |link: &PrivateZoneLink| format!("{} ({})", short(&link.vnet), link.resolution_policy);
    let all: Vec<String> = zone.links.iter().map(one).collect();
    or_dash(&all.join(" "))
}
