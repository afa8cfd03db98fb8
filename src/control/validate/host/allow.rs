//! What a VNet may carry on this host: whatever becomes a route, a rule or an address here lies in its attachment's
//! `allow`, however it came into the model.

use ipnet::IpNet;

use super::super::networks::peered;
use super::super::{Findings, Object, short};
use crate::control::model::{HostConfig, Key, Model, Vnet};

pub(super) fn check(model: &Model, host: &HostConfig, findings: &mut Findings) {
    for attachment in &host.attachments {
        let (Some(allow), Some(vnet)) = (&attachment.allow, model.vnets.get(&attachment.vnet)) else { continue };
        let home = &attachment.vnet;
        check_vnet(home, vnet, allow, findings);
        // Endpoints of peers are routed here, too.
        for peer in vnet.peerings.iter().filter(|peer| peered(model, home, peer)) {
            let prefixes = model.vnets.get(peer).map(|peer| peer.address_space.as_slice()).unwrap_or_default();
            for (index, prefix) in prefixes.iter().enumerate() {
                let field = format!("address_space[{index}]");
                refuse_foreign((peer, &field), *prefix, (home, allow), findings);
            }
        }
    }
}

fn check_vnet(key: &Key, vnet: &Vnet, allow: &[IpNet], findings: &mut Findings) {
    let lists = [
        ("address_space", &vnet.address_space),
        ("on_premises", &vnet.on_premises),
        ("public_prefixes", &vnet.public_prefixes),
    ];
    for (name, prefixes) in lists {
        for (index, prefix) in prefixes.iter().enumerate() {
            refuse_foreign((key, &format!("{name}[{index}]")), *prefix, (key, allow), findings);
        }
    }
    for (index, address) in vnet.dns.iter().flat_map(|dns| &dns.listen).enumerate() {
        refuse_foreign((key, &format!("dns.listen[{index}]")), IpNet::from(*address), (key, allow), findings);
    }
}

/// Notes a prefix of `vnet` that the attachment of `home` may not carry.
fn refuse_foreign(
    (vnet, field): (&Key, &str),
    prefix: IpNet,
    (home, allow): (&Key, &[IpNet]),
    findings: &mut Findings,
) {
    if allow.iter().any(|allowed| allowed.contains(&prefix)) {
        return;
    }
    let name = short(home);
    findings.tightened(
        "PrefixNotAllowedHere",
        Object::Vnet(vnet.clone()).at(field),
        format!("{prefix} at {name}"),
        format!("{prefix} is not among what the attachment of VNet `{name}` may carry on this host"),
        format!(
            "have its operator add it to `allow` of that [[attachment]] in the daemon's file: allow = [\"{prefix}\"]"
        ),
    );
    findings.involving(Object::Vnet(home.clone()));
}
