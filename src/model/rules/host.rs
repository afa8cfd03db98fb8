//! The daemon and the attachments: device names, namespaces, and whether every VNet in use meets this host.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

/// What VNets may carry on this host.
mod allow;

use super::networks::peered;
use super::{Findings, Object, check_timeouts, known, overlaps, short};
use crate::model::sentence::{Mention, Named, Part, itself, sentence};
use crate::model::state::ItemKind;
use crate::model::{AttachmentSpec, HostConfig, Key, Model, PrivateEndpoint, Vnet};

/// Characters of a Linux interface name at most (`IFNAMSIZ` without its final zero).
pub(super) const DEVICE_MAX: usize = 15;

/// Bytes of a Unix socket's path at most (`sun_path` without its final zero).
const SOCKET_PATH_MAX: usize = 107;

/// Data workers at most: each owns a queue of every device.
const WORKERS_MAX: u16 = 64;

/// The least MTU of an attachment, bytes: what every IPv6 link carries (RFC 8200 §5).
const MTU_MIN: u16 = 1280;

pub(super) fn check(model: &Model, host: &HostConfig, findings: &mut Findings) {
    check_daemon(host, findings);
    for (index, attachment) in host.attachments.iter().enumerate() {
        check_attachment(index, attachment, model, findings);
    }
    check_pairs(model, host, findings);
    check_reach(model, host, findings);
    allow::check(model, host, findings);
}

fn check_daemon(host: &HostConfig, findings: &mut Findings) {
    let daemon = Object::Daemon;
    if host.workers.is_some_and(|workers| !(1..=WORKERS_MAX).contains(&workers)) {
        let remedy = itself(format!("choose a number between 1 and {WORKERS_MAX}, or leave it out for one per core"));
        findings.error("InvalidWorkers", daemon.at("workers"), "the number of workers is out of range", remedy);
    }
    if host.max_sessions == 0 {
        findings.error(
            "InvalidSessionLimit",
            daemon.at("max_sessions"),
            "`max_sessions` is 0: nothing could pass",
            "use 1 or more",
        );
    }
    let length = host.socket.as_os_str().as_bytes().len();
    if length == 0 || length > SOCKET_PATH_MAX {
        findings.error(
            "InvalidSocketPath",
            daemon.at("socket"),
            itself(format!("the socket's path has {length} bytes, and Linux takes 1 to {SOCKET_PATH_MAX}")),
            "choose a shorter path, such as /run/privlink/privlink.sock",
        );
    }
    let state = host.state.to_string_lossy();
    if state.is_empty() || state.contains("://") {
        let remedy = "name a directory, such as /var/lib/privlink";
        findings.error(
            "InvalidStateDirectory",
            daemon.at("state"),
            itself(format!("state `{state}` is not a directory of this host")),
            remedy,
        );
    }
    check_timeouts(&host.timeouts, &daemon, findings);
}

fn check_attachment(index: usize, attachment: &AttachmentSpec, model: &Model, findings: &mut Findings) {
    let object = Object::Attachment(index);
    if !model.vnets.contains_key(&attachment.vnet) {
        let message =
            itself(format!("there is no VNet `{}`: nothing passes here until there is", short(&attachment.vnet)));
        let remedy = known("create it, or name one of these", ItemKind::Vnet, &model.vnets);
        findings.warning("AttachmentWithoutVnet", object.at("vnet"), message, remedy);
    }
    let device = &attachment.device;
    if device.len() > DEVICE_MAX {
        findings.error(
            "InvalidDeviceName",
            object.at("device"),
            itself(format!("device name `{device}` has {} characters, and Linux takes {DEVICE_MAX}", device.len())),
            "set `device` to a shorter name",
        );
    } else if !is_device(device) {
        let remedy = "set `device` to letters, digits, `-`, `_` and `.`";
        findings.error(
            "InvalidDeviceName",
            object.at("device"),
            itself(format!("`{device}` cannot name a device")),
            remedy,
        );
    }
    if attachment.mtu < MTU_MIN {
        let message = itself(format!("MTU {} is too small", attachment.mtu));
        findings.error(
            "InvalidMtu",
            object.at("mtu"),
            message,
            itself(format!("choose a number between {MTU_MIN} and 65535")),
        );
    }
    if let Some(netns) = &attachment.netns
        && !is_netns(netns)
    {
        findings.error(
            "InvalidNamespace",
            object.at("netns"),
            itself(format!("`{netns}` cannot name a network namespace")),
            "write a name that `ip netns list` shows, or an absolute path; leave it out for the daemon's own",
        );
    }
    for (number, interface) in attachment.proxy_on.iter().enumerate() {
        let at = object.at(format!("proxy_on[{number}]"));
        if interface.len() > DEVICE_MAX || !is_device(interface) {
            findings.error(
                "InvalidProxyInterface",
                at,
                itself(format!("`{interface}` cannot name an interface")),
                "write a name that `ip link` shows",
            );
        } else if interface == device {
            let remedy = "name the interface towards the clients or backends";
            findings.error(
                "InvalidProxyInterface",
                at,
                itself(format!("`{interface}` is privlink's own device")),
                remedy,
            );
        } else if attachment.proxy_on[..number].contains(interface) {
            findings.error(
                "InvalidProxyInterface",
                at,
                itself(format!("`{interface}` is listed twice")),
                "remove one of the two",
            );
        }
    }
}

/// Stricter than Linux, which allows everything but `/`, `:` and blanks: `%` would make the kernel number it.
fn is_device(name: &str) -> bool {
    !name.is_empty()
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn is_netns(name: &str) -> bool {
    !name.contains('\0')
        && (name.len() > 1 && name.starts_with('/')
            || !name.is_empty() && !name.contains('/') && !matches!(name, "." | ".."))
}

fn check_pairs(model: &Model, host: &HostConfig, findings: &mut Findings) {
    let mut vnets: HashMap<&Key, usize> = HashMap::new();
    let mut devices: HashMap<(Option<&str>, &str), usize> = HashMap::new();
    let mut spaces: HashMap<Option<&str>, Vec<(usize, ipnet::IpNet)>> = HashMap::new();
    for (index, attachment) in host.attachments.iter().enumerate() {
        let object = Object::Attachment(index);
        let netns = attachment.netns.as_deref();
        if let Some(first) = vnets.insert(&attachment.vnet, index) {
            findings.error(
                "DuplicateAttachment",
                object.at("vnet"),
                itself(format!("VNet `{}` has an attachment already", short(&attachment.vnet))),
                "a VNet has one attachment: remove one of the two",
            );
            findings.involving(Object::Attachment(first));
            continue;
        }
        if let Some(first) = devices.insert((netns, &attachment.device), index) {
            let other = short(&host.attachments[first].vnet);
            findings.error(
                "DeviceInUse",
                object.at("device"),
                itself(format!(
                    "device `{}` is that of the attachment of `{other}` in the same namespace",
                    attachment.device
                )),
                "set `device` to another name",
            );
            findings.involving(Object::Attachment(first));
        }
        if let Some(vnet) = model.vnets.get(&attachment.vnet) {
            let own = vnet.address_space.iter().chain(&vnet.on_premises);
            spaces.entry(netns).or_default().extend(own.map(|prefix| (index, *prefix)));
        }
    }
    for (netns, space) in spaces {
        let prefixes: Vec<_> = space.iter().map(|&(_, prefix)| prefix).collect();
        for (first, second) in overlaps(&prefixes) {
            let (one, two) = (space[first].0, space[second].0);
            if one == two {
                continue;
            }
            let vnet = |index: usize| &host.attachments[index].vnet;
            let own = || "the daemon's own".to_owned();
            let namespace = format!(", {}", netns.map_or_else(own, |netns| format!("`{netns}`")));
            let namespace = Mention::new(Named::Host, namespace);
            findings.error(
                "OverlappingAttachments",
                Object::Attachment(two).at("vnet"),
                sentence!(
                    "{} overlap in the same namespace{}",
                    Part::Users(vec![
                        Mention::vnet(vnet(two)).with(format_args!(" ({})", prefixes[second])),
                        Mention::vnet(vnet(one)).with(format_args!(" ({})", prefixes[first])),
                    ]),
                    Part::Aside(namespace),
                ),
                "attach overlapping VNets in namespaces of their own: set `netns`",
            );
            for key in [vnet(two), vnet(one)] {
                let object = Object::Vnet(key.clone());
                findings.also_at(object.at("address_space")).involving(object);
            }
        }
    }
}

fn check_reach(model: &Model, host: &HostConfig, findings: &mut Findings) {
    if host.attachments.is_empty() {
        findings.error(
            "NoAttachment",
            Object::Daemon.at("attachment"),
            "there is no attachment: no VNet meets this host",
            "add `[[attachment]]` with the name of a VNet for each that has clients or backends here",
        );
        return;
    }
    if is_incomplete(model, host) {
        return;
    }
    for (key, resource) in &model.resources {
        let Some(vnet) = resource.vnet.as_ref().filter(|vnet| model.vnets.contains_key(vnet)) else { continue };
        if !is_attached(host, vnet) {
            let name = short(vnet);
            findings.warning(
                "ResourceVnetNotAttached",
                Object::Resource(key.clone()).at("vnet"),
                itself(format!("VNet `{name}` has no attachment, so nothing reaches the backends of this resource")),
                itself(format!("add `[[attachment]]` with `vnet = \"{name}\"`")),
            );
        }
    }
}

/// Whether some attachment means a VNet that is not known: then what is missing is not known either.
fn is_incomplete(model: &Model, host: &HostConfig) -> bool {
    host.attachments.iter().any(|attachment| !model.vnets.contains_key(&attachment.vnet))
}

fn is_attached(host: &HostConfig, vnet: &Key) -> bool {
    host.attachments.iter().any(|attachment| attachment.vnet == *vnet)
}

/// Whether a client on this host can reach an endpoint of `vnet`.
pub(super) fn check_endpoint(
    model: &Model,
    host: &HostConfig,
    object: &Object,
    endpoint: &PrivateEndpoint,
    vnet: &Vnet,
    findings: &mut Findings,
) {
    let near = |peer: &Key| is_attached(host, peer) && peered(model, &endpoint.vnet, peer);
    let reached = is_attached(host, &endpoint.vnet) || vnet.peerings.iter().any(near);
    if reached || host.attachments.is_empty() || is_incomplete(model, host) {
        return;
    }
    let name = short(&endpoint.vnet);
    findings.warning(
        "EndpointVnetNotAttached",
        object.at("vnet"),
        itself(format!("neither VNet `{name}` nor a peer of it has an attachment, so no client reaches this endpoint")),
        itself(format!("add `[[attachment]]` with `vnet = \"{name}\"`")),
    );
}
