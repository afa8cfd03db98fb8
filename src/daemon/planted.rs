//! A panic inside a command, for the test that it stops the daemon: `PRIVLINK_TEST_PANIC=reject` panics in the commit
//! of a `reject`. Release builds do not contain it.

use std::io;
use std::sync::Arc;

use crate::control::codec::{Change, StateStore};
use crate::model::state::ControlState;
use crate::store::Store;

/// `store`, with the panic if it is requested.
pub(super) fn with_panic(store: Box<dyn StateStore>) -> Box<dyn StateStore> {
    match std::env::var("PRIVLINK_TEST_PANIC") {
        Ok(action) => Box::new(Panicking { store, action }),
        Err(_) => store,
    }
}

#[derive(Debug)]
struct Panicking {
    store: Box<dyn StateStore>,
    action: String,
}

impl StateStore for Panicking {
    fn commit(&mut self, change: &Change<'_>) -> io::Result<()> {
        assert!(change.records.iter().all(|record| record.action != self.action), "planted");
        self.store.commit(change)
    }

    fn load(&self) -> io::Result<Option<ControlState>> {
        self.store.load()
    }

    fn journal(&self) -> Option<Arc<dyn Store>> {
        self.store.journal()
    }
}
