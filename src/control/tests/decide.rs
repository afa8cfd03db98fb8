use std::cell::Cell;

use jiff::ToSpan as _;

use super::*;
use crate::model::{Key, RoleAssignment};
use crate::testing::{subnet, vnet};

thread_local! {
    /// What the clock on the wall says.
    static CLOCK: Cell<Timestamp> = Cell::new(noon());
}

fn clock() -> Timestamp {
    CLOCK.get()
}

/// Sets the clock to so many seconds after noon.
fn set(seconds: i64) {
    CLOCK.set(noon() + seconds.seconds());
}

const EIGHT_HOURS: i64 = 8 * 3_600;

fn for_eight_hours(endpoint: &str) -> Decision {
    let until = Some(Until::For(jiff::SignedDuration::from_hours(8)));
    Decision { endpoint: endpoint.into(), until, ..Decision::default() }
}

fn by_the_clock(world: &Arc<World>, file: Model) -> ControlPlane {
    world.events();
    begin_with(world, Setup { clock, ..setup(file) })
}

fn connection(control: &ControlPlane, endpoint: &str) -> crate::model::state::Connection {
    control.view().connection(endpoint, None).unwrap().connection
}

/// Actions and details of the audit log since the last call.
fn records(world: &World) -> Vec<(String, String, String)> {
    let records = std::mem::take(&mut *world.records.lock().unwrap());
    records.into_iter().map(|one| (one.action, one.object, one.detail)).collect()
}

#[test]
fn an_approval_for_a_time_ends_by_itself_like_a_rejection() {
    let world = Arc::new(World::default());
    set(0);
    let control = by_the_clock(&world, model());
    let outcome = control.apply(&root(), Decide::approve(for_eight_hours("orders"))).unwrap();
    assert_eq!(outcome.to_string(), "default/orders: Approved, until 2026-05-01T20:00:00Z");
    assert_eq!(control.view().next_end(), Some(noon() + EIGHT_HOURS.seconds()));
    world.events();
    records(&world);
    for seconds in [0, EIGHT_HOURS - 1, -100] {
        set(seconds);
        control.end_approvals().unwrap();
        assert!(world.events().is_empty() && world.passes("10.1.9.4"), "after {seconds} s");
    }
    set(EIGHT_HOURS);
    control.end_approvals().unwrap();
    assert!(!world.passes("10.1.9.4"));
    assert_eq!(world.events(), ["publish 3", "commit"], "what revokes is in force before it is durable");
    let ended = connection(&control, "orders");
    assert_eq!((ended.state, &*ended.description, ended.ends_at), (ConnectionState::Rejected, "approval ended", None));
    assert_eq!(ended.decided_by, DecidedBy::ApprovalEnded);
    let detail = "approval ended: it was given until 2026-05-01T20:00:00Z".to_owned();
    assert_eq!(records(&world), [("end".to_owned(), "connection default/orders".to_owned(), detail)]);
    // A clock that is set back revives nothing, and an end comes once.
    set(0);
    control.end_approvals().unwrap();
    assert_eq!((world.events(), control.view().next_end()), (Vec::new(), None));
    assert!(!world.passes("10.1.9.4"));
}

#[test]
fn an_approval_that_ended_while_the_daemon_was_down_lets_nothing_pass() {
    let world = Arc::new(World::default());
    set(0);
    let control = by_the_clock(&world, two());
    control.apply(&root(), Decide::approve(for_eight_hours("orders"))).unwrap();
    drop(control);
    set(EIGHT_HOURS - 1);
    let control = by_the_clock(&world, two());
    assert!(world.passes("10.1.9.4"), "a restart alone ends nothing");
    assert_eq!(connection(&control, "orders").ends_at, Some(noon() + EIGHT_HOURS.seconds()));
    drop(control);
    world.events();
    records(&world);
    set(EIGHT_HOURS + 1);
    let control = by_the_clock(&world, two());
    let events = world.events();
    assert_eq!(&events[..1], ["commit"], "durable before anything is published: {events:?}");
    assert!(!world.passes("10.1.9.4") && world.passes("10.1.9.5"));
    assert_eq!(connection(&control, "orders").description, "approval ended");
    let actions: Vec<_> = records(&world).into_iter().map(|(action, object, _)| format!("{action} {object}")).collect();
    assert_eq!(actions, ["end connection default/orders", "apply file of daemon"], "told once");
    // The file still says what it said before: it revives nothing.
    control.apply(&root(), apply_file(two(), false)).unwrap();
    assert!(!world.passes("10.1.9.4"));
}

#[test]
fn a_new_decision_replaces_the_end() {
    let world = Arc::new(World::default());
    set(0);
    let control = by_the_clock(&world, model());
    let ends = || connection(&control, "orders").ends_at;
    control.apply(&root(), Decide::approve(for_eight_hours("orders"))).unwrap();
    set(60);
    control.apply(&root(), Decide::approve(for_eight_hours("orders"))).unwrap();
    assert_eq!(ends(), Some(noon() + (EIGHT_HOURS + 60).seconds()), "from now on");
    world.events();
    let at = Until::At(ends().unwrap());
    let same = Decision { until: Some(at), ..orders() };
    assert_eq!(control.apply(&root(), Decide::approve(same.clone())).unwrap().to_string().lines().count(), 1);
    assert!(world.events().is_empty(), "what is so already changes nothing");
    let outcome = control.apply(&root(), Decide::approve(orders())).unwrap();
    assert_eq!((outcome.to_string().as_str(), ends()), ("default/orders: Approved", None), "without an end: for good");
    assert!(world.passes("10.1.9.4"));
    control.apply(&root(), Decide::approve(for_eight_hours("orders"))).unwrap();
    control.apply(&root(), Decide::reject(same)).unwrap();
    assert_eq!(ends(), None, "nothing but an approval ends");
    // Also within a second, to whose end an approval is rounded up.
    CLOCK.set(clock() + 1.millisecond());
    for until in [Until::At(clock()), Until::For(jiff::SignedDuration::ZERO), Until::For(jiff::SignedDuration::MAX)] {
        let decision = Decision { until: Some(until), ..orders() };
        let refusal = control.apply(&root(), Decide::approve(decision)).unwrap_err();
        assert_eq!((refusal.code, state(&control)), ("InvalidLifetime", ConnectionState::Rejected), "{until:?}");
    }
}

#[test]
fn a_file_that_approves_what_is_approved_for_a_time_leaves_its_end() {
    let world = Arc::new(World::default());
    set(0);
    let mut file = model();
    file.endpoints.get_mut(&key("orders")).unwrap().manual = true;
    let control = by_the_clock(&world, file.clone());
    assert_eq!(state(&control), ConnectionState::Pending);
    control.apply(&root(), Decide::approve(for_eight_hours("orders"))).unwrap();
    control.apply(&root(), apply_file(file.clone(), false)).unwrap();
    assert!(connection(&control, "orders").ends_at.is_some(), "the file says nothing new");
    file.endpoints.get_mut(&key("orders")).unwrap().status = Some(ConnectionState::Approved);
    let report = control.apply(&root(), apply_file(file.clone(), false)).unwrap();
    assert!(!report.changed(), "{report}");
    let end = Some(noon() + EIGHT_HOURS.seconds());
    assert_eq!((state(&control), connection(&control, "orders").ends_at), (ConnectionState::Approved, end));
    // And when it is over, what the file says gives nothing back.
    set(EIGHT_HOURS);
    control.end_approvals().unwrap();
    control.apply(&root(), apply_file(file, false)).unwrap();
    assert_eq!((state(&control), connection(&control, "orders").ends_at), (ConnectionState::Rejected, None));
}

#[test]
fn an_end_is_in_force_although_it_cannot_be_made_durable() {
    let world = Arc::new(World::default());
    set(0);
    let control = by_the_clock(&world, two());
    for endpoint in ["orders", "second"] {
        control.apply(&root(), Decide::approve(for_eight_hours(endpoint))).unwrap();
    }
    set(EIGHT_HOURS);
    world.disk_full.store(true, Ordering::Relaxed);
    assert_eq!(control.end_approvals().unwrap_err().code, "NotDurable");
    assert!(!world.passes("10.1.9.4") && !world.passes("10.1.9.5"), "several end at once");
    assert_eq!(control.view().next_end(), None, "it is not tried again and again");
    world.disk_full.store(false, Ordering::Relaxed);
    drop(control);
    records(&world);
    let control = by_the_clock(&world, two());
    assert!(!world.passes("10.1.9.4") && !world.passes("10.1.9.5"));
    let ended = records(&world).iter().filter(|(action, ..)| action == "end").count();
    assert_eq!((ended, state(&control)), (2, ConnectionState::Rejected));
}

fn selection() -> Selection {
    Selection { resource: "orders-db".into(), ..Selection::default() }
}

/// `two()`, and a third endpoint of another subscription in another VNet.
fn three() -> Model {
    let mut model = two();
    model.vnets.insert(key("far"), vnet("10.7.0.0/16", vec![subnet("endpoints", "10.7.9.0/24")]));
    let third = endpoint("far", Some("10.7.9.4"), "orders-db");
    model.endpoints.insert(Key::of("other", "default", "third"), third);
    model
}

fn names(all: &DecidedAll) -> Vec<String> {
    all.connections.iter().map(|one| one.endpoint.to_string()).collect()
}

#[test]
fn one_decision_is_about_all_that_are_chosen_and_would_change() {
    let world = Arc::new(World::default());
    set(0);
    let control = by_the_clock(&world, three());
    let apply = |command| control.apply(&root(), command);
    let by = |change: fn(&mut Selection)| {
        let mut selection = Selection { dry_run: true, ..selection() };
        change(&mut selection);
        names(&apply(DecideAll::reject(selection)).unwrap())
    };
    world.events();
    assert_eq!(by(|_| {}), ["default/orders", "default/second", "other/default/third"]);
    assert_eq!(by(|chosen| chosen.subscription = Some("OTHER".into())), ["other/default/third"]);
    assert_eq!(by(|chosen| chosen.vnet = Some("spoke".into())), ["default/orders", "default/second"]);
    assert_eq!(by(|chosen| chosen.if_state = Some(ConnectionState::Pending)), [""; 0]);
    assert!(world.events().is_empty(), "nothing was decided");
    control.apply(&root(), Decide::remove(Decision { endpoint: "second".into(), ..Decision::default() })).unwrap();
    world.events();
    records(&world);
    let all = apply(DecideAll::reject(Selection { reason: "audit".into(), ..selection() })).unwrap();
    assert_eq!(names(&all), ["default/orders", "other/default/third"], "what is removed for good stays so");
    assert!(!world.passes("10.1.9.4"));
    assert_eq!(world.events().iter().filter(|event| event.starts_with("commit")).count(), 1, "all or none");
    assert_eq!(records(&world).len(), 2);
    assert_eq!(connection(&control, "orders").description, "audit");
    assert!(apply(DecideAll::reject(selection())).unwrap().connections.is_empty());
    let until = Some(Until::For(jiff::SignedDuration::from_hours(8)));
    let all = apply(DecideAll::approve(Selection { until, ..selection() })).unwrap();
    assert_eq!(names(&all), ["default/orders", "other/default/third"]);
    set(EIGHT_HOURS);
    control.end_approvals().unwrap();
    assert!(!world.passes("10.1.9.4"));
    assert_eq!(connection(&control, "third").description, "approval ended");
}

#[test]
fn what_was_not_listed_is_not_decided() {
    let (world, control) = running();
    let dry = Selection { dry_run: true, ..selection() };
    let listed = control.apply(&root(), DecideAll::reject(dry.clone())).unwrap().listed;
    let mut more = Model::default();
    more.endpoints.insert(key("second"), endpoint("spoke", Some("10.1.9.5"), "orders-db"));
    control.apply(&root(), Put { items: Box::new(more), create_only: true }).unwrap();
    let seen = Selection { listed: Some(listed), ..selection() };
    assert_eq!(control.apply(&root(), DecideAll::reject(seen)).unwrap_err().code, command::PRECONDITION_FAILED);
    assert!(world.passes("10.1.9.4") && world.passes("10.1.9.5"));
    let listed = control.apply(&root(), DecideAll::reject(dry)).unwrap().listed;
    let seen = Selection { listed: Some(listed), ..selection() };
    assert_eq!(names(&control.apply(&root(), DecideAll::reject(seen)).unwrap()).len(), 2);
}

#[test]
fn who_may_not_approve_decides_and_learns_nothing() {
    let world = Arc::new(World::default());
    let mut file = model();
    let mut assign = |uid: u32, role: &str, scope: &str| {
        let (principal, role) = (format!("uid:{uid}").parse().unwrap(), role.parse().unwrap());
        let given = RoleAssignment { principal, role, scope: scope.parse().unwrap() };
        file.assignments.insert(Key::global(given.id().to_string()), given);
    };
    let resource =
        "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices/orders-db";
    assign(1, "Reader", "/");
    assign(2, "Private Link Approver", resource);
    let control = begin(&world, file);
    for (uid, vnet, expected) in [
        (0, None, Ok(1)),
        (1, None, Err("AuthorizationFailed")),
        (2, None, Ok(1)),
        // Where an endpoint is, is not told to whoever sees its connection alone.
        (2, Some("spoke"), Err("NotFound")),
        (3, None, Err("NotFound")),
    ] {
        let caller = Caller::user(uid, "somebody");
        let chosen = Selection { vnet: vnet.map(str::to_owned), dry_run: true, ..selection() };
        let found = control.apply(&caller, DecideAll::reject(chosen));
        let found = found.map(|outcome| outcome.connections.len()).map_err(|refusal| refusal.code);
        assert_eq!(found, expected, "uid {uid}, {vnet:?}");
    }
}

#[test]
fn a_disconnected_connection_can_only_go() {
    let (_, control) = running();
    control.apply(&root(), Decide::remove(orders())).unwrap();
    for command in [Decide::approve(orders()), Decide::reject(orders()), Decide::remove(orders())] {
        let refusal = control.apply(&root(), command).unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::InvalidTransition);
        assert!(refusal.message.contains("root") && refusal.remedy.contains("endpoint delete"), "{refusal}");
    }
    let view = control.view().connection("orders", None).unwrap();
    assert!(view.actions_required.contains("delete the endpoint"));
    control.apply(&root(), delete("orders")).unwrap();
}

#[test]
fn the_resource_named_must_be_the_one_bound() {
    let (world, control) = running();
    let other = Decision { resource: Some("other".into()), ..orders() };
    assert_eq!(control.apply(&root(), Decide::reject(other)).unwrap_err().kind, ErrorKind::NotFound);
    assert!(world.events().is_empty());
    let right = Decision { resource: Some("default/ORDERS-DB".into()), ..orders() };
    control.apply(&root(), Decide::reject(right)).unwrap();
}

#[test]
fn a_decision_for_a_state_that_has_moved_on_is_refused_and_shows_the_new_one() {
    let (world, control) = running();
    let seen = Decision { if_state: Some(ConnectionState::Approved), ..orders() };
    control.apply(&root(), Decide::reject(seen.clone())).unwrap();
    world.events();
    for late in [Decide::remove(seen.clone()), Decide::approve(seen.clone()), Decide::reject(seen)] {
        let refusal = control.apply(&root(), late).unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::Conflict);
        assert!(refusal.message.contains("it is rejected by root"), "{refusal}");
    }
    assert!(world.events().is_empty());
    assert_eq!(state(&control), ConnectionState::Rejected);
}
