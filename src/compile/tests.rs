use super::*;
use crate::model::{EndpointIp, Workload};
use crate::snapshot::ConnectionState::{Approved, Disconnected, Pending, Rejected};
use crate::snapshot::DropReason as Reason;
use crate::snapshot::policy::{Query, judge};
use crate::snapshot::{EndpointId, Generation, Protocol};
use crate::testing::{connection, endpoint, host, ip, key, model, resource, subnet, target, vnet};

/// Generations and the incremental path.
mod generations;

/// A model on a host, compiled again and again.
#[derive(Clone, Debug)]
struct Lab {
    model: Model,
    connections: Map<Connection>,
    host: HostConfig,
    namespaces: Vec<u64>,
    registry: Registry,
    epoch: u64,
}

impl Lab {
    /// Every VNet in a namespace of its own, every endpoint approved.
    fn new(model: Model, attached: &[&str]) -> Self {
        let connections = model.endpoints.keys().map(|key| (key.clone(), connection(Approved))).collect();
        Self {
            model,
            connections,
            host: host(attached),
            namespaces: (1..).take(attached.len()).collect(),
            registry: Registry::default(),
            epoch: 0,
        }
    }

    fn try_compile(&mut self) -> Result<Compiled, CompileError> {
        self.epoch += 1;
        let input = Input {
            health: &Health::default(),
            retired: &Retired::default(),
            model: &self.model,
            connections: &self.connections,
            host: &self.host,
            namespaces: &self.namespaces,
            workers: 2,
        };
        compile(&input, &mut self.registry, self.epoch)
    }

    fn compile(&mut self) -> Compiled {
        self.try_compile().unwrap()
    }

    fn set(&mut self, endpoint: &str, state: ConnectionState) {
        self.connections.insert(key(endpoint), connection(state));
    }

    fn peer(&mut self, from: &str, to: &str) {
        self.model.vnets.get_mut(&key(from)).unwrap().peerings.push(key(to));
    }

    fn orders(&mut self) -> &mut PrivateEndpoint {
        self.model.endpoints.get_mut(&key("orders")).unwrap()
    }
}

/// The reason, and the rule or the workload class that denies.
type Denied = (Reason, Option<String>);

const STRANGER: Denied = (Reason::SourceNotAllowed, None);

fn ask(snapshot: &Snapshot, attachment: u16, source: &str, destination: &str, port: u16) -> Result<u16, Denied> {
    let query = Query {
        attachment: AttachmentId(attachment),
        source: ip(source),
        destination: ip(destination),
        protocol: Protocol::Tcp,
        port,
    };
    judge(snapshot, &query)
        .map(|admission| admission.backend_port)
        .map_err(|denial| (denial.reason, denial.by.map(|by| by.to_string())))
}

/// Hub and spokes: `spoke` peers with `hub` both ways and with `lurker` one way; `hub` with `far`.
fn star(attached: &[&str]) -> Lab {
    let mut lab = Lab::new(model(), attached);
    for (name, space) in [("hub", "10.2.0.0/16"), ("far", "10.3.0.0/16"), ("lurker", "10.4.0.0/16")] {
        let mut spec = vnet(space, vec![subnet("endpoints", &space.replace("0.0/16", "9.0/24"))]);
        spec.on_premises = vec![space.replace("10.", "172.").parse().unwrap()];
        lab.model.vnets.insert(key(name), spec);
    }
    lab.model.vnets.get_mut(&key("spoke")).unwrap().on_premises = vec!["192.168.40.0/24".parse().unwrap()];
    for (from, to) in [("spoke", "hub"), ("hub", "spoke"), ("hub", "far"), ("far", "hub"), ("lurker", "spoke")] {
        lab.peer(from, to);
    }
    lab
}

#[test]
fn accepted_sources_are_those_of_the_design() {
    let mut lab = star(&["spoke", "core"]);
    let compiled = lab.compile();
    for (source, expected) in [
        ("10.1.0.7", Ok(5432)),       // its own VNet
        ("192.168.40.9", Ok(5432)),   // its on-premises prefix
        ("10.2.0.7", Ok(5432)),       // a direct peer without an attachment
        ("10.3.0.7", Err(STRANGER)),  // a peer's peer
        ("10.4.0.7", Err(STRANGER)),  // a peering that only the other side lists
        ("172.2.0.7", Err(STRANGER)), // a peer's on-premises prefix
        ("10.20.0.2", Err(STRANGER)), // the provider
    ] {
        assert_eq!(ask(&compiled.snapshot, 0, source, "10.1.9.4", 5432), expected, "{source}");
    }
    assert_eq!(compiled.snapshot.attachments[0].peers.len(), 1, "only mutual peers count");
}

/// Network and broadcast addresses of subnets, and what lies in a subnet of endpoints alone, also a peer's.
#[test]
fn no_host_sends_from_an_edge_of_a_subnet_or_from_among_endpoints() {
    let mut lab = star(&["spoke", "core"]);
    let subnet = lab.model.vnets[&key("spoke")].subnets[0].clone();
    let named = |name: &str, prefixes: &[&str], dedicated| Subnet {
        name: name.into(),
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        dedicated,
        ..subnet.clone()
    };
    lab.model.vnets.get_mut(&key("spoke")).unwrap().subnets.extend([
        named("clients", &["10.1.3.0/24", "fd01:3::/64"], false),
        named("link", &["10.1.4.0/31", "fd01:4::/127"], false),
        named("only", &["10.1.5.0/24"], true),
    ]);
    lab.model.vnets.get_mut(&key("hub")).unwrap().subnets.push(named("peers", &["10.2.3.0/24"], false));
    let compiled = lab.compile().snapshot;
    for (source, unsent) in [
        ("10.1.3.0", true),
        ("10.1.3.255", true),
        ("10.1.3.1", false),
        ("10.1.4.0", false),
        ("10.1.4.1", false),
        ("10.1.5.77", true),
        ("10.2.3.255", true),
        ("10.2.3.7", false),
        ("fd01:3::", true),
        ("fd01:3::ffff:ffff:ffff:ffff", false),
        ("fd01:4::", false),
    ] {
        let source: std::net::IpAddr = source.parse().unwrap();
        assert_eq!(compiled.attachments[0].unsent.contains(source), unsent, "{source}");
    }
}

#[test]
fn a_peer_attached_in_another_namespace_comes_in_there_and_nowhere_else() {
    let mut lab = star(&["spoke", "core", "hub"]);
    let apart = lab.compile().snapshot;
    assert_eq!(ask(&apart, 0, "10.2.0.7", "10.1.9.4", 5432), Err(STRANGER));
    assert_eq!(ask(&apart, 2, "10.2.0.7", "10.1.9.4", 5432), Ok(5432));
    let inherited = ask(&apart, 2, "172.2.0.7", "10.1.9.4", 5432);
    assert_eq!(inherited, Err(STRANGER), "a peer's on-premises prefix");
    let transitive = ask(&apart, 2, "10.3.0.7", "10.1.9.4", 5432);
    assert_eq!(transitive, Err(STRANGER), "a peer's peer, by way of the peer's attachment");
    // Routes stand once per namespace, so in a shared one its packets arrive on the VNet's own device.
    lab.namespaces = vec![1, 2, 1];
    let shared = lab.compile().snapshot;
    assert_eq!(ask(&shared, 0, "10.2.0.7", "10.1.9.4", 5432), Ok(5432));
}

#[test]
fn an_attachment_of_a_peers_peer_sees_no_endpoint() {
    let mut lab = star(&["spoke", "core", "far", "lurker"]);
    let snapshot = lab.compile().snapshot;
    for (attachment, source) in [(1, "10.20.0.2"), (2, "10.3.0.7"), (3, "10.4.0.7")] {
        assert_eq!(
            ask(&snapshot, attachment, source, "10.1.9.4", 5432),
            Err((Reason::UnknownEndpoint, None)),
            "{attachment}"
        );
    }
}

#[test]
fn overlapping_vnets_keep_their_endpoints_apart() {
    let mut lab = Lab::new(model(), &["spoke", "core", "twin"]);
    lab.model.vnets.insert(key("twin"), vnet("10.1.0.0/16", vec![subnet("endpoints", "10.1.9.0/24")]));
    lab.model.resources.insert(key("other-db"), resource("core", "10.20.99.5", vec![target("", "", "10.20.0.3")]));
    lab.model.endpoints.insert(key("twin"), endpoint("twin", Some("10.1.9.4"), "other-db"));
    lab.set("twin", Approved);
    let snapshot = lab.compile().snapshot;
    for (attachment, backend) in [(0, "10.20.0.2"), (2, "10.20.0.3")] {
        let query = Query {
            attachment: AttachmentId(attachment),
            source: ip("10.1.0.7"),
            destination: ip("10.1.9.4"),
            protocol: Protocol::Tcp,
            port: 5432,
        };
        assert_eq!(judge(&snapshot, &query).unwrap().target.backends[0].address, ip(backend));
    }
}

#[test]
fn an_address_reaches_only_its_own_member() {
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    let targets =
        vec![target("web", "", "10.20.0.9"), target("acr", "hub", "10.20.0.5"), target("acr", "data", "10.20.0.6")];
    lab.model.resources.insert(key("acr"), resource("core", "10.20.99.5", targets));
    let mut wanted = endpoint("spoke", None, "acr");
    wanted.subresource = "ACR".into();
    wanted.addresses = [("data", "10.1.9.10"), ("hub", "10.1.9.11")]
        .map(|(member, address)| EndpointIp { member: member.into(), ip: Some(ip(address)) })
        .into();
    lab.model.endpoints.insert(key("acr"), wanted);
    lab.set("acr", Approved);
    let snapshot = lab.compile().snapshot;
    let backend = |address: &str| {
        let attachment = &snapshot.attachments[0];
        let (entry, _) = snapshot.endpoint_address(attachment, ip(address)).unwrap();
        snapshot.resource(entry.endpoint.resource).unwrap().targets[usize::from(entry.target.0)].backends[0].address
    };
    assert_eq!((backend("10.1.9.10"), backend("10.1.9.11")), (ip("10.20.0.6"), ip("10.20.0.5")));
}

#[test]
fn workloads_that_may_not_use_endpoints_are_excluded_also_in_a_peer() {
    let mut lab = star(&["spoke", "core"]);
    let workload = |prefix: &str, private_endpoints| Workload {
        class: "Azure Dedicated HSM".into(),
        prefix: prefix.parse().unwrap(),
        private_endpoints,
    };
    lab.model.vnets.get_mut(&key("spoke")).unwrap().workloads =
        vec![workload("10.1.5.0/24", false), workload("10.1.6.0/24", true)];
    lab.model.vnets.get_mut(&key("hub")).unwrap().workloads = vec![workload("10.2.5.0/24", false)];
    let snapshot = lab.compile().snapshot;
    let excluded = Err((Reason::WorkloadExcluded, Some("Azure Dedicated HSM".to_owned())));
    assert_eq!(ask(&snapshot, 0, "10.1.5.7", "10.1.9.4", 5432), excluded);
    assert_eq!(ask(&snapshot, 0, "10.2.5.7", "10.1.9.4", 5432), excluded);
    assert_eq!(ask(&snapshot, 0, "10.1.6.7", "10.1.9.4", 5432), Ok(5432));
}

#[test]
fn rules_are_judged_by_priority_when_the_subnets_policies_say_so() {
    let rule = |name: &str, priority, allow, source: Option<&str>| SecurityRule {
        name: name.into(),
        priority,
        access: if allow { Access::Allow } else { Access::Deny },
        protocol: None,
        sources: source.map(|prefix| prefix.parse().unwrap()).into_iter().collect(),
        destinations: vec![],
        ports: vec![],
    };
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    let rules = vec![rule("deny-all", 4000, false, None), rule("allow-app", 100, true, Some("10.1.1.0/24"))];
    lab.model.security_groups.insert(key("group"), SecurityGroup { rules });
    for (policies, judged) in [
        (NetworkPolicies::Disabled, false),
        (NetworkPolicies::RouteTableEnabled, false),
        (NetworkPolicies::NetworkSecurityGroupEnabled, true),
        (NetworkPolicies::Enabled, true),
    ] {
        let subnet = &mut lab.model.vnets.get_mut(&key("spoke")).unwrap().subnets[0];
        subnet.network_policies = policies;
        subnet.security_group = Some(key("group"));
        let snapshot = lab.compile().snapshot;
        let denied = ask(&snapshot, 0, "10.1.2.7", "10.1.9.4", 5432);
        assert_eq!(
            denied == Err((Reason::DeniedByRule, Some("deny-all".to_owned()))),
            judged,
            "{policies:?}: {denied:?}"
        );
        assert_eq!(ask(&snapshot, 0, "10.1.1.7", "10.1.9.4", 5432), Ok(5432), "{policies:?}");
    }
}

#[test]
fn an_endpoints_own_sources_limit_it() {
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    lab.orders().sources = vec!["10.1.1.0/24".parse().unwrap()];
    let snapshot = lab.compile().snapshot;
    assert_eq!(ask(&snapshot, 0, "10.1.1.7", "10.1.9.4", 5432), Ok(5432));
    assert_eq!(
        ask(&snapshot, 0, "10.1.2.7", "10.1.9.4", 5432),
        Err((Reason::DeniedByRule, Some("sources".to_owned())))
    );
}

#[test]
fn limits_timeouts_and_answers_come_from_the_nearest_that_names_them() {
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    lab.host.timeouts.udp = Some(Duration::from_secs(7));
    lab.host.timeouts.icmp = Some(Duration::from_secs(70));
    lab.host.deny = DenyMode::Drop;
    let spec = lab.model.resources.get_mut(&key("orders-db")).unwrap();
    spec.timeouts.udp = Some(Duration::from_secs(9));
    spec.deny = Some(DenyMode::Answer);
    let max_sessions = |lab: &mut Lab| {
        let snapshot = lab.compile().snapshot;
        snapshot.endpoint_address(&snapshot.attachments[0], ip("10.1.9.4")).unwrap().0.endpoint.max_sessions
    };
    assert_eq!(max_sessions(&mut lab), u32::MAX);
    lab.model.resources.get_mut(&key("orders-db")).unwrap().max_sessions_per_endpoint = Some(50);
    assert_eq!(max_sessions(&mut lab), 50);
    lab.orders().max_sessions = Some(5);
    assert_eq!(max_sessions(&mut lab), 5);
    let snapshot = lab.compile().snapshot;
    let timeouts = snapshot.resources[0].timeouts;
    assert_eq!((timeouts.udp, timeouts.icmp), (Duration::from_secs(9), Duration::from_secs(70)));
    assert_eq!(timeouts.tcp_established, Duration::from_mins(124));
    assert_eq!((snapshot.settings.answer, snapshot.resources[0].answer), (false, Some(true)));
    assert_eq!(snapshot.settings.timeouts.udp, Duration::from_secs(7));
}

#[test]
fn endpoints_are_routed_in_their_own_and_each_peers_namespace_once() {
    let mut lab = star(&["spoke", "core", "hub", "far"]);
    lab.model.endpoints.insert(key("far"), endpoint("far", Some("10.3.9.4"), "orders-db"));
    lab.set("far", Approved);
    let routed = |lab: &mut Lab| -> Vec<Vec<IpAddrText>> {
        let plans = lab.compile().topology.attachments;
        plans.iter().map(|plan| plan.endpoints.iter().map(ToString::to_string).collect()).collect()
    };
    assert_eq!(routed(&mut lab), [vec!["10.1.9.4"], vec![], vec!["10.1.9.4", "10.3.9.4"], vec!["10.3.9.4"]]);
    // spoke and hub in one namespace: spoke's own device takes the route there.
    lab.namespaces = vec![1, 2, 1, 4];
    assert_eq!(routed(&mut lab), [vec!["10.1.9.4"], vec![], vec!["10.3.9.4"], vec!["10.3.9.4"]]);
    // Two peers of hub in one namespace, hub elsewhere: the first takes it.
    lab.model.endpoints.insert(key("hub"), endpoint("hub", Some("10.2.9.4"), "orders-db"));
    lab.set("hub", Approved);
    lab.namespaces = vec![1, 2, 3, 1];
    let all = routed(&mut lab);
    assert_eq!((&all[0][..], &all[3][..]), (&["10.1.9.4".into(), "10.2.9.4".into()][..], &["10.3.9.4".into()][..]));
}

type IpAddrText = String;

#[test]
fn a_dedicated_subnet_is_routed_whole_wherever_its_endpoints_are() {
    let mut lab = star(&["spoke", "core", "hub"]);
    lab.model.vnets.get_mut(&key("spoke")).unwrap().subnets[0].dedicated = true;
    lab.host.attachments.iter_mut().for_each(|attachment| attachment.proxy_on = vec!["eth0".into()]);
    let plans = lab.compile().topology.attachments;
    for id in [0, 2] {
        assert_eq!(plans[id].dedicated, ["10.1.9.0/24".parse().unwrap()], "attachment {id}");
        assert!(plans[id].endpoints.is_empty());
        assert_eq!(plans[id].neighbours, [ip("10.1.9.4")], "a proxy neighbour all the same");
    }
    assert!(plans[1].dedicated.is_empty() && plans[1].neighbours.is_empty());
}

#[test]
fn the_provider_side_is_planned_at_the_providers_attachment() {
    let mut lab = star(&["spoke", "core"]);
    let topology = lab.compile().topology;
    let [spoke, core] = topology.attachments.as_slice() else { panic!("two attachments") };
    assert_eq!((&core.nat_addresses, &core.backends), (&vec![ip("10.20.99.4")], &vec![ip("10.20.0.2")]));
    assert!(spoke.nat_addresses.is_empty() && spoke.backends.is_empty());
    let own: Vec<String> = spoke.own_prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(own, ["10.1.0.0/16", "192.168.40.0/24"]);
    assert_eq!((topology.workers, spoke.device.as_str()), (2, "pl-spoke"));
}

#[test]
fn an_endpoint_keeps_its_route_in_every_state_and_loses_it_when_deleted() {
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    for state in [Pending, Approved, Rejected, Disconnected] {
        lab.set("orders", state);
        let compiled = lab.compile();
        assert_eq!(compiled.topology.attachments[0].endpoints, [ip("10.1.9.4")], "{state}");
        let asked = ask(&compiled.snapshot, 0, "10.1.0.7", "10.1.9.4", 5432);
        assert_eq!(asked, if state == Approved { Ok(5432) } else { Err((Reason::not_approved(state), None)) });
    }
    lab.model.endpoints = Map::default();
    let compiled = lab.compile();
    assert!(compiled.topology.attachments[0].endpoints.is_empty());
    assert_eq!(ask(&compiled.snapshot, 0, "10.1.0.7", "10.1.9.4", 5432), Err((Reason::UnknownEndpoint, None)));
}

#[test]
fn the_union_of_two_topologies_asks_for_all_of_both() {
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    let before = lab.compile().topology;
    lab.orders().addresses[0].ip = Some(ip("10.1.9.9"));
    lab.model.resources.get_mut(&key("orders-db")).unwrap().nat = vec![ip("10.20.99.7")];
    let after = lab.compile().topology;
    let both = union(&before, &after);
    assert_eq!(both.attachments[0].endpoints, [ip("10.1.9.4"), ip("10.1.9.9")]);
    assert_eq!(both.attachments[1].nat_addresses, [ip("10.20.99.4"), ip("10.20.99.7")]);
    assert_eq!(union(&before, &before), before);
}

#[test]
fn a_provider_that_this_host_does_not_meet_serves_nobody_here() {
    let mut lab = Lab::new(model(), &["spoke"]);
    let snapshot = lab.compile().snapshot;
    assert!(snapshot.resources[0].nat.is_empty() && snapshot.resources[0].targets[0].backends.is_empty());
    let resource = lab.model.resources.get_mut(&key("orders-db")).unwrap();
    resource.vnet = None;
    resource.targets[0].backends.clear();
    assert!(lab.compile().snapshot.resources[0].nat.is_empty());
}

#[test]
fn what_contradicts_itself_is_not_compiled() {
    type Change = fn(&mut Lab);
    let changes: [(&str, Change); 6] = [
        ("no such resource", |lab| lab.orders().resource = key("nothing")),
        ("no such VNet", |lab| lab.orders().vnet = key("nothing")),
        ("no such subnet", |lab| lab.orders().subnet = "nothing".into()),
        ("no such member", |lab| lab.orders().addresses[0].member = "nothing".into()),
        ("no address", |lab| lab.orders().addresses[0].ip = None),
        ("no connection", |lab| lab.connections = Map::default()),
    ];
    for (name, change) in changes {
        let mut lab = Lab::new(model(), &["spoke", "core"]);
        change(&mut lab);
        assert!(lab.try_compile().is_err(), "{name}");
    }
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    lab.model.endpoints.insert(key("second"), endpoint("spoke", Some("10.1.9.4"), "orders-db"));
    lab.set("second", Approved);
    assert_eq!(lab.try_compile().unwrap_err(), CompileError::Taken(key("second")));
}
