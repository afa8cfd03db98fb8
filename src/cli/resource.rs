//! `privlink resource`: what may be reached.

use std::io::{self, Write};

use super::client::Client;
use super::endpoint::{limited, to_consumer, to_service};
use super::exit::Error;
use super::noun::{Made, Noun};
use super::output::{Column, Output, Table, or_dash, properties, references, short};
use crate::types::Resource;

impl Noun for Resource {
    const ARGUMENT: &'static str = "RESOURCE";
    const LIST: &'static str = "List link resources";
    const SHOW: &'static str = "Show one link resource";
    const COLUMNS: &'static [Column<Self>] = &[
        ("RESOURCE", |resource| short(&resource.id).to_owned()),
        ("TYPE", |resource| resource.kind.clone()),
        ("VNET", |resource| short(&resource.vnet).to_owned()),
        ("NAT", |resource| resource.nat.join(" ")),
        ("ENDPOINTS", |resource| resource.endpoints.len().to_string()),
        ("SESSIONS", |resource| resource.traffic.sessions.to_string()),
    ];

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let shared = match references(&self.shares_backends_with) {
            others if others.is_empty() => others,
            others => format!("with {others}: addresses cannot keep their data apart"),
        };
        properties(
            out,
            &[
                ("resource", self.id.clone()),
                ("type", self.kind.clone()),
                ("vnet", format!("{} ({})", short(&self.vnet), self.region)),
                ("nat", self.nat.join(" ")),
                ("alias", self.alias.clone()),
                ("balance", self.balance.clone()),
                ("at most", self.rates.map(|rates| rates.to_string()).unwrap_or_default()),
                ("rate limited", limited(&self.traffic)),
                ("shares backends", shared),
                ("endpoints", references(&self.endpoints)),
                ("sessions", format!("{}, {} opened", self.traffic.sessions, self.traffic.sessions_opened)),
                ("to service", to_service(&self.traffic)),
                ("to consumer", to_consumer(&self.traffic)),
            ],
        )?;
        writeln!(out)?;
        let targets = Table::of(
            &self.targets,
            &[
                ("SUBRESOURCE", |target| or_dash(&target.subresource)),
                ("MEMBER", |target| or_dash(&target.member)),
                ("PORTS", |target| target.ports.join(", ")),
                ("BACKENDS", |target| target.backends.join(", ")),
            ],
        );
        targets.write(out)
    }
}

impl Made for Resource {
    type New = super::create::NewResource;

    fn create(new: Self::New, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
        super::create::resource(new, client, output)
    }
}
