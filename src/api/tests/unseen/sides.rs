//! What is seen in part: the other side of a connection, the other VNet of a peering, what is in one's own subnet.

use serde_json::json;

use super::*;
use crate::model::Visibility;
use crate::model::state::Item;

/// Who may do everything in the group `prov`, to whose service the endpoint of `cons` is bound.
pub(super) const PROVIDER: u32 = 1004;

/// Who may do everything in the group `cons`.
pub(super) const CONSUMER: u32 = 1005;

pub(super) fn name(group: &str, rest: &str) -> Key {
    Key::new(group, format!("{group}{rest}"))
}

/// A service and the endpoint of another tenant that is bound to it.
pub(super) fn connected() -> World {
    let world = World::empty();
    let mut items = things::callers();
    for (uid, group) in [(PROVIDER, "prov"), (CONSUMER, "cons")] {
        things::assign(
            &mut items,
            &format!("uid:{uid}"),
            "tenant",
            &format!("/subscriptions/default/resourceGroups/{group}"),
        );
    }
    world.put(items);
    let mut prov = things::each("prov", 21);
    prov.resources.get_mut(&name("prov", "-pls")).expect("there").visibility = Visibility::Everyone;
    world.put(prov);
    let mut cons = things::each("cons", 22);
    let endpoint = cons.endpoints.get_mut(&name("cons", "-pe")).expect("there");
    endpoint.resource = name("prov", "-pls");
    endpoint.sources = vec!["10.22.5.0/24".parse().expect("a prefix")];
    endpoint.request_message = "for the shop".to_owned();
    world.put(cons);
    world
}

#[tokio::test]
async fn each_side_of_a_connection_is_told_nothing_of_the_others_network() {
    let world = connected();
    let mut found = Vec::new();
    let sides = [
        (PROVIDER, "prov", &["cons-net", "cons-sub", "10.22.", "cons.internal", "cons-sg"][..]),
        (CONSUMER, "cons", &["prov-net", "prov-nat", "prov-sub", "10.21.", "prov.internal", "9421"][..]),
    ];
    for (uid, group, hidden) in sides {
        for asked in requests::looks(&["prov", "cons"]) {
            let answered = world.ask(&caller(uid), &asked).await;
            let said = |word: &str| asked.path.contains(word);
            let whole = format!("{answered:?}");
            if let Some(word) = hidden.iter().find(|word| whole.contains(**word) && !said(word)) {
                found.push(format!("{group} GET {}: tells {word}: {whole}", asked.path));
            }
        }
    }
    assert!(found.is_empty(), "{} answers tell too much:\n{}", found.len(), found.join("\n"));
    // The connection is what both see.
    for (uid, path) in [(PROVIDER, "/v1/connections/cons-pe"), (CONSUMER, "/v1/endpoints/cons-pe")] {
        let answered = world.ask(&caller(uid), &Asked::get(path)).await;
        assert_eq!(answered.status, 200, "{path}: {}", answered.body);
        for word in ["cons/cons-pe", "prov/prov-pls", "for the shop", "Approved"] {
            assert!(answered.body.contains(word), "{path} lacks {word}: {}", answered.body);
        }
    }
    let own = world.ask(&caller(CONSUMER), &Asked::get("/v1/endpoints/cons-pe")).await.body;
    assert!(own.contains("10.22.1.7") && own.contains("cons-net"), "{own}");
}

const MINE: &str = "/subscriptions/default/resourceGroups/mine/providers/Microsoft.Network";

fn vnet() -> Asked {
    Asked::get(format!("{MINE}/virtualNetworks/mine-net?api-version=1"))
}

#[tokio::test]
async fn the_other_vnet_of_a_peering_shows_through_neither_its_fields_nor_a_tag() {
    let world = World::new(true);
    let change = |group: &str, other: &str, tag: &str| {
        let mut items = Model::default();
        let whole = world.state.control.view();
        let mut vnet = whole.state.model.vnets[&name(group, "-net")].clone();
        vnet.peerings = vec![name(other, "-net")];
        vnet.tags.insert("t".to_owned(), tag.to_owned());
        items.vnets.insert(name(group, "-net"), vnet);
        let command = Put { items: Box::new(items), create_only: false };
        world.state.control.apply(&root(), command).expect("put");
    };
    change("mine", "hush", "a");
    let tenant = caller(things::TENANT);
    let one_sided = world.ask(&tenant, &vnet()).await;
    for tag in ["b", "c"] {
        change("hush", "mine", tag);
        let now = world.ask(&tenant, &vnet()).await;
        assert_eq!(now, one_sided, "what the other side does is not told");
        let peering = Asked::get(format!("{MINE}/virtualNetworks/mine-net/virtualNetworkPeerings?api-version=1"));
        for asked in [vnet(), peering, Asked::get("/v1/vnets/mine-net")] {
            let answered = world.ask(&tenant, &asked).await.body;
            assert!(!answered.contains("10.66.") && !answered.contains("Connected"), "{}: {answered}", asked.path);
        }
    }
    let whole = world.ask(&root(), &vnet()).await.body;
    assert!(whole.contains("10.66.0.0/16") && whole.contains("Connected"), "{whole}");
}

#[tokio::test]
async fn what_uses_ones_own_is_not_named_to_who_may_not_see_it() {
    let world = World::new(true);
    let mut items = Model::default();
    let mut guest = things::each("hush", 66).endpoints[&name("hush", "-pe")].clone();
    (guest.vnet, guest.subnet, guest.zone_group) = (name("mine", "-net"), "mine-sub".into(), None);
    guest.addresses = vec![crate::model::EndpointIp { member: String::new(), ip: Some(testing::ip("10.8.1.66")) }];
    items.endpoints.insert(Key::new("hush", "hush-guest"), guest);
    world.put(items);
    let tenant = caller(things::TENANT);
    let subnet = format!("{MINE}/virtualNetworks/mine-net/subnets/mine-sub?api-version=1");
    let body = json!({ "location": "westeurope", "properties": { "addressSpace": { "addressPrefixes": ["10.8.0.0/16"] }, "subnets": [] } });
    let own = Item { kind: ItemKind::Endpoint, key: name("mine", "-pe") };
    world.delete(own.kind, &own.key.to_string());
    for asked in [
        Asked { method: "DELETE", path: subnet, body: String::new() },
        Asked { method: "PUT", path: vnet().path, body: body.to_string() },
        Asked { method: "DELETE", path: "/v1/vnets/mine-net".into(), body: String::new() },
        Asked { method: "DELETE", path: vnet().path, body: String::new() },
    ] {
        let answered = world.ask(&tenant, &asked).await;
        assert!(matches!(answered.status, 400 | 409), "{asked:?}: {answered:?}");
        assert!(answered.body.contains("something that you may not see"), "{asked:?}: {answered:?}");
        assert!(!answered.body.contains("hush"), "{asked:?}: {answered:?}");
    }
}

#[tokio::test]
async fn why_about_oneself_tells_of_ones_own_assignments() {
    let world = World::new(true);
    let asked = |uid: u32| {
        let at = "/subscriptions/default/resourceGroups/mine";
        let action = "Microsoft.Network/virtualNetworks/read";
        Asked::get(format!("/v1/access/why?principal=uid:{uid}&action={action}&scope={at}"))
    };
    for uid in things::CALLERS {
        let answered = world.ask(&caller(uid), &asked(uid)).await;
        assert_eq!(answered.status, 200, "{answered:?}");
        let json: Value = serde_json::from_str(&answered.body).expect("JSON");
        let considered = json["items"][0]["considered"].as_array().expect("a list");
        // The tenant may read assignments in its group: those of the subnet's user are among them.
        let others = [format!("uid:{uid}"), format!("uid:{}", things::JOINER)];
        let known = if uid == things::TENANT { &others[..] } else { &others[..1] };
        for one in considered {
            let principal = one["principal"].as_str().unwrap_or_default();
            assert!(known.iter().any(|known| known == principal), "uid:{uid} is told of {principal}");
        }
        assert_eq!(considered.is_empty(), uid == things::NOBODY, "{considered:?}");
        let other = if uid == things::NOBODY { things::TENANT } else { things::NOBODY };
        assert_eq!(world.ask(&caller(uid), &asked(other)).await.status, 403, "about somebody else");
    }
}

#[tokio::test]
async fn the_daemons_file_and_host_are_told_to_who_operates_it() {
    let world = World::new(true);
    let status = Asked::get("/v1/status");
    let answered = world.ask(&caller(things::WATCHER), &status).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    assert!(!answered.body.contains("privlink.toml") && !answered.body.contains("SteeringOff"), "{answered:?}");
    let whole = world.ask(&root(), &status).await.body;
    assert!(whole.contains("/etc/privlink/privlink.toml") && whole.contains("SteeringOff"), "{whole}");
}

/// A session through the endpoint of `cons` by the connection `link`.
fn session(link: u32) -> crate::types::Match {
    let side = |ip: &str| crate::types::Side { ip: ip.to_owned(), port: 7 };
    crate::types::Match {
        endpoint: Some("cons/cons-pe".to_owned()),
        link_identifier: link,
        requester: Some("uid:1005".to_owned()),
        approver: None,
        protocol: "tcp".to_owned(),
        consumer: side("10.22.2.2"),
        endpoint_address: side("10.22.1.7"),
        backend: side("10.21.99.10"),
        from: "2026-11-28T12:00:00.0Z".to_owned(),
        until: None,
        state: "live".to_owned(),
        packets_to_service: 1,
        bytes_to_service: 40,
        packets_to_consumer: 1,
        bytes_to_consumer: 40,
    }
}

#[tokio::test]
async fn each_side_is_told_its_own_addresses_of_a_session_and_only_of_this_connection() {
    use crate::api::visible::Visible;
    let world = connected();
    let view = world.state.control.view();
    let found = |uid: u32, there: bool| {
        let found = Visible::to(&view, &caller(uid)).found(session(1), there);
        found.map(|found| [found.consumer.ip, found.endpoint_address.ip, found.backend.ip])
    };
    let texts = |texts: [&str; 3]| Some(texts.map(str::to_owned));
    for (uid, live, over) in [
        (PROVIDER, texts(["", "", "10.21.99.10"]), None),
        (CONSUMER, texts(["10.22.2.2", "10.22.1.7", ""]), texts(["10.22.2.2", "10.22.1.7", ""])),
        (things::TENANT, None, None),
        (things::WATCHER, None, None),
    ] {
        assert_eq!(found(uid, true), live, "uid:{uid}");
        assert_eq!(found(uid, false), over, "uid:{uid}, of a connection that is over");
    }
    let whole = Visible::to(&view, &root());
    for there in [true, false] {
        assert_eq!(whole.found(session(1), there), Some(session(1)));
    }
}

#[tokio::test]
async fn a_name_that_is_taken_in_ones_own_group_is_told_and_nothing_of_what_has_it() {
    // Names of a group are one space, so whoever may make something of that name there is told that it is taken, and
    // neither what has it nor since when.
    let world = World::new(true);
    let mut items = Model::default();
    let builder = 1006;
    things::define(&mut items, "builder", &["Microsoft.Sql/servers/*"]);
    let mine = "/subscriptions/default/resourceGroups/mine";
    things::assign(&mut items, &format!("uid:{builder}"), "builder", mine);
    world.put(items);
    let put = |name: &str| {
        let path = format!("{mine}/providers/Microsoft.Sql/servers/{name}?api-version=1");
        let body = json!({ "location": "westeurope", "properties": {} }).to_string();
        Asked { method: "PUT", path, body }
    };
    let mut told = Vec::new();
    for name in ["mine-pls", "mineaccount"] {
        let answered = world.ask(&caller(builder), &put(name)).await;
        assert_eq!(answered.status, 409, "{answered:?}");
        assert!(!answered.body.contains("privateLinkServices") && !answered.body.contains("Storage"), "{answered:?}");
        told.push(answered.body.replace(name, "NAME"));
    }
    assert_eq!(told[0], told[1], "whatever has it");
    assert_eq!(world.ask(&caller(things::NOBODY), &put("mine-pls")).await.status, 403);
}
