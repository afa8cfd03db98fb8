//! What may be asked for by whoever knows its ID, and is otherwise as if it were not.

use serde_json::json;

use super::*;
use crate::control::approval::PENDING_MAX;
use crate::control::model::{PrivateEndpoint, Visibility};

const ACCOUNT: &str =
    "/subscriptions/default/resourceGroups/hush/providers/Microsoft.Storage/storageAccounts/hushaccount";
const ABSENT: &str =
    "/subscriptions/default/resourceGroups/hush/providers/Microsoft.Storage/storageAccounts/hushabsent";
const MINE: &str = "/subscriptions/default/resourceGroups/mine/providers/Microsoft.Network";

/// Somebody else who may do everything in the group `mine`.
const OTHER: u32 = 1009;

/// The secret's account, which says nothing of who sees it and approves everybody's requests at once.
fn by_id(visibility: Visibility) -> World {
    let world = World::new(true);
    let mut items = Model::default();
    let key = Key::new("hush", "hushaccount");
    let mut account = things::secret().resources[&key].clone();
    account.visibility = visibility;
    account.auto_approval = if account.visibility == Visibility::Subscriptions(vec!["other".into()]) {
        Vec::new()
    } else {
        vec!["default".into()]
    };
    items.resources.insert(key, account);
    things::assign(&mut items, &format!("uid:{OTHER}"), "tenant", "/subscriptions/default/resourceGroups/mine");
    let command = Command::Put { items: Box::new(items), create_only: false };
    world.state.control.apply(&root(), command).expect("put");
    world
}

fn request(list: &str, name: &str, resource: &str) -> Asked {
    let asked = json!([{ "name": "c", "properties": { "privateLinkServiceId": resource, "groupIds": ["blob"] } }]);
    let subnet = json!({ "id": format!("{MINE}/virtualNetworks/mine-net/subnets/mine-sub") });
    let body = json!({ "location": "westeurope", "properties": { "subnet": subnet, list: asked } });
    let path = format!("{MINE}/privateEndpoints/{name}?api-version=1");
    Asked { method: "PUT", path, body: body.to_string() }
}

const MANUAL: &str = "manualPrivateLinkServiceConnections";
const AUTOMATIC: &str = "privateLinkServiceConnections";

fn state(answered: &Answered, list: &str) -> Value {
    let body: Value = serde_json::from_str(&answered.body).expect("JSON");
    body["properties"][list][0]["properties"]["privateLinkServiceConnectionState"]["status"].clone()
}

#[tokio::test]
async fn who_knows_an_id_asks_and_waits_whatever_is_approved_at_once() {
    let world = by_id(Visibility::ById);
    let tenant = caller(things::TENANT);
    let made = world.ask(&tenant, &request(MANUAL, "asks", &ACCOUNT.to_uppercase())).await;
    assert_eq!((made.status, state(&made, MANUAL)), (201, json!("Pending")), "{made:?}");
    // Asked again, it is the same request.
    let again = world.ask(&tenant, &request(MANUAL, "asks", ACCOUNT)).await;
    assert_eq!((again.status, &again.body), (200, &made.body));
    // Whoever may read it is approved by its list.
    let made = world.ask(&root(), &request(MANUAL, "reads", ACCOUNT)).await;
    assert_eq!((made.status, state(&made, MANUAL)), (201, json!("Approved")), "{made:?}");
    // Its owner sees who asks, and the document of a stranger asks as well.
    let seen = world.ask(&root(), &Asked::get(format!("{ACCOUNT}/privateEndpointConnections?api-version=1"))).await;
    assert!(seen.body.contains("/privateEndpoints/asks"), "{seen:?}");
}

#[tokio::test]
async fn only_a_manual_request_to_what_its_owner_did_not_close_is_heard() {
    let open = by_id(Visibility::ById);
    let tenant = caller(things::TENANT);
    let said = |answered: &Answered, name: &str| (answered.status, answered.body.replace(name, "NAME"));
    for visibility in [Visibility::Readers, Visibility::Subscriptions(vec!["other".into()])] {
        let closed = by_id(visibility.clone());
        for list in [MANUAL, AUTOMATIC] {
            let there = closed.ask(&tenant, &request(list, "asks", ACCOUNT)).await;
            let absent = closed.ask(&tenant, &request(list, "asks", ABSENT)).await;
            assert_eq!(said(&there, "hushaccount"), said(&absent, "hushabsent"), "{visibility:?} {list}");
            assert_eq!(there.status, 400, "{there:?}");
        }
    }
    // Approval at once takes a right, or that the owner shows it to the subscription.
    let there = open.ask(&tenant, &request(AUTOMATIC, "asks", ACCOUNT)).await;
    let absent = open.ask(&tenant, &request(AUTOMATIC, "asks", ABSENT)).await;
    assert_eq!(said(&there, "hushaccount"), said(&absent, "hushabsent"));
    assert!(there.status == 400 && there.body.contains(MANUAL), "{there:?}");
    let shown = by_id(Visibility::Subscriptions(vec!["default".into()]));
    let made = shown.ask(&tenant, &request(AUTOMATIC, "asks", ACCOUNT)).await;
    assert_eq!((made.status, state(&made, AUTOMATIC)), (201, json!("Approved")), "{made:?}");
    // Another type's ID is not its ID.
    let other = ACCOUNT.replace("Microsoft.Storage/storageAccounts", "Microsoft.Sql/servers");
    assert_eq!(open.ask(&tenant, &request(MANUAL, "asks", &other)).await.status, 400);
}

#[tokio::test]
async fn a_requester_has_so_many_requests_before_an_owner() {
    let world = by_id(Visibility::ById);
    let (tenant, other) = (caller(things::TENANT), caller(OTHER));
    for number in 0..PENDING_MAX {
        let made = world.ask(&tenant, &request(MANUAL, &format!("asks{number}"), ACCOUNT)).await;
        assert_eq!(made.status, 201, "{number}: {made:?}");
    }
    let refused = world.ask(&tenant, &request(MANUAL, "more", ACCOUNT)).await;
    assert!(refused.status == 409 && refused.body.contains("TooManyPendingRequests"), "{refused:?}");
    assert!(refused.body.contains(&format!("uid:{}", things::TENANT)), "{refused:?}");
    assert_eq!(world.ask(&other, &request(MANUAL, "others", ACCOUNT)).await.status, 201, "another requester");
    assert_eq!(world.ask(&tenant, &request(MANUAL, "asks0", ACCOUNT)).await.status, 200, "one that is there");
    // A decision makes room, and so does a request that is taken back.
    let reject = crate::control::Decision { endpoint: "mine/asks1".into(), ..Default::default() };
    world.state.control.apply(&root(), Command::Reject(reject)).expect("rejected");
    assert_eq!(world.ask(&tenant, &request(MANUAL, "more", ACCOUNT)).await.status, 201);
    world.delete(ItemKind::Endpoint, "mine/asks2");
    assert_eq!(world.ask(&tenant, &request(MANUAL, "again", ACCOUNT)).await.status, 201);
    assert_eq!(world.ask(&tenant, &request(MANUAL, "last", ACCOUNT)).await.status, 409);
    // Several at once are several.
    let fresh = by_id(Visibility::ById);
    let one = world.model().endpoints[&Key::new("mine", "more")].clone();
    let many = |count: usize| {
        let mut items = Model::default();
        for number in 0..count {
            let made = PrivateEndpoint { addresses: Vec::new(), ..one.clone() };
            items.endpoints.insert(Key::new("mine", format!("asks{number}")), made);
        }
        Command::Put { items: Box::new(items), create_only: true }
    };
    let refused = fresh.apply(&tenant, many(PENDING_MAX + 1)).expect_err("one too many");
    assert_eq!(refused.code, "TooManyPendingRequests", "{refused}");
    fresh.apply(&tenant, many(PENDING_MAX)).expect("as many as there may be");
}

#[tokio::test]
async fn every_other_question_about_it_is_answered_as_if_it_were_not() {
    let (with, without) = (by_id(Visibility::ById), World::new(false));
    let mut items = Model::default();
    things::assign(&mut items, &format!("uid:{OTHER}"), "tenant", "/subscriptions/default/resourceGroups/mine");
    without.put(items);
    let asks = |asked: &Asked| {
        let requested = asked.body.contains("hushaccount");
        requested && (asked.body.contains(MANUAL) || asked.path.starts_with("/v1/apply"))
    };
    let mut found = Vec::new();
    for uid in [things::NOBODY, things::TENANT, things::WATCHER] {
        let caller = caller(uid);
        for asked in requests::all().iter().filter(|asked| !asks(asked)) {
            let (one, other) = (with.ask(&caller, asked).await, without.ask(&caller, asked).await);
            found.extend(wrong(uid, asked, &one, &other));
        }
    }
    assert!(found.is_empty(), "{} answers differ or tell too much:\n{}", found.len(), found.join("\n"));
}

#[tokio::test]
async fn a_document_is_judged_against_nothing_that_an_id_does_not_say() {
    let world = by_id(Visibility::ById);
    let key = Key::new("hush", "hushaccount");
    let mut account = world.model().resources[&key].clone();
    let second = crate::control::model::TargetSpec { subresource: "queue".into(), ..account.targets[0].clone() };
    (account.region, account.cross_region) = ("hush-region".into(), false);
    account.targets.push(second);
    let mut items = Model::default();
    items.resources.insert(key.clone(), account.clone());
    world.apply(&root(), Command::Put { items: Box::new(items), create_only: false }).expect("put");
    let view = world.state.control.view();
    let seen = view.seen_by_author(&caller(things::TENANT), ACCOUNT).resources[&key].clone();
    assert!(seen.targets.is_empty() && seen.region.is_empty() && seen.cross_region, "{seen:?}");
    let whole = view.seen_by_author(&root(), ACCOUNT).resources[&key].clone();
    assert_eq!((whole.targets.len(), whole.region.as_str()), (2, "hush-region"));
}
