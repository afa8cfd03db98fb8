//! A resource group goes with all that is in it, and what goes takes with it what was said of it.

use serde_json::json;

use super::unseen::{World, things};
use super::*;
use crate::model::rules::{Severity, validate};
use crate::model::state::{Item, ItemKind};
use crate::model::{
    FrontendRef, GroupZone, Key, LinkResource, PrivateEndpoint, RoleAssignment, Scope, Vnet, ZoneGroup, ZoneLink,
};
use crate::testing::root;

fn name(group: &str, rest: &str) -> Key {
    Key::new(group, format!("{group}{rest}"))
}

/// One way in which something outside the group refers to something in it: what it does, and whether it holds it back.
type Reference = (&'static str, bool, fn(&mut Model));

fn guest(items: &mut Model, called: &str, change: impl Fn(&mut PrivateEndpoint)) {
    let mut guest = items.endpoints[&name("mine", "-pe")].clone();
    guest.addresses.clear();
    change(&mut guest);
    items.endpoints.insert(Key::new("mine", called), guest);
}

fn own_net(items: &mut Model) -> &mut Vnet {
    items.vnets.get_mut(&name("mine", "-net")).expect("there")
}

const OUTSIDE: [Reference; 10] = [
    ("an endpoint in its subnet", true, |items| {
        guest(items, "in-subnet", |one| {
            (one.vnet, one.subnet, one.zone_group) = (name("hush", "-net"), "hush-sub".into(), None);
        });
    }),
    ("an endpoint bound to its service", true, |items| {
        guest(items, "bound", |one| one.resource = name("hush", "-pls"));
    }),
    ("an endpoint bound to its account", false, |items| {
        guest(items, "typed", |one| (one.resource, one.subresource) = (name("hush", "account"), "blob".into()));
    }),
    ("a subnet that obeys its rules", true, |items| {
        own_net(items).subnets[0].security_group = Some(name("hush", "-sg"));
    }),
    ("a service behind its frontend", true, |items| {
        let service = items.resources.get_mut(&name("mine", "-pls")).expect("there");
        service.frontends = vec![FrontendRef { balancer: name("hush", "-lb"), frontend: "fe".into() }];
        own_net(items).on_premises.push("10.66.99.7/32".parse().expect("a prefix"));
    }),
    ("a load balancer in its subnet", true, |items| {
        let balancer = items.load_balancers.get_mut(&name("mine", "-lb")).expect("there");
        balancer.frontends[0].subnet = Some((name("hush", "-net"), "hush-nat".into()));
    }),
    ("records in its zone", true, |items| {
        guest(items, "records", |one| {
            one.zone_group = Some(Box::new(ZoneGroup {
                name: "z".into(),
                zones: vec![GroupZone { name: "z".into(), zone: name("hush", ".internal") }],
            }));
        });
    }),
    ("a zone linked to its VNet", true, |items| {
        let zone = items.dns_zones.get_mut(&name("mine", ".internal")).expect("there");
        let link = ZoneLink { name: "to-hush".into(), vnet: name("hush", "-net"), ..zone.links[0].clone() };
        zone.links.push(link);
    }),
    ("a VNet peered with its VNet", false, |items| own_net(items).peerings.push(name("hush", "-net"))),
    ("a service with servers in its VNet", true, |items| {
        let service = items.resources[&name("mine", "-pls")].clone();
        let target = testing::target("", "", "10.66.99.40");
        let moved = LinkResource {
            vnet: Some(name("hush", "-net")),
            nat: vec![testing::ip("10.66.99.41")],
            alias: None,
            targets: vec![target],
            ..service
        };
        items.resources.insert(Key::new("mine", "mine-other"), moved);
    }),
];

/// Ways in which what is in the group may refer to what else is in it, beside those that are always there.
const INSIDE: [fn(&mut Model); 4] = [
    |items| {
        let second = Vnet { peerings: vec![name("hush", "-net")], ..testing::vnet("10.67.0.0/16", vec![]) };
        items.vnets.insert(name("hush", "-second"), second);
        items.vnets.get_mut(&name("hush", "-net")).expect("there").peerings.push(name("hush", "-second"));
    },
    |items| {
        let service = items.resources.get_mut(&name("hush", "-pls")).expect("there");
        service.frontends = vec![FrontendRef { balancer: name("hush", "-lb"), frontend: "fe".into() }];
    },
    |items| {
        let mut bound = items.endpoints[&name("hush", "-pe")].clone();
        bound.addresses.clear();
        (bound.resource, bound.subresource) = (name("hush", "account"), "blob".into());
        items.endpoints.insert(name("hush", "-typed"), bound);
    },
    |items| _ = items.groups.remove(&Key::of_group("default", "hush")),
];

/// Assignments: at the group, at what is in it, below that, and elsewhere.
const GIVEN: [(&str, bool); 6] = [
    ("/subscriptions/default/resourceGroups/hush", true),
    ("/subscriptions/default/resourceGroups/hush/providers/Microsoft.Network/virtualNetworks/hush-net", true),
    ("/subscriptions/default/resourceGroups/HUSH/providers/Microsoft.Network/virtualNetworks/hush-net/subnets/x", true),
    ("/subscriptions/default/resourceGroups/hush/providers/Microsoft.Storage/storageAccounts/hushaccount", true),
    ("/subscriptions/default/resourceGroups/hushed", false),
    ("/subscriptions/default/resourceGroups/mine/providers/Microsoft.Network/virtualNetworks/hush-net", false),
];

fn given(items: &mut Model) {
    for (scope, _) in GIVEN {
        things::assign(items, "uid:4000", "Reader", scope);
    }
}

fn scopes(model: &Model) -> Vec<Scope> {
    let given = model.assignments.values().filter(|given: &&RoleAssignment| given.principal.to_string() == "uid:4000");
    given.map(|given| given.scope.clone()).collect()
}

#[tokio::test]
async fn a_group_of_any_kind_of_objects_goes_whole_or_stays_whole() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut gone, mut held) = (0, 0);
    for round in 0..60 {
        let world = World::empty();
        let (mut items, mut mine) = (things::each("hush", 66), things::each("mine", 8));
        INSIDE.iter().filter(|_| random.bool()).for_each(|change| change(&mut items));
        given(&mut items);
        world.put(items);
        // The first rounds have one reference each, the others several or none.
        let chosen = |at: usize, random: &mut fastrand::Rng| {
            if round < OUTSIDE.len() { at == round } else { random.u8(..) < 30 }
        };
        let chosen: Vec<&Reference> =
            OUTSIDE.iter().enumerate().filter(|(at, _)| chosen(*at, &mut random)).map(|(_, one)| one).collect();
        for (_, _, refer) in &chosen {
            refer(&mut mine);
        }
        world.put(mine);
        let told: Vec<&str> = chosen.iter().map(|(what, ..)| *what).collect();
        let before = world.model();
        let answered = world.ask(&root(), &deletion("hush")).await;
        let after = world.model();
        if chosen.iter().any(|(_, holds, _)| *holds) {
            held += 1;
            assert!(matches!(answered.status, 400 | 409), "round {round}, {told:?}: {answered:?}");
            assert_eq!(after, before, "round {round}, {told:?}");
            continue;
        }
        gone += 1;
        assert_eq!(answered.status, 200, "round {round}, {told:?}: {answered:?}");
        let left: Vec<Item> = after.in_group(&Key::of_group("default", "hush"));
        assert_eq!(left, [], "round {round}, {told:?}");
        assert!(!after.has_group(&Key::of_group("default", "hush")), "round {round}");
        for kind in ItemKind::ALL.into_iter().filter(|kind| !matches!(kind, ItemKind::Assignment)) {
            let kept = |model: &Model| {
                let keys: Vec<String> = model.keys_of(kind).into_iter().map(|key| key.folded().to_owned()).collect();
                keys.into_iter().filter(|key| !key.starts_with("default/hush/")).collect::<Vec<_>>()
            };
            assert_eq!(kept(&after), kept(&before), "round {round}, {told:?}: {kind}");
        }
        let stay: Vec<Scope> =
            GIVEN.iter().filter(|(_, goes)| !goes).map(|(text, _)| text.parse().expect("a scope")).collect();
        let found = scopes(&after);
        assert!(
            found.len() == stay.len() && stay.iter().all(|scope| found.contains(scope)),
            "round {round}: {found:?}"
        );
        let broken = validate(&after, None);
        let broken: Vec<_> = broken.iter().filter(|one| one.severity == Severity::Error).collect();
        assert!(broken.is_empty(), "round {round}, {told:?}: {broken:?}");
    }
    assert!(gone > 5 && held > 5, "{gone} went and {held} were held back");
}

fn deletion(group: &str) -> super::unseen::Asked {
    super::unseen::Asked {
        method: "DELETE",
        path: format!("/subscriptions/default/resourceGroups/{group}?api-version=1"),
        body: String::new(),
    }
}

const ONE: &str = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/one";
const TWO: &str = "/subscriptions/s/resourceGroups/other/providers/Microsoft.Network/virtualNetworks/two";

fn vnet(space: &str) -> Value {
    json!({ "location": "westeurope", "properties": { "addressSpace": { "addressPrefixes": [space] } } })
}

fn peer(with: &str) -> Value {
    json!({ "properties": { "remoteVirtualNetwork": { "id": with } } })
}

async fn put(served: &Served, path: &str, body: &Value) -> (u16, Value) {
    served.ask("PUT", &format!("{path}?api-version=1"), &body.to_string()).await
}

async fn state(served: &Served, peering: &str) -> String {
    let (_, shown) = served.ask("GET", &format!("{peering}?api-version=1"), "").await;
    shown["properties"]["peeringState"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_peering_whose_other_side_went_stays_disconnected_until_both_sides_make_it_anew() {
    let served = Served::to(0);
    for group in ["shop", "other"] {
        let path = format!("/subscriptions/s/resourceGroups/{group}");
        put(&served, &path, &json!({ "location": "westeurope" })).await;
    }
    let (to_two, to_one) = (format!("{ONE}/virtualNetworkPeerings/to2"), format!("{TWO}/virtualNetworkPeerings/to1"));
    let both = async || {
        assert_eq!(put(&served, ONE, &vnet("10.5.0.0/16")).await.0, 201);
        put(&served, &to_two, &peer(TWO)).await;
    };
    assert_eq!(put(&served, TWO, &vnet("10.6.0.0/16")).await.0, 201);
    assert_eq!(put(&served, ONE, &vnet("10.5.0.0/16")).await.0, 201);
    assert_eq!(put(&served, &to_one, &peer(ONE)).await.0, 201);
    assert_eq!(put(&served, &to_two, &peer(TWO)).await.0, 201);
    assert_eq!(
        (state(&served, &to_one).await, state(&served, &to_two).await),
        ("Connected".into(), "Connected".into())
    );

    let delete = format!("{ONE}?api-version=1");
    assert_eq!(exchange(&served.socket, "DELETE", &delete, String::new()).await.0, 200);
    assert_eq!(state(&served, &to_one).await, "Disconnected");
    // What was read and is sent back changes nothing, of the peering and of its VNet.
    both().await;
    let (_, shown) = served.ask("GET", &format!("{to_one}?api-version=1"), "").await;
    assert_eq!(put(&served, &to_one, &shown).await, (200, shown.clone()));
    let (_, whole) = served.ask("GET", &format!("{TWO}?api-version=1"), "").await;
    assert_eq!(put(&served, TWO, &whole).await, (200, whole));
    let mut inline = vnet("10.6.0.0/16");
    inline["properties"]["virtualNetworkPeerings"] = json!([{ "name": "to1", "properties": peer(ONE)["properties"] }]);
    assert_eq!(put(&served, TWO, &inline).await.0, 200);
    let passes = || {
        let view = served.state.control.view();
        let (one, two) = (Key::of("s", "shop", "one"), Key::of("s", "other", "two"));
        let lists = |from: &Key, to: &Key| view.state.model.vnets[from].peerings.contains(to);
        lists(&one, &two) && lists(&two, &one)
    };
    assert_eq!(
        (state(&served, &to_one).await, state(&served, &to_two).await),
        ("Disconnected".into(), "Initiated".into())
    );
    assert!(!passes(), "the new VNet of that name is not the one that was peered with");
    let (_, listed) = served.ask("GET", "/v1/vnets/two", "").await;
    assert_eq!(listed["items"][0]["peerings"][0]["state"], "Disconnected", "{listed}");
    // Made anew by this side too.
    assert_eq!(put(&served, &to_one, &peer(ONE)).await.0, 200);
    assert_eq!(
        (state(&served, &to_one).await, state(&served, &to_two).await),
        ("Connected".into(), "Connected".into())
    );
    assert!(passes());
    // A group that goes is as its VNet that goes.
    let group = "/subscriptions/s/resourceGroups/shop?api-version=1";
    assert_eq!(exchange(&served.socket, "DELETE", group, String::new()).await.0, 200);
    assert_eq!(state(&served, &to_one).await, "Disconnected");
    served.stop().await;
}

#[tokio::test]
async fn a_peering_that_one_side_deletes_is_disconnected_at_the_other_until_both_make_it_anew() {
    let served = Served::to(0);
    for group in ["shop", "other"] {
        let path = format!("/subscriptions/s/resourceGroups/{group}");
        put(&served, &path, &json!({ "location": "westeurope" })).await;
    }
    let (to_two, to_one) = (format!("{ONE}/virtualNetworkPeerings/to2"), format!("{TWO}/virtualNetworkPeerings/to1"));
    assert_eq!(put(&served, ONE, &vnet("10.5.0.0/16")).await.0, 201);
    assert_eq!(put(&served, TWO, &vnet("10.6.0.0/16")).await.0, 201);
    let states = async || (state(&served, &to_one).await, state(&served, &to_two).await);
    let are = |one: &str, two: &str| (one.to_owned(), two.to_owned());
    let meet = async || {
        put(&served, &to_one, &peer(ONE)).await;
        put(&served, &to_two, &peer(TWO)).await;
        assert_eq!(states().await, are("Connected", "Connected"));
    };
    let passes = || {
        let model = served.state.control.view().state.model.clone();
        let (one, two) = (Key::of("s", "shop", "one"), Key::of("s", "other", "two"));
        model.vnets[&one].peerings.contains(&two) && model.vnets[&two].peerings.contains(&one)
    };
    // By itself, with the list of its VNet, and by a body that turns it to another VNet.
    for how in 0..3 {
        meet().await;
        assert!(passes());
        let records = served.state.control.verify_audit().unwrap().end.count;
        match how {
            0 => {
                let path = format!("{to_two}?api-version=1");
                assert_eq!(exchange(&served.socket, "DELETE", &path, String::new()).await.0, 200);
            }
            1 => {
                let mut empty = vnet("10.5.0.0/16");
                empty["properties"]["virtualNetworkPeerings"] = json!([]);
                assert_eq!(put(&served, ONE, &empty).await.0, 200);
            }
            _ => {
                let third = TWO.replace("/two", "/three");
                assert_eq!(put(&served, &third, &vnet("10.8.0.0/16")).await.0, 201);
                assert_eq!(put(&served, &to_two, &peer(&third)).await.0, 200);
            }
        }
        assert_eq!(state(&served, &to_one).await, "Disconnected", "{how}");
        assert!(served.state.control.verify_audit().unwrap().end.count >= records + 2, "both sides are recorded");
        if how == 2 {
            let path = format!("{to_two}?api-version=1");
            assert_eq!(exchange(&served.socket, "DELETE", &path, String::new()).await.0, 200);
        }
        put(&served, &to_two, &peer(TWO)).await;
        assert_eq!(states().await, are("Disconnected", "Initiated"), "{how}");
        assert!(!passes(), "{how}");
        // What never was Connected is nobody's to disconnect.
        let path = format!("{to_two}?api-version=1");
        assert_eq!(exchange(&served.socket, "DELETE", &path, String::new()).await.0, 200);
        put(&served, &to_one, &peer(ONE)).await;
        assert_eq!(state(&served, &to_one).await, "Initiated", "{how}");
    }
    meet().await;
    assert!(passes());
    // Whoever may write one side alone disconnects the other by it.
    let roles = {
        let mut items = things::callers();
        things::define(&mut items, "networks", &["Microsoft.Network/*"]);
        things::assign(&mut items, "uid:4001", "networks", ONE);
        items
    };
    let put_roles = Put { items: Box::new(roles), create_only: false };
    served.state.control.apply(&root(), put_roles).unwrap();
    let view = served.state.control.view();
    let mut one = view.state.model.vnets[&Key::of("s", "shop", "one")].clone();
    (one.peerings, one.peering_labels) = (Vec::new(), Vec::new());
    let mut items = Model::default();
    items.vnets.insert(Key::of("s", "shop", "one"), one);
    let command = Put { items: Box::new(items), create_only: false };
    served.state.control.apply(&Caller::user(4001, "uid:4001"), command).unwrap();
    assert_eq!(state(&served, &to_one).await, "Disconnected");
    served.stop().await;
}

#[tokio::test]
async fn what_goes_takes_its_roles_and_its_side_of_peerings_whoever_may_not_change_those() {
    let world = World::empty();
    let mut items = things::callers();
    things::define(&mut items, "networks", &["Microsoft.Network/*"]);
    things::assign(&mut items, "uid:4001", "networks", "/subscriptions/default/resourceGroups/mine");
    let net = "/subscriptions/default/resourceGroups/mine/providers/Microsoft.Network/virtualNetworks/mine-bare";
    let scopes = [net.to_owned(), format!("{net}/subnets/one"), format!("{net}/subnets/two"), format!("{net}er")];
    for scope in &scopes {
        things::assign(&mut items, "uid:4000", "Reader", scope);
    }
    world.put(items);
    let (mut mine, mut hush) = (things::each("mine", 8), things::each("hush", 66));
    let parts = vec![testing::subnet("one", "10.9.1.0/24"), testing::subnet("two", "10.9.2.0/24")];
    let bare = Vnet { peerings: vec![name("hush", "-net")], ..testing::vnet("10.9.0.0/16", parts) };
    mine.vnets.insert(name("mine", "-bare"), bare);
    hush.vnets.get_mut(&name("hush", "-net")).expect("there").peerings.push(name("mine", "-bare"));
    let together = |mut one: Model, other: Model| {
        one.vnets.extend(other.vnets.iter().map(|(key, vnet)| (key.clone(), vnet.clone())));
        one.security_groups.extend(other.security_groups.iter().map(|(key, group)| (key.clone(), group.clone())));
        one
    };
    let both = Model { vnets: mine.vnets, security_groups: mine.security_groups, ..Model::default() };
    world.put(together(both, hush));
    let caller = Caller::user(4001, "uid:4001");
    let left = |model: &Model| {
        let mut left: Vec<String> = self::scopes(model).iter().map(ToString::to_string).collect();
        left.sort();
        left
    };
    let gone = async |path: &str| {
        let path = format!("{path}?api-version=1");
        let asked = super::unseen::Asked { method: "DELETE", path, body: String::new() };
        let answered = world.ask(&caller, &asked).await;
        assert_eq!(answered.status, 200, "{answered:?}");
    };
    // A part of an object is one by itself; nobody needs a right to roles for it, nor to the other VNet.
    gone(&scopes[1]).await;
    assert_eq!(left(&world.model()), [&*scopes[0], &scopes[2], &scopes[3]]);
    gone(net).await;
    let model = world.model();
    assert_eq!(left(&model), [&*scopes[3]], "a name that begins alike is another one's");
    let other = &model.vnets[&name("hush", "-net")];
    assert!(other.is_severed(&name("mine", "-bare")) && other.peerings.is_empty());
    // They cannot be taken by themselves.
    let given = model.assignments.iter().find(|(_, one)| one.scope.to_string() == scopes[3]).expect("one").0;
    let taken = Delete { kind: ItemKind::Assignment, reference: given.name.clone() };
    assert!(world.apply(&caller, taken).is_err());
}
