//! What a VNet may carry on this host: whatever becomes a route, a rule or an address here lies in its attachment's
//! `allow`, however it came into the model.

use ipnet::IpNet;

use crate::model::rules::networks::peered;
use crate::model::rules::{Findings, Object, short};
use crate::model::sentence::{Mention, Named, Part, itself, sentence};
use crate::model::{HostConfig, Key, Model, Vnet};

pub(super) fn check(model: &Model, host: &HostConfig, findings: &mut Findings) {
    for attachment in &host.attachments {
        let (Some(allow), Some(vnet)) = (&attachment.allow, model.vnets.get(&attachment.vnet)) else { continue };
        let home = &attachment.vnet;
        let bound = (home, allow.as_slice(), attachment.pinned.allow);
        check_vnet(vnet, bound, findings);
        // Endpoints of peers are routed here, too.
        for peer in vnet.peerings.iter().filter(|peer| peered(model, home, peer)) {
            let prefixes = model.vnets.get(peer).map(|peer| peer.address_space.as_slice()).unwrap_or_default();
            for (index, prefix) in prefixes.iter().enumerate() {
                let field = format!("address_space[{index}]");
                refuse_foreign((peer, &field), *prefix, bound, findings);
            }
        }
    }
}

/// The VNet of an attachment, what it may carry, and whether the file itself says so.
type Bound<'a> = (&'a Key, &'a [IpNet], bool);

fn check_vnet(vnet: &Vnet, bound: Bound<'_>, findings: &mut Findings) {
    let key = bound.0;
    let lists = [
        ("address_space", &vnet.address_space),
        ("on_premises", &vnet.on_premises),
        ("public_prefixes", &vnet.public_prefixes),
    ];
    for (name, prefixes) in lists {
        for (index, prefix) in prefixes.iter().enumerate() {
            refuse_foreign((key, &format!("{name}[{index}]")), *prefix, bound, findings);
        }
    }
    for (index, address) in vnet.dns.iter().flat_map(|dns| &dns.listen).enumerate() {
        refuse_foreign((key, &format!("dns.listen[{index}]")), IpNet::from(*address), bound, findings);
    }
}

/// Notes a prefix of `vnet` that the attachment of `home` may not carry.
fn refuse_foreign(
    (vnet, field): (&Key, &str),
    prefix: IpNet,
    (home, allow, pinned): Bound<'_>,
    findings: &mut Findings,
) {
    if allow.iter().any(|allowed| allowed.contains(&prefix)) {
        return;
    }
    let name = short(home);
    // Whole: what a list leaves out that was allowed by default would be refused then.
    let all: Vec<String> = allow.iter().chain([&prefix]).map(|prefix| format!("\"{prefix}\"")).collect();
    let whole = Mention::new(Named::Host, format!(": allow = [{}]", all.join(", ")));
    findings.tightened(
        "PrefixNotAllowedHere",
        Object::Vnet(vnet.clone()).at(field),
        format!("{prefix} at {name}"),
        itself(format!("{prefix} is not among what the attachment of VNet `{name}` may carry on this host")),
        sentence!(
            "have its operator add it to `allow` of that [[attachment]] in the daemon's file{}",
            Part::Aside(whole)
        ),
    );
    findings.left_out(pinned).involving(Object::Vnet(home.clone()));
}
