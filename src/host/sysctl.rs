//! Values below `/proc/sys` of the namespace that the calling thread is in.

use std::fs;
use std::io;

use anyhow::anyhow;
use ipnet::IpNet;

use super::step::{Action, LOOPBACK};

/// Forwarding holds for a device made later only if both the whole and the default have it on.
pub(super) fn forwards_everywhere(family: &str) -> bool {
    ["all", "default"].iter().all(|scope| read_number(&format!("net/{family}/conf/{scope}/forwarding")) != 0)
}

/// Value of a numeric sysctl in the namespace of the calling thread; 0 when the kernel has none (no IPv6, say).
pub(super) fn read_number(path: &str) -> u8 {
    read_sysctl(path).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Value of a sysctl in the namespace of the calling thread.
///
/// # Errors
/// `/proc/sys` is not there, or has no such value.
pub(super) fn read_sysctl(path: &str) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/sys/{path}"))?.trim().to_owned())
}

pub(super) fn write_sysctl(path: &str, value: &str) -> anyhow::Result<()> {
    if read_sysctl(path).is_ok_and(|current| current == value) {
        return Ok(());
    }
    fs::write(format!("/proc/sys/{path}"), value).map_err(|error| {
        let remedy = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => "needs root (CAP_NET_ADMIN); start privlink with sudo",
            Some(libc::EROFS) => "/proc/sys is read-only here; set it on the host before the start",
            _ => "set it by hand before the start",
        };
        anyhow!("{error}; {remedy}")
    })
}

/// Puts the old value back, unless somebody changed it since, or the interface is gone.
pub(super) fn restore_sysctl(path: &str, ours: &str, old: Option<&str>) -> anyhow::Result<bool> {
    match (read_sysctl(path), old) {
        (Ok(current), Some(old)) if current == ours => write_sysctl(path, old).map(|()| true),
        _ => Ok(false),
    }
}

/// Why a change for IPv6 cannot be made where the host has switched that off; `None`: that is not the reason.
pub(super) fn ipv6_off(action: &Action) -> Option<String> {
    const REMEDY: &str = "or leave IPv6 addresses out of the file";
    let (wide, device) = match action {
        Action::Unreachable { prefix, .. } => (matches!(prefix, IpNet::V6(_)), LOOPBACK),
        Action::Route { prefix, device } => (matches!(prefix, IpNet::V6(_)), device.as_str()),
        Action::Address { address } => (address.is_ipv6(), LOOPBACK),
        Action::Neighbour { address, interface } => (address.is_ipv6(), interface.as_str()),
        Action::Rule(rule) => (rule.ipv6, LOOPBACK),
        Action::Sysctl { .. } | Action::Device { .. } | Action::Quiet { .. } | Action::Up { .. } => return None,
    };
    if !wide {
        return None;
    }
    if !fs::exists("/proc/sys/net/ipv6").unwrap_or(true) {
        return Some(format!(
            "this kernel has no IPv6, or was started with ipv6.disable=1: start it with IPv6, {REMEDY}"
        ));
    }
    // A new device begins with the default.
    let switches = ["all", "default", device].map(|name| format!("net.ipv6.conf.{name}.disable_ipv6"));
    let off = switches.into_iter().find(|name| read_number(&name.replace('.', "/")) == 1)?;
    Some(format!("IPv6 is switched off on this host ({off} is 1): `sysctl -w {off}=0` switches it on, {REMEDY}"))
}
