//! A panic inside a command: the daemon says so at once, and stops closed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// Panics in every commit but the first, which is the start's.
#[derive(Debug)]
struct Panicking(Fake, bool);

impl codec::StateStore for Panicking {
    fn commit(&mut self, change: &codec::Change<'_>) -> std::io::Result<()> {
        assert!(!std::mem::replace(&mut self.1, true), "planted");
        self.0.commit(change)
    }

    fn load(&self) -> std::io::Result<Option<ControlState>> {
        self.0.load()
    }
}

#[test]
fn a_panic_inside_a_command_shows_at_once_and_stops_the_daemon() {
    let world = Arc::new(World::default());
    let store = Panicking(Fake(Arc::clone(&world)), false);
    let prepared = Prepared::new(setup(model()), None, Box::new(store)).unwrap();
    let noted = Arc::clone(&world);
    let fatal = Box::new(move |reason: &str| noted.note(format!("fatal: {reason}")));
    let ports = Fake(Arc::clone(&world));
    let control = prepared.start(Arc::new(ports), Arc::new(Fake(Arc::clone(&world))), fatal).unwrap();
    assert!(control.view().conditions.is_empty());
    world.events();

    let panicked = catch_unwind(AssertUnwindSafe(|| control.apply(&root(), Decide::reject(orders()))));
    assert!(panicked.is_err());
    let events = world.events();
    assert_eq!(events.iter().filter(|event| event.starts_with("fatal: a command ended in a panic")).count(), 1);
    let said = control.view().conditions.clone();
    assert!(said[0].starts_with("STOPPING: a command ended in a panic"), "{said:?}");

    // Until the process is gone nothing more is changed, and readers go on seeing why.
    let refused = control.apply(&root(), Decide::approve(orders())).unwrap_err();
    assert_eq!((refused.kind, refused.code), (ErrorKind::Unavailable, "WriterLost"));
    assert_eq!(control.view().conditions, said);
    assert!(world.events().is_empty());
}
