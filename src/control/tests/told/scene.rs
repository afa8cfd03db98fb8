//! What the tenant has, what gets in its way, and what it asks for.

use super::*;
use crate::model::{
    FrontendRef, GroupZone, Rates, RecordData, RecordSet, TimeoutOverrides, Visibility, ZoneGroup, ZoneRecord,
};

/// The subnet `sub` of `space`, and one for NAT addresses.
pub(super) fn network(space: &str, sub: &str, nat: &str) -> Vnet {
    vnet(space, vec![subnet("sub", sub), subnet("nat", nat)])
}

pub(super) fn own_net() -> Vnet {
    network("10.8.0.0/16", "10.8.1.0/24", "10.8.99.0/24")
}

/// Three addresses of it are free.
pub(super) fn lent_net() -> Vnet {
    network("10.9.0.0/16", "10.9.1.0/29", "10.9.99.0/24")
}

pub(super) fn doubly_wrong() -> Vnet {
    Vnet { region: String::new(), ..vnet("10.7.0.0/16", vec![subnet("sub", "10.6.1.0/24")]) }
}

pub(super) fn own(net: &str, address: Option<&str>) -> PrivateEndpoint {
    let made = endpoint("spoke", address, "db");
    PrivateEndpoint { vnet: of("mine", net), subnet: "sub".into(), resource: of("mine", "db"), ..made }
}

pub(super) fn lent(address: Option<&str>) -> PrivateEndpoint {
    own("lent", address)
}

pub(super) fn saying(message: &str) -> PrivateEndpoint {
    PrivateEndpoint { manual: true, request_message: message.into(), ..own("net", None) }
}

pub(super) fn service(nat: &str) -> LinkResource {
    let made = resource("core", nat, vec![target("", "", "10.8.2.20")]);
    LinkResource { vnet: Some(of("mine", "net")), shared_backend: true, ..made }
}

/// A storage account, whose name is its own in all the world.
pub(super) fn account() -> LinkResource {
    let kind = Some("Microsoft.Storage/storageAccounts".to_owned());
    let made = resource("core", "10.8.99.40", vec![target("blob", "", "10.8.2.21")]);
    LinkResource { vnet: Some(of("mine", "net")), kind, shared_backend: true, ..made }
}

pub(super) fn role(name: &str, actions: &[&str]) -> RoleDefinition {
    RoleDefinition {
        name: name.parse().expect("a name"),
        description: String::new(),
        actions: actions.iter().map(|action| action.parse().expect("a pattern")).collect(),
        not_actions: Vec::new(),
        assignable_scopes: vec!["/".parse().expect("a scope")],
    }
}

pub(super) fn group(name: &str) -> Scope {
    Scope::group("default", name)
}

/// The role that somebody else has, where that one has it no more.
pub(super) fn narrowed() -> AnyCommand {
    put(|items| {
        let narrow = RoleDefinition { assignable_scopes: vec![group("mine")], ..role("assigned", &["*/read"]) };
        items.roles.insert(Key::global("assigned"), narrow);
    })
}

pub(super) fn widened() -> AnyCommand {
    put(|items| items.roles.insert(Key::global("assigned"), role("assigned", &["*/read", "*/write"])))
}

pub(super) fn items(change: impl FnOnce(&mut Model)) -> Box<Model> {
    let mut items = Box::new(Model::default());
    change(&mut items);
    items
}

pub(super) fn put(change: impl FnOnce(&mut Model)) -> AnyCommand {
    any(Put { items: items(change), create_only: false })
}

pub(super) fn create(change: impl FnOnce(&mut Model)) -> AnyCommand {
    any(Put { items: items(change), create_only: true })
}

pub(super) fn delete(kind: ItemKind, reference: &str) -> AnyCommand {
    any(Delete { kind, reference: reference.to_owned() })
}

/// About the tenant's own `twin`, which is bound to its `db`.
pub(super) fn decision(resource: Option<&str>, seconds: Option<i64>) -> Decision {
    Decision {
        endpoint: "mine/twin".into(),
        resource: resource.map(str::to_owned),
        until: seconds.map(|seconds| Until::For(SignedDuration::from_secs(seconds))),
        ..Decision::default()
    }
}

/// What the tenant, uid 1001, has; and with a `secret` what `hush` has of it, which is called so.
pub(super) fn scene(secret: Option<&str>) -> ControlPlane {
    let mut file = Model { vnets: model().vnets, ..Model::default() };
    file.vnets.insert(of("mine", "net"), own_net());
    file.vnets.insert(of("mine", "lent"), lent_net());
    for (name, nat) in [("db", "10.8.99.4"), ("other", "10.8.99.5")] {
        let visibility = Visibility::Everyone;
        file.resources.insert(of("mine", name), LinkResource { visibility, ..service(nat) });
    }
    for (group, name, address) in
        [("mine", "twin", "10.8.1.10"), ("also", "twin", "10.8.1.11"), ("mine", "gone", "10.8.1.12")]
    {
        file.endpoints.insert(of(group, name), own("net", Some(address)));
    }
    let mut assign = |principal: &str, role: &str, scope: Scope| {
        let (principal, role) = (principal.parse().expect("a principal"), role.parse().expect("a role"));
        let given = RoleAssignment { principal, role, scope };
        file.assignments.insert(Key::global(given.id().to_string()), given);
    };
    for own in ["mine", "also"] {
        assign("uid:1001", "maker", group(own));
    }
    assign("uid:1001", "definer", Scope::root());
    if let Some(secret) = secret {
        assign(&format!("uid:{}", 7000 + secret.len()), "assigned", group("hush"));
        for last in 4..=6 {
            let made = PrivateEndpoint { resource: of("mine", "other"), ..lent(Some(&format!("10.9.1.{last}"))) };
            file.endpoints.insert(of("hush", &format!("{secret}-{last}")), made);
        }
        let made = PrivateEndpoint { resource: Key::of(secret, "hush", "account"), ..own("net", Some("10.8.1.13")) };
        file.endpoints.insert(of("hush", "twin"), PrivateEndpoint { subresource: "blob".into(), ..made });
        file.vnets.insert(of("hush", "twin-net"), network("10.66.0.0/16", "10.66.1.0/24", "10.66.99.0/24"));
        let both = DnsZone { links: vec![link(secret)], ..DnsZone::default() };
        file.dns_zones.insert(Key::of(secret, "hush", "both.internal"), both);
        let account = LinkResource { nat: vec![ip("10.8.99.41")], ..account() };
        file.resources.insert(Key::of(secret, "hush", "account"), account);
    }
    // Not who else is connected to its services.
    let connections = "Microsoft.Network/privateLinkServices/privateEndpointConnections/read";
    for made in [
        RoleDefinition {
            not_actions: vec![connections.parse().expect("a pattern")],
            ..role("maker", &["Microsoft.Network/*", "Microsoft.Storage/*"])
        },
        role("definer", &["Microsoft.Authorization/roleDefinitions/*"]),
        role("assigned", &["*/read"]),
    ] {
        file.roles.insert(Key::global(made.name.to_string()), made);
    }
    let most = Quotas::default().with(Quota::EndpointsPerSubscription, Some(7));
    let host = Arc::new(HostConfig { quotas: most, ..host(&["spoke", "core"]) });
    let rules: Validate = |model, host, endpoint| match endpoint {
        Some(key) => rules::endpoint(model, Some(host), key),
        None => validate(model, Some(host)),
    };
    let world = Arc::new(World::default());
    let setup = Setup { host, validate: rules, ..setup(file) };
    let prepared = Prepared::new(setup, None, Box::new(Fake(Arc::clone(&world)))).expect("a sound model");
    let ports = || Arc::new(Fake(Arc::clone(&world)));
    let control = prepared.start(ports(), ports(), Box::new(|_| ())).expect("started");
    let gone = Decision { endpoint: "mine/gone".into(), ..Decision::default() };
    control.apply(&root(), Decide::remove(gone)).expect("removed");
    control
}

/// The tenant's zone `own.internal` as `change` makes it.
pub(super) fn zone(change: impl FnOnce(&mut DnsZone)) -> AnyCommand {
    let mut zone = DnsZone::default();
    change(&mut zone);
    put(|items| items.dns_zones.insert(of("mine", "own.internal"), zone))
}

pub(super) fn record(name: &str, ttl: u32, data: RecordData) -> ZoneRecord {
    ZoneRecord { name: name.into(), set: RecordSet { ttl, data }, metadata: Tags::new() }
}

pub(super) fn addresses(count: u8) -> RecordData {
    RecordData::A((0..count).map(|last| std::net::Ipv4Addr::new(10, 8, 3, last)).collect())
}

pub(super) fn alias() -> RecordData {
    RecordData::Cname("www.example.com".into())
}

/// A link to the tenant's own VNet.
pub(super) fn link(name: &str) -> ZoneLink {
    let (policy, tags) = (ResolutionPolicy::Default, Tags::new());
    ZoneLink { name: name.into(), vnet: of("mine", "net"), policy, registration: false, tags }
}

/// A zone that `hush` has for the tenant's VNet, too.
pub(super) fn shared_zone() -> AnyCommand {
    let zone = DnsZone { links: vec![link("l")], ..DnsZone::default() };
    put(|items| items.dns_zones.insert(of("mine", "both.internal"), zone))
}

/// The tenant's `twin` in zones that are made with this.
pub(super) fn grouped(zones: &[(&str, &str)]) -> AnyCommand {
    let keys: Vec<Key> = zones.iter().map(|(group, name)| of(group, name)).collect();
    let named = |(number, zone): (usize, &Key)| GroupZone { name: format!("zone-{number}"), zone: zone.clone() };
    let group = ZoneGroup { name: "default".into(), zones: keys.iter().enumerate().map(named).collect() };
    put(|items| {
        items.dns_zones.extend(keys.iter().map(|key| (key.clone(), DnsZone::default())));
        let made = PrivateEndpoint { zone_group: Some(Box::new(group)), ..own("net", Some("10.8.1.10")) };
        items.endpoints.insert(of("mine", "twin"), made);
    })
}

/// The tenant's `db` as `change` makes it.
pub(super) fn changed(change: impl FnOnce(&mut LinkResource)) -> AnyCommand {
    let mut changed = LinkResource { visibility: Visibility::Everyone, ..service("10.8.99.4") };
    change(&mut changed);
    put(|items| items.resources.insert(of("mine", "db"), changed))
}

/// Behind two frontends of the tenant's, which is one too many.
pub(super) fn twice_behind() -> AnyCommand {
    changed(|db| {
        let frontend = |name: &str| FrontendRef { balancer: of("mine", "lb"), frontend: name.into() };
        db.frontends = vec![frontend("one"), frontend("two")];
    })
}

pub(super) fn no_time() -> TimeoutOverrides {
    TimeoutOverrides { udp: Some(Duration::ZERO), ..TimeoutOverrides::default() }
}

pub(super) fn no_rate() -> Rates {
    Rates { bits_per_second: None, new_sessions_per_second: None }
}
