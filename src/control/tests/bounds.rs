//! What a VNet's owner may give away, and what the daemon's own file keeps to itself: backends and NAT addresses, and what
//! a VNet may carry on this host.

use std::net::IpAddr;

use super::*;
use crate::model::{BackendSpec, DnsSettings, LinkResource, Pinned, Vnet};
use crate::testing::{resource, subnet, target, vnet};

fn rules(model: &Model, host: &HostConfig, only: Option<&Key>) -> Vec<Violation> {
    match only {
        Some(key) => rules::endpoint(model, Some(host), key),
        None => rules::validate(model, Some(host)),
    }
}

/// A control plane with all rules on `file`, its attachments changed by `host`.
fn with_host(file: Model, change: impl FnOnce(&mut HostConfig)) -> ControlPlane {
    in_world(&Arc::new(World::default()), file, change)
}

fn in_world(world: &Arc<World>, file: Model, change: impl FnOnce(&mut HostConfig)) -> ControlPlane {
    let mut host = host(&["spoke", "core"]);
    change(&mut host);
    let setup = Setup { validate: rules, host: Arc::new(host), ..setup(file) };
    let prepared = Prepared::new(setup, None, Box::new(Fake(Arc::clone(world)))).unwrap();
    prepared.start(Arc::new(Fake(Arc::clone(world))), Arc::new(Fake(Arc::clone(world))), Box::new(|_| ())).unwrap()
}

fn put(control: &ControlPlane, change: impl FnOnce(&mut Model)) -> Result<Changed, Error> {
    let mut items = Model::default();
    change(&mut items);
    control.apply(&root(), Put { items: Box::new(items), create_only: false })
}

fn code(outcome: Result<impl Outcome, Error>) -> &'static str {
    outcome.map_or_else(|refusal| refusal.code, |_| "done")
}

fn service(nat: &str, backend: &str) -> LinkResource {
    resource("core", nat, vec![target("", "", backend)])
}

fn put_service(control: &ControlPlane, nat: &str, backend: &str) -> &'static str {
    code(put(control, |items| items.resources.insert(key("new"), service(nat, backend))))
}

/// The model's provider network, its NAT subnet marked as `mark` says.
fn core(mark: Option<bool>) -> Vnet {
    let nat = crate::model::Subnet { nat: mark, ..subnet("nat", "10.20.99.0/24") };
    vnet("10.20.0.0/16", vec![nat])
}

fn put_core(control: &ControlPlane, vnet: Vnet) -> &'static str {
    code(put(control, |items| items.vnets.insert(key("core"), vnet)))
}

fn reload(control: &ControlPlane, model: Model, host: HostConfig) -> Result<ApplyReport, Error> {
    let version = ApplyFile { author: DAEMON.into(), model, host: Some(host), prune: false, dry_run: false };
    control.apply(&root(), version)
}

fn nat_mark(control: &ControlPlane) -> bool {
    control.view().state.model.vnets[&key("core")].subnets[0].takes_nat()
}

#[test]
fn backends_lie_in_the_services_vnet_or_where_the_daemons_file_lets_it_reach() {
    let control = with_host(model(), |host| host.attachments[1].reach = vec!["10.30.0.0/16".parse().unwrap()]);
    assert_eq!(put_service(&control, "10.20.99.9", "10.20.0.9"), "done");
    assert_eq!(put_service(&control, "10.20.99.9", "10.30.0.9"), "done");
    assert_eq!(put_service(&control, "10.20.99.9", "10.31.0.9"), "BackendOutsideVnet");
    // What another VNet's attachment reaches is nothing to this one; a reload of the file changes what is reached.
    let mut narrower = host(&["spoke", "core"]);
    narrower.attachments[0].reach = vec!["10.31.0.0/16".parse().unwrap()];
    reload(&control, model(), narrower).unwrap();
    assert_eq!(put_service(&control, "10.20.99.9", "10.31.0.9"), "BackendOutsideVnet");
    assert_eq!(put_service(&control, "10.20.99.9", "10.30.0.10"), "BackendOutsideVnet");
    // What it reached before stays in force.
    let standing = control.view().standing.iter().map(|one| one.value.clone()).collect::<Vec<_>>();
    assert_eq!(standing, ["10.30.0.9"]);
}

#[test]
fn a_reload_that_is_refused_leaves_what_attachments_allow() {
    let control = with_host(model(), |_| ());
    let mut wider = host(&["spoke", "core"]);
    wider.attachments[1].reach = vec!["10.31.0.0/16".parse().unwrap()];
    let mut broken = model();
    broken.resources.insert(key("broken"), service("10.20.99.9", "10.40.0.9"));
    assert_eq!(code(reload(&control, broken, wider)), "BackendOutsideVnet");
    assert_eq!(put_service(&control, "10.20.99.9", "10.31.0.9"), "BackendOutsideVnet");
}

const UNMARKED: &str = "PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled";

#[test]
fn nat_addresses_lie_in_marked_subnets_and_a_mark_in_use_stays() {
    let control = with_host(model(), |_| ());
    assert_eq!(put_core(&control, core(Some(false))), UNMARKED, "orders-db has an address there");
    let mut two = core(Some(true));
    two.subnets.push(crate::model::Subnet { nat: None, ..subnet("plain", "10.20.98.0/24") });
    assert_eq!(put_core(&control, two), "done");
    assert_eq!(put_service(&control, "10.20.98.9", "10.20.0.9"), UNMARKED);
    assert_eq!(put_service(&control, "10.20.99.9", "10.20.0.9"), "done");
}

#[test]
fn a_file_that_says_nothing_of_the_mark_leaves_it_and_one_that_says_no_takes_it() {
    let mut file = model();
    file.resources.remove(&key("orders-db"));
    file.endpoints.remove(&key("orders"));
    file.vnets.insert(key("core"), core(None));
    let control = with_host(file.clone(), |_| ());
    assert!(!nat_mark(&control));
    assert_eq!(put_core(&control, core(Some(true))), "done");
    // The same file, and the file changed elsewhere.
    reload(&control, file.clone(), host(&["spoke", "core"])).unwrap();
    assert!(nat_mark(&control));
    file.vnets.get_mut(&key("core")).unwrap().region = "northeurope".into();
    reload(&control, file.clone(), host(&["spoke", "core"])).unwrap();
    assert!(nat_mark(&control));
    assert_eq!(control.view().state.model.vnets[&key("core")].region, "northeurope");
    file.vnets.get_mut(&key("core")).unwrap().subnets[0].nat = Some(false);
    reload(&control, file, host(&["spoke", "core"])).unwrap();
    assert!(!nat_mark(&control));
}

#[test]
fn an_attachment_carries_what_the_daemons_file_allows() {
    let control = with_host(model(), |host| {
        host.attachments[1].allow = Some(["10.20.0.0/16", "10.99.0.0/24"].map(|one| one.parse().unwrap()).to_vec());
    });
    let base = || core(Some(true));
    let listen = |address: &str| Some(DnsSettings { listen: vec![ip(address)], ..DnsSettings::default() });
    let with = |prefix: &str| vec![prefix.parse().unwrap()];
    for (vnet, expected) in [
        (base(), "done"),
        (Vnet { on_premises: with("10.99.0.0/25"), ..base() }, "done"),
        (Vnet { dns: listen("10.20.255.254"), ..base() }, "done"),
        (
            Vnet { address_space: vec!["10.20.0.0/16".parse().unwrap(), "192.0.2.0/24".parse().unwrap()], ..base() },
            REFUSED,
        ),
        (Vnet { address_space: with("10.20.0.0/15"), ..base() }, REFUSED),
        (Vnet { on_premises: with("192.0.2.0/24"), ..base() }, REFUSED),
        (Vnet { public_prefixes: with("192.0.2.0/24"), ..base() }, REFUSED),
        (Vnet { dns: listen("192.0.2.1"), ..base() }, REFUSED),
    ] {
        let shown = format!("{vnet:?}");
        assert_eq!(put_core(&control, vnet), expected, "{shown}");
    }
    // A peer's endpoints are routed here, too: only once both sides agree.
    assert_eq!(put_core(&control, Vnet { peerings: vec![key("far")], ..base() }), "InvalidResourceReference");
    let far = Vnet { peerings: vec![key("core")], ..vnet("192.0.2.0/24", vec![]) };
    assert_eq!(code(put(&control, |items| items.vnets.insert(key("far"), far))), "done");
    assert_eq!(put_core(&control, Vnet { peerings: vec![key("far")], ..base() }), REFUSED);
    // VNets that have no attachment here, and those that may carry what is free, are not bound.
    assert_eq!(code(put(&control, |items| items.vnets.insert(key("new"), vnet("192.0.2.0/24", vec![])))), "done");
    let spoke = vnet("10.0.0.0/15", vec![subnet("endpoints", "10.1.9.0/24")]);
    assert_eq!(code(put(&control, |items| items.vnets.insert(key("spoke"), spoke))), "done");
}

const REFUSED: &str = "PrefixNotAllowedHere";

/// What the two attachments of `host` may carry, and how far `core` reaches, as the daemon's file says itself.
fn pin(host: &mut HostConfig, spoke: &[&str], core: &[&str], reach: &[&str]) {
    let prefixes = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<ipnet::IpNet>>();
    host.attachments[0].allow = Some(prefixes(spoke));
    host.attachments[1].allow = Some(prefixes(core));
    host.attachments[1].reach = prefixes(reach);
    for attachment in &mut host.attachments {
        attachment.pinned = Pinned { allow: true, reach: true };
    }
}

#[test]
fn what_the_daemons_file_allows_no_more_is_left_out_where_the_host_is_compiled() {
    let world = Arc::new(World::default());
    let mut file = model();
    let spoke = file.vnets.get_mut(&key("spoke")).unwrap();
    spoke.on_premises = vec!["172.16.0.0/16".parse().unwrap()];
    spoke.dns = Some(DnsSettings { listen: vec![ip("10.1.255.254")], ..DnsSettings::default() });
    (spoke.lockdown, spoke.public_prefixes) = (true, vec!["203.0.113.0/24".parse().unwrap()]);
    let backends = file.resources.get_mut(&key("orders-db")).unwrap();
    backends.targets[0].backends.push(BackendSpec { address: ip("10.30.0.5"), drain: false });
    file.vnets.insert(key("core"), core(Some(true)));
    let wide = |host: &mut HostConfig| {
        pin(host, &["10.1.0.0/16", "172.16.0.0/16", "203.0.113.0/24"], &["10.20.0.0/16"], &["10.30.0.0/16"]);
    };
    let control = in_world(&world, file.clone(), wide);
    let carried = || {
        let topology = world.routes.lock().unwrap();
        let texts = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let nets = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let (one, two) = (&topology.attachments[0], &topology.attachments[1]);
        let published = world.published.lock().unwrap();
        let resource = &published.as_ref().unwrap().resources[0];
        let servers: Vec<IpAddr> = resource.targets[0].backends.iter().map(|backend| backend.address).collect();
        [
            nets(&one.own_prefixes),
            texts(&one.endpoints),
            nets(&one.denied),
            texts(&one.resolvers),
            texts(&two.nat_addresses),
            texts(&two.backends),
            texts(&resource.nat),
            texts(&servers),
        ]
    };
    let whole = [
        "10.1.0.0/16 172.16.0.0/16",
        "10.1.9.4",
        "203.0.113.0/24",
        "10.1.255.254",
        "10.20.99.4",
        "10.20.0.2 10.30.0.5",
        "10.20.99.4",
        "10.20.0.2 10.30.0.5",
    ];
    assert_eq!(carried(), whole);
    assert!(world.passes("10.1.9.4"));
    let narrowed = |spoke: &[&str], core: &[&str], reach: &[&str]| {
        let mut host = host(&["spoke", "core"]);
        pin(&mut host, spoke, core, reach);
        reload(&control, file.clone(), host).unwrap();
        let view = control.view();
        view.standing.iter().map(|one| (one.code, one.left_out)).collect::<Vec<_>>()
    };
    let told = narrowed(&["10.1.0.0/17"], &["10.20.0.0/16"], &[]);
    assert_eq!(carried(), ["", "10.1.9.4", "", "", "10.20.99.4", "10.20.0.2", "10.20.99.4", "10.20.0.2"]);
    assert!(told.iter().all(|(_, left_out)| *left_out), "{told:?}");
    let count = |code: &str| told.iter().filter(|(one, _)| *one == code).count();
    assert_eq!((count(REFUSED), count("BackendOutsideVnet")), (4, 1), "{told:?}");
    assert!(!world.passes("10.1.9.4"), "its clients' prefix is not carried any more");
    narrowed(&["10.1.0.0/24"], &["10.20.0.0/24"], &[]);
    assert_eq!(carried(), ["", "", "", "", "", "10.20.0.2", "", "10.20.0.2"]);
    // What follows keeps to it, and the file can give it all back.
    control.apply(&root(), Decide::reject(orders())).unwrap();
    control.apply(&root(), Decide::approve(orders())).unwrap();
    assert_eq!(carried(), ["", "", "", "", "", "10.20.0.2", "", "10.20.0.2"]);
    let mut host = host(&["spoke", "core"]);
    wide(&mut host);
    reload(&control, file.clone(), host).unwrap();
    assert_eq!(carried(), whole);
    assert!(world.passes("10.1.9.4"));
}

#[test]
fn what_a_default_bounds_stays_where_it_stood() {
    let world = Arc::new(World::default());
    let control = in_world(&world, model(), |_| ());
    let mut narrow = host(&["spoke", "core"]);
    // As `allow_by_default` fills it in where the file says nothing.
    narrow.attachments[0].allow = Some(vec!["10.1.0.0/24".parse().unwrap()]);
    reload(&control, model(), narrow).unwrap();
    assert!(world.passes("10.1.9.4") && world.routed("10.1.9.4"));
    let view = control.view();
    let told: Vec<_> = view.standing.iter().map(|one| (one.code, one.left_out)).collect();
    assert_eq!(told, [(REFUSED, false)]);
}

#[test]
fn without_a_namespace_between_the_file_says_what_its_vnet_may_carry() {
    let mut file = model();
    file.vnets.get_mut(&key("core")).unwrap().dns =
        Some(DnsSettings { listen: vec![ip("10.20.255.254")], ..DnsSettings::default() });
    let own = |host: &mut HostConfig, file: &Model| host.allow_by_default(file, |one| one.vnet == key("core"));
    let control = with_host(file.clone(), |host| own(host, &file));
    let wider = |space: &str| Vnet { address_space: vec![space.parse().unwrap()], ..core(Some(true)) };
    assert_eq!(put_core(&control, wider("10.20.0.0/15")), REFUSED);
    assert_eq!(put_core(&control, wider("10.20.0.0/17")), "done");
    // The file is read anew, and says more.
    file.vnets.insert(key("core"), wider("10.20.0.0/14"));
    let mut host = host(&["spoke", "core"]);
    own(&mut host, &file);
    reload(&control, file, host).unwrap();
    assert_eq!(put_core(&control, wider("10.20.0.0/15")), "done");
    assert_eq!(put_core(&control, wider("10.16.0.0/13")), REFUSED);
}
