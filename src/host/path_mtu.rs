//! How much the ways behind each attachment carry: the least MTU of the links and routes towards its clients and
//! backends. The forwarder clamps MSS options to it (RFC 6691), so that connections fit from their first segment;
//! whatever else does not fit is told so by whoever cannot carry it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use super::netns::Namespace;
use super::survey::Survey;
use super::survey_all;
use crate::snapshot::topology::{AttachmentPlan, Topology};
use crate::snapshot::{AttachmentId, PathMtus};

/// What is looked for behind each attachment; shared with the host, which brings it up to date.
#[derive(Clone, Debug)]
pub struct PathWatch {
    namespaces: Vec<Namespace>,
    wanted: Arc<Mutex<Vec<Wanted>>>,
}

/// The far ends of one attachment's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    clients: Vec<IpNet>,
    backends: Vec<IpAddr>,
}

impl Wanted {
    fn of(plan: &AttachmentPlan) -> Self {
        // A VNet without endpoints has no clients here, whatever its address space.
        let consumes = !plan.dedicated.is_empty() || !plan.endpoints.is_empty();
        Self { clients: if consumes { plan.own_prefixes.clone() } else { Vec::new() }, backends: plan.backends.clone() }
    }

    /// The least MTU on the ways to them; `None`: they are all local, or unknown.
    fn least(&self, survey: &Survey) -> Option<u32> {
        let backends = self.backends.iter().map(|backend| IpNet::from(*backend));
        self.clients.iter().copied().chain(backends).filter_map(|prefix| survey.mtu_to(&prefix)).min()
    }
}

impl PathWatch {
    pub(super) fn new(namespaces: Vec<Namespace>, topology: &Topology) -> Self {
        let watch = Self { namespaces, wanted: Arc::default() };
        watch.follow(topology);
        watch
    }

    /// Looks for the far ends that `topology` names from now on.
    pub(super) fn follow(&self, topology: &Topology) {
        let wanted = topology.attachments.iter().map(Wanted::of).collect();
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// Asks the kernel, and notes what it says in `mtus`.
    ///
    /// # Errors
    /// A namespace cannot be entered or read; what was noted before stays.
    pub fn measure(&self, mtus: &PathMtus) -> anyhow::Result<()> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let surveys = survey_all(&self.namespaces)?;
        for ((wanted, survey), id) in wanted.iter().zip(&surveys).zip(0..) {
            let least = wanted.least(survey).unwrap_or(0);
            mtus.set(AttachmentId(id), u16::try_from(least).unwrap_or(u16::MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::host::netns::NamespaceId;
    use crate::host::survey::{Forwards, Interface, KnownRoute};

    #[test]
    fn the_narrowest_way_counts_and_a_route_may_say_less_than_its_link() {
        let interface = |name: &str, mtu| Interface {
            name: name.to_owned(),
            mtu,
            loopback: name == "lo",
            forwards: Forwards { ipv4: true, ipv6: true },
            reverse_path: 0,
        };
        let route = |prefix: &str, interface: &str, mtu| KnownRoute {
            prefix: prefix.parse().expect("a prefix"),
            interfaces: vec![interface.to_owned()],
            mtu,
        };
        let survey = Survey {
            namespace: NamespaceId { name: None, device: 1, inode: 1 },
            interfaces: vec![interface("lan0", 1_500), interface("vpn0", 1_400), interface("lo", 65_536)],
            routes: vec![
                route("10.1.1.0/24", "lan0", None),
                route("10.1.2.0/24", "vpn0", Some(1_300)),
                route("10.20.0.0/16", "vpn0", None),
                route("10.30.0.0/16", "lo", None),
            ],
            local: BTreeMap::new(),
            reverse_path_all: 0,
            forwards: Forwards { ipv4: true, ipv6: true },
        };
        let least = |clients: &[&str], backends: &[&str]| {
            Wanted {
                clients: clients.iter().map(|text| text.parse().expect("a prefix")).collect(),
                backends: backends.iter().map(|text| text.parse().expect("an address")).collect(),
            }
            .least(&survey)
        };
        assert_eq!(least(&["10.1.0.0/16"], &[]), Some(1_300));
        assert_eq!(least(&["10.1.1.0/24"], &["10.20.0.2"]), Some(1_400));
        assert_eq!(least(&["10.1.1.0/24"], &[]), Some(1_500));
        assert_eq!(least(&["10.30.0.0/16"], &["192.0.2.1"]), None);
    }
}
