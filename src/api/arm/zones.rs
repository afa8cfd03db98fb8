//! Private DNS zones and their links to VNets.

use serde_json::{Value, json};

use super::Error;
use super::adapter::{Adapter, found, write};
use super::body::{JsonField, NOT_BY_PATCH};
use super::request::{ArmRequest, Reader};
use super::response::{ArmResponse, object, page};
use crate::access::rights::Right;
use crate::model::rules::{LINKS_MAX, RECORD_SETS_MAX};
use crate::model::state::ItemKind;
use crate::model::{DnsZone, Key, ResolutionPolicy, Tags, ZoneLink, actions, ids, names};

/// Zones are nowhere in particular.
const GLOBAL: &str = "global";

/// The most links with auto-registration, as Azure reports it.
const REGISTERING_MAX: usize = 100;

impl Adapter for DnsZone {
    fn show(&self, reader: &Reader<'_>, key: &Key) -> Option<Value> {
        let seen = |endpoint: &Key| reader.sees(ItemKind::Endpoint, endpoint);
        let registering = self.links.iter().filter(|link| link.registration).count();
        let properties = json!({
            "maxNumberOfRecordSets": RECORD_SETS_MAX,
            "numberOfRecordSets": names::record_sets(&reader.view().state, key, self, &seen),
            "maxNumberOfVirtualNetworkLinks": LINKS_MAX,
            "numberOfVirtualNetworkLinks": self.links.len(),
            "maxNumberOfVirtualNetworkLinksWithRegistration": REGISTERING_MAX,
            "numberOfVirtualNetworkLinksWithRegistration": registering,
            "provisioningState": "Succeeded",
        });
        Some(object(&ids::dns_zone(key), Some((&GLOBAL.to_owned(), &self.tags)), properties))
    }

    fn read(_ask: &ArmRequest, _key: &Key, before: Option<&Self>, body: &JsonField<'_>) -> Result<Self, Error> {
        demand_global(body)?;
        let mut zone = before.cloned().unwrap_or_default();
        zone.tags = body.tags()?.unwrap_or(zone.tags);
        Ok(zone)
    }

    fn set_tags(&mut self, tags: Tags) {
        self.tags = tags;
    }

    fn check_unused(&self, key: &Key) -> Result<(), Error> {
        let Some(link) = self.links.first() else { return Ok(()) };
        let message =
            format!("Private DNS zone {} has links to VNets, such as {}: delete those first.", key.name, link.name);
        Err(Error::conflict("CannotDeleteResource", &message))
    }
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

/// `GET …/privateDnsZones/{name}/virtualNetworkLinks`
pub(super) fn list_links(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, zone) = found::<DnsZone>(request)?;
    let mut links: Vec<&ZoneLink> = zone.links.iter().collect();
    links.sort_by_key(|link| link.name.to_lowercase());
    page(request, links.into_iter(), |link| link.name.to_lowercase(), |link| Some(show_link(&key, link)))
}

/// `GET …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn get_link(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, zone) = found::<DnsZone>(request)?;
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
    write(request, &key, zone)?;
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
    write(request, &key, zone)?;
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
    write(request, &key, zone)?;
    Ok(ArmResponse::deleted())
}

/// The zone of the path, if the caller may do `action` in it.
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
        return Err(Error::unseen(format_args!("VNet {}", ids::vnet(&vnet)), "properties.virtualNetwork.id"));
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
        // Auto-registration is not supported, so it must not look as if it were.
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
