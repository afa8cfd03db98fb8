//! VNets, with their subnets and peerings.

use serde_json::{Value, json};

use super::body::JsonField;
use super::request::{ArmRequest, Reader};
use super::response::{ArmResponse, object, page, patched};
use super::subnets;
use super::vnet::{found, item, write};
use super::{Error, extension, stored};
use crate::access::rights::{Right, Verb};
use crate::model::state::ItemKind;
use crate::model::{Key, PeeringLabel, Vnet, ids};

/// `GET …/virtualNetworks`
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let here = request.model().vnets.iter().filter(|(key, _)| request.covers(key) && request.sees(ItemKind::Vnet, key));
    page(request, here, |(key, _)| key.folded().to_owned(), |(key, vnet)| Some(show(&request.reader(), key, vnet)))
}

/// `GET …/virtualNetworks/{name}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, vnet) = found(request)?;
    Ok(ArmResponse::ok(show(&request.reader(), &key, &vnet)))
}

/// `PUT …/virtualNetworks/{name}`
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let key = request.key();
    request.demand(&Right::on(request.model(), &item(&key), Verb::Write))?;
    request.demand_group()?;
    let before = request.model().vnets.get(&key);
    let shown = before.map(|vnet| show(&request.reader(), &key, vnet));
    request.check_conditions(shown.as_ref())?;
    let vnet = read(request, &key, before, shown.as_ref())?;
    let created = before.is_none();
    write(request, &key, vnet)?;
    answer(request, &key, created)
}

/// `PATCH …/virtualNetworks/{name}`
pub(super) fn patch(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, vnet) = found(request)?;
    let shown = show(&request.reader(), &key, &vnet);
    request.check_conditions(Some(&shown))?;
    write(request, &key, Vnet { tags: patched(request, &item(&key), &vnet.tags, &shown)?, ..vnet })?;
    answer(request, &key, false)
}

/// `DELETE …/virtualNetworks/{name}`
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let key = request.key();
    request.demand(&Right::on(request.model(), &item(&key), Verb::Delete))?;
    let before = request.model().vnets.get(&key).map(|vnet| show(&request.reader(), &key, vnet));
    request.check_conditions(before.as_ref())?;
    if before.is_none() {
        return Ok(ArmResponse::absent());
    }
    request.delete(ItemKind::Vnet, &key)?;
    Ok(ArmResponse::deleted())
}

fn answer(request: &ArmRequest, key: &Key, created: bool) -> Result<ArmResponse, Error> {
    let view = request.afresh();
    let vnets = &view.state.model.vnets;
    let (key, vnet) = vnets.entry(key).ok_or_else(|| Error::absent(ids::VNET, key))?;
    Ok(ArmResponse::put(show(&request.reader_of(&view), key, vnet), created))
}

/// The VNet that the body describes; what it says nothing of stays as it was.
fn read(request: &ArmRequest, key: &Key, before: Option<&Vnet>, shown: Option<&Value>) -> Result<Vnet, Error> {
    let body = JsonField::over(&request.body, shown)?;
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
        tags: crate::model::Tags::new(),
        foreign: String::new(),
    });
    vnet.region = region.filter(|region| !region.is_empty()).ok_or_else(|| body.refused("`location` is missing"))?;
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
    vnet.foreign = stored::read(ids::VNET, &vnet.foreign, &body)?;
    extension::vnet(&properties, &mut vnet)?;
    Ok(vnet)
}

/// As Azure shows it.
pub(super) fn show(reader: &Reader<'_>, key: &Key, vnet: &Vnet) -> Value {
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
