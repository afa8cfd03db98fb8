//! Private DNS zones of somebody's own and their links to VNets.

use serde_json::{Value, json};

use super::Rejection;
use super::answer::{ArmResponse, object, page, patched};
use super::ask::ArmRequest;
use super::body::{JsonField, NOT_BY_PATCH};
use crate::access::rights::{Right, Verb};
use crate::model::decisions::{Item, ItemKind};
use crate::model::rules::{LINKS_MAX, RECORD_SETS_MAX};
use crate::model::{DnsZone, Key, Model, ResolutionPolicy, ZoneLink, actions, ids, names};

/// Zones are nowhere in particular.
pub(super) const GLOBAL: &str = "global";

/// Links that register hosts, at most, as Azure tells.
const REGISTERING_MAX: usize = 100;

/// `GET …/privateDnsZones`
pub(super) fn list(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let all = ask.model().dns_zones.iter();
    let here = all.filter(|(key, _)| ask.covers(key) && ask.sees(ItemKind::DnsZone, key));
    page(ask, here, |(key, _)| key.folded().to_owned(), |(key, zone)| Some(show(ask, key, zone)))
}

/// `GET …/privateDnsZones/{name}`
pub(super) fn get(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, zone) = found(ask)?;
    Ok(ArmResponse::ok(show(ask, &key, &zone)))
}

/// `PUT …/privateDnsZones/{name}`
pub(super) fn put(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let key = ask.key();
    ask.demand(&Right::on(ask.model(), &item(&key), Verb::Write))?;
    ask.demand_group()?;
    let before = ask.model().dns_zones.get(&key);
    ask.check_conditions(before.map(|zone| show(ask, &key, zone)).as_ref())?;
    let body = JsonField::root(&ask.body)?;
    demand_global(&body)?;
    let tags = body.tags()?.or_else(|| before.map(|before| before.tags.clone())).unwrap_or_default();
    let zone = DnsZone { tags, ..before.cloned().unwrap_or_default() };
    let created = before.is_none();
    write(ask, &key, &zone)?;
    let view = ask.afresh();
    let key = view.decisions.model.dns_zones.entry(&key).map_or(&key, |(key, _)| key);
    Ok(ArmResponse::put(show(ask, key, &zone), created))
}

/// `PATCH …/privateDnsZones/{name}`
pub(super) fn patch(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, zone) = found(ask)?;
    ask.demand(&Right::on(ask.model(), &item(&key), Verb::Write))?;
    let shown = show(ask, &key, &zone);
    ask.check_conditions(Some(&shown))?;
    let zone = DnsZone { tags: patched(ask, &item(&key), &zone.tags, &shown)?, ..zone };
    write(ask, &key, &zone)?;
    Ok(ArmResponse::put(show(ask, &key, &zone), false))
}

/// `DELETE …/privateDnsZones/{name}`
pub(super) fn delete(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let key = ask.key();
    ask.demand(&Right::on(ask.model(), &item(&key), Verb::Delete))?;
    let before = ask.model().dns_zones.get(&key);
    ask.check_conditions(before.map(|zone| show(ask, &key, zone)).as_ref())?;
    let Some(zone) = before else { return Ok(ArmResponse::absent()) };
    if let Some(link) = zone.links.first() {
        let message =
            format!("Private DNS zone {} has links to VNets, such as {}: delete those first.", key.name, link.name);
        return Err(Rejection::conflict("CannotDeleteResource", &message));
    }
    ask.delete(ItemKind::DnsZone, &key)?;
    Ok(ArmResponse::deleted())
}

/// The zone of the path, for whoever may read it.
///
/// # Errors
/// 403, 404.
pub(super) fn found(ask: &ArmRequest) -> Result<(Key, DnsZone), Rejection> {
    let key = ask.key();
    ask.may_read(ItemKind::DnsZone, &key)?;
    let found = ask.model().dns_zones.entry(&key);
    found.map(|(key, one)| (key.clone(), one.clone())).ok_or_else(|| Rejection::absent(ids::DNS_ZONE, &key))
}

/// Puts a changed zone in force, if nobody has changed it meanwhile.
///
/// # Errors
/// The refusal.
pub(super) fn write(ask: &ArmRequest, key: &Key, zone: &DnsZone) -> Result<(), Rejection> {
    let mut model = Model::default();
    model.dns_zones.insert(key.clone(), zone.clone());
    ask.put(vec![item(key)], model).map(drop)
}

fn item(key: &Key) -> Item {
    Item { kind: ItemKind::DnsZone, key: key.clone() }
}

/// `location` is `global`, or left out.
fn demand_global(body: &JsonField<'_>) -> Result<(), Rejection> {
    match body.text("location")? {
        Some(text) if !text.is_empty() && !text.eq_ignore_ascii_case(GLOBAL) => {
            Err(body.refused("`location` of a private DNS zone and of its links is `global`"))
        }
        _ => Ok(()),
    }
}

fn show(ask: &ArmRequest, key: &Key, zone: &DnsZone) -> Value {
    let seen = |endpoint: &Key| ask.sees(ItemKind::Endpoint, endpoint);
    let registering = zone.links.iter().filter(|link| link.registration).count();
    let properties = json!({
        "maxNumberOfRecordSets": RECORD_SETS_MAX,
        "numberOfRecordSets": names::record_sets(&ask.view.decisions, key, zone, &seen),
        "maxNumberOfVirtualNetworkLinks": LINKS_MAX,
        "numberOfVirtualNetworkLinks": zone.links.len(),
        "maxNumberOfVirtualNetworkLinksWithRegistration": REGISTERING_MAX,
        "numberOfVirtualNetworkLinksWithRegistration": registering,
        "provisioningState": "Succeeded",
    });
    object(&ids::dns_zone(key), Some((&GLOBAL.to_owned(), &zone.tags)), properties)
}

/// `GET …/privateDnsZones/{name}/virtualNetworkLinks`
pub(super) fn list_links(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, zone) = found(ask)?;
    let mut links: Vec<&ZoneLink> = zone.links.iter().collect();
    links.sort_by_key(|link| link.name.to_lowercase());
    page(ask, links.into_iter(), |link| link.name.to_lowercase(), |link| Some(show_link(&key, link)))
}

/// `GET …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn get_link(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, zone) = found(ask)?;
    let link = link_of(ask, &zone).ok_or_else(|| Rejection::absent(actions::ZONE_LINKS, &ask.link(&key)))?;
    Ok(ArmResponse::ok(show_link(&key, link)))
}

/// `PUT …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn put_link(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, mut zone) = writable(ask, actions::write(actions::ZONE_LINKS))?;
    let before = link_of(ask, &zone).cloned();
    ask.check_conditions(before.as_ref().map(|link| show_link(&key, link)).as_ref())?;
    let link = read_link(ask, before.as_ref())?;
    match zone.links.iter_mut().find(|other| other.name.eq_ignore_ascii_case(&link.name)) {
        Some(place) => *place = link.clone(),
        None => zone.links.push(link.clone()),
    }
    write(ask, &key, &zone)?;
    Ok(ArmResponse::put(show_link(&key, &link), before.is_none()))
}

/// `PATCH …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn patch_link(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, mut zone) = writable(ask, actions::write(actions::ZONE_LINKS))?;
    let before = link_of(ask, &zone).cloned();
    let before = before.ok_or_else(|| Rejection::absent(actions::ZONE_LINKS, &ask.link(&key)))?;
    let shown = show_link(&key, &before);
    ask.check_conditions(Some(&shown))?;
    let body = JsonField::over(&ask.body, Some(&shown))?;
    body.refuse_others(&["tags", "location", "properties"], NOT_BY_PATCH)?;
    body.properties().refuse_others(&["virtualNetwork", "registrationEnabled", "resolutionPolicy"], NOT_BY_PATCH)?;
    let link = read_link(ask, Some(&before))?;
    zone.links.iter_mut().filter(|other| other.name == before.name).for_each(|place| *place = link.clone());
    write(ask, &key, &zone)?;
    Ok(ArmResponse::put(show_link(&key, &link), false))
}

/// `DELETE …/privateDnsZones/{name}/virtualNetworkLinks/{link}`
pub(super) fn delete_link(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    ask.demand(&Right::in_zone(&ask.key(), actions::delete(actions::ZONE_LINKS)))?;
    let key = ask.key();
    let Some(mut zone) = ask.model().dns_zones.get(&key).cloned() else { return Ok(ArmResponse::absent()) };
    let before = link_of(ask, &zone).cloned();
    ask.check_conditions(before.as_ref().map(|link| show_link(&key, link)).as_ref())?;
    let Some(before) = before else { return Ok(ArmResponse::absent()) };
    zone.links.retain(|other| other.name != before.name);
    write(ask, &key, &zone)?;
    Ok(ArmResponse::deleted())
}

/// The zone of the path, for whoever may do `action` in it.
///
/// # Errors
/// 403, 404.
pub(super) fn writable(ask: &ArmRequest, action: crate::model::Action) -> Result<(Key, DnsZone), Rejection> {
    let key = ask.key();
    ask.demand(&Right::in_zone(&key, action))?;
    let found = ask.model().dns_zones.entry(&key);
    found.map(|(key, one)| (key.clone(), one.clone())).ok_or_else(|| Rejection::absent(ids::DNS_ZONE, &key))
}

fn link_of<'a>(ask: &ArmRequest, zone: &'a DnsZone) -> Option<&'a ZoneLink> {
    zone.links.iter().find(|link| link.name.eq_ignore_ascii_case(ask.parameter("link")))
}

/// What a link is to; it never changes during its life.
fn read_link(ask: &ArmRequest, before: Option<&ZoneLink>) -> Result<ZoneLink, Rejection> {
    let body = JsonField::root(&ask.body)?;
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
    let seen = ask.model().vnets.contains_key(&vnet) && ask.sees(ItemKind::Vnet, &vnet);
    if before.is_none() && !seen {
        let message = format!("there is no VNet {} that this caller may see", ids::vnet(&vnet));
        let at = "properties.virtualNetwork.id";
        return Err(Rejection::bad_request_of("InvalidResourceReference", &message, at));
    }
    let policy = match properties.text("resolutionPolicy")?.as_deref() {
        None | Some("") => before.map(|before| before.policy).unwrap_or_default(),
        Some(text) if text.eq_ignore_ascii_case("Default") => ResolutionPolicy::Default,
        Some(text) if text.eq_ignore_ascii_case("NxDomainRedirect") => ResolutionPolicy::NxDomainRedirect,
        Some(_) => return Err(properties.refused("`resolutionPolicy` is Default or NxDomainRedirect")),
    };
    Ok(ZoneLink {
        name: before.map_or_else(|| ask.parameter("link").to_owned(), |before| before.name.clone()),
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
