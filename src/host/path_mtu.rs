//! How much the ways behind each attachment carry: the least MTU of the links and routes towards its clients and
//! backends. The forwarder clamps MSS options to it (RFC 6691), so that connections fit from their first segment;
//! whatever else does not fit is told so by whoever cannot carry it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use super::netns::{Namespace, NamespaceId};
use super::step::{Action, Step};
use super::survey::Survey;
use super::survey_all;
use crate::snapshot::topology::{AttachmentPlan, Topology};
use crate::snapshot::{AttachmentId, PathMtus};

/// What is looked for behind each attachment; shared with the host, which brings it up to date.
#[derive(Clone, Debug)]
pub struct PathWatch {
    namespaces: Vec<Namespace>,
    wanted: Arc<Mutex<Vec<MonitoredDevice>>>,
}

/// The far ends of one attachment's packets, and what leads them to its device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct MonitoredDevice {
    device: String,
    /// Whether routes of ours lead to the device, by IPv4 and by IPv6.
    routed: [bool; 2],
    clients: Vec<IpNet>,
    backends: Vec<IpAddr>,
}

impl MonitoredDevice {
    fn of(plan: &AttachmentPlan, namespace: &NamespaceId, steps: &[Step]) -> Self {
        // A VNet without endpoints has no clients here, whatever its address space.
        let consumes = !plan.dedicated.is_empty() || !plan.endpoints.is_empty();
        let leads_here = |step: &&Step| {
            step.namespace == *namespace
                && matches!(&step.action, Action::Route { device, .. } if *device == plan.device)
        };
        let is_wide = |step: &Step| matches!(&step.action, Action::Route { prefix: IpNet::V6(_), .. });
        Self {
            device: plan.device.clone(),
            routed: [false, true].map(|wide| steps.iter().filter(leads_here).any(|step| is_wide(step) == wide)),
            clients: if consumes { plan.own_prefixes.clone() } else { Vec::new() },
            backends: plan.backends.clone(),
        }
    }

    /// The least MTU on the ways to them, and of the device itself: somebody may have changed it. `None`: they are all
    /// local, or unknown.
    fn least(&self, survey: &Survey) -> Option<u32> {
        let backends = self.backends.iter().map(|backend| IpNet::from(*backend));
        let ways = self.clients.iter().copied().chain(backends).filter_map(|prefix| survey.mtu_to(&prefix));
        ways.chain(survey.interface(&self.device).map(|device| device.mtu)).min()
    }

    /// Whether the device is up, and routes to it are not there: setting it down took them away.
    fn has_lost_routes(&self, survey: &Survey) -> bool {
        let leads_here = |wide: bool| {
            let mut routes = survey.ours.iter();
            routes.any(|(prefix, device)| *device == self.device && matches!(prefix, IpNet::V6(_)) == wide)
        };
        survey.interface(&self.device).is_some_and(|device| device.up)
            && (self.routed.into_iter().zip([false, true])).any(|(wanted, wide)| wanted && !leads_here(wide))
    }
}

impl PathWatch {
    pub(super) fn new(namespaces: Vec<Namespace>, topology: &Topology, steps: &[Step]) -> Self {
        let watch = Self { namespaces, wanted: Arc::default() };
        watch.follow(topology, steps);
        watch
    }

    /// Looks for the far ends that `topology` names from now on, and for the routes among `steps`.
    pub(super) fn follow(&self, topology: &Topology, steps: &[Step]) {
        let homes = topology.attachments.iter().zip(&self.namespaces);
        let wanted = homes.map(|(plan, home)| MonitoredDevice::of(plan, home.id(), steps)).collect();
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// Asks the kernel, and notes what it says in `mtus`. Returns whether routes of ours have been lost.
    ///
    /// # Errors
    /// A namespace cannot be entered or read; what was noted before stays.
    pub fn measure(&self, mtus: &PathMtus) -> anyhow::Result<bool> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let surveys = survey_all(&self.namespaces)?;
        for ((wanted, survey), id) in wanted.iter().zip(&surveys).zip(0..) {
            let least = wanted.least(survey).unwrap_or(0);
            mtus.set(AttachmentId(id), u16::try_from(least).unwrap_or(u16::MAX));
        }
        Ok(wanted.iter().zip(&surveys).any(|(wanted, survey)| wanted.has_lost_routes(survey)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::host::survey::{Forwards, Interface, KnownRoute};

    #[test]
    fn the_narrowest_way_counts_and_a_route_may_say_less_than_its_link() {
        let interface = |name: &str, mtu| Interface {
            name: name.to_owned(),
            mtu,
            up: true,
            loopback: name == "lo",
            forwards: Forwards { ipv4: true, ipv6: true },
            reverse_path: 0,
        };
        let route = |prefix: &str, interface: &str, mtu| KnownRoute {
            prefix: prefix.parse().expect("a prefix"),
            interfaces: vec![interface.to_owned()],
            mtu,
        };
        let mut survey = Survey {
            ours: BTreeSet::new(),
            namespace: NamespaceId { name: None, device: 1, inode: 1 },
            interfaces: vec![interface("lan0", 1_500), interface("vpn0", 1_400), interface("lo", 65_536)],
            routes: vec![
                route("10.1.1.0/24", "lan0", None),
                route("10.1.2.0/24", "vpn0", Some(1_300)),
                route("10.20.0.0/16", "vpn0", None),
                route("10.30.0.0/16", "lo", None),
            ],
            local: BTreeMap::new(),
            gateways: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            broadcast: BTreeMap::new(),
            reverse_path_all: 0,
            forwards: Forwards { ipv4: true, ipv6: true },
        };
        let least = |clients: &[&str], backends: &[&str]| {
            MonitoredDevice {
                clients: clients.iter().map(|text| text.parse().expect("a prefix")).collect(),
                backends: backends.iter().map(|text| text.parse().expect("an address")).collect(),
                ..MonitoredDevice::default()
            }
            .least(&survey)
        };
        assert_eq!(least(&["10.1.0.0/16"], &[]), Some(1_300));
        assert_eq!(least(&["10.1.1.0/24"], &["10.20.0.2"]), Some(1_400));
        assert_eq!(least(&["10.1.1.0/24"], &[]), Some(1_500));
        assert_eq!(least(&["10.30.0.0/16"], &["192.0.2.1"]), None);
        let own = MonitoredDevice { device: "vpn0".to_owned(), routed: [true, true], ..MonitoredDevice::default() };
        assert_eq!(own.least(&survey), Some(1_400), "the device itself");
        let leads = |prefix: &str, device: &str| (prefix.parse().expect("a prefix"), device.to_owned());
        survey.ours.extend([leads("10.1.9.0/24", "vpn0"), leads("2001:db8::/64", "lan0")]);
        assert!(own.has_lost_routes(&survey), "those of IPv6");
        survey.ours.insert(leads("2001:db8::/64", "vpn0"));
        assert!(!own.has_lost_routes(&survey));
        survey.ours.clear();
        survey.interfaces[1].up = false;
        assert!(!own.has_lost_routes(&survey), "none can lead to a device that is down");
    }
}
