//! What an attachment lets its VNet do on this host, which only the daemon's own file says, and the subnets that take
//! NAT addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Key, Model, Subnet, Vnet};

/// One `[[attachment]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentSpec {
    /// Its VNet.
    pub vnet: Key,
    /// Namespace; `None`: the daemon's.
    pub netns: Option<String>,
    /// Device name.
    pub device: String,
    /// Bytes.
    pub mtu: u16,
    /// Interfaces that answer ARP and NDP.
    pub proxy_on: Vec<String>,
    /// Prefixes outside the VNet in which its resources may have backends.
    pub reach: Vec<IpNet>,
    /// What the VNet may carry here: its prefixes and addresses lie in these. `None`: whatever is not in use here.
    pub allow: Option<Vec<IpNet>>,
    /// Which of the two the file itself names: see [`Pinned`].
    pub pinned: Pinned,
}

/// Which of an attachment's bounds the daemon's file names. Such a bound holds for everything: what lies outside is left
/// out where the host's part is compiled. By default a bound refuses only what is new, so that old states go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pinned {
    /// `allow`.
    pub allow: bool,
    /// `reach`.
    pub reach: bool,
}

impl AttachmentSpec {
    /// Whether what the VNet brings within `prefix` is carried here.
    pub fn carries(&self, prefix: &IpNet) -> bool {
        let allow = self.allow.iter().flatten();
        !self.pinned.allow || allow.clone().any(|allowed| allowed.contains(prefix))
    }

    /// Whether resources of the VNet, which is `vnet`, have backends at `address`.
    pub fn serves(&self, vnet: &Vnet, address: IpAddr) -> bool {
        let own = vnet.address_space.iter().chain(&vnet.on_premises);
        !self.pinned.reach || own.chain(&self.reach).any(|prefix| prefix.contains(&address))
    }
}

/// Marks the subnets of `model` in which its resources have NAT addresses and of which nothing is said, and returns them.
pub fn imply_nat(model: &mut Model) -> Vec<(Key, String)> {
    let homes = model.resources.values().filter_map(|resource| Some((resource.vnet.clone()?, resource.nat.clone())));
    let homes: Vec<(Key, Vec<IpAddr>)> = homes.collect();
    let mut marked = Vec::new();
    for (key, addresses) in homes {
        let Some(vnet) = model.vnets.get_mut(&key) else { continue };
        let holds =
            |subnet: &Subnet| subnet.prefixes.iter().any(|prefix| addresses.iter().any(|ip| prefix.contains(ip)));
        for subnet in vnet.subnets.iter_mut().filter(|subnet| subnet.nat.is_none() && !subnet.dedicated) {
            if holds(subnet) {
                subnet.nat = Some(true);
                marked.push((key.clone(), subnet.name.clone()));
            }
        }
    }
    marked
}

impl Subnet {
    /// Whether NAT addresses may lie in it.
    pub fn takes_nat(&self) -> bool {
        self.nat == Some(true)
    }
}

impl Vnet {
    /// The same with the marks of `live`'s subnets where nothing is said of them: what is left out stays as it is.
    #[must_use]
    pub fn with_marks_of(&self, live: &Self) -> Self {
        let mut vnet = self.clone();
        for subnet in vnet.subnets.iter_mut().filter(|subnet| subnet.nat.is_none()) {
            let before = live.subnets.iter().find(|before| before.name.eq_ignore_ascii_case(&subnet.name));
            subnet.nat = before.and_then(|before| before.nat);
        }
        // Whoever says again what was said before makes no peering anew.
        for label in live.peering_labels.iter().filter(|label| label.severed) {
            vnet.sever(&label.remote);
        }
        // What a file has no word for is not taken away by it.
        vnet.foreign.clone_from(&live.foreign);
        vnet
    }
}
