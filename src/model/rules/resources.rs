//! Link resources: their VNet, NAT addresses, targets and ports.

use std::collections::HashSet;

use super::subnets::{contains, is_reserved, usable_text};
use super::{
    Findings, NAME_MAX, Object, Severity, check_address, check_key, check_name, check_session_limit, check_timeouts,
    is_name, known, list, rates, same_region, short,
};
use crate::model::sentence::{Mention, Part, itself, sentence};
use crate::model::state::ItemKind;
use crate::model::{
    AttachmentSpec, HealthCheck, Key, LinkResource, Model, PortSpec, ResourceType, Subnet, TargetSpec, Visibility,
    Vnet, resource_types,
};
use crate::snapshot::Protocol;

/// NAT addresses of one resource at most, as in Azure.
pub const NAT_MAX: usize = 8;

/// Entries of a list of subscriptions at most, as in Azure.
const SUBSCRIPTIONS_MAX: usize = 100;

/// The rules about one resource; where its VNet has an attachment, that may let its backends be outside.
pub(super) fn check(
    model: &Model,
    attachment: Option<&AttachmentSpec>,
    key: &Key,
    resource: &LinkResource,
    findings: &mut Findings,
) {
    let object = Object::Resource(key.clone());
    check_key(key, &object, findings);
    check_session_limit("max_sessions", resource.max_sessions, &object, findings);
    check_session_limit("max_sessions_per_endpoint", resource.max_sessions_per_endpoint, &object, findings);
    rates::check(resource.rates, &object, findings);
    check_timeouts(&resource.timeouts, &object, findings);
    check_kind(model, &object, resource, findings);
    check_sharing(&object, resource, findings);
    let vnet = resource.vnet.as_ref().and_then(|vnet| model.vnets.get(vnet));
    if let Some(named) = resource.vnet.as_ref().filter(|_| vnet.is_none()) {
        let message = itself(format!("there is no VNet `{}`", short(named)));
        let remedy = known("known VNets", ItemKind::Vnet, &model.vnets);
        findings.error("InvalidResourceReference", object.at("vnet"), message, remedy);
    }
    check_nat(&object, resource, vnet, findings);
    check_targets(&object, resource, (vnet, attachment), findings);
}

/// A declaration of a type.
pub(super) fn check_type(kind: &ResourceType, findings: &mut Findings) {
    let object = Object::ResourceType(kind.name.clone());
    if !is_kind(&kind.name) {
        let remedy = "write provider and type, such as \"Microsoft.Storage/storageAccounts\"";
        findings.error("InvalidResourceType", object.at("name"), "the type is not of the form provider/type", remedy);
    }
    for (index, region) in kind.regions.iter().enumerate().filter(|(_, region)| region.trim().is_empty()) {
        let at = object.at(format!("regions[{index}]"));
        findings.error(
            "InvalidRegion",
            at,
            itself(format!("region `{region}` is empty")),
            "name one, such as \"westeurope\"",
        );
    }
}

fn check_kind(model: &Model, object: &Object, resource: &LinkResource, findings: &mut Findings) {
    let Some(kind) = &resource.kind else { return };
    let at = object.at("type");
    if !is_kind(kind) {
        let remedy = "write provider and type, such as \"Microsoft.Storage/storageAccounts\", or leave it out";
        findings.error("InvalidResourceType", at, "the type is not of the form provider/type", remedy);
        return;
    }
    let known = resource_types::find(kind);
    let declared = model.resource_types.get(&ResourceType::key(kind));
    if known.is_none() && declared.is_none() {
        let remedy = match resource_types::nearest(kind) {
            Some(near) => {
                itself(format!("did you mean \"{near}\"? Declare a type of your own with `[[resource_type]]`"))
            }
            None => itself(format!("declare it: `[[resource_type]]` with `name = \"{kind}\"`")),
        };
        findings.warning("UnknownResourceType", at, itself(format!("`{kind}` is no known resource type")), remedy);
    }
    for (index, target) in resource.targets.iter().enumerate().filter(|(_, target)| !target.subresource.is_empty()) {
        if let Some(known) = known.filter(|known| !known.takes(&target.subresource)) {
            findings.error(
                "InvalidSubresource",
                object.at(format!("targets[{index}].subresource")),
                itself(format!("{} has no subresource `{}`", known.name, target.subresource)),
                itself(format!("choose one of {}", known.subresources.join(", "))),
            );
        }
    }
    let regions = declared.map_or(&[] as &[String], |declared| &declared.regions);
    if !regions.is_empty() && !regions.iter().any(|offered| same_region(offered, &resource.region)) {
        findings.error(
            "ResourceTypeNotAvailableInRegion",
            object.at("region"),
            itself(format!("{kind} is not offered in region `{}`", resource.region)),
            itself(format!("choose one of {}", list(regions))),
        );
        findings.involving(Object::ResourceType(kind.clone()));
    }
}

/// Who sees the resource, whose requests are approved at once, and what it is called outside.
fn check_sharing(object: &Object, resource: &LinkResource, findings: &mut Findings) {
    let visible = match &resource.visibility {
        Visibility::Subscriptions(list) => Some(list.as_slice()),
        Visibility::Readers | Visibility::ById | Visibility::Everyone => None,
    };
    for (field, subscriptions) in
        [("visibility", visible.unwrap_or_default()), ("auto_approval", &resource.auto_approval)]
    {
        if subscriptions.len() > SUBSCRIPTIONS_MAX {
            findings.error(
                "TooManySubscriptions",
                object.at(field),
                itself(format!(
                    "`{field}` has {} subscriptions, and {SUBSCRIPTIONS_MAX} are allowed",
                    subscriptions.len()
                )),
                "keep those that are needed",
            );
            return;
        }
        for (index, subscription) in subscriptions.iter().enumerate() {
            check_name(&format!("{field}[{index}]"), "subscription", subscription, object, findings);
        }
    }
    for (index, subscription) in resource.auto_approval.iter().enumerate() {
        if visible.is_some() && !resource.visibility.admits(subscription) {
            findings.error(
                "AutoApprovalNotVisible",
                object.at(format!("auto_approval[{index}]")),
                itself(format!("subscription `{subscription}` is approved at once, and does not see the resource")),
                "add it to `visibility`, or remove it here",
            );
        }
    }
    if let Some(prefix) = &resource.alias {
        if resource.kind.is_some() {
            let remedy = "leave `alias` out: typed resources are requested by name or resource ID";
            findings.error("InvalidAlias", object.at("alias"), "only a private link service has an alias", remedy);
        } else if !is_name(prefix) || prefix.contains('.') {
            let remedy =
                itself(format!("use 1 to {NAME_MAX} letters, digits, `-` and `_`, and begin with a letter or digit"));
            findings.error(
                "InvalidAlias",
                object.at("alias"),
                itself(format!("`{prefix}` cannot begin an alias")),
                remedy,
            );
        }
    }
    if resource.proxy_protocol {
        findings.warning(
            "SettingWithoutEffect",
            object.at("proxy_protocol"),
            "the PROXY header is not sent: `proxy_protocol` is stored only",
            "leave it out unless you want it shown; `privlink who` tells whose a NAT address is",
        );
    }
}

fn is_kind(kind: &str) -> bool {
    kind.split('/').count() >= 2
        && kind.split('/').all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        })
}

fn check_nat(object: &Object, resource: &LinkResource, vnet: Option<&Vnet>, findings: &mut Findings) {
    let Some(home) = &resource.vnet else { return check_homeless(object, resource, findings) };
    if resource.nat.is_empty() || resource.nat.len() > NAT_MAX {
        findings.error(
            "InvalidNatIpCount",
            object.at("nat"),
            itself(format!("a resource has 1 to {NAT_MAX} NAT IPs, this one {}", resource.nat.len())),
            "name between one and eight free addresses of a subnet of its VNet",
        );
    }
    for (index, &address) in resource.nat.iter().enumerate() {
        let at = object.at(format!("nat[{index}]"));
        if !check_address(address, "NAT IP", at.clone(), findings) {
            continue;
        }
        let Some(vnet) = vnet else { continue };
        let name = short(home);
        let subnet = |subnet: &Subnet| Mention::subnet(home, &subnet.name);
        match vnet.subnets.iter().find(|subnet| contains(subnet, address)) {
            None => {
                let fit = vnet.subnets.iter().filter(|subnet| !subnet.dedicated);
                let fit = fit
                    .map(|one| Mention::subnet_name(home, &one.name).with(format_args!(" ({})", list(&one.prefixes))))
                    .collect();
                findings.error(
                    "NatIpNotInSubnet",
                    at,
                    itself(format!("NAT IP {address} is in no subnet of VNet `{name}`")),
                    Part::Known("choose a free address of one of its subnets that are not dedicated", fit),
                );
            }
            Some(found) if found.dedicated => {
                findings.error(
                    "NatIpInDedicatedSubnet",
                    at,
                    sentence!("NAT IP {} is in dedicated {}, which holds endpoints only", address, subnet(found)),
                    "choose an address of another subnet, or remove `dedicated` there",
                );
            }
            Some(found) if is_reserved(found, address) => {
                let within = subnet(found).with(format_args!(" ({})", list(&found.prefixes)));
                findings.error(
                    "NatIpIsReserved",
                    at,
                    sentence!("NAT IP {} is reserved in {}", address, within),
                    sentence!("choose an address of {}", subnet(found).with(format_args!(" {}", usable_text(found)))),
                );
            }
            Some(found) if !found.takes_nat() => {
                findings.tightened(
                    "PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
                    at,
                    address,
                    sentence!("NAT IP {} is in {}, which does not take NAT addresses", address, subnet(found)),
                    "set `nat = true` on that subnet (`privateLinkServiceNetworkPolicies: \"Disabled\"`), or choose another",
                );
            }
            Some(_) => continue,
        }
        findings.involving(Object::Vnet(home.clone()));
    }
}

/// What has no VNet has no addresses there.
fn check_homeless(object: &Object, resource: &LinkResource, findings: &mut Findings) {
    if !resource.nat.is_empty() || resource.targets.iter().any(|target| !target.backends.is_empty()) {
        let remedy = "name the VNet of its servers";
        findings.error("InvalidResourceReference", object.at("vnet"), "the resource has servers and no VNet", remedy);
    } else {
        let remedy = "name a VNet, NAT addresses and servers";
        findings.warning("ResourceWithoutVnet", object.at("vnet"), "nothing serves this resource yet", remedy);
    }
}

fn check_targets(
    object: &Object,
    resource: &LinkResource,
    home: (Option<&Vnet>, Option<&AttachmentSpec>),
    findings: &mut Findings,
) {
    if resource.targets.is_empty() {
        let remedy =
            "add one: `targets = [{ backends = [\"10.20.0.2\"], ports = [{ protocol = \"tcp\", port = 5432 }] }]`";
        findings.error("NoTargets", object.at("targets"), "the resource has no targets", remedy);
    }
    let mut seen = HashSet::new();
    for (index, target) in resource.targets.iter().enumerate() {
        let field = format!("targets[{index}]");
        let typed = resource.kind.is_some();
        if typed && target.subresource.is_empty() {
            let remedy = "name the part of the resource it serves, such as `subresource = \"blob\"`";
            findings.error(
                "InvalidSubresource",
                object.at(format!("{field}.subresource")),
                "a target of a typed resource needs `subresource`",
                remedy,
            );
        } else if !typed && !target.subresource.is_empty() {
            findings.error(
                "InvalidSubresource",
                object.at(format!("{field}.subresource")),
                "a private link service has no subresources",
                "remove `subresource` here, or give the resource a `type`",
            );
        } else if !seen.insert((&target.subresource, &target.member)) {
            let (place, message) = match (target.subresource.as_str(), target.member.as_str()) {
                ("", "") => ("", itself("a second target without `member`")),
                (subresource, "") => {
                    ("subresource", itself(format!("a second target for subresource `{subresource}`")))
                }
                (_, member) => ("member", itself(format!("a second target for member `{member}`"))),
            };
            let remedy = "give each target a `member` of its own, or put all backends and ports into one";
            let at = if place.is_empty() { field.clone() } else { format!("{field}.{place}") };
            findings.error("DuplicateTarget", object.at(at), message, remedy);
        }
        check_backends(object, &field, resource, target, home, findings);
        check_ports(object, &field, resource, target, findings);
        for (name, check) in target.checks() {
            let at = if name.is_empty() { format!("{field}.health") } else { format!("{field}.port_checks.{name}") };
            check_health(object, &at, check, findings);
        }
    }
}

fn check_health(object: &Object, field: &str, check: &HealthCheck, findings: &mut Findings) {
    if check.path.as_deref().is_some_and(|path| !HealthCheck::is_path(path)) {
        findings.error(
            "InvalidHealthCheck",
            object.at(format!("{field}.path")),
            "this is no path that a server can be asked for",
            HealthCheck::PATH_REMEDY,
        );
    }
    if check.port == 0 {
        findings.error(
            "InvalidHealthCheck",
            object.at(format!("{field}.port")),
            "port 0 answers nobody",
            "name the port its servers listen on",
        );
    }
    for (name, count) in [("fall", check.fall), ("rise", check.rise)] {
        if !(1..=10).contains(&count) {
            let message = itself(format!("`{name} = {count}` is out of range"));
            findings.error(
                "InvalidHealthCheck",
                object.at(format!("{field}.{name}")),
                message,
                "choose a number from 1 to 10",
            );
        }
    }
    if check.timeout > check.interval {
        let message = "a check may take longer than the time between two";
        findings.error(
            "InvalidHealthCheck",
            object.at(format!("{field}.timeout")),
            message,
            "choose a `timeout` of at most `interval`",
        );
    }
}

fn check_backends(
    object: &Object,
    field: &str,
    resource: &LinkResource,
    target: &TargetSpec,
    (vnet, attachment): (Option<&Vnet>, Option<&AttachmentSpec>),
    findings: &mut Findings,
) {
    let reach = attachment.map(|attachment| attachment.reach.as_slice()).unwrap_or_default();
    if target.backends.is_empty() {
        let remedy = "name the addresses of its servers";
        let at = object.at(format!("{field}.backends"));
        findings.note(empty(resource), "NoBackends", at, "the target has no backends", remedy);
    }
    let mut seen = HashSet::new();
    for (index, backend) in target.backends.iter().enumerate() {
        let at = object.at(format!("{field}.backends[{index}]"));
        let address = backend.address;
        if !check_address(address, "backend", at.clone(), findings) {
            continue;
        }
        if !seen.insert(address) {
            findings.error(
                "DuplicateBackend",
                at,
                itself(format!("backend {address} is listed twice")),
                "remove one of the two",
            );
            continue;
        }
        if !resource.nat.is_empty() && !resource.nat.iter().any(|nat| nat.is_ipv4() == address.is_ipv4()) {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            findings.error(
                "BackendFamilyWithoutNatIp",
                at,
                itself(format!("backend {address} is {family}, and the resource has no NAT IP of that family")),
                itself(format!("add an {family} address to `nat`")),
            );
            continue;
        }
        let Some(vnet) = vnet.filter(|vnet| !vnet.address_space.is_empty()) else { continue };
        if !vnet.address_space.iter().chain(&vnet.on_premises).chain(reach).any(|own| own.contains(&address)) {
            findings.tightened(
                "BackendOutsideVnet",
                at,
                address,
                itself(format!(
                    "backend {address} is neither in VNet `{}` nor on its premises",
                    resource.vnet.as_ref().map(short).unwrap_or_default()
                )),
                "name a server of the VNet; for others the daemon's file allows prefixes: `[[attachment]] reach`",
            );
            findings.left_out(attachment.is_some_and(|attachment| attachment.pinned.reach));
            resource.vnet.iter().for_each(|vnet| _ = findings.involving(Object::Vnet(vnet.clone())));
        }
    }
}

/// How bad it is that a target is empty: what follows from a load balancer, or waits for its servers, may be.
fn empty(resource: &LinkResource) -> Severity {
    if resource.vnet.is_some() && resource.frontends.is_empty() { Severity::Error } else { Severity::Warning }
}

fn check_ports(object: &Object, field: &str, resource: &LinkResource, target: &TargetSpec, findings: &mut Findings) {
    if target.ports.is_empty() && !target.icmp {
        let remedy = "add one, such as `ports = [{ protocol = \"tcp\", port = 5432 }]`";
        let at = object.at(format!("{field}.ports"));
        findings.note(empty(resource), "NoPorts", at, "the target exposes no ports", remedy);
    }
    for (index, port) in target.ports.iter().enumerate() {
        let at = |name: &str| object.at(format!("{field}.ports[{index}].{name}"));
        let PortSpec { protocol, first, last, backend_first } = *port;
        if protocol == Protocol::Icmp {
            findings.error("InvalidPort", at("port"), "icmp has no ports", "write `{ protocol = \"icmp\" }`");
            continue;
        }
        if first == 0 || last == 0 {
            findings.error("InvalidPort", at("port"), "port 0 cannot be reached", "choose ports between 1 and 65535");
            continue;
        }
        if first > last {
            findings.error(
                "InvalidPort",
                at("port"),
                itself(format!("port range {first}-{last} is reversed")),
                itself(format!("write \"{last}-{first}\"")),
            );
            continue;
        }
        if backend_first == 0 {
            findings.error(
                "InvalidPort",
                at("backend_port"),
                "port 0 cannot be reached",
                "choose a port between 1 and 65535",
            );
        } else if u32::from(backend_first) + u32::from(last - first) > u32::from(u16::MAX) {
            let message = itself(format!("ports {first}-{last} from backend port {backend_first} on run past 65535"));
            let remedy = itself(format!("choose {} or less", u16::MAX - (last - first)));
            findings.error("InvalidPort", at("backend_port"), message, remedy);
        }
        let taken = target.ports[..index]
            .iter()
            .find(|other| other.protocol == protocol && other.first <= last && first <= other.last);
        if let Some(other) = taken {
            findings.error(
                "OverlappingPorts",
                at("port"),
                itself(format!("{protocol} ports {} overlap {}", range(first, last), range(other.first, other.last))),
                "expose each port once",
            );
        }
    }
}

fn range(first: u16, last: u16) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}
