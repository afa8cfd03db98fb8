//! `privlink vnet`: networks.

use std::io::{self, Write};

use super::client::Client;
use super::exit::Error;
use super::noun::{Made, Noun};
use super::output::{Column, Output, Table, or_dash, properties, references, short, yes_or_no};
use crate::types::Vnet;

impl Noun for Vnet {
    const ARGUMENT: &'static str = "VNET";
    const LIST: &'static str = "List VNets";
    const SHOW: &'static str = "Show one VNet";
    const COLUMNS: &'static [Column<Self>] = &[
        ("VNET", |vnet| short(&vnet.id).to_owned()),
        ("REGION", |vnet| vnet.region.clone()),
        ("ADDRESS SPACE", |vnet| vnet.address_space.join(" ")),
        ("PEERINGS", peerings),
        ("ENDPOINTS", |vnet| vnet.endpoints.len().to_string()),
    ];

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        properties(
            out,
            &[
                ("vnet", self.id.clone()),
                ("region", self.region.clone()),
                ("address space", self.address_space.join(" ")),
                ("on-premises", self.on_premises.join(" ")),
                ("attachment", attachment(self)),
                ("peerings", peerings(self)),
                ("endpoints", references(&self.endpoints)),
            ],
        )?;
        writeln!(out)?;
        let subnets = Table::of(
            &self.subnets,
            &[
                ("SUBNET", |subnet| subnet.name.clone()),
                ("PREFIX", |subnet| subnet.prefixes.join(" ")),
                ("DEDICATED", |subnet| yes_or_no(subnet.dedicated)),
            ],
        );
        subnets.write(out)
    }
}

impl Made for Vnet {
    type New = super::create::NewVnet;

    fn create(new: Self::New, client: &Client, output: &mut Output<'_>) -> Result<(), Error> {
        super::create::vnet(new, client, output)
    }
}

fn peerings(vnet: &Vnet) -> String {
    let all: Vec<_> =
        vnet.peerings.iter().map(|peering| format!("{} ({})", short(&peering.vnet), peering.state)).collect();
    or_dash(&all.join(" "))
}

fn attachment(vnet: &Vnet) -> String {
    match (&vnet.device, &vnet.netns) {
        (Some(device), Some(netns)) => format!("{device} in {netns}"),
        (Some(device), None) => device.clone(),
        (None, _) => "none on this host".to_owned(),
    }
}
