//! Whether somebody on a link answers for an address. The kernel asks, by ARP or neighbour discovery, and only on the link
//! that it would send to that address by; an address behind a router is nobody's neighbour.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use super::netlink::Kernel;
use super::netns::Namespace;

/// Between two looks at what the kernel has heard.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until a neighbour counts as silent: about a second.
const LOOKS: u32 = 45;

/// What is laid over the last byte of an address to find two that nobody is known to use.
const CONTROLS: [u8; 2] = [0x55, 0xaa];

/// An answer for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The address asked about.
    pub address: IpAddr,
    /// Whoever answered: a hardware address, and the interface.
    pub by: String,
    /// The same neighbour answers for addresses beside it that nobody uses (proxy ARP): that says nothing of this one.
    pub answers_all: bool,
}

/// Asks the neighbours in `namespace` about `addresses`, and returns what was answered. It takes the timeout where
/// somebody stays silent, and no time where no address is on a link.
///
/// # Errors
/// The namespace cannot be entered, or the kernel refuses to tell.
pub fn ask(namespace: &Namespace, addresses: &[IpAddr]) -> anyhow::Result<Vec<Answer>> {
    namespace.run(|| {
        let kernel = Kernel::open()?;
        let mut asked: BTreeMap<IpAddr, u32> = BTreeMap::new();
        for address in addresses {
            let Some(link) = kernel.link_to(*address) else { continue };
            asked.insert(*address, link);
            for control in controls(*address).filter(|control| !addresses.contains(control)) {
                asked.extend(kernel.link_to(control).filter(|other| *other == link).map(|link| (control, link)));
            }
        }
        for (address, link) in &asked {
            kernel.solicit(*link, *address);
        }
        let mut heard = BTreeMap::new();
        for _ in 0..LOOKS {
            if asked.iter().all(|(address, link)| heard.contains_key(&(*link, *address))) {
                break;
            }
            thread::sleep(PAUSE);
            heard = kernel.answers()?;
        }
        let of = |address: IpAddr| asked.get(&address).and_then(|link| heard.get(&(*link, address)));
        let answer = |address: &IpAddr| {
            let by = of(*address)?;
            let answers_all = controls(*address).all(|control| of(control) == Some(by));
            Some(Answer { address: *address, by: by.clone(), answers_all })
        };
        Ok(addresses.iter().filter_map(answer).collect())
    })
}

/// Two addresses beside `address`.
fn controls(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    CONTROLS.into_iter().map(move |mask| match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from(u32::from(address) ^ u32::from(mask))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) ^ u128::from(mask))),
    })
}
