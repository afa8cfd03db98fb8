//! Private DNS zones of somebody's own and their links to VNets.

use serde_json::{Value, json};

use super::Error;
use super::body::{JsonField, NOT_BY_PATCH};
use super::request::ArmRequest;
use super::response::{ArmResponse, object, page, patched};
use crate::access::rights::{Right, Verb};
use crate::model::rules::{LINKS_MAX, RECORD_SETS_MAX};
use crate::model::state::{Item, ItemKind};
use crate::model::{DnsZone, Key, Model, ResolutionPolicy, ZoneLink, actions, ids, names};

/// Zones are nowhere in particular.
pub(super) const GLOBAL: &str = "global";

/// Links that register hosts, at most, as Azure tells.
const REGISTERING_MAX: usize = 100;

/// `GET …/privateDnsZones`
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let all = request.model().dns_zones.iter();
    let here = all.filter(|(key, _)| request.covers(key) && request.sees(ItemKind::DnsZone, key));
    page(request, here, |(key, _)| key.folded().to_owned(), |(key, zone)| Some(show(request, key, zone)))
}

/// `GET …/privateDnsZones/{name}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, zone) = found(request)?;
    Ok(ArmResponse::ok(show(request, &key, &zone)))
}

/// `PUT …/privateDnsZones/{name}`
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let key = request.key();
    request.demand(&Right::on(request.model(), &item(&key), Verb::Write))?;
    request.demand_group()?;
    let before = request.model().dns_zones.get(&key);
    request.check_conditions(before.map(|zone| show(request, &key, zone)).as_ref())?;
    let body = JsonField::root(&request.body)?;
    demand_global(&body)?;
    let tags = body.tags()?.or_else(|| before.map(|before| before.tags.clone())).unwrap_or_default();
    let zone = DnsZone { tags, ..before.cloned().unwrap_or_default() };
    let created = before.is_none();
    write(request, &key, &zone)?;
    let view = request.afresh();
    let key = view.state.model.dns_zones.entry(&key).map_or(&key, |(key, _)| key);
    Ok(ArmResponse::put(show(request, key, &zone), created))
}

/// `PATCH …/privateDnsZones/{name}`
pub(super) fn patch(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, zone) = found(request)?;
    request.demand(&Right::on(request.model(), &item(&key), Verb::Write))?;
    let shown = show(request, &key, &zone);
    request.check_conditions(Some(&shown))?;
    let zone = DnsZone { tags: patched(request, &item(&key), &zone.tags, &shown)?, ..zone };
    write(request, &key, &zone)?;
    Ok(ArmResponse::put(show(request, &key, &zone), false))
}

/// `DELETE …/privateDnsZones/{name}`
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let key = request.key();
    request.demand(&Right::on(request.model(), &item(&key), Verb::Delete))?;
    let before = request.model().dns_zones.get(&key);
    request.check_conditions(before.map(|zone| show(request, &key, zone)).as_ref())?;
    let Some(zone) = before else { return Ok(ArmResponse::absent()) };
    if let Some(link) = zone.links.first() {
        let message =
            format!("Private DNS zone {} has links to VNets, such as {}: delete those first.", key.name, link.name);
        return Err(Error::conflict("CannotDeleteResource", &message));
    }
    request.delete(ItemKind::DnsZone, &key)?;
    Ok(ArmResponse::deleted())
}

/// The zone of the path, for whoever may read it.
///
/// # Errors
/// 403, 404.
pub(super) fn found(request: &ArmRequest) -> Result<(Key, DnsZone), Error> {
    let key = request.key();
    request.may_read(ItemKind::DnsZone, &key)?;
    let found = request.model().dns_zones.entry(&key);
    found.map(|(key, one)| (key.clone(), one.clone())).ok_or_else(|| Error::absent(ids::DNS_ZONE, &key))
}

/// Puts a changed zone in force, if nobody has changed it meanwhile.
///
/// # Errors
/// The refusal.
pub(super) fn write(request: &ArmRequest, key: &Key, zone: &DnsZone) -> Result<(), Error> {
    let mut model = Model::default();
    model.dns_zones.insert(key.clone(), zone.clone());
    request.put(vec![item(key)], model).map(drop)
}

fn item(key: &Key) -> Item {
    Item { kind: ItemKind::DnsZone, key: key.clone() }
}

/// `location` is `global`, or left out.
fn demand_global(body: &JsonField<'_>) -> Result<(), Error> {
    match body.text("location")? {
        Some(text) if !text.is_empty() && !text.eq_ignore_ascii_case(GLOBAL) => {
            Err(body.refused("`location` of a private DNS zone and of its links is `global`"))
        }
        _ => Ok(()),
    }
}

fn show(request: &ArmRequest, key: &Key, zone: &DnsZone) -> Value {
    let seen = |endpoint: &Key| request.sees(ItemKind::Endpoint, endpoint);
    let registering = zone.links.iter().filter(|link| link.registration).count();
    let properties = json!({
        "maxNumberOfRecordSets": RECORD_SETS_MAX,
        "numberOfRecordSets": names::record_sets(&request.view.state, key, zone, &seen),
        "maxNumberOfVirtualNetworkLinks": LINKS_MAX,
        "numberOfVirtualNetworkLinks": zone.links.len(),
        "maxNumberOfVirtualNetworkLinksWithRegistration": REGISTERING_MAX,
        "numberOfVirtualNetworkLinksWithRegistration": registering,
        "provisioningState": "Succeeded",
    });
    object(&ids::dns_zone(key), Some((&GLOBAL.to_owned(), &zone.tags)), properties)
}

/// `GET …/privateDnsZones/{name}/virtualNetworkLinks`
pub(super) fn list_links(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, zone) = found(request)?;
    let mut links: Vec<&ZoneLink> = zone.links.iter().collect();
    links.sort_by_key(|link| link.name.to_lowercase());
    page(request, links.into_iter(), |link| link.name.to_lowercase(), |link| Some(show_link(&key, link)))
}

/// `GET …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn get_link(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, zone) = found(request)?;
    let link = link_of(request, &zone).ok_or_else(|| Error::absent(actions::ZONE_LINKS, &request.link(&key)))?;
    Ok(ArmResponse::ok(show_link(&key, link)))
}

/// `PUT …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn put_link(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, mut zone) = writable(request, actions::write(actions::ZONE_LINKS))?;
    let before = link_of(request, &zone).cloned();
    request.check_conditions(before.as_ref().map(|link| show_link(&key, link)).as_ref())?;
    let link = read_link(request, before.as_ref())?;
    match zone.links.iter_mut().find(|other| other.name.eq_ignore_ascii_case(&link.name)) {
        Some(place) => *place = link.clone(),
        None => zone.links.push(link.clone()),
    }
    write(request, &key, &zone)?;
    Ok(ArmResponse::put(show_link(&key, &link), before.is_none()))
}

/// `PATCH …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn patch_link(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, mut zone) = writable(request, actions::write(actions::ZONE_LINKS))?;
    let before = link_of(request, &zone).cloned();
    let before = before.ok_or_else(|| Error::absent(actions::ZONE_LINKS, &request.link(&key)))?;
    let shown = show_link(&key, &before);
    request.check_conditions(Some(&shown))?;
    let body = JsonField::over(&request.body, Some(&shown))?;
    body.refuse_others(&["tags", "location", "properties"], NOT_BY_PATCH)?;
    body.properties().refuse_others(&["virtualNetwork", "registrationEnabled", "resolutionPolicy"], NOT_BY_PATCH)?;
    let link = read_link(request, Some(&before))?;
    zone.links.iter_mut().filter(|other| other.name == before.name).for_each(|place| *place = link.clone());
    write(request, &key, &zone)?;
    Ok(ArmResponse::put(show_link(&key, &link), false))
}

/// `DELETE …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn delete_link(request: &ArmRequest) -> Result<ArmResponse, Error> {
    request.demand(&Right::in_zone(&request.key(), actions::delete(actions::ZONE_LINKS)))?;
    let key = request.key();
    let Some(mut zone) = request.model().dns_zones.get(&key).cloned() else { return Ok(ArmResponse::absent()) };
    let before = link_of(request, &zone).cloned();
    request.check_conditions(before.as_ref().map(|link| show_link(&key, link)).as_ref())?;
    let Some(before) = before else { return Ok(ArmResponse::absent()) };
    zone.links.retain(|other| other.name != before.name);
    write(request, &key, &zone)?;
    Ok(ArmResponse::deleted())
}

/// The zone of the path, for whoever may do `action` in it.
///
/// # Errors
/// 403, 404.
pub(super) fn writable(request: &ArmRequest, action: crate::model::Action) -> Result<(Key, DnsZone), Error> {
    let key = request.key();
    request.demand(&Right::in_zone(&key, action))?;
    let found = request.model().dns_zones.entry(&key);
    found.map(|(key, one)| (key.clone(), one.clone())).ok_or_else(|| Error::absent(ids::DNS_ZONE, &key))
}

fn link_of<'a>(request: &ArmRequest, zone: &'a DnsZone) -> Option<&'a ZoneLink> {
    zone.links.iter().find(|link| link.name.eq_ignore_ascii_case(request.parameter("link")))
}

/// What a link is to; it never changes during its life.
fn read_link(request: &ArmRequest, before: Option<&ZoneLink>) -> Result<ZoneLink, Error> {
    let body = JsonField::root(&request.body)?;
    demand_global(&body)?;
    let properties = body.properties();
    let named = properties.id("virtualNetwork", ids::VNET)?;
    let vnet = match (&named, before) {
        (Some(id), Some(before)) if *id.key() != before.vnet => {
            return Err(properties.refused("the VNet of a link cannot change: delete the link and make another"));
        }
        (_, Some(before)) => before.vnet.clone(),
        (Some(id), None) => id.key().clone(),
        (None, None) => properties.required_id("virtualNetwork", ids::VNET)?.key().clone(),
    };
    let seen = request.model().vnets.contains_key(&vnet) && request.sees(ItemKind::Vnet, &vnet);
    if before.is_none() && !seen {
        let message = format!("there is no VNet {} that this caller may see", ids::vnet(&vnet));
        let at = "properties.virtualNetwork.id";
        return Err(Error::bad_request_of("InvalidResourceReference", &message, at));
    }
    let policy = match properties.text("resolutionPolicy")?.as_deref() {
        None | Some("") => before.map(|before| before.policy).unwrap_or_default(),
        Some(text) if text.eq_ignore_ascii_case("Default") => ResolutionPolicy::Default,
        Some(text) if text.eq_ignore_ascii_case("NxDomainRedirect") => ResolutionPolicy::NxDomainRedirect,
        Some(_) => return Err(properties.refused("`resolutionPolicy` is Default or NxDomainRedirect")),
    };
    Ok(ZoneLink {
        name: before.map_or_else(|| request.parameter("link").to_owned(), |before| before.name.clone()),
        vnet,
        policy,
        registration: properties.flag("registrationEnabled")?.or(before.map(|b| b.registration)).unwrap_or_default(),
        tags: body.tags()?.or_else(|| before.map(|before| before.tags.clone())).unwrap_or_default(),
    })
}

fn show_link(key: &Key, link: &ZoneLink) -> Value {
    let mut properties = json!({
        "virtualNetwork": { "id": ids::vnet(&link.vnet).to_string() },
        "registrationEnabled": link.registration,
        "resolutionPolicy": format!("{:?}", link.policy),
        "provisioningState": "Succeeded",
        "virtualNetworkLinkState": "Completed",
    });
    if link.registration {
        // Nobody is led to believe that hosts are registered.
        properties["privlink"] = json!({ "storedOnly": ["registrationEnabled"] });
    }
    let id = ids::dns_zone(key).below("virtualNetworkLinks", &link.name);
    object(&id, Some((&GLOBAL.to_owned(), &link.tags)), properties)
}

impl ArmRequest {
    /// What the path calls a link, beside its zone.
    fn link(&self, zone: &Key) -> Key {
        zone.beside(self.parameter("link"))
    }
}
