//! Private endpoints: where they are, what they are bound to, and by which addresses.

use std::collections::HashSet;

use super::subnets::{contains, is_reserved, named, usable_text};
use super::{
    Findings, Object, check_address, check_key, check_prefix, check_session_limit, host, known, list, rates,
    same_region, short, zones,
};
use crate::model::sentence::{Mention, Part, Sentence, itself, sentence};
use crate::model::state::ItemKind;
use crate::model::{HostConfig, Key, Limits, LinkResource, Model, NetworkPolicies, PrivateEndpoint, Vnet};
use crate::snapshot::ConnectionState;

/// Characters of a request message at most, as in Azure.
pub const MESSAGE_MAX: usize = 140;

/// What must hold for one endpoint, whatever other endpoints there are.
pub(super) fn check(
    model: &Model,
    host: Option<&HostConfig>,
    key: &Key,
    endpoint: &PrivateEndpoint,
    findings: &mut Findings,
) {
    let object = Object::Endpoint(key.clone());
    let limits = host.map_or(Limits::default(), |host| host.limits);
    check_key(key, &object, findings);
    check_session_limit("max_sessions", endpoint.max_sessions, &object, findings);
    rates::check(endpoint.rates, &object, findings);
    check_request(&object, endpoint, findings);
    for (index, prefix) in endpoint.sources.iter().enumerate() {
        check_prefix(prefix, object.at(format!("sources[{index}]")), findings);
    }
    if !endpoint.sources.is_empty() && !limits.network_policies {
        findings.error(
            "PrivateEndpointSourceRulesNotSupported",
            object.at("sources"),
            "source rules are not supported on private endpoints (limits: network_policies)",
            OUTBOUND_RULES,
        );
    }
    if let Some(vnet) = model.vnets.get(&endpoint.vnet) {
        check_place(&object, endpoint, vnet, findings);
        check_subnet(&object, endpoint, vnet, limits, findings);
        if let Some(host) = host {
            host::check_endpoint(model, host, &object, endpoint, vnet, findings);
        }
    } else {
        let message = itself(format!("there is no VNet `{}`", short(&endpoint.vnet)));
        let remedy = known("known VNets", ItemKind::Vnet, &model.vnets);
        findings.error("InvalidResourceReference", object.at("vnet"), message, remedy);
    }
    zones::check_group(model, &object, (key, endpoint), findings);
    if model.is_left(key, endpoint) {
        return;
    }
    if let Some(resource) = model.resources.get(&endpoint.resource) {
        check_binding(&object, endpoint, resource, findings);
        check_regions(&object, endpoint, resource, limits, findings);
    } else {
        let message = itself(format!("there is no resource `{}`", short(&endpoint.resource)));
        let remedy = known("known resources", ItemKind::Resource, &model.resources);
        findings.error("InvalidResourceReference", object.at("resource"), message, remedy);
    }
}

/// What Azure advised where rules did not apply to endpoints (row 1).
const OUTBOUND_RULES: &str = "control the traffic with security rules for outbound traffic on the source clients";

/// What the subnet must not have (rows 1 and 2 of Azure's limitations of 2019).
fn check_subnet(object: &Object, endpoint: &PrivateEndpoint, vnet: &Vnet, limits: Limits, findings: &mut Findings) {
    let Some(subnet) = named(vnet, &endpoint.subnet) else { return };
    let (at, before) = (object.at("subnet"), findings.0.len());
    let said = || Mention::subnet(&endpoint.vnet, &subnet.name);
    if !subnet.delegations.is_empty() {
        findings.error(
            "PrivateEndpointCannotBeCreatedInDelegatedSubnet",
            at.clone(),
            sentence!(
                "{} and takes no endpoints",
                said().with(format_args!(" is delegated to {}", list(&subnet.delegations)))
            ),
            "put the endpoint into a separate subnet",
        );
    }
    if !subnet.service_endpoints.is_empty() && !limits.service_endpoints {
        findings.error(
            "PrivateEndpointCannotBeCreatedInSubnetWithServiceEndpoints",
            at.clone(),
            sentence!(
                "{} and takes no private ones (limits: service_endpoints)",
                said().with(format_args!(" has service endpoints ({})", list(&subnet.service_endpoints)))
            ),
            "put the endpoint into a separate subnet",
        );
    }
    if subnet.network_policies != NetworkPolicies::Disabled && !limits.network_policies {
        findings.error(
            "PrivateEndpointCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
            at,
            sentence!(
                "{} and takes no endpoints (limits: network_policies)",
                said().with(" has network policies enabled")
            ),
            itself(format!("set `network_policies = \"Disabled\"` on the subnet, and {OUTBOUND_RULES}")),
        );
    }
    for violation in &mut findings.0[before..] {
        violation.involves.push(Object::Vnet(endpoint.vnet.clone()));
    }
}

/// Whether the resource may be reached from the endpoint's region (row 3 of Azure's limitations of 2019).
fn check_regions(
    object: &Object,
    endpoint: &PrivateEndpoint,
    resource: &LinkResource,
    limits: Limits,
    findings: &mut Findings,
) {
    if same_region(&endpoint.region, &resource.region) {
        return;
    }
    let (name, region) = (short(&endpoint.resource), &resource.region);
    let offer = |words: String| Mention::offer(&endpoint.resource, words);
    if !resource.cross_region {
        findings.error(
            "CrossRegionNotAllowed",
            object.at("resource"),
            sentence!(
                "{} takes endpoints of its own region{} only, and this one is in {}",
                itself(format!("`{name}`")),
                Part::Aside(offer(format!(" `{region}`"))),
                itself(format!("`{}`", endpoint.region))
            ),
            sentence!(
                "put the endpoint into a VNet of {}, or ask the owner to set `cross_region = true`",
                offer(format!("`{region}`"))
            ),
        );
    } else if resource.kind.is_none() && !limits.cross_region {
        findings.error(
            "PrivateLinkServiceInDifferentRegionNotSupported",
            object.at("resource"),
            sentence!(
                "private link service {} is in {}, and this endpoint is in {} (limits: cross_region)",
                itself(format!("`{name}`")),
                offer(format!("region `{region}`")),
                itself(format!("`{}`", endpoint.region))
            ),
            "deploy the private link service in the same region",
        );
    } else {
        return;
    }
    findings.involving(Object::Resource(endpoint.resource.clone()));
}

fn check_request(object: &Object, endpoint: &PrivateEndpoint, findings: &mut Findings) {
    let length = endpoint.request_message.chars().count();
    if length > MESSAGE_MAX {
        findings.error(
            "RequestMessageTooLong",
            object.at("request_message"),
            itself(format!("the request message has {length} characters, and {MESSAGE_MAX} are allowed")),
            itself(format!("shorten it by {}", length - MESSAGE_MAX)),
        );
    } else if length > 0 && !endpoint.manual {
        findings.warning(
            "RequestMessageUnread",
            object.at("request_message"),
            "nobody is asked, so nobody reads the request message",
            "set `manual = true`, or leave the message out",
        );
    }
    if endpoint.status == Some(ConnectionState::Disconnected) {
        findings.error(
            "InvalidConnectionState",
            object.at("status"),
            "Disconnected is not a decision: a connection becomes so when its owner removes it",
            "write \"Approved\", \"Pending\" or \"Rejected\", or remove the endpoint",
        );
    }
}

fn check_place(object: &Object, endpoint: &PrivateEndpoint, vnet: &Vnet, findings: &mut Findings) {
    let involved = Object::Vnet(endpoint.vnet.clone());
    let network = || Mention::vnet(&endpoint.vnet);
    if !same_region(&endpoint.region, &vnet.region) {
        findings.error(
            "RegionMismatch",
            object.at("region"),
            sentence!(
                "region `{}` is not that of {}",
                itself(&endpoint.region),
                network().with(format_args!(", `{}`", vnet.region))
            ),
            sentence!("write that of {}, or leave `region` out", network().with(format_args!(", \"{}\"", vnet.region))),
        );
        findings.involving(involved.clone());
    }
    let Some(subnet) = named(vnet, &endpoint.subnet) else {
        findings.error(
            "InvalidResourceReference",
            object.at("subnet"),
            itself(format!("VNet `{}` has no subnet `{}`", short(&endpoint.vnet), endpoint.subnet)),
            Part::Known(
                "its subnets",
                vnet.subnets.iter().map(|one| Mention::subnet_name(&endpoint.vnet, &one.name)).collect(),
            ),
        );
        findings.involving(involved);
        return;
    };
    for (index, address) in endpoint.addresses.iter().enumerate() {
        let Some(ip) = address.ip else { continue };
        let at = object.at(format!("addresses[{index}].ip"));
        if !check_address(ip, "endpoint address", at.clone(), findings) {
            continue;
        }
        let said = |more: &str| Mention::subnet(&endpoint.vnet, &subnet.name).with(more);
        let place = said(&format!(" ({})", list(&subnet.prefixes)));
        let usable = said(&format!(" {}", usable_text(subnet)));
        let remedy = sentence!("choose an address of {}, or leave `ip` out", usable);
        if !contains(subnet, ip) {
            findings.error(
                "PrivateIPAddressNotInSubnet",
                at,
                sentence!("endpoint address {} is outside {}", ip, place),
                remedy,
            );
            findings.involving(involved.clone());
        } else if is_reserved(subnet, ip) {
            findings.error(
                "PrivateIPAddressIsReserved",
                at,
                sentence!("endpoint address {} is reserved in {}", ip, place),
                remedy,
            );
            findings.involving(involved.clone());
        }
    }
}

fn check_binding(object: &Object, endpoint: &PrivateEndpoint, resource: &LinkResource, findings: &mut Findings) {
    let involved = Object::Resource(endpoint.resource.clone());
    let name = short(&endpoint.resource);
    let offer = |words: String| Mention::offer(&endpoint.resource, words);
    if resource.targets.is_empty() {
        return;
    }
    let mut valid: Vec<&str> = resource.targets.iter().map(|target| target.subresource.as_str()).collect();
    valid.sort_unstable();
    valid.dedup();
    if !valid.contains(&endpoint.subresource.as_str()) {
        let (message, remedy): (Sentence, Sentence) = match (resource.kind.is_some(), endpoint.subresource.as_str()) {
            (false, given) => (
                itself(format!("`{name}` is a private link service and has no subresource `{given}`")).into(),
                "leave `subresource` out".into(),
            ),
            (true, "") => (
                itself(format!("`{name}` has several subresources, so the endpoint needs `subresource`")).into(),
                sentence!("choose one of {}", offer(list(&valid))),
            ),
            (true, given) => (
                itself(format!("`{name}` has no subresource `{given}`")).into(),
                sentence!("choose one of {}", offer(list(&valid))),
            ),
        };
        findings.error("InvalidSubresource", object.at("subresource"), message, remedy);
        findings.involving(involved);
        return;
    }
    if endpoint.addresses.is_empty() {
        return;
    }
    let bound = |subresource: &str| subresource == endpoint.subresource;
    let mut members: Vec<&str> = Vec::new();
    for target in resource.targets.iter().filter(|target| bound(&target.subresource)) {
        if !members.contains(&target.member.as_str()) {
            members.push(&target.member);
        }
    }
    let names = || list(members.iter().map(|member| format!("`{member}`")));
    let before = findings.0.len();
    let mut seen = HashSet::new();
    for (index, address) in endpoint.addresses.iter().enumerate() {
        let at = object.at(format!("addresses[{index}].member"));
        let member = address.member.as_str();
        if !members.contains(&member) {
            let (message, remedy): (Sentence, Sentence) = match (member, members.as_slice()) {
                ("", _) => (
                    sentence!(
                        "{} has the members {}, so each address needs its `member`",
                        itself(format!("`{name}`")),
                        offer(names())
                    ),
                    "write `addresses = [{ member = \"…\" }, …]` with one entry per member, or leave the addresses out"
                        .into(),
                ),
                (_, [""]) => (itself(format!("`{name}` has no members")).into(), "leave `member` out".into()),
                _ => (
                    itself(format!("`{name}` has no member `{member}`")).into(),
                    sentence!("choose one of {}", offer(names())),
                ),
            };
            findings.error("InvalidMember", at, message, remedy).involving(involved.clone());
        } else if !seen.insert(member) {
            let message = itself(if member.is_empty() {
                format!("`{name}` needs one address, and this is another")
            } else {
                format!("member `{member}` has an address already")
            });
            findings.error("DuplicateMember", at, message, "keep one of the two").involving(involved.clone());
        }
    }
    let missing: Vec<String> =
        members.iter().filter(|member| !seen.contains(*member)).map(|member| format!("`{member}`")).collect();
    if findings.0.len() == before && !missing.is_empty() {
        findings.error(
            "MemberWithoutAddress",
            object.at("addresses"),
            sentence!("no address for member {} of {}", offer(missing.join(", ")), itself(format!("`{name}`"))),
            "add `{ member = \"…\" }` for each; without `ip` its address is allocated",
        );
        findings.involving(involved);
    }
}
