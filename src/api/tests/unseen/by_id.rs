//! What may be asked for by whoever knows its ID, and is otherwise as if it were not.

use serde_json::json;

use super::*;
use crate::model::approval::PENDING_MAX;
use crate::model::{PrivateEndpoint, Visibility};

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
    let command = Put { items: Box::new(items), create_only: false };
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
    world.state.control.apply(&root(), Decide::reject(reject)).expect("rejected");
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
        Put { items: Box::new(items), create_only: true }
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
    let second = crate::model::TargetSpec { subresource: "queue".into(), ..account.targets[0].clone() };
    (account.region, account.cross_region) = ("hush-region".into(), false);
    account.targets.push(second);
    let mut items = Model::default();
    items.resources.insert(key.clone(), account.clone());
    world.apply(&root(), Put { items: Box::new(items), create_only: false }).expect("put");
    let view = world.state.control.view();
    let seen = view.seen_by_author(&caller(things::TENANT), ACCOUNT, false).resources[&key].clone();
    assert!(seen.targets.is_empty() && seen.region.is_empty() && seen.cross_region, "{seen:?}");
    let whole = view.seen_by_author(&root(), ACCOUNT, false).resources[&key].clone();
    assert_eq!((whole.targets.len(), whole.region.as_str()), (2, "hush-region"));
}

/// Another name than the secret's own, which a requester knows: only who reads the account finds it.
const VEILED: &str = "veiled";

/// [`by_id`], whose account has two members and names of its own.
fn with_parts() -> World {
    let world = by_id(Visibility::ById);
    let mut items = Model::default();
    let key = Key::new("hush", "hushaccount");
    let mut account = world.model().resources[&key].clone();
    let part = |name: &str| crate::model::TargetSpec {
        member: format!("{VEILED}-{name}"),
        fqdns: vec![format!("{VEILED}-{name}.example.com")],
        ..account.targets[0].clone()
    };
    account.targets = vec![part("east"), part("west")];
    account.cross_region = false;
    items.resources.insert(key, account);
    let command = Put { items: Box::new(items), create_only: false };
    world.state.control.apply(&root(), command).expect("put");
    world
}

#[tokio::test]
async fn who_knows_an_id_alone_learns_no_name_of_its_parts_before_an_approval() {
    let world = with_parts();
    let tenant = caller(things::TENANT);
    let made = world.ask(&tenant, &request(MANUAL, "asks", ACCOUNT)).await;
    assert_eq!((made.status, state(&made, MANUAL)), (201, json!("Pending")), "{made:?}");
    let shown: Value = serde_json::from_str(&made.body).expect("JSON");
    let nic = shown["properties"]["networkInterfaces"][0]["id"].as_str().expect("an ID").to_owned();
    let name = nic.rsplit('/').next().expect("a name");
    let looks = [
        format!("{MINE}/privateEndpoints/asks?api-version=1"),
        format!("{MINE}/privateEndpoints?api-version=1&$expand=networkInterfaces"),
        format!("{nic}?api-version=1"),
        "/v1/endpoints/asks".to_owned(),
        "/v1/endpoints".to_owned(),
        "/v1/nics".to_owned(),
        format!("/v1/nics/{name}"),
        "/v1/status".to_owned(),
    ];
    let told = async |who: &str| {
        let mut told = Vec::new();
        for path in &looks {
            let answered = world.ask(&tenant, &Asked::get(path.clone())).await;
            assert!(matches!(answered.status, 200 | 403 | 404), "{who} {path}: {answered:?}");
            if answered.body.contains(VEILED) {
                told.push(path.clone());
            }
        }
        told
    };
    assert_eq!(told("pending").await, Vec::<String>::new());
    let decide = |action: fn(crate::control::Decision) -> Decide| {
        let decision = crate::control::Decision { endpoint: "mine/asks".into(), ..Default::default() };
        world.state.control.apply(&root(), action(decision)).expect("decided");
    };
    decide(Decide::reject);
    assert_eq!(told("rejected").await, Vec::<String>::new());
    let own = world.ask(&tenant, &Asked::get(looks[0].clone())).await;
    let own: Value = serde_json::from_str(&own.body).expect("JSON");
    let names = own["properties"]["customDnsConfigs"].to_string();
    assert!(names.contains("hushaccount.blob.core.windows.net"), "what follows from the ID: {names}");
    decide(Decide::approve);
    assert!(told("approved").await.len() > 3);
    decide(Decide::reject);
    assert!(told("rejected later").await.len() > 3, "what was told once is no secret any more");
}

#[tokio::test]
async fn a_request_by_id_that_does_not_fit_is_told_nothing_of_what_would() {
    let world = with_parts();
    let tenant = caller(things::TENANT);
    let mut answers = Vec::new();
    let config = |member: &str| json!([{ "name": "ip", "properties": { "groupId": "blob", "memberName": member, "privateIPAddress": "10.8.1.77" } }]);
    for change in [
        json!({ "properties": { "ipConfigurations": config("other") } }),
        json!({ "properties": { MANUAL: [{ "name": "c", "properties": { "privateLinkServiceId": ACCOUNT, "groupIds": ["queue"] } }] } }),
        json!({ "properties": { MANUAL: [{ "name": "c", "properties": { "privateLinkServiceId": ACCOUNT } }] } }),
    ] {
        let asked = request(MANUAL, "asks", ACCOUNT);
        let mut body: Value = serde_json::from_str(&asked.body).expect("JSON");
        for (name, value) in change["properties"].as_object().expect("an object") {
            body["properties"][name] = value.clone();
        }
        let answered = world.ask(&tenant, &Asked { body: body.to_string(), ..asked }).await;
        assert!(answered.status == 400 && !answered.body.contains(VEILED), "{body}: {answered:?}");
        answers.push(answered.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

#[tokio::test]
async fn a_dry_run_answers_alike_whether_or_not_there_is_such_a_resource() {
    let world = by_id(Visibility::ById);
    let tenant = caller(things::TENANT);
    let document = |name: &str, dry_run: bool| {
        let mut model = Model::default();
        let mut endpoint = world.model().endpoints[&Key::new("mine", "mine-pe")].clone();
        (endpoint.resource, endpoint.subresource) = (Key::new("hush", name), "blob".into());
        (endpoint.manual, endpoint.zone_group) = (true, None);
        endpoint.addresses.clear();
        model.endpoints.insert(Key::new("mine", "asks"), endpoint);
        let model = serde_json::to_string(&model).expect("JSON");
        let body = json!({ "name": "d", "document": model, "dryRun": dry_run }).to_string();
        Asked { method: "POST", path: "/v1/apply".into(), body }
    };
    let mut said = Vec::new();
    for name in ["hushaccount", "hushabsent"] {
        let answered = world.ask(&tenant, &document(name, true)).await;
        assert!(answered.status == 200 && answered.body.contains("dry run"), "{answered:?}");
        said.push(answered.body.replace(name, "NAME"));
    }
    assert_eq!(said[0], said[1]);
    // What a document may refer to is the same, too.
    let refers = |id: &str, dry_run: bool| {
        let view = world.state.control.view();
        let known = view.seen_by_author(&tenant, &format!("resource = \"{id}\""), dry_run);
        let known: Vec<String> = known.resources.iter().map(|(key, one)| format!("{key} {one:?}")).collect();
        known.join("\n").replace("hushaccount", "NAME").replace("hushabsent", "NAME")
    };
    assert_eq!(refers(ACCOUNT, true), refers(ABSENT, true));
    assert_ne!(refers(ACCOUNT, false), refers(ABSENT, false));
    // Who may read it is told what would be.
    let answered = world.ask(&root(), &document("hushaccount", true)).await;
    assert!(answered.status == 200 && answered.body.contains("endpoint mine/asks"), "{answered:?}");
    assert!(!answered.body.contains("dry run asks nobody"), "{answered:?}");
    // And it is asked for by the same document in earnest.
    let answered = world.ask(&tenant, &document("hushaccount", false)).await;
    assert!(answered.status == 200 && world.model().endpoints.contains_key(&Key::new("mine", "asks")), "{answered:?}");
}
