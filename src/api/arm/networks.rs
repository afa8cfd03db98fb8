//! VNets, with their subnets and peerings.

use serde_json::{Value, json};

use super::adapter::Adapter;
use super::body::JsonField;
use super::request::{ArmRequest, Reader};
use super::response::object;
use super::subnets;
use super::{Error, extension, stored};
use crate::model::{Key, PeeringLabel, Tags, Vnet, ids};

impl Adapter for Vnet {
    fn show(&self, reader: &Reader<'_>, key: &Key) -> Option<Value> {
        Some(show(reader, key, self))
    }

    fn read(request: &ArmRequest, key: &Key, before: Option<&Self>, body: &JsonField<'_>) -> Result<Self, Error> {
        read(request, key, before, body)
    }

    fn set_tags(&mut self, tags: Tags) {
        self.tags = tags;
    }
}

/// The VNet that the body describes; what it says nothing of stays as it was.
fn read(request: &ArmRequest, key: &Key, before: Option<&Vnet>, body: &JsonField<'_>) -> Result<Vnet, Error> {
    let properties = body.properties();
    let region = body.location()?.or_else(|| before.map(|vnet| vnet.region.clone()));
    let mut vnet = before.cloned().unwrap_or_else(|| Vnet {
        region: String::new(),
        address_space: Vec::new(),
        on_premises: Vec::new(),
        peerings: Vec::new(),
        subnets: Vec::new(),
        workloads: Vec::new(),
        dns: None,
        lockdown: false,
        public_prefixes: vec![],
        peering_labels: Vec::new(),
        tags: Tags::new(),
        foreign: String::new(),
    });
    vnet.region = region.filter(|region| !region.is_empty()).ok_or_else(|| body.lacks("location"))?;
    if let Some(tags) = body.tags()? {
        vnet.tags = tags;
    }
    if let Some(space) = properties.get("addressSpace") {
        vnet.address_space = space.all("addressPrefixes", "a prefix such as 10.1.0.0/16")?;
    }
    if let Some(list) = properties.list("subnets")? {
        let old = vnet.subnets.clone();
        let one = |field: &JsonField<'_>| {
            let name = field.name("name")?;
            let before = old.iter().find(|subnet| subnet.name.eq_ignore_ascii_case(&name));
            subnets::read(field, &name, before)
        };
        vnet.subnets = list.iter().map(one).collect::<Result<_, _>>()?;
        subnets::refuse_used(request, key, &old, &vnet.subnets)?;
    }
    let peerings = properties.list("virtualNetworkPeerings")?;
    if let Some(list) = peerings.filter(|_| properties.changed("virtualNetworkPeerings").is_some()) {
        vnet.peerings.clear();
        vnet.peering_labels.clear();
        for field in &list {
            let label = subnets::peer(&mut vnet, field, &field.name("name")?)?;
            if before.is_some_and(|before| before.is_severed(&label.remote)) {
                vnet.sever(&label.remote);
            }
        }
    }
    vnet.foreign = stored::read(ids::VNET, &vnet.foreign, body)?;
    extension::vnet(&properties, &mut vnet)?;
    Ok(vnet)
}

/// As Azure shows it.
fn show(reader: &Reader<'_>, key: &Key, vnet: &Vnet) -> Value {
    let subnets: Vec<Value> = vnet.subnets.iter().map(|subnet| subnets::show(reader, key, vnet, subnet)).collect();
    let peering = |label: &PeeringLabel| subnets::show_peering(reader, key, vnet, label);
    let peerings: Vec<Value> = vnet.labelled().iter().map(peering).collect();
    let properties = json!({
        "provisioningState": "Succeeded",
        "resourceGuid": ids::guid("vnet", key),
        "addressSpace": { "addressPrefixes": vnet.address_space },
        "subnets": subnets,
        "virtualNetworkPeerings": peerings,
        "enableDdosProtection": false,
        "privateEndpointVNetPolicies": "Disabled",
        "privlink": extension::show_vnet(reader.view(), key, vnet),
    });
    let shown = object(&ids::vnet(key), Some((&vnet.region, &vnet.tags)), properties);
    stored::Kept::of(&vnet.foreign).show(shown)
}
