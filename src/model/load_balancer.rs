//! What Azure's clients write that has no place in a file: groups, load balancers, names within an object, tags.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::registry::Kind;
use super::sentence::Mention;
use super::{
    BackendSpec, Balance, HealthCheck, ItemKind, Key, LinkResource, Model, PortCheck, PortSpec, Protocol, Tags,
    TargetSpec, actions,
};

/// A load balancer in Azure's form: the port mapping of the private link services that refer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Region.
    pub region: String,
    /// See [`Tags`].
    #[serde(default)]
    pub tags: Tags,
    /// What services refer to.
    pub frontends: Vec<Frontend>,
    /// Servers.
    pub pools: Vec<BackendPool>,
    /// Which port of which frontend leads where.
    pub rules: Vec<BalancingRule>,
    /// How servers are checked, by the rules that name it.
    #[serde(default)]
    pub probes: Vec<BalancerProbe>,
    /// Settings of Azure's that have no effect here, as a JSON object; empty: none.
    #[serde(default)]
    pub foreign: String,
}

/// How a load balancer checks the servers of the rules that name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerProbe {
    /// Unique within the load balancer.
    pub name: String,
    /// Port of the servers.
    pub port: u16,
    /// Seconds between two checks.
    pub interval: u16,
    /// `numberOfProbes`: so many failures in a row, and a server is down.
    pub failures: u16,
    /// `probeThreshold`: so many failures or successes in a row, and a server is down or up; `None`: as `failures` says,
    /// and one success.
    #[serde(default)]
    pub threshold: Option<u16>,
    /// What an HTTP probe asks for; `None`: a TCP connection is enough.
    #[serde(default)]
    pub path: Option<String>,
}

/// How a rule spreads new connections, in Azure's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distribution {
    /// As the service says.
    #[default]
    Default,
    /// One client address has one server.
    SourceIP,
    /// The same: a server is chosen by the client's address alone.
    SourceIPProtocol,
}

/// A frontend of a load balancer. Its address is stored only: clients reach the endpoint, not the frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// Unique within the load balancer.
    pub name: String,
    /// Its VNet and subnet, where they are named.
    pub subnet: Option<(Key, String)>,
    /// Its address, where it is named.
    pub address: Option<IpAddr>,
}

/// Servers of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendPool {
    /// Unique within the load balancer.
    pub name: String,
    /// Their names and addresses.
    pub addresses: Vec<PoolAddress>,
}

/// A server of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolAddress {
    /// Unique within the pool.
    pub name: String,
    /// In the provider's VNet.
    pub address: IpAddr,
    /// The VNet that was named with it.
    pub vnet: Option<Key>,
    /// `adminState` Down or Drain: takes no new sessions.
    #[serde(default)]
    pub drain: bool,
}

/// One rule of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancingRule {
    /// Unique within the load balancer.
    pub name: String,
    /// Name of the frontend.
    pub frontend: String,
    /// Name of the pool.
    pub pool: String,
    /// `None`: TCP and UDP.
    pub protocol: Option<Protocol>,
    /// 0: every port, with no mapping (Azure's HA ports).
    pub frontend_port: u16,
    /// Port of the servers.
    pub backend_port: u16,
    /// Name of the probe; `None`: servers are taken to be well.
    #[serde(default)]
    pub probe: Option<String>,
    /// How new connections are spread over the servers.
    #[serde(default)]
    pub distribution: Distribution,
}

impl LoadBalancer {
    /// Whether a frontend of it is in a subnet of `vnet`.
    pub fn is_in(&self, vnet: &Key) -> bool {
        self.frontends.iter().any(|frontend| frontend.subnet.as_ref().is_some_and(|(of, _)| of == vnet))
    }

    /// What a private link service behind `frontend` exposes.
    ///
    /// # Errors
    /// There is no such frontend, or its rules are no one mapping; in words.
    pub fn target(&self, frontend: &str) -> Result<TargetSpec, String> {
        if !self.frontends.iter().any(|known| known.name.eq_ignore_ascii_case(frontend)) {
            return Err(format!("has no frontend `{frontend}`"));
        }
        let rules = || self.rules.iter().filter(|rule| rule.frontend.eq_ignore_ascii_case(frontend));
        let pool = rules().next().map(|rule| &rule.pool);
        if let Some(other) = rules().find(|rule| pool.is_some_and(|pool| !pool.eq_ignore_ascii_case(&rule.pool))) {
            return Err(format!("frontend `{frontend}` has rules with two pools: `{}` is the second", other.pool));
        }
        let pool = pool.and_then(|name| self.pools.iter().find(|pool| pool.name.eq_ignore_ascii_case(name)));
        let sticky = rules().any(|rule| rule.distribution != Distribution::Default);
        let server = |server: &PoolAddress| BackendSpec { address: server.address, drain: server.drain };
        Ok(TargetSpec {
            backends: pool.iter().flat_map(|pool| &pool.addresses).map(server).collect(),
            ports: rules().flat_map(BalancingRule::ports).collect(),
            balance: sticky.then_some(Balance::Source),
            ..self.checked(&rules().collect::<Vec<_>>())
        })
    }

    /// How the servers of `rules` are checked: one probe of all of them is that of the whole target; else each probe is
    /// that of the ports of its own rules, and the other ports are not checked.
    fn checked(&self, rules: &[&BalancingRule]) -> TargetSpec {
        let of = |probe: &BalancerProbe| {
            let named =
                |rule: &&BalancingRule| rule.probe.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&probe.name));
            rules.iter().copied().filter(named).collect::<Vec<_>>()
        };
        let mut checked = TargetSpec::default();
        for (probe, own) in self.probes.iter().map(|probe| (probe, of(probe))).filter(|(_, own)| !own.is_empty()) {
            if own.len() == rules.len() {
                checked.health = Some(probe.check());
                continue;
            }
            let ports = own.iter().flat_map(|rule| rule.ports()).map(|port| (port.protocol, port.first, port.last));
            checked.port_checks.push(PortCheck {
                name: probe.name.clone(),
                ports: ports.collect(),
                check: probe.check(),
            });
        }
        checked
    }
}

impl BalancerProbe {
    /// The check of a server; an answer is awaited until the next one.
    fn check(&self) -> HealthCheck {
        let time = Duration::from_secs(self.interval.into());
        HealthCheck {
            port: self.port,
            interval: time,
            timeout: time,
            fall: self.threshold.unwrap_or(self.failures),
            rise: self.threshold.unwrap_or(1),
            path: self.path.clone(),
        }
    }
}

impl BalancingRule {
    fn ports(&self) -> impl Iterator<Item = PortSpec> + '_ {
        let both = [Protocol::Tcp, Protocol::Udp];
        let protocols = both.into_iter().filter(|&protocol| self.protocol.is_none_or(|only| only == protocol));
        protocols.map(|protocol| match self.frontend_port {
            0 => PortSpec::all(protocol),
            port => PortSpec { protocol, first: port, last: port, backend_first: self.backend_port },
        })
    }
}

impl Kind for LoadBalancer {
    const SINGULAR: &'static str = "load balancer";
    const TYPE: &'static str = actions::LOAD_BALANCERS;

    fn users(model: &Model, key: &Key, stays: &dyn Fn(&Key) -> bool) -> Vec<Mention> {
        let behind = |resource: &LinkResource| resource.frontends.iter().any(|frontend| frontend.balancer == *key);
        let users = model.resources.iter().filter(|(name, resource)| behind(resource) && stays(name));
        let mention = |name| Mention::of(ItemKind::Resource, name, format_args!("private link service {name}"));
        users.map(|(name, _)| mention(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer() -> LoadBalancer {
        let rule = |name: &str, pool: &str, frontend_port, backend_port| BalancingRule {
            name: name.into(),
            frontend: "fe".into(),
            pool: pool.into(),
            protocol: Some(Protocol::Tcp),
            frontend_port,
            backend_port,
            probe: None,
            distribution: Distribution::Default,
        };
        let server = |address: &str, drain| PoolAddress {
            name: address.into(),
            address: address.parse().unwrap(),
            vnet: None,
            drain,
        };
        LoadBalancer {
            frontends: vec![Frontend { name: "fe".into(), ..Frontend::default() }],
            pools: vec![BackendPool {
                name: "be".into(),
                addresses: vec![server("10.1.2.20", false), server("10.1.2.21", true)],
            }],
            rules: vec![rule("https", "BE", 443, 10000), rule("admin", "be", 8443, 8443)],
            ..LoadBalancer::default()
        }
    }

    #[test]
    fn the_rules_of_a_frontend_are_the_port_mapping() {
        let target = balancer().target("FE").unwrap();
        let servers: Vec<_> = target.backends.iter().map(|b| (b.address.to_string(), b.drain)).collect();
        assert_eq!(servers, [("10.1.2.20".into(), false), ("10.1.2.21".into(), true)]);
        let ports: Vec<_> = target.ports.iter().map(|p| (p.first, p.last, p.backend_first)).collect();
        assert_eq!(ports, [(443, 443, 10000), (8443, 8443, 8443)]);
    }

    #[test]
    fn a_rule_for_every_port_and_protocol_maps_nothing() {
        let mut balancer = balancer();
        balancer.rules.truncate(1);
        balancer.rules[0] =
            BalancingRule { protocol: None, frontend_port: 0, backend_port: 0, ..balancer.rules[0].clone() };
        let expected = TargetSpec::direct("10.1.2.20".parse().unwrap()).ports;
        assert_eq!(balancer.target("fe").unwrap().ports, expected);
    }

    #[test]
    fn probes_are_the_checks_of_the_servers_and_source_distribution_their_balance() {
        let mut balancer = balancer();
        let probe = |name: &str, threshold| BalancerProbe {
            name: name.into(),
            port: 8080,
            interval: 15,
            failures: 2,
            threshold,
            path: Some("/healthz".into()),
        };
        assert_eq!(balancer.target("fe").unwrap().health, None);
        balancer.probes = vec![probe("http", None), probe("other", Some(4))];
        balancer.rules.iter_mut().for_each(|rule| rule.probe = Some("HTTP".into()));
        balancer.rules[0].distribution = Distribution::SourceIPProtocol;
        let target = balancer.target("fe").unwrap();
        let check = target.health.unwrap();
        assert_eq!((check.port, check.fall, check.rise, check.interval.as_secs()), (8080, 2, 1, 15));
        assert_eq!((check.path.as_deref(), target.balance), (Some("/healthz"), Some(Balance::Source)));
        assert_eq!(target.port_checks, []);
        // Another rule has another probe, or none.
        let checked = |balancer: &LoadBalancer| {
            let target = balancer.target("fe").unwrap();
            assert_eq!(target.health, None);
            let told = |one: &PortCheck| (one.name.clone(), one.ports.clone(), one.check.fall, one.check.rise);
            target.port_checks.iter().map(told).collect::<Vec<_>>()
        };
        let http = ("http".to_owned(), vec![(Protocol::Tcp, 443, 443)], 2, 1);
        let other = ("other".to_owned(), vec![(Protocol::Tcp, 8443, 8443)], 4, 4);
        balancer.rules[1].probe = Some("other".into());
        assert_eq!(checked(&balancer), [http.clone(), other.clone()]);
        balancer.rules[1].probe = None;
        assert_eq!(checked(&balancer), [http]);
        (balancer.rules[0].probe, balancer.rules[1].probe) = (None, Some("other".into()));
        assert_eq!(checked(&balancer), [other]);
    }

    #[test]
    fn what_is_no_one_mapping_is_refused() {
        let mut balancer = balancer();
        assert!(balancer.target("other").unwrap_err().contains("no frontend `other`"));
        balancer.rules[1].pool = "second".into();
        assert!(balancer.target("fe").unwrap_err().contains("two pools"));
    }
}
