//! What there is: the tenant's own, and what no caller of the tests may see.

use super::*;
use crate::model::{
    BackendPool, BalancingRule, DnsZone, Frontend, LinkResource, LoadBalancer, PoolAddress, Protocol, RecordData,
    RecordSet, ResolutionPolicy, ResourceGroup, SecurityGroup, Tags, Visibility, ZoneGroup, ZoneLink, ZoneRecord,
};

/// Who has no role.
pub(in super::super) const NOBODY: u32 = 1000;

/// Who may do everything in the group `mine`.
pub(in super::super) const TENANT: u32 = 1001;

/// Who may look at the daemon, and at no object.
pub(in super::super) const WATCHER: u32 = 1002;

/// Who may use a subnet of the tenant's.
pub(in super::super) const JOINER: u32 = 1003;

/// Who asks every question.
pub(super) const CALLERS: [u32; 4] = [NOBODY, TENANT, WATCHER, JOINER];

/// What no answer may hold unless the question did: names, addresses, who is at work there, and what is counted.
pub(super) const SECRETS: [&str; 4] = ["hush", "10.66.", "uid:7777", "9466"];

/// One of each kind of object in `group`, whose names begin with its name and whose addresses with `10.octet`.
pub(in super::super) fn each(group: &str, octet: u8) -> Model {
    let name = |rest: &str| Key::new(group, format!("{group}{rest}"));
    let ip = |rest: &str| testing::ip(&format!("10.{octet}.{rest}"));
    let mut items = Model::default();
    let region = || "westeurope".to_owned();
    items
        .groups
        .insert(Key::of_group("default", group), ResourceGroup { region: region(), ..ResourceGroup::default() });
    items.security_groups.insert(name("-sg"), SecurityGroup { rules: Vec::new() });
    let mut inner = testing::subnet(&format!("{group}-sub"), &format!("10.{octet}.1.0/24"));
    inner.security_group = Some(name("-sg"));
    let nat = testing::subnet(&format!("{group}-nat"), &format!("10.{octet}.99.0/24"));
    items.vnets.insert(name("-net"), testing::vnet(&format!("10.{octet}.0.0/16"), vec![inner, nat]));
    let server = PoolAddress { name: "b".into(), address: ip("99.7"), vnet: Some(name("-net")), drain: false };
    let rule = BalancingRule {
        name: "r".into(),
        frontend: "fe".into(),
        pool: "be".into(),
        protocol: Some(Protocol::Tcp),
        frontend_port: 443,
        backend_port: 9400 + u16::from(octet),
        probe: None,
        distribution: crate::model::Distribution::Default,
    };
    let frontend = Frontend { name: "fe".into(), subnet: Some((name("-net"), format!("{group}-nat"))), address: None };
    let balancer = LoadBalancer {
        region: region(),
        frontends: vec![frontend],
        pools: vec![BackendPool { name: "be".into(), addresses: vec![server] }],
        rules: vec![rule],
        probes: Vec::new(),
        foreign: String::new(),
        tags: Tags::new(),
    };
    items.load_balancers.insert(name("-lb"), balancer);
    let link = ZoneLink {
        name: format!("{group}-link"),
        vnet: name("-net"),
        policy: ResolutionPolicy::Default,
        registration: false,
        tags: Tags::new(),
    };
    let address = std::net::Ipv4Addr::new(10, octet, 2, 2);
    let set = RecordSet { ttl: 60, data: RecordData::A(vec![address]) };
    let record = ZoneRecord { name: format!("{group}-www"), set, metadata: Tags::new() };
    let zone = DnsZone { records: vec![record], links: vec![link], ..DnsZone::default() };
    items.dns_zones.insert(name(".internal"), zone);
    let resource = |nat: &str, target| LinkResource {
        vnet: Some(name("-net")),
        alias: None,
        visibility: Visibility::Readers,
        ..with_nat(&name("-net"), ip(nat), target)
    };
    let target = |part: &str, rest: &str| testing::target(part, "", &ip(rest).to_string());
    let service = LinkResource { alias: Some(format!("{group}-pls")), ..resource("99.4", target("", "99.10")) };
    items.resources.insert(name("-pls"), service);
    let kind = Some("Microsoft.Storage/storageAccounts".to_owned());
    items.resources.insert(name("account"), LinkResource { kind, ..resource("99.5", target("blob", "99.11")) });
    let mut bound = testing::endpoint("spoke", Some(&ip("1.7").to_string()), "orders-db");
    (bound.vnet, bound.subnet, bound.resource) = (name("-net"), format!("{group}-sub"), name("-pls"));
    bound.zone_group = Some(Box::new(ZoneGroup::of([name(".internal")])));
    items.endpoints.insert(name("-pe"), bound);
    items
}

fn with_nat(vnet: &Key, nat: std::net::IpAddr, target: crate::model::TargetSpec) -> LinkResource {
    let made = testing::resource("core", &nat.to_string(), vec![target]);
    LinkResource { vnet: Some(vnet.clone()), ..made }
}

/// The tenant's own.
pub(super) fn own() -> Model {
    each("mine", 8)
}

/// What no caller may see.
pub(in super::super) fn secret() -> Model {
    let mut items = each("hush", 66);
    let role = "Reader";
    assign(&mut items, "uid:7777", role, "/subscriptions/default/resourceGroups/hush");
    items
}

/// Who may do what.
pub(in super::super) fn callers() -> Model {
    let mut items = Model::default();
    let every = ["Microsoft.Network/*", "Microsoft.Storage/*", "Microsoft.Resources/*", "Microsoft.Authorization/*"];
    define(&mut items, "tenant", &every);
    define(&mut items, "watcher", &["Privlink/status/read", "Privlink/flows/read", "Privlink/explain/read"]);
    let mine = "/subscriptions/default/resourceGroups/mine";
    assign(&mut items, &format!("uid:{TENANT}"), "tenant", mine);
    assign(&mut items, &format!("uid:{WATCHER}"), "watcher", "/");
    let subnet = format!("{mine}/providers/Microsoft.Network/virtualNetworks/mine-net/subnets/mine-sub");
    assign(&mut items, &format!("uid:{JOINER}"), "Private Link Joiner", &subnet);
    items
}

/// Adds the role `name` with `actions`.
pub(in super::super) fn define(items: &mut Model, name: &str, actions: &[&str]) {
    let role = RoleDefinition {
        name: name.parse().expect("a name"),
        description: String::new(),
        actions: actions.iter().map(|action| action.parse().expect("a pattern")).collect(),
        not_actions: Vec::new(),
        assignable_scopes: vec!["/".parse().expect("a scope")],
    };
    items.roles.insert(Key::global(name.to_owned()), role);
}

/// Adds an assignment.
pub(in super::super) fn assign(items: &mut Model, principal: &str, role: &str, scope: &str) {
    let given = RoleAssignment {
        principal: principal.parse().expect("a principal"),
        role: role.parse().expect("a role"),
        scope: scope.parse().expect("a scope"),
    };
    items.assignments.insert(Key::global(given.id().to_string()), given);
}
