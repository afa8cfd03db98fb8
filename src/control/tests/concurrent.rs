//! Many commands at once: what comes of them is what comes of them one after the other.

use std::sync::{Condvar, atomic::AtomicUsize};
use std::thread;

use super::*;
use crate::model::{RoleAssignment, TokenName};

/// A door in the middle of a validation.
#[derive(Debug, Default)]
struct Door {
    arrived: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Door {
    fn pass(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

static DOOR: Door = Door { arrived: AtomicUsize::new(0), open: Mutex::new(false), opened: Condvar::new() };

pub(super) fn start(world: &Arc<World>, setup: Setup) -> ControlPlane {
    let prepared = Prepared::new(setup, None, Box::new(Fake(Arc::clone(world)))).unwrap();
    let control =
        prepared.start(Arc::new(Fake(Arc::clone(world))), Arc::new(Fake(Arc::clone(world))), Box::new(|_| ()));
    let control = control.unwrap();
    world.events();
    control
}

fn create(name: &str) -> Put {
    let mut items = Box::new(Model::default());
    items.endpoints.insert(key(name), endpoint("spoke", None, "orders-db"));
    Put { items, create_only: true }
}

fn given(principal: &str) -> RoleAssignment {
    let role = "Contributor".parse().unwrap();
    RoleAssignment { principal: principal.parse().unwrap(), role, scope: "/".parse().unwrap() }
}

fn assign(given: RoleAssignment) -> Put {
    let mut items = Box::new(Model::default());
    items.assignments.insert(Key::global(given.id().to_string()), given);
    Put { items, create_only: true }
}

#[test]
fn a_revocation_does_not_wait_for_a_creation_that_is_validated() {
    let world = Arc::new(World::default());
    let slow = Setup {
        validate: |model, _, _| {
            if model.endpoints.contains_key(&key("slow")) {
                DOOR.pass();
            }
            Vec::new()
        },
        ..setup(two())
    };
    let control = start(&world, slow);
    let given = given("uid:7");
    let lifetime = jiff::SignedDuration::from_hours(24);
    let token: TokenName = "ci".parse().unwrap();
    let made = CreateToken { name: token.clone(), lifetime, random: Box::new([1; 32]) };
    control.apply(&root(), made).unwrap();
    control.apply(&root(), assign(given.clone())).unwrap();
    let somebody = Caller::user(7, "uid:7");
    assert!(control.view().rights(&somebody).demand_any_write("anything").is_ok());
    thread::scope(|scope| {
        let creation = scope.spawn(|| control.apply(&root(), create("slow")));
        while DOOR.arrived.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let second = Decision { endpoint: "second".into(), ..Decision::default() };
        control.apply(&root(), Decide::reject(orders())).unwrap();
        control.apply(&root(), Decide::remove(second)).unwrap();
        control.apply(&root(), delete("second")).unwrap();
        control.apply(&root(), RevokeToken { name: token }).unwrap();
        let reference = given.id().to_string();
        control.apply(&root(), Delete { kind: ItemKind::Assignment, reference }).unwrap();
        assert!(control.view().rights(&somebody).demand_any_write("anything").is_err(), "nothing is left to it");
        assert!(!world.passes("10.1.9.4") && !world.passes("10.1.9.5"));
        assert!(!creation.is_finished(), "it is validated still");
        DOOR.open();
        creation.join().unwrap().unwrap();
    });
    assert!(DOOR.arrived.load(Ordering::SeqCst) >= 2, "what it was planned for has gone, so it was planned again");
    let view = control.view();
    let slow = view.endpoint("slow").unwrap();
    assert_eq!(slow.endpoint.addresses[0].ip, Some(ip("10.1.9.5")), "the address that was given back meanwhile");
    assert_eq!(state(&control), ConnectionState::Rejected, "and the revocation stands");
    assert_eq!(*world.disk.lock().unwrap().as_ref().unwrap(), *control.view().state);
}

/// Any command on a few objects, so that most of them meet another one's.
fn random_command(random: &mut fastrand::Rng) -> AnyCommand {
    let name = ["a", "b", "c", "orders"][random.usize(..4)];
    let decision = Decision { endpoint: name.into(), ..Decision::default() };
    let token = || -> TokenName { "ci".parse().unwrap() };
    match random.u8(..10) {
        0..=2 => any(create(name)),
        3 => any(delete(name)),
        4 => any(Decide::approve(decision)),
        5 | 6 => any(Decide::reject(decision)),
        7 => any(Decide::remove(decision)),
        8 if random.bool() => {
            let lifetime = jiff::SignedDuration::from_hours(24);
            any(CreateToken { name: token(), lifetime, random: Box::new([random.u8(..); 32]) })
        }
        8 => any(RevokeToken { name: token() }),
        _ => {
            let mut file = if random.bool() { two() } else { model() };
            file.vnets.get_mut(&key("core")).unwrap().region = format!("region-{}", random.u8(..3));
            any(apply_file(file, random.bool()))
        }
    }
}

/// Every change has an author of its own, by whom its record tells when it was its turn.
fn author(number: usize) -> Caller {
    Caller { name: format!("author-{number}"), ..root() }
}

#[test]
fn what_comes_of_commands_at_once_is_what_comes_of_them_in_the_order_of_their_records() {
    const THREADS: usize = 4;
    const EACH: usize = 25;
    let mut effective = 0;
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let commands: Vec<AnyCommand> = (0..THREADS * EACH).map(|_| random_command(&mut random)).collect();
        let world = Arc::new(World::default());
        let control = start(&world, setup(model()));
        let began = world.records.lock().unwrap().len();
        let outcomes: Vec<Mutex<Option<Result<AnyOutcome, Error>>>> =
            commands.iter().map(|_| Mutex::default()).collect();
        thread::scope(|scope| {
            for first in 0..THREADS {
                let (control, commands, outcomes) = (&control, &commands, &outcomes);
                scope.spawn(move || {
                    for number in (first..commands.len()).step_by(THREADS) {
                        let outcome = control.apply(&author(number), commands[number].clone());
                        *outcomes[number].lock().unwrap() = Some(outcome);
                    }
                });
            }
        });

        let alone = Arc::new(World::default());
        let serial = start(&alone, setup(model()));
        let records = world.records.lock().unwrap().clone();
        let mut order: Vec<usize> = records[began..].iter().map(|one| one.by.name[7..].parse().unwrap()).collect();
        order.dedup();
        effective += order.len();
        for &number in &order {
            let again = serial.apply(&author(number), commands[number].clone());
            let outcome = outcomes[number].lock().unwrap().take().unwrap();
            assert_eq!(format!("{outcome:?}"), format!("{again:?}"), "seed {seed}, command {number}");
        }
        assert_eq!(records, *alone.records.lock().unwrap(), "seed {seed}");
        let (view, expected) = (control.view(), serial.view());
        assert_eq!(view.state, expected.state, "seed {seed}");
        assert_eq!(view.index, expected.index, "seed {seed}");
        assert_eq!(*world.routes.lock().unwrap(), *alone.routes.lock().unwrap(), "seed {seed}");
        assert_eq!(view.epoch, world.published.lock().unwrap().as_ref().unwrap().epoch, "seed {seed}");
        assert_eq!(*world.disk.lock().unwrap().as_ref().unwrap(), *view.state, "seed {seed}");
        for address in ["10.1.9.4", "10.1.9.5", "10.1.9.6", "10.1.9.7"] {
            assert_eq!(world.passes(address), alone.passes(address), "seed {seed}, {address}");
        }
    }
    assert!(effective > 100, "many commands had their effect: {effective}");
}
