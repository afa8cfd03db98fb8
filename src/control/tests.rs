//! The order of commit, publication and routes, with what carries them out replaced by a log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::model::state::{ControlState, DAEMON, DecidedBy, ItemKind};
use crate::model::{ConnectionState, Protocol, rules};
use crate::snapshot::policy::{Query, judge};
use crate::snapshot::{AttachmentId, EndpointId, Snapshot};
use crate::testing::{endpoint, host, ip, key, link_key, model, noon, root};
use crate::types::ApplyReport;

/// At once.
mod concurrent;

/// What the daemon's own file keeps to itself.
mod bounds;

/// Rules that came later than the state.
mod standing;

/// Which rights every command and every reference asks for.
mod writes;

/// The audit log.
mod audit;

/// Decisions about several connections, and approvals that end.
mod decide;

/// The daemon's file.
mod files;

/// A panic inside a command.
mod panics;

/// What is advised where rules came later.
mod remedies;

/// Names that somebody has.
mod taken;

/// Bearer tokens.
mod tokens;

/// What refusals tell of others.
mod told;

/// Everything outside the control plane, and in which order it was asked for what.
#[derive(Debug, Default)]
struct World {
    log: Mutex<Vec<String>>,
    disk: Mutex<Option<ControlState>>,
    records: Mutex<Vec<codec::Record>>,
    disk_full: AtomicBool,
    /// The disk was written by the release before.
    is_old: AtomicBool,
    worker_silent: AtomicBool,
    /// Answers of the next reconciliations; empty: the host agrees.
    host_refuses: Mutex<VecDeque<bool>>,
    published: Mutex<Option<Snapshot>>,
    routes: Mutex<Topology>,
}

impl World {
    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    /// What happened since the last call.
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Whether a client of `spoke` reaches PostgreSQL at `address` by the snapshot in force.
    fn passes(&self, address: &str) -> bool {
        let query = Query {
            attachment: AttachmentId(0),
            source: ip("10.1.0.7"),
            destination: ip(address),
            protocol: Protocol::Tcp,
            port: 5432,
        };
        judge(self.published.lock().unwrap().as_ref().unwrap(), &query).is_ok()
    }

    fn routed(&self, address: &str) -> bool {
        self.routes.lock().unwrap().attachments[0].endpoints.contains(&ip(address))
    }
}

#[derive(Debug)]
struct Fake(Arc<World>);

impl codec::StateStore for Fake {
    fn commit(&mut self, change: &codec::Change<'_>) -> std::io::Result<()> {
        assert_eq!(*change.before, self.0.disk.lock().unwrap().clone().unwrap_or_default(), "what is durable is known");
        if self.0.disk_full.load(Ordering::Relaxed) {
            self.0.note("commit fails");
            return Err(std::io::Error::other("no space left on device"));
        }
        self.0.note("commit");
        *self.0.disk.lock().unwrap() = Some(change.after.clone());
        self.0.records.lock().unwrap().extend(change.records.iter().cloned());
        Ok(())
    }

    fn format(&self) -> std::io::Result<u32> {
        Ok(if self.0.is_old.load(Ordering::Relaxed) { 1 } else { codec::FORMAT })
    }

    fn load(&self) -> std::io::Result<Option<ControlState>> {
        Ok(self.0.disk.lock().unwrap().clone())
    }
}

impl Workers for Fake {
    fn publish(&self, snapshot: Snapshot, limit: Duration) -> anyhow::Result<()> {
        assert_eq!(limit, Duration::from_secs(2));
        self.0.note(format!("publish {}", snapshot.epoch));
        *self.0.published.lock().unwrap() = Some(snapshot);
        anyhow::ensure!(!self.0.worker_silent.load(Ordering::Relaxed), "worker 0 has been silent for 2s");
        Ok(())
    }
}

impl Host for Fake {
    fn reconcile(&self, topology: &Topology) -> anyhow::Result<()> {
        let routes: Vec<String> = topology.attachments[0].endpoints.iter().map(ToString::to_string).collect();
        self.0.note(format!("routes {}", routes.join(" ")));
        anyhow::ensure!(!self.0.host_refuses.lock().unwrap().pop_front().unwrap_or(false), "EPERM");
        *self.0.routes.lock().unwrap() = topology.clone();
        Ok(())
    }
}

fn setup(file: Model) -> Setup {
    Setup {
        host: Arc::new(host(&["spoke", "core"])),
        file,
        prune: false,
        dry_run: false,
        workers: 2,
        namespaces: vec![1, 2],
        daemon: Caller::user(990, "privlink"),
        bootstrap: crate::testing::bootstrap(),
        clock: noon,
        validate: |model, _, _| {
            if model.endpoints.contains_key(&key("forbidden")) { vec![forbidden()] } else { Vec::new() }
        },
        link_key: link_key(),
    }
}

fn forbidden() -> Violation {
    Violation {
        at: rules::Object::Endpoint(key("forbidden")).at(""),
        also: Vec::new(),
        involves: Vec::new(),
        code: "Forbidden",
        message: "forbidden".into(),
        remedy: "leave it out".into(),
        severity: rules::Severity::Error,
        value: String::new(),
        left_out: false,
    }
}

fn begin(world: &Arc<World>, file: Model) -> ControlPlane {
    begin_with(world, setup(file))
}

fn begin_with(world: &Arc<World>, setup: Setup) -> ControlPlane {
    let found = world.disk.lock().unwrap().clone();
    let prepared = Prepared::new(setup, found, Box::new(Fake(Arc::clone(world)))).unwrap();
    assert!(world.events().is_empty(), "preparing touches nothing");
    let fatal_world = Arc::clone(world);
    let fatal = Box::new(move |reason: &str| fatal_world.note(format!("fatal: {reason}")));
    prepared.start(Arc::new(Fake(Arc::clone(world))), Arc::new(Fake(Arc::clone(world))), fatal).unwrap()
}

/// A running control plane on the small model, with an empty log.
fn running() -> (Arc<World>, ControlPlane) {
    let world = Arc::new(World::default());
    let control = begin(&world, model());
    world.events();
    (world, control)
}

/// What a restart finds: the disk, or nothing.
fn restart(world: &Arc<World>, file: Model) -> ControlPlane {
    world.events();
    begin(world, file)
}

fn orders() -> Decision {
    Decision { endpoint: "orders".into(), ..Decision::default() }
}

fn delete(name: &str) -> Delete {
    Delete { kind: ItemKind::Endpoint, reference: name.into() }
}

fn apply_file(model: Model, prune: bool) -> ApplyFile {
    ApplyFile { author: DAEMON.into(), model, host: None, prune, dry_run: false }
}

fn state(control: &ControlPlane) -> ConnectionState {
    control.view().connection("orders", None).unwrap().connection.state
}

/// The model with a second endpoint.
fn two() -> Model {
    let mut two = model();
    two.endpoints.insert(key("second"), endpoint("spoke", Some("10.1.9.5"), "orders-db"));
    two
}

#[test]
fn a_start_commits_then_routes_then_publishes() {
    let world = Arc::new(World::default());
    let control = begin(&world, model());
    assert_eq!(world.events(), ["commit", "routes 10.1.9.4", "publish 1"]);
    assert!(control.view().first_start && control.view().conditions.is_empty());
    assert!(world.passes("10.1.9.4"));
    let again = restart(&world, model());
    assert_eq!(world.events(), ["routes 10.1.9.4", "publish 1"], "nothing new to commit");
    assert!(!again.view().first_start);
}

#[test]
fn a_start_that_cannot_commit_publishes_nothing() {
    let world = Arc::new(World::default());
    world.disk_full.store(true, Ordering::Relaxed);
    let prepared = Prepared::new(setup(model()), None, Box::new(Fake(Arc::clone(&world)))).unwrap();
    let fake = || Arc::new(Fake(Arc::clone(&world)));
    let refusal = prepared.start(fake(), fake(), Box::new(|_| ())).unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::Storage);
    assert_eq!(world.events(), ["commit fails"]);
    assert!(world.published.lock().unwrap().is_none());
}

#[test]
fn a_revocation_is_published_before_it_is_committed() {
    for (command, expected) in [
        (Decide::reject(orders()), ConnectionState::Rejected),
        (Decide::remove(orders()), ConnectionState::Disconnected),
    ] {
        let (world, control) = running();
        control.apply(&root(), command).unwrap();
        assert_eq!(world.events(), ["publish 2", "commit"]);
        assert_eq!(state(&control), expected);
        assert!(!world.passes("10.1.9.4"));
        assert!(world.routed("10.1.9.4"), "a denied packet is answered, so it must reach the forwarder");
    }
}

#[test]
fn an_approval_is_committed_before_it_is_published() {
    let (world, control) = running();
    control.apply(&root(), Decide::reject(orders())).unwrap();
    world.events();
    let outcome = control.apply(&root(), Decide::approve(orders())).unwrap();
    assert_eq!(world.events(), ["commit", "publish 3"]);
    assert_eq!(outcome.to_string(), "default/orders: Rejected → Approved");
    assert!(world.passes("10.1.9.4"));
    let outcome = control.apply(&root(), Decide::approve(orders())).unwrap();
    assert_eq!(outcome.to_string(), "default/orders: already Approved, no change");
    assert!(world.events().is_empty());
}

#[test]
fn a_deletion_takes_the_route_last() {
    let (world, control) = running();
    control.apply(&root(), delete("orders")).unwrap();
    assert_eq!(world.events(), ["publish 2", "commit", "routes "]);
    assert!(!world.passes("10.1.9.4"));
    assert_eq!(control.apply(&root(), delete("orders")).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn an_endpoint_is_routed_then_committed_then_published() {
    let (world, control) = running();
    let report = control.apply(&root(), apply_file(two(), false)).unwrap();
    assert_eq!(world.events(), ["routes 10.1.9.4 10.1.9.5", "commit", "publish 2"]);
    assert!(world.passes("10.1.9.5"));
    assert_eq!(report.created, ["endpoint default/second"]);
}

#[test]
fn a_file_that_prunes_and_adds_blocks_first_and_takes_routes_last() {
    let (world, control) = running();
    let mut other = two();
    other.endpoints.remove(&key("orders"));
    control.apply(&root(), apply_file(other, true)).unwrap();
    assert_eq!(world.events(), ["publish 2", "routes 10.1.9.4 10.1.9.5", "commit", "publish 3", "routes 10.1.9.5"]);
    assert!(!world.passes("10.1.9.4") && world.passes("10.1.9.5"));
}

#[test]
fn an_approval_that_cannot_be_written_changes_nothing() {
    let (world, control) = running();
    control.apply(&root(), Decide::reject(orders())).unwrap();
    world.events();
    world.disk_full.store(true, Ordering::Relaxed);
    let refusal = control.apply(&root(), Decide::approve(orders())).unwrap_err();
    assert_eq!((refusal.kind, state(&control)), (ErrorKind::Storage, ConnectionState::Rejected));
    assert!(!world.events().iter().any(|event| event.starts_with("publish")));
    assert!(!world.passes("10.1.9.4"));
}

#[test]
fn a_revocation_that_cannot_be_written_stays_in_force_and_is_shown_until_it_is_written() {
    let (world, control) = running();
    world.disk_full.store(true, Ordering::Relaxed);
    let refusal = control.apply(&root(), Decide::reject(orders())).unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::Storage);
    assert!(refusal.message.contains("blocked in force"), "{refusal}");
    assert_eq!(world.events(), ["publish 2", "commit fails"]);
    assert!(!world.passes("10.1.9.4"));
    assert!(control.view().conditions[0].starts_with("NOT DURABLE"), "{:?}", control.view().conditions);
    // Saying it again is a retry, not "no change".
    assert_eq!(control.apply(&root(), Decide::reject(orders())).unwrap_err().kind, ErrorKind::Storage);
    world.disk_full.store(false, Ordering::Relaxed);
    control.apply(&root(), Decide::reject(orders())).unwrap();
    assert!(control.view().conditions.is_empty());
    assert_eq!(state(&restart(&world, model())), ConnectionState::Rejected);
}

#[test]
fn a_block_that_could_not_be_written_is_written_with_the_next_change() {
    let world = Arc::new(World::default());
    let control = begin(&world, two());
    world.disk_full.store(true, Ordering::Relaxed);
    control.apply(&root(), Decide::reject(orders())).unwrap_err();
    world.disk_full.store(false, Ordering::Relaxed);
    let second = Decision { endpoint: "second".into(), ..Decision::default() };
    control.apply(&root(), Decide::reject(second)).unwrap();
    assert!(control.view().conditions.is_empty());
    assert_eq!(state(&restart(&world, two())), ConnectionState::Rejected);
}

#[test]
fn a_deletion_that_cannot_be_written_passes_nothing_keeps_its_route_and_can_be_repeated() {
    let (world, control) = running();
    world.disk_full.store(true, Ordering::Relaxed);
    assert_eq!(control.apply(&root(), delete("orders")).unwrap_err().kind, ErrorKind::Storage);
    assert!(!world.passes("10.1.9.4") && world.routed("10.1.9.4"));
    assert_eq!(control.apply(&root(), delete("orders")).unwrap_err().kind, ErrorKind::Storage);
    world.disk_full.store(false, Ordering::Relaxed);
    control.apply(&root(), delete("orders")).unwrap();
    assert!(!world.routed("10.1.9.4"));
    assert!(restart(&world, model()).view().endpoints().is_empty(), "the unchanged file does not bring it back");
}

#[test]
fn a_file_whose_commit_fails_keeps_only_its_blocks_in_force() {
    let (world, control) = running();
    world.disk_full.store(true, Ordering::Relaxed);
    let mut file = two();
    file.endpoints.get_mut(&key("orders")).unwrap().status = Some(ConnectionState::Rejected);
    let refusal = control.apply(&root(), apply_file(file.clone(), false)).unwrap_err();
    assert!(refusal.kind == ErrorKind::Storage && refusal.message.contains("blocked in force"), "{refusal}");
    assert!(!world.passes("10.1.9.4") && !world.passes("10.1.9.5"));
    assert!(!world.routed("10.1.9.5"), "its routes are taken back");
    world.disk_full.store(false, Ordering::Relaxed);
    control.apply(&root(), apply_file(file, false)).unwrap();
    assert!(!world.passes("10.1.9.4") && world.passes("10.1.9.5"));
    assert!(control.view().conditions.is_empty());
}

#[test]
fn a_silent_worker_fails_the_call_and_stops_the_daemon() {
    let (world, control) = running();
    world.worker_silent.store(true, Ordering::Relaxed);
    let refusal = control.apply(&root(), Decide::reject(orders())).unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::Unavailable);
    assert_eq!(
        world.events(),
        ["publish 2", "fatal: worker 0 has been silent for 2s", "commit"],
        "what was revoked stays revoked after the restart"
    );
    world.worker_silent.store(false, Ordering::Relaxed);
    let refusal = control.apply(&root(), Decide::approve(orders())).unwrap_err();
    assert_eq!((refusal.kind, world.events().len()), (ErrorKind::Unavailable, 0));
    assert_eq!(state(&restart(&world, model())), ConnectionState::Rejected);
}

#[test]
fn a_host_that_refuses_new_routes_refuses_the_change() {
    let (world, control) = running();
    world.host_refuses.lock().unwrap().push_back(true);
    let refusal = control.apply(&root(), apply_file(two(), false)).unwrap_err();
    assert_eq!((refusal.kind, refusal.code), (ErrorKind::Unavailable, "HostRefused"));
    assert_eq!(world.events(), ["routes 10.1.9.4 10.1.9.5", "routes 10.1.9.4"]);
    assert_eq!(control.view().endpoints().len(), 1);
}

#[test]
fn a_route_that_cannot_be_taken_away_is_shown_until_it_can() {
    let (world, control) = running();
    world.host_refuses.lock().unwrap().push_back(true);
    let outcome = control.apply(&root(), delete("orders")).unwrap();
    assert!(outcome.to_string().contains("warning: routes"), "{outcome}");
    assert!(control.view().conditions[0].starts_with("HOST BEHIND"));
    control.apply(&root(), apply_file(model(), false)).unwrap();
    assert!(control.view().conditions.is_empty() && !world.routed("10.1.9.4"));
}

#[test]
fn a_model_that_breaks_a_rule_changes_nothing_at_all() {
    let (world, control) = running();
    let mut file = two();
    file.endpoints.insert(key("forbidden"), endpoint("spoke", Some("10.1.9.9"), "orders-db"));
    let refusal = control.apply(&root(), apply_file(file, false)).unwrap_err();
    assert_eq!(
        (refusal.kind, refusal.code, refusal.details),
        (ErrorKind::Invalid, "Forbidden", vec![(&forbidden()).into()])
    );
    assert!(world.events().is_empty());
}

#[test]
fn only_root_and_the_daemon_change_anything_and_the_refusal_names_the_right() {
    let (world, control) = running();
    let subject = crate::model::Subject::peer(1000, [50]);
    let reader = Caller { subject, name: "ada".into() };
    let service = "Microsoft.Network/privateLinkServices";
    for (command, right) in [
        (any(Decide::approve(orders())), format!("{service}/privateEndpointConnectionsApproval/action")),
        (any(Decide::reject(orders())), format!("{service}/privateEndpointConnectionsApproval/action")),
        (any(Decide::remove(orders())), format!("{service}/privateEndpointConnectionsApproval/action")),
        (any(delete("orders")), "Microsoft.Network/privateEndpoints/delete".into()),
        (any(apply_file(two(), true)), "Privlink/configuration/write".into()),
    ] {
        let refusal = control.apply(&reader, command).unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::Forbidden);
        assert!(refusal.message.contains(&right), "{refusal}");
    }
    assert!(world.events().is_empty());
    let daemon = Caller::user(990, "privlink");
    control.apply(&daemon, Decide::reject(orders())).unwrap();
    let connection = control.view().connection("orders", None).unwrap().connection;
    assert_eq!(connection.decided_by, DecidedBy::Live(daemon.actor()));
}

#[test]
fn epochs_grow_by_one_and_ids_are_never_given_out_twice() {
    let (world, control) = running();
    let id = |name: &str| control.view().endpoint(name).unwrap().id;
    assert_eq!(id("orders"), EndpointId(0));
    control.apply(&root(), delete("orders")).unwrap();
    let mut edited = model();
    edited.endpoints.get_mut(&key("orders")).unwrap().request_message = "again".into();
    control.apply(&root(), apply_file(edited, false)).unwrap();
    assert_eq!(id("orders"), EndpointId(1));
    let publications: Vec<String> = world.events().into_iter().filter(|event| event.starts_with("publish")).collect();
    assert_eq!(publications, ["publish 2", "publish 3"]);
    let published = world.published.lock().unwrap();
    let snapshot = published.as_ref().unwrap();
    assert!(snapshot.valid_since(EndpointId(0)) > Some(crate::snapshot::Generation(1)), "sessions of the old one die");
}
