//! A role is assigned to a token's creation, not to its name.

use super::*;
use crate::access::rights;
use crate::model::token::{DEFAULT_LIFETIME, Token, authenticate};
use crate::model::{RoleAssignment, RoleDefinition};

fn create(control: &ControlPlane, name: &str, random: u8) -> (Token, String) {
    let command =
        CreateToken { name: name.parse().unwrap(), lifetime: DEFAULT_LIFETIME, random: Box::new([random; 32]) };
    let minted = control.apply(&root(), command).unwrap();
    (minted.token, minted.secret.expose().to_owned())
}

fn revoke(control: &ControlPlane, name: &str) {
    control.apply(&root(), RevokeToken { name: name.parse().unwrap() }).unwrap();
}

fn given(principal: &str, role: &str, scope: &str) -> RoleAssignment {
    RoleAssignment { principal: principal.parse().unwrap(), role: role.parse().unwrap(), scope: scope.parse().unwrap() }
}

fn with(mut file: Model, given: &RoleAssignment) -> Model {
    file.assignments.insert(Key::global(given.id().to_string()), given.clone());
    file
}

fn assign(control: &ControlPlane, given: &RoleAssignment) -> Result<Changed, Error> {
    let items = Box::new(with(Model::default(), given));
    control.apply(&root(), Put { items, create_only: true })
}

fn bearer(token: &Token) -> Caller {
    Caller { subject: token.bearer(), name: token.principal().to_string() }
}

fn rejects(control: &ControlPlane, caller: &Caller) -> Result<Decided, ErrorKind> {
    control.apply(caller, Decide::reject(orders())).map_err(|refusal| refusal.kind)
}

#[test]
fn a_token_that_is_made_again_inherits_nothing() {
    let (world, control) = running();
    let (first, _) = create(&control, "ci", 1);
    let owner = given("token:ci", "Owner", "/");
    assign(&control, &owner).unwrap();
    assert!(rejects(&control, &bearer(&first)).is_ok());
    revoke(&control, "ci");
    let view = control.view();
    assert!(view.state.model.assignments.is_empty(), "revoking takes what was assigned");
    let records = world.records.lock().unwrap().clone();
    let told = |action: &str, object: &str| records.iter().any(|one| one.action == action && one.object == object);
    assert!(told("revoke", "token ci") && told("delete", &format!("assignment {}", owner.id())), "{records:?}");

    let (second, _) = create(&control, "ci", 2);
    assert_ne!(first.id, second.id);
    assert_eq!(first.principal(), second.principal(), "shown alike");
    let approve = |token: &Token| control.apply(&bearer(token), Decide::approve(orders())).map_err(|no| no.kind);
    assert_eq!(approve(&second), Err(ErrorKind::NotFound), "it sees nothing");
    // What is assigned to the second is nothing that a request of the first, still under way, could use.
    assign(&control, &owner).unwrap();
    assert_eq!(approve(&first), Err(ErrorKind::Forbidden));
    assert!(!control.view().rights(&bearer(&first)).hold(&everything()));
    assert!(control.view().rights(&bearer(&second)).hold(&everything()));
    approve(&second).unwrap();
    // Nor is the restart confused.
    drop(control);
    let control = restart(&world, model());
    assert!(control.view().rights(&bearer(&second)).hold(&everything()));
    assert!(!control.view().rights(&bearer(&first)).hold(&everything()));
}

fn everything() -> rights::Right {
    rights::Right::anywhere("Privlink/configuration/write".parse().unwrap())
}

#[test]
fn an_ended_token_is_refused_at_commit() {
    let (_, control) = running();
    let (token, _) = create(&control, "ci", 1);
    assign(&control, &given("token:ci", "Owner", "/")).unwrap();
    revoke(&control, "ci");
    let refusal = control.apply(&bearer(&token), Decide::reject(orders())).unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (ErrorKind::Forbidden, "InvalidAuthenticationToken"));
}

#[test]
fn nothing_is_assigned_to_a_token_that_there_is_not() {
    let (_, control) = running();
    let refusal = assign(&control, &given("token:ci", "Reader", "/")).unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (ErrorKind::Invalid, "PrincipalNotFound"));
    assert!(refusal.remedy.contains("privlink token create ci"), "{refusal}");
    create(&control, "ci", 1);
    assign(&control, &given("token:ci", "Reader", "/")).unwrap();
}

#[test]
fn who_may_not_read_tokens_is_not_told_which_there_are() {
    let (_, control) = running();
    create(&control, "there", 1);
    let group = "/subscriptions/default/resourceGroups/own";
    assign(&control, &given("uid:1000", "Owner", group)).unwrap();
    let owner = Caller::user(1000, "owner");
    let tell = |refused: Result<AnyOutcome, Error>, name: &str| {
        let refusal = refused.unwrap_err();
        (refusal.kind, refusal.code, refusal.to_string().replace(name, "NAME"))
    };
    let put = |name: &str, dry_run: bool| {
        let given = given(&format!("token:{name}"), "Reader", group);
        let mut items = Model::default();
        items.assignments.insert(Key::global(given.id().to_string()), given);
        let file = ApplyFile { author: "uid:1000".into(), model: items.clone(), host: None, prune: false, dry_run };
        let commands = [
            any(Put { items: Box::new(items.clone()), create_only: true }),
            any(Put { items: Box::new(items), create_only: false }),
            any(file),
        ];
        commands.map(|command| tell(control.apply(&owner, command), name))
    };
    for dry_run in [true, false] {
        let told = put("there", dry_run);
        assert_eq!(told, put("absent", dry_run));
        assert!(
            told.iter().all(|(kind, _, text)| *kind == ErrorKind::Forbidden && text.contains("Privlink/tokens/read"))
        );
    }
    // It knows itself.
    let (token, _) = create(&control, "own", 2);
    assign(&control, &given("token:own", "Owner", group)).unwrap();
    let mut items = Model::default();
    let own = given("token:own", "Reader", group);
    items.assignments.insert(Key::global(own.id().to_string()), own);
    control.apply(&bearer(&token), Put { items: Box::new(items), create_only: true }).unwrap();
}

#[test]
fn a_file_gives_a_role_to_the_token_that_there_is_when_it_is_applied() {
    let (_, control) = running();
    let reader = given("token:ci", "Reader", "/");
    let file = with(model(), &reader);
    let key = Key::global(reader.id().to_string());
    let apply = || control.apply(&root(), apply_file(file.clone(), false)).unwrap();
    let has = || control.view().state.model.assignments.contains_key(&key);
    let skipped = |report: &ApplyReport| {
        let [one] = report.skipped.as_slice() else { panic!("{report}") };
        assert!(one.item.contains(&reader.id().to_string()) && one.reason.contains("no token ci"), "{report}");
        assert!(one.reason.contains("privlink token create ci"), "{report}");
    };
    skipped(&apply());
    assert!(!has());
    create(&control, "ci", 1);
    assert!(!has(), "a token begins with nothing");
    assert_eq!(apply().created, [format!("assignment {key}")]);
    assert!(has());
    // A right that was taken live is not given back by the same file: unless its token is another one.
    control.apply(&root(), Delete { kind: ItemKind::Assignment, reference: key.name.clone() }).unwrap();
    assert!(apply().created.is_empty() && !has());
    revoke(&control, "ci");
    skipped(&apply());
    create(&control, "ci", 2);
    assert_eq!(apply().created.len(), 1);
    assert!(has());
}

#[test]
fn a_rotated_token_has_another_secret_and_is_the_same() {
    let (_, control) = running();
    let (token, old) = create(&control, "ci", 1);
    assign(&control, &given("token:ci", "Owner", "/")).unwrap();
    let rotate =
        |caller: &Caller| control.apply(caller, RotateToken { name: "ci".parse().unwrap(), random: Box::new([9; 32]) });
    let TokenCreated { token: same, secret, .. } = rotate(&root()).unwrap();
    assert_eq!((&same.id, same.expires_at, same.created_at), (&token.id, token.expires_at, token.created_at));
    let tokens = control.view().state.tokens.clone();
    assert!(authenticate(&old, &tokens, noon()).is_err());
    assert_eq!(authenticate(secret.expose(), &tokens, noon()), Ok(&same));
    assert!(rejects(&control, &bearer(&same)).is_ok(), "what it holds stays");
    let name = "gone".parse().unwrap();
    let absent = control.apply(&root(), RotateToken { name, random: Box::new([9; 32]) });
    assert_eq!(absent.unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn nobody_rotates_a_token_that_holds_more_than_they_do() {
    let (_, control) = running();
    let mut items = Box::new(Model::default());
    let keeper = r#"{"name":"Keeper","actions":["Privlink/tokens/*","Microsoft.Network/*"]}"#;
    items.roles.insert(Key::global("Keeper"), serde_json::from_str(keeper).unwrap());
    control.apply(&root(), Put { items, create_only: true }).unwrap();
    assign(&control, &given("uid:7", "Keeper", "/")).unwrap();
    let keeper = Caller::user(7, "kay");
    let rotate = |name: &str| {
        let command = RotateToken { name: name.parse().unwrap(), random: Box::new([9; 32]) };
        control.apply(&keeper, command).map(|_| ()).map_err(|refusal| refusal.kind)
    };
    for (number, (role, scope, expected)) in [
        ("Owner", "/subscriptions/a", Err(ErrorKind::Forbidden)),
        ("Reader", "/subscriptions/a", Err(ErrorKind::Forbidden)),
        ("Keeper", "/", Ok(())),
        ("Keeper", "/subscriptions/a", Ok(())),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("t{number}");
        create(&control, &name, u8::try_from(number).unwrap());
        assert_eq!(rotate(&name), Ok(()), "it holds nothing yet");
        assign(&control, &given(&format!("token:{name}"), role, scope)).unwrap();
        assert_eq!(rotate(&name), expected, "{role} of {scope}");
    }
}

#[test]
fn a_state_of_the_release_before_gives_living_tokens_ids_and_absent_ones_nothing() {
    let (world, control) = running();
    let (_, secret) = create(&control, "ci", 1);
    let (lives, absent) = (given("token:ci", "Reader", "/"), given("token:gone", "Owner", "/"));
    assign(&control, &lives).unwrap();
    drop(control);
    // As the release before wrote it: a token without an id, an assignment to nobody, of a file and live.
    {
        let mut disk = world.disk.lock().unwrap();
        let old = disk.as_mut().unwrap();
        let mut token = serde_json::to_value(&old.tokens[&"ci".parse().unwrap()]).unwrap();
        token.as_object_mut().unwrap().remove("id");
        old.tokens = [("ci".parse().unwrap(), serde_json::from_value(token).unwrap())].into_iter().collect();
        old.model = with(old.model.clone(), &absent);
    }
    world.is_old.store(true, Ordering::Relaxed);
    let control = restart(&world, model());
    let view = control.view();
    let kept: Vec<_> = view.state.model.assignments.values().cloned().collect();
    assert_eq!(kept, std::slice::from_ref(&lives), "ids of assignments stay, and so does what lives");
    let records = world.records.lock().unwrap().clone();
    let told = records.iter().find(|one| one.action == "migrate" && one.object.starts_with("assignment")).unwrap();
    assert!(told.object.contains(&absent.id().to_string()) && told.detail.contains("token:gone"), "{told:?}");
    let token = authenticate(&secret, &view.state.tokens, noon()).unwrap();
    assert!(!token.id.to_string().is_empty());
    assert!(view.rights(&bearer(token)).hold(&rights::Right::anywhere("Privlink/status/read".parse().unwrap())));
    let (gone, _) = create(&control, "gone", 3);
    assert!(!control.view().rights(&bearer(&gone)).hold(&everything()));
}

#[test]
fn whoever_makes_a_role_for_its_own_group_is_told_of_it() {
    let (_world, control) = running();
    let group = "/subscriptions/default/resourceGroups/default";
    assign(&control, &given("uid:7", "Owner", group)).unwrap();
    let mut items = Box::new(Model::default());
    let role = RoleDefinition {
        name: "ops".parse().unwrap(),
        description: String::new(),
        actions: vec!["Microsoft.Network/*/read".parse().unwrap()],
        not_actions: Vec::new(),
        assignable_scopes: vec![group.parse().unwrap()],
    };
    items.roles.insert(Key::global("ops".to_owned()), role);
    let owner = Caller::user(7, "ada");
    let made = control.apply(&owner, Put { items, create_only: true }).unwrap();
    assert_eq!(made.to_string(), "role ops: created");
    let sees = |caller: &Caller| control.view().seen_by(caller).state.model.roles.len();
    assert_eq!((sees(&owner), sees(&Caller::user(8, "bob"))), (1, 0), "who has nothing there does not see it");
}
