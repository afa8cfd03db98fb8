//! Networks from a text, each a namespace; a line for each part:
//!
//! ```text
//! host NAME...                                namespaces with a loopback
//! router NAME...                              hosts that forward
//! link NAME DEVICE ADDRESSES NAME DEVICE ADDRESSES [OPTION VALUE]...
//!                                             a veth pair; addresses with prefix and commas between them, - for none;
//!                                             options, such as mtu, are those of both ends
//! address NAME ADDRESS...                     addresses of the loopback
//! route NAME PREFIX GATEWAY
//! route NAME PREFIX dev DEVICE
//! tunnel NAME UNDERLAY ADDRESS NAME UNDERLAY ADDRESS
//!                                             VXLAN, or GRE where the kernel has none
//! set NAME KEY=VALUE...                       sysctl
//! ```

use std::process::Command;

/// Builds what `text` says, below `/run/netns`; an error with the line that could not be built.
pub(crate) fn build(text: &str) -> Result<(), String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.try_for_each(|line| part(line).map_err(|error| format!("{line}: {error}")))
}

fn part(line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["host", ref names @ ..] => names.iter().try_for_each(|name| host(name)),
        ["router", ref names @ ..] => names.iter().try_for_each(|name| {
            host(name)?;
            set(name, &["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
        }),
        ["link", one, device, addresses, other, peer, others, ref more @ ..] => {
            let more = more.join(" ");
            ip(&format!("-n {one} link add {device} {more} type veth peer name {peer} {more} netns {other}"))?;
            up(one, device, addresses)?;
            up(other, peer, others)
        }
        ["address", name, ref addresses @ ..] => addresses.iter().try_for_each(|own| address(name, own, "lo")),
        ["route", name, prefix, "dev", device] => ip(&format!("-n {name} route add {prefix} dev {device}")),
        ["route", name, prefix, gateway] => ip(&format!("-n {name} route add {prefix} via {gateway}")),
        ["tunnel", one, here, inner, other, there, others] => {
            tunnel(one, here, there, inner)?;
            tunnel(other, there, here, others)
        }
        ["set", name, ref settings @ ..] => set(name, settings),
        _ => Err("no part of a network is written like this".to_owned()),
    }
}

fn host(name: &str) -> Result<(), String> {
    ip(&format!("netns add {name}"))?;
    ip(&format!("-n {name} link set lo up"))
}

fn up(name: &str, device: &str, addresses: &str) -> Result<(), String> {
    addresses.split(',').filter(|one| *one != "-").try_for_each(|one| address(name, one, device))?;
    ip(&format!("-n {name} link set {device} up"))
}

/// Nobody else is there whose address it could be: none is waited for.
fn address(name: &str, address: &str, device: &str) -> Result<(), String> {
    let nodad = if address.contains(':') { "nodad" } else { "" };
    ip(&format!("-n {name} address add {address} dev {device} {nodad}"))
}

fn tunnel(name: &str, here: &str, there: &str, inner: &str) -> Result<(), String> {
    let add = |kind: &str| ip(&format!("-n {name} link add tunnel0 type {kind} local {here} remote {there}"));
    add("vxlan id 40 dstport 4789").or_else(|_| add("gre"))?;
    up(name, "tunnel0", inner)
}

fn set(name: &str, settings: &[&str]) -> Result<(), String> {
    run(Command::new("nsenter").arg(format!("--net=/run/netns/{name}")).args(["sysctl", "-qw"]).args(settings))
}

fn ip(arguments: &str) -> Result<(), String> {
    run(Command::new("ip").args(arguments.split_whitespace()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
