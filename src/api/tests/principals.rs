//! Whom a role is assigned to: a token by its name, which may be guessed, or by its id, which may not.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::unseen::{Asked, World, things};
use super::*;
use crate::model::token::Token;
use crate::testing::root;

/// Owner of the group `mine`, and of nothing else.
const OWNER: u32 = 1_041;

/// Who may make tokens and read them, and nothing else.
const KEEPER: u32 = 1_042;

const MINE: &str = "/subscriptions/default/resourceGroups/mine";

fn user(uid: u32) -> Caller {
    super::unseen::caller(uid)
}

/// A world with a token `ci`; its id is the same in every world.
fn world() -> (World, Token) {
    let world = World::new(true);
    let mut more = Model::default();
    things::assign(&mut more, &format!("uid:{OWNER}"), "Owner", MINE);
    things::define(&mut more, "keeper", &["Privlink/tokens/*"]);
    things::assign(&mut more, &format!("uid:{KEEPER}"), "keeper", "/");
    world.put(more);
    let (name, lifetime) = ("ci".parse().expect("a name"), SignedDuration::from_hours(9 * 366 * 24));
    let made = world.apply(&root(), CreateToken { name, lifetime, random: Box::new([7; 32]) });
    (world, made.expect("a token").token)
}

fn given(principal: &str, role: &str, scope: &str) -> Asked {
    let body = json!({ "principal": principal, "role": role, "scope": scope });
    Asked { method: "POST", path: "/v1/assignments".to_owned(), body: body.to_string() }
}

fn holder(token: &Token) -> Caller {
    Caller { subject: token.bearer(), name: token.principal().to_string() }
}

async fn items(world: &World, caller: &Caller, path: &str) -> Vec<Value> {
    let answered = world.ask(caller, &Asked::get(path)).await;
    let body: Value = serde_json::from_str(&answered.body).expect("JSON");
    body["items"].as_array().unwrap_or_else(|| panic!("{path}: {body}")).clone()
}

#[tokio::test]
async fn an_owner_of_a_group_assigns_to_a_token_by_its_id_and_learns_nothing_by_that() {
    let ((with, token), (without, same)) = (world(), world());
    assert_eq!(token.id, same.id);
    without.apply(&root(), RevokeToken { name: "ci".parse().expect("a name") }).expect("revoked");
    let (owner, by_id) = (user(OWNER), format!("token-id:{}", token.id));
    // By its name: it must be allowed to read tokens, and is told of the other way.
    let by_name = given("token:ci", "Reader", MINE);
    let refused = with.ask(&owner, &by_name).await;
    assert!(refused.status == 403 && refused.body.contains("token-id:UUID"), "{refused:?}");
    assert_eq!(refused, without.ask(&owner, &by_name).await);
    // By its id, whether or not there is such a token.
    let own = Asked::get("/v1/vnets/mine%2Fmine-net");
    assert_eq!(with.ask(&holder(&token), &own).await.status, 404);
    let asked = given(&by_id, "Reader", MINE);
    let answered = with.ask(&owner, &asked).await;
    assert_eq!(answered.status, 200, "{answered:?}");
    assert_eq!(answered, without.ask(&owner, &asked).await);
    let again = with.ask(&owner, &asked).await;
    assert_eq!((again.status, &again), (409, &without.ask(&owner, &asked).await));
    assert_eq!(with.ask(&holder(&token), &own).await.status, 200, "its holder has it");
    assert_eq!(without.ask(&holder(&token), &own).await.status, 404, "nobody has it");
    for path in ["/v1/assignments", "/v1/audit"] {
        let (one, other) = (with.ask(&owner, &Asked::get(path)).await, without.ask(&owner, &Asked::get(path)).await);
        assert!(one.body.contains(&by_id) && !one.body.contains("token:ci"), "{one:?}");
        assert_eq!(one, other, "{path}");
    }
    // No more than by any other name: what it does not hold it does not give, and only where it may.
    for (role, scope) in [("Reader", "/"), ("Reader", "/subscriptions/default/resourceGroups/hush")] {
        let refused = with.ask(&owner, &given(&by_id, role, scope)).await;
        assert_eq!((refused.status, &refused), (403, &without.ask(&owner, &given(&by_id, role, scope)).await));
    }
    // It ends with the token, as what is assigned to its name does, and tells nobody what that was called.
    with.apply(&root(), RevokeToken { name: "ci".parse().expect("a name") }).expect("revoked");
    let left = items(&with, &root(), "/v1/assignments").await;
    assert!(!left.iter().any(|one| one["principal"] == by_id), "{left:?}");
    let log = with.ask(&owner, &Asked::get("/v1/audit")).await.body;
    assert!(log.contains(&format!("with {by_id}")) && !log.contains("token:ci"), "{log}");
}

#[tokio::test]
async fn whoever_holds_a_token_learns_its_id_and_what_is_assigned_to_that_counts() {
    let (world, token) = world();
    let (holder, by_id) = (holder(&token), format!("token-id:{}", token.id));
    let me = items(&world, &holder, "/v1/whoami").await;
    assert_eq!(me[0]["principals"], json!(["token:ci", by_id]));
    assert_eq!(items(&world, &user(OWNER), "/v1/whoami").await[0]["principals"], json!([format!("uid:{OWNER}")]));
    assert_eq!(
        world
            .ask(&user(OWNER), &given(&by_id.to_uppercase().replace("TOKEN-ID", "token-id"), "Owner", MINE))
            .await
            .status,
        200
    );
    // Its own assignments are its to see, whichever way it is named.
    let seen = items(&world, &holder, "/v1/assignments").await;
    assert!(seen.iter().any(|one| one["principal"] == by_id && one["role"] == "Owner"), "{seen:?}");
    for principal in ["token:ci", by_id.as_str()] {
        let why =
            format!("/v1/access/why?principal={principal}&action=Microsoft.Network/virtualNetworks/write&scope={MINE}");
        assert_eq!(items(&world, &root(), &why).await[0]["allowed"], true, "{principal}");
    }
    // Another secret is handed only to whoever holds all that it holds.
    let rotate = Asked { method: "POST", path: "/v1/tokens/ci/rotate".to_owned(), body: String::new() };
    let refused = world.ask(&user(KEEPER), &rotate).await;
    assert!(refused.status == 403 && refused.body.contains("does not hold all"), "{refused:?}");
    assert_eq!(world.ask(&root(), &rotate).await.status, 200);
    let seen = items(&world, &user(KEEPER), "/v1/tokens").await;
    assert_eq!(seen[0]["id"], token.id.to_string(), "another secret is no other token");
}

#[tokio::test]
async fn an_assignment_that_is_gone_is_answered_like_one_that_never_was() {
    let (world, _) = world();
    let owner = user(OWNER);
    let ask = async |method: &'static str, id: &str| {
        let path = format!("/v1/assignments/{id}");
        let answered = world.ask(&owner, &Asked { method, path, body: String::new() }).await;
        (answered.status, answered.body.replace(id, "ID"))
    };
    let mut made = Model::default();
    things::assign(&mut made, "uid:7", "Reader", MINE);
    things::assign(&mut made, "uid:7", "Reader", "/");
    world.put(made.clone());
    let at = |root: bool| {
        let found = made.assignments.iter().find(|(_, given)| given.scope.is_root() == root);
        found.map(|(key, _)| key.name.clone()).expect("made")
    };
    let (own, others, never) = (at(false), at(true), "00000000-0000-8000-8000-000000000000");
    assert_eq!(ask("GET", &own).await.0, 200);
    assert_eq!(ask("DELETE", &own).await.0, 200);
    for method in ["GET", "DELETE"] {
        let absent = ask(method, never).await;
        assert_eq!(absent.0, 404, "{absent:?}");
        assert_eq!(ask(method, &own).await, absent, "{method}: deleted before");
        assert_eq!(ask(method, &others).await, absent, "{method}: out of sight");
        assert!(!absent.1.contains("roleAssignments/"), "no right is asked for where nothing is: {absent:?}");
    }
    // A token asks the same right of everybody, whichever there are.
    let revoke = async |name: &str| {
        let path = format!("/v1/tokens/{name}");
        let answered = world.ask(&owner, &Asked { method: "DELETE", path, body: String::new() }).await;
        (answered.status, answered.body.replace(name, "NAME"))
    };
    assert_eq!((revoke("ci").await.0, revoke("ci").await), (403, revoke("none").await));
}
