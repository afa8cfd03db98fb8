use super::*;
use crate::control::{Delete, Deletion, Prepared, Setup};
use crate::model::RoleAssignment;
use crate::model::sentence::Sentence;
use crate::testing;
use crate::testing::{bootstrap, endpoint, link_key, model, noon, root, store};

/// The view of a daemon on the small model and a second tenant's endpoint, with these assignments.
fn view(assignments: &[(&str, &str, &str)]) -> View {
    let mut file = model();
    file.endpoints.insert(Key::of("tenant", "g", "theirs"), endpoint("spoke", Some("10.1.9.9"), "orders-db"));
    for (principal, role, scope) in assignments {
        let given = RoleAssignment {
            principal: principal.parse().unwrap(),
            role: role.parse().unwrap(),
            scope: scope.parse().unwrap(),
        };
        file.assignments.insert(Key::global(given.id().to_string()), given);
    }
    let setup = Setup {
        host: Arc::new(testing::host(&["spoke", "core"])),
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
    Prepared::new(setup, None, store()).unwrap().view()
}

fn endpoints(view: &View, caller: &Caller) -> Vec<String> {
    view.seen_by(caller).endpoints().iter().map(|endpoint| endpoint.key.to_string()).collect()
}

#[test]
fn nobody_sees_anything_without_a_role() {
    let view = view(&[]);
    let seen = view.seen_by(&Caller::user(1000, "ada"));
    assert_eq!(seen.state.model, Model::default());
    assert!(seen.state.connections.is_empty() && seen.state.tokens.is_empty());
    assert_eq!(endpoints(&view, &root()).len(), 2);
}

#[test]
fn a_reader_of_one_tenant_sees_that_tenant_and_the_owner_of_a_resource_its_connections() {
    let service = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices";
    let (ada, bob) = (Caller::user(1000, "ada"), Caller::user(1001, "bob"));
    let view = view(&[
        ("uid:1000", "Reader", "/subscriptions/tenant"),
        ("uid:1001", "Private Link Approver", &format!("{service}/orders-db")),
    ]);
    assert_eq!(endpoints(&view, &ada), ["tenant/g/theirs"]);
    assert!(view.seen_by(&ada).resources().is_empty() && view.seen_by(&ada).vnets().is_empty());
    // What stands behind its endpoint is not known to it, which is another thing than nothing.
    assert_eq!(view.seen_by(&ada).endpoints()[0].backends, None);
    assert!(view.seen_by(&bob).endpoints()[0].backends.is_some_and(|count| count > 0));
    assert_eq!(endpoints(&view, &bob), ["default/orders", "tenant/g/theirs"]);
    assert_eq!(view.seen_by(&bob).resources().len(), 1);
    assert!(view.seen_by(&bob).vnets().is_empty());
    // Each sees the assignment that is theirs.
    assert_eq!(view.seen_by(&ada).state.model.assignments.len(), 1);
}

#[test]
fn the_socket_group_reads_everything() {
    let member = Caller { subject: crate::model::Subject::peer(7, [50]), name: "eve".into() };
    assert_eq!(endpoints(&view(&[]), &member).len(), 2);
}

#[test]
fn a_file_grants_no_more_than_its_author_may_assign() {
    use crate::access::Access;
    use crate::control::apply::{Application, Requester, merge};
    use crate::model::RoleDefinition;
    use crate::model::state::ControlState;
    use crate::model::state::DAEMON;
    let role = |name: &str, actions: &[&str]| RoleDefinition {
        name: name.parse().unwrap(),
        description: String::new(),
        actions: actions.iter().map(|action| action.parse().unwrap()).collect(),
        not_actions: Vec::new(),
        assignable_scopes: vec!["/".parse().unwrap()],
    };
    let given = |principal: &str, role: &str, scope: &str| RoleAssignment {
        principal: principal.parse().unwrap(),
        role: role.parse().unwrap(),
        scope: scope.parse().unwrap(),
    };
    let team = "/subscriptions/default/resourceGroups/team";
    let access = Access::new(
        [role("Granter", &["Microsoft.Authorization/roleAssignments/*"])],
        [given("uid:1000", "Granter", team), given("uid:1000", "Reader", team), given("uid:1001", "Contributor", "/")],
        bootstrap(),
    );
    let access = access.unwrap();
    let (granter, contributor) = (Caller::user(1000, "ada"), Caller::user(1001, "bob"));
    let apply = |caller: &Caller, author: &str, file: &Model, prune: bool, before: &ControlState| {
        let maker = Requester { rights: Rights::of(caller, &access), now: noon(), dry_run: false };
        merge(before, &Application::of(file, author, prune, maker))
    };
    let file = |assignment: RoleAssignment| {
        let mut file = Model::default();
        file.assignments.insert(Key::global(assignment.id().to_string()), assignment);
        file
    };
    let (own, above) = (file(given("uid:7", "Reader", team)), file(given("uid:1000", "Owner", "/")));
    let nothing = ControlState::default();
    let (after, report) = apply(&granter, "uid:1000", &own, false, &nothing).unwrap();
    assert_eq!((report.created.len(), after.model.assignments.len()), (1, 1));
    for (caller, file) in [(&granter, &above), (&contributor, &own), (&contributor, &above)] {
        let refusal = apply(caller, "x", file, false, &nothing).unwrap_err();
        assert!(refusal.message.contains("roleAssignments/write"), "{refusal}");
    }
    let mut defined = Model::default();
    defined.roles.insert(Key::global("all".to_owned()), role("all", &["*"]));
    let refusal = apply(&granter, "x", &defined, false, &nothing).unwrap_err();
    assert!(refusal.message.contains("roleDefinitions/write"), "{refusal}");
    // What an author may not give, it may not take either; the daemon's own file may do both.
    let (before, _) = apply(&root(), "x", &above, false, &nothing).unwrap();
    let refusal = apply(&granter, "x", &Model::default(), true, &before).unwrap_err();
    assert!(refusal.message.contains("roleAssignments/delete"), "{refusal}");
    let (_, report) = apply(&root(), "x", &Model::default(), true, &before).unwrap();
    assert_eq!(report.pruned.len(), 1);
    assert_eq!(apply(&root(), DAEMON, &above, false, &nothing).unwrap().1.created.len(), 1);
}

#[test]
fn somebody_elses_zone_and_network_are_joined_by_who_may_and_by_nobody_else() {
    use crate::control::apply::{Application, Requester, merge};
    use crate::model::{DnsZone, Tags, ZoneGroup, ZoneLink};

    let ada = Caller::user(1000, "ada");
    let tenant = ("uid:1000", "Network Contributor", "/subscriptions/tenant");
    let network = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/virtualNetworks/spoke";
    let zones =
        "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateDnsZones/corp.internal";
    let here = Key::of("tenant", "g", "mine.internal");
    let link = ZoneLink {
        name: "l".into(),
        vnet: testing::key("spoke"),
        policy: crate::model::ResolutionPolicy::Default,
        registration: false,
        tags: Tags::new(),
    };
    let mut linked = Model::default();
    linked.dns_zones.insert(here.clone(), DnsZone { links: vec![link], ..DnsZone::default() });
    let mut grouped = Model::default();
    let mut within = endpoint("spoke", Some("10.1.9.10"), "orders-db");
    (within.manual, within.zone_group) = (true, Some(Box::new(ZoneGroup::of([testing::key("corp.internal")]))));
    grouped.endpoints.insert(Key::of("tenant", "g", "new"), within.clone());
    for (file, assignments, expected) in [
        (&linked, vec![tenant], Some("virtualNetworks/join/action")),
        (&linked, vec![tenant, ("uid:1000", "Network Contributor", network)], None),
        (&grouped, vec![tenant, ("uid:1000", "Network Contributor", network)], Some("privateDnsZones/join/action")),
        (
            &grouped,
            vec![
                tenant,
                ("uid:1000", "Network Contributor", network),
                ("uid:1000", "Network Contributor", zones),
                ("uid:1000", "Reader", "/subscriptions/default"),
            ],
            None,
        ),
    ] {
        let mut assignments = assignments;
        assignments.push(("uid:1000", "Private Link Approver", "/subscriptions/default"));
        let view = view(&assignments);
        let maker = Requester { rights: view.rights(&ada), now: noon(), dry_run: false };
        let application = Application::of(file, "ada", false, maker);
        let refused = merge(&view.state, &application).map(|_| ()).map_err(|refusal| refusal.message);
        match expected {
            Some(right) => assert!(refused.clone().is_err_and(|why| why.contains(right)), "{refused:?}"),
            None => assert_eq!(refused, Ok(())),
        }
    }
    // What is joined already asks for nothing again.
    let view = view(&[tenant]);
    let (rights, model, key) = (view.rights(&ada), &view.state.model, Key::of("tenant", "g", "new"));
    assert!(rights.demand_references(model, &key, Some(&within), &within).is_ok());
    assert!(rights.demand_references(model, &key, None, &within).is_err());
}

#[test]
fn a_document_may_refer_to_what_it_names_by_an_id_that_may_be_asked_for() {
    use crate::model::Visibility;
    let mut view = view(&[("uid:1000", "Contributor", "/subscriptions/tenant")]);
    let (ada, key) = (Caller::user(1000, "ada"), testing::key("orders-db"));
    let mut state = ControlState::clone(&view.state);
    let resource = state.model.resources.get_mut(&key).unwrap();
    (resource.kind, resource.visibility) = (Some("Microsoft.Sql/servers".into()), Visibility::ById);
    view.state = Arc::new(state);
    let id = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Sql/servers/orders-db";
    let refers = |view: &View, text: &str| view.seen_by_author(&ada, text, false).resources.contains_key(&key);
    assert!(refers(&view, &format!("resource = \"{}\"\nmanual = true", id.to_uppercase())));
    for text in ["", "resource = \"orders-db\"", &id.replace("Sql/servers", "Storage/storageAccounts")] {
        assert!(!refers(&view, text), "{text}");
    }
    let mut state = ControlState::clone(&view.state);
    state.model.resources.get_mut(&key).unwrap().visibility = Visibility::Readers;
    view.state = Arc::new(state);
    assert!(!refers(&view, id), "its owner closed it");
}

#[test]
fn what_stands_against_a_later_rule_is_told_to_who_sees_where_it_shows() {
    use crate::model::rules::{Object, Severity};
    use crate::model::sentence::{Mention, sentence};
    let (theirs, resource) = (Key::of("tenant", "g", "theirs"), testing::key("orders-db"));
    let violation = |at: Object, also: Vec<Locator>| Violation {
        at: at.at("sources"),
        also,
        involves: Vec::new(),
        code: "Tightened",
        message: sentence!("it meets {}", Mention::resource(&resource)),
        remedy: sentence!("change {}", Mention::endpoint(&theirs)),
        severity: Severity::Tightened,
        value: String::new(),
        left_out: false,
    };
    let of_theirs = || Object::Endpoint(theirs.clone());
    let service = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices";
    let standing = vec![
        violation(of_theirs(), Vec::new()),
        violation(Object::Resource(resource.clone()), vec![of_theirs().at("")]),
        violation(Object::Daemon, Vec::new()),
    ];
    let roles = [
        ("uid:1000", "Reader", "/subscriptions/tenant"),
        ("uid:1001", "Reader", &*format!("{service}/orders-db")),
        ("uid:1002", "Reader", "/subscriptions/other"),
    ];
    let view = View { standing: standing.into(), ..view(&roles) };
    let told = |caller: &Caller| -> Vec<String> {
        let all = view.standing_for(&view.state.model, caller).into_iter();
        all.map(|one| format!("{}: {}; {}", one.place, one.message, one.remedy)).collect()
    };
    let unseen = crate::model::sentence::UNSEEN;
    let endpoint = "endpoint tenant/g/theirs";
    assert_eq!(
        told(&Caller::user(1000, "ada")),
        [
            format!("{endpoint}: sources: it meets {unseen}; change endpoint `tenant/g/theirs`"),
            format!("{endpoint}: it meets {unseen}; change endpoint `tenant/g/theirs`"),
        ],
        "the first place that it sees"
    );
    let of_the_service = told(&Caller::user(1001, "bob"));
    assert!(of_the_service.iter().any(|line| line.starts_with("resource default/orders-db")), "{of_the_service:?}");
    assert!(told(&Caller::user(1002, "eve")).is_empty());
    assert_eq!(told(&root()).len(), 3);
}

#[test]
fn a_name_in_an_answer_that_its_reader_may_not_know_is_found() {
    use crate::model::error::ErrorKind;
    use crate::model::sentence::{Mention, itself, sentence};
    let view = view(&[("uid:1000", "Reader", "/subscriptions/tenant")]);
    let command = |name: &str| Delete { kind: ItemKind::Vnet, reference: name.to_owned() };
    let refused = |message: Sentence| Err::<Deletion, _>(Error::new(ErrorKind::Conflict, "InUse", message, ""));
    let careless = refused(itself(format!("it meets {}", testing::key("orders-db"))).into());
    let found = |uid: u32, said: &str, told| leaks::found(&view, &Caller::user(uid, "x"), &command(said), told);
    assert_eq!(found(1001, "x", &careless), ["resource default/orders-db"]);
    assert!(found(1001, "orders-db", &careless).is_empty(), "it said so itself");
    assert!(found(1000, "x", &careless).is_empty(), "its own endpoint is bound to it");
    assert!(leaks::found(&view, &root(), &command("x"), &careless).is_empty());
    let mention = sentence!("it meets {}", Mention::resource(&testing::key("orders-db")));
    let careful = refused(mention).map_err(|refusal| refusal.told(&|_| false));
    assert!(found(1001, "x", &careful).is_empty());
}
