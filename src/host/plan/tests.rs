//! Plans for hand-made hosts.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::super::netns::NamespaceId;
use super::super::survey::{Forwards, Interface, KnownRoute, Survey};
use super::*;
use crate::snapshot::AttachmentId;
use crate::snapshot::topology::OnExit;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A namespace with `lo` and the interfaces that `routes` name; everything forwards.
fn survey(name: &str, inode: u64, routes: &[(&str, &str)]) -> Survey {
    let on = Forwards { ipv4: true, ipv6: true };
    let mut names: Vec<&str> = routes.iter().map(|(_, interface)| *interface).collect();
    names.sort_unstable();
    names.dedup();
    let interface = |name: &str| Interface {
        name: name.into(),
        mtu: 1_500,
        up: true,
        loopback: name == "lo",
        forwards: on,
        reverse_path: 0,
    };
    Survey {
        namespace: NamespaceId { name: Some(name.into()), device: 4, inode },
        interfaces: names.into_iter().chain(["lo"]).map(interface).collect(),
        routes: routes
            .iter()
            .map(|(prefix, interface)| KnownRoute {
                prefix: net(prefix),
                interfaces: vec![(*interface).into()],
                mtu: None,
            })
            .collect(),
        ours: BTreeSet::new(),
        local: BTreeMap::new(),
        gateways: BTreeMap::new(),
        neighbours: BTreeMap::new(),
        broadcast: BTreeMap::new(),
        reverse_path_all: 0,
        forwards: on,
    }
}

fn attachment(vnet: &str, own: &str) -> AttachmentPlan {
    AttachmentPlan {
        id: AttachmentId(0),
        vnet: vnet.into(),
        netns: Some(vnet.into()),
        device: format!("pl-{vnet}"),
        mtu: 1500,
        proxy_on: vec![],
        own_prefixes: vec![net(own)],
        dedicated: vec![],
        endpoints: vec![],
        neighbours: vec![],
        nat_addresses: vec![],
        resolvers: vec![],
        denied: vec![],
        backends: vec![],
    }
}

fn consumer() -> AttachmentPlan {
    AttachmentPlan {
        endpoints: vec![ip("10.1.9.4")],
        neighbours: vec![ip("10.1.9.4")],
        ..attachment("spoke", "10.1.0.0/16")
    }
}

fn provider() -> AttachmentPlan {
    AttachmentPlan {
        nat_addresses: vec![ip("10.20.99.4")],
        backends: vec![ip("10.20.0.2")],
        ..attachment("core", "10.20.0.0/16")
    }
}

fn topology(attachments: Vec<AttachmentPlan>) -> Topology {
    Topology { attachments, on_exit: OnExit::Block, workers: 2, offload: true }
}

/// The plan as the dry run prints it; one survey serves all attachments unless there are more.
fn lines(attachments: Vec<AttachmentPlan>, surveys: &[Survey]) -> anyhow::Result<Vec<String>> {
    let count = attachments.len();
    let surveys: Vec<Arc<Survey>> = surveys.iter().cloned().map(Arc::new).cycle().take(count).collect();
    let plan = plan(&topology(attachments), &surveys)?;
    refuse_taken(plan.steps.iter(), &surveys)?;
    Ok(plan.steps.iter().map(Step::to_string).chain(plan.warnings).collect())
}

fn refusal(attachments: Vec<AttachmentPlan>, surveys: &[Survey]) -> String {
    lines(attachments, surveys).expect_err("refused").to_string()
}

#[test]
fn what_blocks_comes_before_the_device_and_what_opens_after_it() {
    let spoke = survey("spoke", 1, &[("10.1.0.0/24", "eth0")]);
    let core = survey("core", 2, &[("10.20.0.0/24", "eth0")]);
    assert_eq!(
        lines(vec![consumer(), provider()], &[spoke, core]).expect("fine"),
        [
            "spoke: ip route add unreachable 10.1.9.4/32 metric 4000000 proto 112",
            "spoke: make TUN device pl-spoke mtu 1500 queues 2 offload on",
            "spoke: ip link set pl-spoke addrgenmode none txqueuelen 4096",
            "spoke: ip link set pl-spoke up",
            "spoke: ip route add 10.1.9.4/32 dev pl-spoke metric 1 proto 112",
            "core: ip route add unreachable 10.20.99.4/32 metric 4000000 proto 112",
            "core: make TUN device pl-core mtu 1500 queues 2 offload on",
            "core: ip link set pl-core addrgenmode none txqueuelen 4096",
            "core: ip link set pl-core up",
            "core: ip route add 10.20.99.4/32 dev pl-core metric 1 proto 112",
        ]
    );
}

#[test]
fn a_dedicated_subnet_is_one_route_however_many_endpoints() {
    let spoke = AttachmentPlan {
        dedicated: vec![net("10.1.9.0/24")],
        endpoints: vec![],
        neighbours: vec![ip("10.1.9.4"), ip("10.1.9.5")],
        ..consumer()
    };
    let lines = lines(vec![spoke], &[survey("spoke", 1, &[])]).expect("fine");
    let routes: Vec<_> = lines.iter().filter(|line| line.contains("ip route")).collect();
    assert_eq!(routes.len(), 2, "{routes:?}");
    assert!(routes[1].contains("10.1.9.0/24 dev pl-spoke"));
}

#[test]
fn a_peered_endpoint_is_routed_once_to_the_device_of_its_own_vnet() {
    for dedicated in [false, true] {
        let mut owner = consumer();
        if dedicated {
            owner.endpoints = vec![];
            owner.dedicated = vec![net("10.1.9.0/24")];
        }
        let peer = AttachmentPlan { endpoints: vec![ip("10.1.9.4")], ..attachment("peer", "10.3.0.0/16") };
        for members in [vec![owner.clone(), peer.clone()], vec![peer, owner]] {
            let lines = lines(members, &[survey("shared", 1, &[])]).expect("fine");
            let to_device: Vec<_> = lines.iter().filter(|line| line.contains(" dev pl-")).collect();
            assert_eq!(to_device.len(), 1, "{to_device:?}");
            assert!(to_device[0].contains("dev pl-spoke"), "{to_device:?}");
        }
    }
}

fn shared() -> Survey {
    survey("shared", 1, &[("10.1.0.0/24", "vlan1"), ("10.20.0.0/24", "vlan2"), ("0.0.0.0/0", "vlan2")])
}

#[test]
fn both_sides_in_one_namespace_are_kept_apart_by_rules_and_strict_reverse_paths() {
    let lines = lines(vec![consumer(), provider()], &[shared()]).expect("fine");
    for expected in [
        "ip route add unreachable 10.1.9.4/32 table 7701 metric 4000000 proto 112",
        "ip route add unreachable 10.20.99.4/32 table 7702 metric 4000000 proto 112",
        "ip rule add pref 71 iif lo goto 73 protocol 112",
        "ip rule add pref 71 iif vlan2 goto 73 protocol 112",
        "ip rule add pref 72 lookup 7702 protocol 112",
        "ip rule add pref 73 nop protocol 112",
        "ip rule add pref 74 iif vlan2 lookup 7701 protocol 112",
        "sysctl -w net/ipv4/conf/vlan1/rp_filter=1",
        "sysctl -w net/ipv4/conf/vlan2/rp_filter=1",
    ] {
        assert!(lines.contains(&format!("shared: {expected}")), "{expected} is not in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("iif vlan1") || line.contains("conf/lo/")), "{lines:#?}");
}

#[test]
fn a_loose_reverse_path_in_all_is_moved_to_the_other_interfaces() {
    let mut host = shared();
    host.reverse_path_all = 2;
    let lines = lines(vec![consumer(), provider()], &[host]).expect("fine");
    let sysctls: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("shared: sysctl -w ")).collect();
    assert_eq!(
        sysctls,
        [
            "net/ipv4/conf/all/rp_filter=0",
            "net/ipv4/conf/lo/rp_filter=2",
            "net/ipv4/conf/vlan1/rp_filter=1",
            "net/ipv4/conf/vlan2/rp_filter=1"
        ]
    );
}

#[test]
fn both_sides_behind_one_interface_are_refused() {
    let host = survey("shared", 1, &[("10.0.0.0/8", "eth0")]);
    let error = refusal(vec![consumer(), provider()], &[host]);
    assert!(error.contains("both lie behind eth0") && error.contains("VLAN"), "{error}");
}

#[test]
fn local_clients_and_backends_need_no_interface() {
    let mut host = survey("shared", 1, &[("0.0.0.0/0", "eth0")]);
    host.local = BTreeMap::from([(ip("10.1.0.5"), "lo".into()), (ip("10.20.0.2"), "lo".into())]);
    let lines = lines(vec![consumer(), provider()], &[host]).expect("local processes are trusted");
    assert!(!lines.iter().any(|line| line.contains("eth0")), "{lines:#?}");
}

#[test]
fn attachments_that_cannot_be_told_apart_are_refused() {
    let overlapping = AttachmentPlan { own_prefixes: vec![net("10.1.128.0/17")], ..provider() };
    let error = refusal(vec![consumer(), overlapping], &[shared()]);
    assert!(error.contains("overlap and share namespace shared"), "{error}");
    let twin = AttachmentPlan { device: "pl-spoke".into(), ..provider() };
    let error = refusal(vec![consumer(), twin], &[shared()]);
    assert!(error.contains("both want device pl-spoke"), "{error}");
    let (one, other) = (survey("a", 1, &[]), survey("b", 2, &[]));
    let twin = AttachmentPlan { own_prefixes: vec![net("10.1.0.0/16")], ..consumer() };
    lines(vec![consumer(), twin], &[one, other]).expect("overlap in two namespaces is what privlink is for");
}

#[test]
fn proxy_neighbours_need_an_interface_that_forwards() {
    let consumer = AttachmentPlan { proxy_on: vec!["eth0".into()], ..consumer() };
    let mut host = survey("spoke", 1, &[("10.1.0.0/24", "eth0")]);
    let found = lines(vec![consumer.clone()], std::slice::from_ref(&host)).expect("fine");
    assert_eq!(found.last().expect("some"), "spoke: ip neighbour add proxy 10.1.9.4 dev eth0");
    for interface in &mut host.interfaces {
        interface.forwards = Forwards { ipv4: false, ipv6: true };
    }
    let error = refusal(vec![consumer.clone()], &[host]);
    assert!(error.contains("eth0 does not forward") && error.contains("ip netns exec spoke sysctl -w"), "{error}");
    let error = refusal(vec![consumer], &[survey("spoke", 1, &[])]);
    assert!(error.contains("no interface eth0"), "{error}");
}

#[test]
fn forwarding_that_is_off_is_a_warning_that_names_the_side() {
    let off = |mut host: Survey| {
        host.forwards = Forwards { ipv4: false, ipv6: false };
        host
    };
    let spoke = off(survey("spoke", 1, &[("10.1.0.0/24", "eth0")]));
    let core = off(survey("core", 2, &[("10.20.0.0/24", "eth1")]));
    let found = lines(vec![consumer(), provider()], &[spoke, core]).expect("only warnings");
    let warnings: Vec<_> = found.iter().filter(|line| line.starts_with("forwarding is off")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].contains("spoke: clients behind this host (eth0)"), "{}", warnings[0]);
    assert!(warnings[1].contains("core: backends behind this host (eth1)"), "{}", warnings[1]);

    let mut local = off(survey("core", 2, &[("10.20.0.0/24", "eth1")]));
    local.local.insert(ip("10.20.0.2"), "eth1".into());
    let found = lines(vec![provider()], &[local]).expect("fine");
    assert!(!found.iter().any(|line| line.contains("forwarding")), "a backend on this host needs none: {found:#?}");
}

#[test]
fn an_address_that_means_something_else_here_is_refused() {
    let mut host = survey("spoke", 1, &[("10.1.0.0/24", "eth0")]);
    host.local.insert(ip("10.1.9.4"), "eth0".into());
    let error = refusal(vec![consumer()], &[host]);
    assert!(error.contains("10.1.9.4 is an address of this host (namespace spoke, eth0)"), "{error}");

    let error = refusal(vec![consumer()], &[survey("spoke", 1, &[("10.1.9.4/32", "wg0")])]);
    assert!(error.contains("routes 10.1.9.4/32 to wg0"), "{error}");

    let dedicated = AttachmentPlan { dedicated: vec![net("10.1.9.0/24")], endpoints: vec![], ..consumer() };
    let error = refusal(vec![dedicated], &[survey("spoke", 1, &[("10.1.9.128/25", "eth0")])]);
    assert!(error.contains("routes 10.1.9.128/25 to eth0"), "{error}");
}

#[test]
fn a_device_that_exists_is_refused_before_anything_is_changed() {
    let surveys = [Arc::new(survey("spoke", 1, &[("10.1.0.0/24", "eth0"), ("10.9.0.0/24", "pl-spoke")]))];
    let plan = plan(&topology(vec![consumer()]), &surveys).expect("fine in itself");
    let error = refuse_existing_devices(&plan.steps, &surveys).expect_err("refused").to_string();
    assert!(error.contains("pl-spoke") && error.contains("exists already in namespace spoke"), "{error}");
    let free = [Arc::new(survey("spoke", 1, &[("10.1.0.0/24", "eth0")]))];
    refuse_existing_devices(&plan.steps, &free).expect("free");
}

#[test]
fn an_address_of_the_host_inside_a_dedicated_subnet_is_refused() {
    let whole = AttachmentPlan { dedicated: vec![net("10.1.9.0/24")], ..attachment("spoke", "10.1.0.0/16") };
    let mut spoke = survey("spoke", 1, &[("10.1.0.0/24", "eth0")]);
    spoke.local.insert(ip("10.1.9.4"), "lo".into());
    let error = refusal(vec![whole.clone()], &[spoke.clone()]);
    assert!(error.contains("10.1.9.4 is an address of this host"), "{error}");
    spoke.local = BTreeMap::from([(ip("10.1.8.4"), "lo".into())]);
    lines(vec![whole], &[spoke]).expect("outside the subnet");
}

#[test]
fn addresses_of_gateways_and_neighbours_are_refused_but_for_nat_ones() {
    let mut survey = survey("core", 1, &[("0.0.0.0/0", "eth0")]);
    survey.gateways.insert(ip("10.20.0.1"), "the gateway to 0.0.0.0/0".into());
    survey.gateways.insert(ip("203.0.113.1"), "the gateway to 198.51.100.0/24".into());
    for neighbour in ["10.20.99.7", "203.0.113.9"] {
        survey.neighbours.insert(ip(neighbour), "a neighbour (02:00:00:00:00:07) on eth0".into());
    }
    let surveys = [Arc::new(survey)];
    let unreachable = |prefix: &str| Action::Unreachable { prefix: net(prefix), table: MAIN_TABLE };
    // Public prefixes: one that a neighbour answers in, one with a gateway, and one that lies in the VNet itself.
    let denied = ["203.0.113.8/31", "203.0.113.0/30", "10.20.99.6/31"].map(net).to_vec();
    let core = AttachmentPlan { nat_addresses: vec![ip("10.20.99.7")], denied, ..attachment("core", "10.20.0.0/16") };
    let topology = Topology { attachments: vec![core], ..Topology::default() };
    for (action, refused) in [
        (Action::Address { address: ip("10.20.0.1") }, Some("10.20.0.1 is the gateway to 0.0.0.0/0")),
        (Action::Address { address: ip("10.20.0.2") }, None),
        (unreachable("10.20.0.1/32"), Some("10.20.0.1 is the gateway")),
        (unreachable("10.20.0.0/24"), Some("10.20.0.1 is the gateway")),
        (unreachable("10.20.98.0/23"), Some("10.20.99.7 is a neighbour (02:00:00:00:00:07) on eth0")),
        (unreachable("10.20.99.7/32"), None),
        (unreachable("10.30.0.0/16"), None),
        (unreachable("203.0.113.8/31"), None),
        (unreachable("203.0.113.8/30"), Some("203.0.113.9 is a neighbour")),
        (unreachable("203.0.113.0/30"), Some("203.0.113.1 is the gateway")),
        (unreachable("10.20.99.6/31"), Some("10.20.99.7 is a neighbour")),
    ] {
        let step = Step { namespace: surveys[0].namespace.clone(), action };
        let said = refuse_others(std::iter::once(&step), &surveys, &topology).err();
        assert!(said.as_ref().is_none_or(anyhow::Error::is::<AddressInUse>), "{step}: {said:?}");
        let said = said.map(|error| error.to_string());
        match refused {
            None => assert_eq!(said, None, "{step}"),
            Some(expected) => assert!(said.as_ref().is_some_and(|said| said.contains(expected)), "{step}: {said:?}"),
        }
    }
}
