//! Callers without a right, against a running control plane.

use std::sync::Arc;
use std::time::Duration;

use crate::control::codec::Record;
use crate::control::sinks::{Host, Workers};
use crate::control::{AnyOutcome, ApplyFile, ControlPlane, Delete, Prepared, Put, Setup, any};
use crate::model::error::{Error, ErrorKind};
use crate::model::{
    BackendPool, BalancingRule, Caller, DnsZone, Frontend, FrontendRef, Key, LinkResource, LoadBalancer, Model,
    PoolAddress, Principal, PrivateEndpoint, Protocol, Rates, RoleAssignment, SecurityGroup, ZoneGroup, ZoneLink,
};
use crate::snapshot::Snapshot;
use crate::snapshot::topology::Topology;
use crate::testing::{
    bootstrap, endpoint, host, ip, key, link_key, model, noon, resource, root, store, subnet, target, vnet,
};

/// Workers and a host that follow.
#[derive(Debug)]
struct Willing;

impl Workers for Willing {
    fn publish(&self, _: Snapshot, _: Duration) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Host for Willing {
    fn reconcile(&self, _: &Topology) -> anyhow::Result<()> {
        Ok(())
    }

    fn requested(&self, _: &Record) {}
}

const GROUP: &str = "/subscriptions/default/resourceGroups";
const NETWORK: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network";

/// A file whose networks, zone, security group and load balancer belong to nobody but root.
fn file() -> Model {
    let mut file = model();
    let servers = subnet("servers", "10.20.0.0/24");
    file.vnets.insert(key("core"), vnet("10.20.0.0/16", vec![servers, subnet("nat", "10.20.99.0/24")]));
    file.security_groups.insert(key("fence"), SecurityGroup { rules: vec![] });
    file.dns_zones.insert(key("corp.internal"), DnsZone::default());
    file
}

fn balancer(server: &str) -> LoadBalancer {
    LoadBalancer {
        region: "westeurope".into(),
        frontends: vec![Frontend { name: "fe".into(), ..Frontend::default() }],
        pools: vec![BackendPool {
            name: "be".into(),
            addresses: vec![PoolAddress { name: "one".into(), address: ip(server), vnet: None, drain: false }],
        }],
        probes: vec![],
        foreign: String::new(),
        rules: vec![BalancingRule {
            name: "r".into(),
            frontend: "fe".into(),
            pool: "be".into(),
            protocol: Some(Protocol::Tcp),
            frontend_port: 443,
            backend_port: 443,
            probe: None,
            distribution: crate::model::Distribution::Default,
        }],
        ..LoadBalancer::default()
    }
}

fn ada() -> Caller {
    Caller::user(1000, "ada")
}

/// A control plane where ada has these roles at these scopes.
fn running(roles: &[(&str, &str)]) -> ControlPlane {
    let mut file = file();
    for (role, scope) in roles {
        let scope = scope.parse().unwrap();
        let given = RoleAssignment { principal: Principal::Uid(1000), role: role.parse().unwrap(), scope };
        file.assignments.insert(Key::global(given.id().to_string()), given);
    }
    let setup = Setup {
        host: Arc::new(host(&["spoke", "core"])),
        file,
        prune: false,
        dry_run: false,
        workers: 1,
        namespaces: vec![1, 2],
        daemon: root(),
        bootstrap: bootstrap(),
        clock: noon,
        validate: |_, _, _| Vec::new(),
        link_key: link_key(),
    };
    let prepared = Prepared::new(setup, None, store()).unwrap();
    let control = prepared.start(Arc::new(Willing), Arc::new(Willing), Box::new(|_| ())).unwrap();
    let mut items = Model::default();
    items.load_balancers.insert(key("lb"), balancer("10.20.0.7"));
    control.apply(&root(), Put { items: Box::new(items), create_only: false }).unwrap();
    control
}

/// A way to write.
type Write = fn(&ControlPlane, Model) -> Result<AnyOutcome, Error>;

fn put(control: &ControlPlane, items: Model) -> Result<AnyOutcome, Error> {
    control.apply(&ada(), any(Put { items: Box::new(items), create_only: false }))
}

fn apply(control: &ControlPlane, model: Model) -> Result<AnyOutcome, Error> {
    let author = "uid:1000".to_owned();
    let version = ApplyFile { author, model, host: None, prune: false, dry_run: false };
    control.apply(&ada(), any(version))
}

/// A model of one object in ada's own group.
fn one(fill: impl Fn(&mut Model, Key)) -> Model {
    let mut items = Model::default();
    fill(&mut items, Key::new("ada", "mine"));
    items
}

fn service(nat: &str, backend: &str) -> LinkResource {
    resource("core", nat, vec![target("", "", backend)])
}

/// What names something that belongs to somebody else, with the one right that it asks for.
#[allow(clippy::too_many_lines, reason = "one row for each reference")]
fn references() -> Vec<(&'static str, Model, &'static str, String)> {
    let in_core = |name: &str| format!("{NETWORK}/virtualNetworks/core/subnets/{name}");
    let join_subnet = "virtualNetworks/subnets/join/action";
    vec![
        (
            "a NAT address",
            one(|items, key| {
                items.resources.insert(key, resource("core", "10.20.99.9", vec![]));
            }),
            join_subnet,
            in_core("nat"),
        ),
        (
            "a backend",
            one(|items, key| {
                items.resources.insert(key, LinkResource { nat: vec![], ..service("10.20.99.9", "10.20.0.2") });
            }),
            join_subnet,
            in_core("servers"),
        ),
        (
            "a destination",
            one(|items, key| {
                let destination = Some(ip("10.20.0.2"));
                let one = LinkResource { destination, nat: vec![], ..resource("core", "10.20.99.9", vec![]) };
                items.resources.insert(key, one);
            }),
            join_subnet,
            in_core("servers"),
        ),
        (
            "a backend outside any subnet",
            one(|items, key| {
                items.resources.insert(key, LinkResource { nat: vec![], ..service("10.20.99.9", "10.20.77.2") });
            }),
            "virtualNetworks/join/action",
            format!("{NETWORK}/virtualNetworks/core"),
        ),
        (
            "a VNet alone",
            one(|items, key| {
                items.resources.insert(key, LinkResource { nat: vec![], ..resource("core", "10.20.99.9", vec![]) });
            }),
            "virtualNetworks/join/action",
            format!("{NETWORK}/virtualNetworks/core"),
        ),
        (
            "a peering",
            one(|items, key| {
                let mut mine = vnet("10.77.0.0/16", vec![]);
                mine.peerings = vec![Key::new("default", "core")];
                items.vnets.insert(key, mine);
            }),
            "virtualNetworks/peer/action",
            format!("{NETWORK}/virtualNetworks/core"),
        ),
        (
            "a security group",
            one(|items, mine| {
                let mut guarded = subnet("a", "10.77.0.0/24");
                guarded.security_group = Some(key("fence"));
                items.vnets.insert(mine, vnet("10.77.0.0/16", vec![guarded]));
            }),
            "networkSecurityGroups/join/action",
            format!("{NETWORK}/networkSecurityGroups/fence"),
        ),
        (
            "a zone link",
            one(|items, mine| {
                let link = ZoneLink {
                    name: "l".into(),
                    vnet: key("core"),
                    policy: crate::model::ResolutionPolicy::default(),
                    registration: false,
                    tags: crate::model::Tags::new(),
                };
                items.dns_zones.insert(mine, DnsZone { links: vec![link], ..DnsZone::default() });
            }),
            "virtualNetworks/join/action",
            format!("{NETWORK}/virtualNetworks/core"),
        ),
        (
            "a balancer's subnet",
            one(|items, mine| {
                let subnet = Some((key("core"), "servers".to_owned()));
                let frontends = vec![Frontend { name: "fe".into(), subnet, address: None }];
                items.load_balancers.insert(mine, LoadBalancer { frontends, ..LoadBalancer::default() });
            }),
            join_subnet,
            in_core("servers"),
        ),
        (
            "a balancer's server",
            one(|items, mine| {
                let mut wanted = balancer("10.20.0.9");
                wanted.pools[0].addresses[0].vnet = Some(key("core"));
                items.load_balancers.insert(mine, wanted);
            }),
            join_subnet,
            in_core("servers"),
        ),
        (
            "an endpoint's subnet",
            one(|items, mine| {
                items.endpoints.insert(mine, manual(endpoint("spoke", None, "orders-db")));
            }),
            join_subnet,
            format!("{NETWORK}/virtualNetworks/spoke/subnets/endpoints"),
        ),
    ]
}

fn manual(endpoint: crate::model::PrivateEndpoint) -> crate::model::PrivateEndpoint {
    crate::model::PrivateEndpoint { manual: true, ..endpoint }
}

#[test]
fn naming_something_asks_for_exactly_one_right_on_it_whatever_the_command() {
    let own = ("Network Contributor", "/subscriptions/default/resourceGroups/ada");
    // Who may connect to a resource is another matter; here it is readable.
    let shown = (
        "Reader",
        "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices/orders-db",
    );
    for (what, items, action, scope) in references() {
        // No document has load balancers.
        let writes: &[Write] = if items.load_balancers.is_empty() { &[put, apply] } else { &[put] };
        for write in writes {
            let refused = write(&running(&[own, shown]), items.clone()).expect_err(what);
            assert_eq!(refused.kind, ErrorKind::Forbidden, "{what}: {refused}");
            let reader = running(&[own, shown, ("Reader", GROUP.trim_end_matches("/resourceGroups"))]);
            let refused = write(&reader, items.clone()).expect_err(what);
            assert!(refused.message.contains(&format!("{action} at {scope}")), "{what}: {refused}");
            let given = running(&[own, shown, ("Network Contributor", &scope)]);
            if let Err(refused) = write(&given, items.clone()) {
                panic!("{what}: with the right at {scope} it is allowed: {refused}");
            }
        }
    }
}

#[test]
fn whoever_may_not_read_a_network_learns_nothing_of_its_subnets() {
    let control = running(&[("Network Contributor", "/subscriptions/default/resourceGroups/ada")]);
    let said = |backend: &str, vnet: &str| {
        let wanted = LinkResource { nat: vec![], ..resource(vnet, "10.20.99.9", vec![target("", "", backend)]) };
        put(
            &control,
            one(|items, key| {
                items.resources.insert(key, wanted.clone());
            }),
        )
        .unwrap_err()
        .to_string()
    };
    let inside = said("10.20.0.2", "core");
    assert_eq!(inside, said("10.20.77.2", "core"), "in a subnet, and in none");
    assert_eq!(inside, said("10.20.0.2", "none").replace("virtualNetworks/none", "virtualNetworks/core"), "absent");
}

#[test]
fn what_is_named_already_is_not_asked_about_again() {
    let own = ("Network Contributor", "/subscriptions/default/resourceGroups/ada");
    let control = running(&[own]);
    let made = |wanted: LinkResource| {
        one(|items, key| {
            items.resources.insert(key, wanted.clone());
        })
    };
    let items = made(service("10.20.99.9", "10.20.0.2"));
    let command = Put { items: Box::new(items), create_only: false };
    control.apply(&root(), command).unwrap();
    let mut wanted = service("10.20.99.9", "10.20.0.2");
    wanted.max_sessions = Some(7);
    wanted.targets[0].ports[0].backend_first = 1;
    put(&control, made(wanted.clone())).unwrap();
    wanted.targets[0].backends[0].address = ip("10.20.0.3");
    assert_eq!(put(&control, made(wanted.clone())).unwrap_err().kind, ErrorKind::Forbidden);
    // To take one away asks for the object alone.
    wanted.targets.clear();
    put(&control, made(wanted)).unwrap();
}

fn contributor(scope: &str) -> (&str, &str) {
    ("Network Contributor", scope)
}

#[test]
fn what_a_change_carries_along_asks_for_the_right_there_too() {
    let lb = format!("{NETWORK}/loadBalancers/lb");
    let service_scope = "/subscriptions/default/resourceGroups/svc/providers/Microsoft.Network/privateLinkServices/s";
    let servers = format!("{NETWORK}/virtualNetworks/core/subnets/servers");
    let behind = FrontendRef { balancer: key("lb"), frontend: "fe".into() };
    let change = |roles: &[(&str, &str)]| {
        let control = running(roles);
        let mut items = Model::default();
        let wanted = LinkResource { frontends: vec![behind.clone()], ..resource("core", "10.20.99.9", vec![]) };
        items.resources.insert(Key::new("svc", "s"), wanted);
        control.apply(&root(), Put { items: Box::new(items), create_only: false }).unwrap();
        let mut items = Model::default();
        items.load_balancers.insert(key("lb"), balancer("10.20.0.8"));
        put(&control, items).map_err(|refusal| refusal.message)
    };
    let refused = change(&[contributor(&lb)]).unwrap_err();
    assert!(refused.contains("privateLinkServices/write"), "{refused}");
    let refused = change(&[contributor(&lb), contributor(service_scope)]).unwrap_err();
    assert!(refused.contains("subnets/join/action"), "{refused}");
    change(&[contributor(&lb), contributor(service_scope), contributor(&servers)]).unwrap();
}

#[test]
fn the_zone_of_an_endpoint_asks_for_a_right_and_the_resource_must_show_itself() {
    let own = ("Network Contributor", "/subscriptions/default/resourceGroups/ada");
    let subnet = format!("{NETWORK}/virtualNetworks/spoke/subnets/endpoints");
    let mut wanted = manual(endpoint("spoke", None, "orders-db"));
    let items = |wanted: &crate::model::PrivateEndpoint| {
        one(|items, key| {
            items.endpoints.insert(key, wanted.clone());
        })
    };
    let control = running(&[own, ("Network Contributor", &subnet)]);
    assert_eq!(put(&control, items(&wanted)).unwrap_err().kind, ErrorKind::NotFound);
    let shown = format!("{NETWORK}/privateLinkServices/orders-db");
    let control = running(&[own, ("Network Contributor", &subnet), ("Reader", &shown)]);
    put(&control, items(&wanted)).unwrap();
    wanted.zone_group = Some(Box::new(ZoneGroup::of([key("corp.internal")])));
    let refused = put(&control, items(&wanted)).unwrap_err();
    assert!(refused.message.contains("privateDnsZones/join/action"), "{refused}");
}

#[test]
fn what_an_object_is_never_changes() {
    let storage = "/subscriptions/default/resourceGroups/ada";
    let control = running(&[("Contributor", storage)]);
    let typed = |kind: Option<&str>| {
        let wanted = LinkResource {
            kind: kind.map(str::to_owned),
            vnet: None,
            nat: vec![],
            ..resource("core", "10.20.99.9", vec![])
        };
        one(|items, key| {
            items.resources.insert(key, wanted.clone());
        })
    };
    put(&control, typed(Some("Microsoft.Storage/storageAccounts"))).unwrap();
    put(&control, typed(Some("microsoft.storage/STORAGEACCOUNTS"))).unwrap();
    for (write, kind) in [(put as Write, None), (put, Some("Microsoft.Sql/servers")), (apply, None)] {
        let refused = write(&control, typed(kind)).unwrap_err();
        assert_eq!((refused.kind, refused.code), (ErrorKind::Conflict, "NameInUse"), "{kind:?}: {refused}");
    }
    // The daemon's own file is not stopped by it: the live object stays, and the report says so.
    let mut model = file();
    model.resources.extend(typed(None).resources.iter().map(|(key, one)| (key.clone(), one.clone())));
    let author = crate::model::state::DAEMON.to_owned();
    let version = ApplyFile { author, model, host: None, prune: true, dry_run: false };
    let report = control.apply(&root(), version).unwrap();
    assert!(report.skipped.iter().any(|one| one.item == "resource ada/mine"), "{report}");
    let view = control.view();
    let kind = view.state.model.resources.get(&Key::new("ada", "mine")).and_then(|one| one.kind.clone());
    assert_eq!(kind.as_deref(), Some("microsoft.storage/STORAGEACCOUNTS"));
}

/// Roles and assignments.
mod roles;

#[test]
fn who_writes_an_endpoint_sets_its_rate_and_never_its_resources() {
    let control = running(&[contributor(&format!("{NETWORK}/privateEndpoints/orders"))]);
    let rates = |bits: u64| Some(Rates { bits_per_second: Some(bits), new_sessions_per_second: None });
    let of_resource = |rates: Option<Rates>| {
        let mut items = Model::default();
        let provided = LinkResource { rates, ..model().resources[&key("orders-db")].clone() };
        items.resources.insert(key("orders-db"), provided);
        items
    };
    let of_endpoint = |rates: Option<Rates>| {
        let mut items = Model::default();
        items.endpoints.insert(key("orders"), PrivateEndpoint { rates, ..model().endpoints[&key("orders")].clone() });
        items
    };
    let command = Put { items: Box::new(of_resource(rates(5_000_000))), create_only: false };
    control.apply(&root(), command).unwrap();
    put(&control, of_endpoint(rates(1_000_000))).unwrap();
    put(&control, of_endpoint(None)).unwrap();
    for lifted in [None, rates(9_000_000)] {
        assert_eq!(put(&control, of_resource(lifted)).unwrap_err().kind, ErrorKind::Forbidden, "{lifted:?}");
    }
    assert_eq!(control.view().state.model.resources[&key("orders-db")].rates, rates(5_000_000));
}
