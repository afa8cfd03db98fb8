//! Migrates a state of an older release, once, before anything else reads it. For each newer rule it writes down what
//! the old release did, so that an upgrade neither stops a start nor cuts a connection. Each change leaves an audit
//! record.

/// Accepted names.
mod names;

use super::codec::Record;
use super::tokens::forget_absent;
use crate::model::links::LinkKey;
use crate::model::state::ControlState;
use crate::model::{Actor, Key, LinkResource, Map, Visibility, imply_nat};
use jiff::Timestamp;

/// Who migrates, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration<'a> {
    /// The daemon as the author.
    pub(super) by: &'a Actor,
    /// Now.
    pub(super) at: Timestamp,
    /// The key for link identifiers, for a state that has none.
    pub(super) link_key: LinkKey,
}

impl Migration<'_> {
    /// The audit record of a step: `object`, such as `endpoint default/orders`, and what changed.
    fn record(&self, object: String, detail: impl Into<String>) -> Record {
        Record { detail: detail.into(), ..Record::new(self.at, self.by.clone(), "migrate", object) }
    }
}

/// One step: changes the state, and returns records of what it changed.
type MigrationStep = fn(&Migration<'_>, &mut ControlState) -> Vec<Record>;

/// From layout 1 (0.1) to layout 2.
const FROM_1: [MigrationStep; 5] = [names::accept_answered, tokens, mark_nat, drop_foreign_values, keep_closed];

/// Roles are assigned to a token's id, no longer to its name. Existing tokens keep their roles. Assignments to a name
/// without a token are removed; otherwise the next token of that name would get them.
fn tokens(migration: &Migration<'_>, state: &mut ControlState) -> Vec<Record> {
    let named = state.tokens.values().map(|token| (token.name.clone(), token.clone().with_id()));
    state.tokens = named.collect();
    let gone = forget_absent(state).into_iter().map(|(key, given)| {
        let detail = format!(
            "{} of {} is taken away: there is no token for {}; make one, and assign the role again",
            given.role, given.scope, given.principal
        );
        Record { scope: Some(given.scope.clone()), ..migration.record(format!("assignment {key}"), detail) }
    });
    gone.collect()
}

/// Older releases stored whole bodies, with passwords.
fn drop_foreign_values(migration: &Migration<'_>, state: &mut ControlState) -> Vec<Record> {
    let cleaned = crate::model::foreign::clean(state).into_iter();
    cleaned.map(|(object, detail)| migration.record(object, detail)).collect()
}

/// Existing typed resources stay visible to their readers only. For new ones, the default is that anyone who knows the
/// ID may request a connection. Remembered files are converted too, so that an unchanged file changes nothing.
fn keep_closed(migration: &Migration<'_>, state: &mut ControlState) -> Vec<Record> {
    let authors: Vec<String> = state.files.keys().cloned().collect();
    for author in authors {
        let resources = state.files.get_mut(&author).map(|file| &mut file.model.resources);
        if let Some(resources) = resources {
            reread_visibility(resources, Visibility::unsaid);
        }
    }
    let closed = reread_visibility(&mut state.model.resources, |_| Visibility::Readers).into_iter();
    let detail = "only who may read it may ask for it, as before: `visibility = [\"*\"]` lets everyone";
    closed.map(|key| migration.record(format!("resource {key}"), detail)).collect()
}

/// Sets `unsaid` on typed resources that had the older default, and returns them.
fn reread_visibility(resources: &mut Map<LinkResource>, unsaid: fn(Option<&str>) -> Visibility) -> Vec<Key> {
    let silent = |one: &LinkResource| one.kind.is_some() && one.visibility == Visibility::Readers;
    let keys: Vec<Key> = resources.iter().filter(|(_, one)| silent(one)).map(|(key, _)| key.clone()).collect();
    for key in &keys {
        let resource = resources.get_mut(key).into_iter();
        resource.for_each(|resource| resource.visibility = unsaid(resource.kind.as_deref()));
    }
    keys
}

/// `found`, of layout `format`, as the current release would have written it.
pub(super) fn migrate(migration: &Migration<'_>, format: u32, found: &ControlState) -> (ControlState, Vec<Record>) {
    let mut state = found.clone();
    let mut records = Vec::new();
    if format == 1 {
        records.extend(FROM_1.iter().flat_map(|step| step(migration, &mut state)));
    }
    // Link identifiers given out by a counter stay valid.
    state.links = state.links.keyed(migration.link_key, state.last_link);
    (state, records)
}

/// Marks subnets with NAT addresses as NAT subnets. An older release stored that mark without using it.
fn mark_nat(migration: &Migration<'_>, state: &mut ControlState) -> Vec<Record> {
    let nat = state.model.resources.values().filter_map(|one| Some((one.vnet.clone()?, one.nat.clone())));
    let nat: Vec<_> =
        nat.flat_map(|(vnet, addresses)| addresses.into_iter().map(move |ip| (vnet.clone(), ip))).collect();
    let mut records = Vec::new();
    for (key, address) in nat {
        let subnets = state.model.vnets.get_mut(&key).map(|vnet| vnet.subnets.iter_mut());
        let home =
            subnets.into_iter().flatten().find(|one| one.prefixes.iter().any(|prefix| prefix.contains(&address)));
        if let Some(subnet) = home.filter(|subnet| !subnet.takes_nat()) {
            subnet.nat = Some(true);
            let detail = format!("subnet {} takes NAT addresses: it holds {address}", subnet.name);
            records.push(migration.record(format!("vnet {key}"), detail));
        }
    }
    // The daemon's file is read with the same mark, so that it does not differ from its remembered version.
    if let Some(file) = state.files.get_mut(&crate::model::state::DAEMON.to_owned()) {
        imply_nat(&mut file.model);
    }
    records
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::control::codec::{Change, Durable, FORMAT, StateStore as _};
    use crate::model::state::ChangeExtent;
    use crate::store::Store as _;
    use crate::store::sqlite::SqliteStore;
    use crate::testing::{link_key, noon, root};

    /// A body as release 0.1 stored it.
    const SECRET: &[u8] = b"Sw0rdfish-in-the-clear";

    fn holds_secret(directory: &Path) -> Vec<String> {
        let files = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
        let holds = |path: &std::path::PathBuf| {
            let bytes = std::fs::read(path).expect("read");
            bytes.windows(SECRET.len()).any(|window| window == SECRET)
        };
        files.filter(holds).map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_typed_resource_of_an_earlier_release_stays_with_its_readers() {
        use crate::access::rights::Rights;
        use crate::control::apply::{Application, Requester, merge};
        use crate::model::state::DAEMON;
        use crate::testing::{access, key, model};
        let of = |visibility: &Visibility| {
            let mut file = model();
            let resource = file.resources.get_mut(&key("orders-db")).expect("there");
            (resource.kind, resource.visibility) = (Some("Microsoft.Sql/servers".into()), visibility.clone());
            file
        };
        let by = root().actor();
        let mut found = ControlState { model: of(&Visibility::Readers), ..ControlState::default() };
        found.files.insert(
            DAEMON.to_owned(),
            crate::model::state::Applied { model: of(&Visibility::Readers), ..Default::default() },
        );
        let migration = Migration { by: &by, at: noon(), link_key: link_key() };
        let (after, records) = migrate(&migration, 1, &found);
        let seen = |state: &ControlState| state.model.resources[&key("orders-db")].visibility.clone();
        assert_eq!(seen(&after), Visibility::Readers);
        let told = records.iter().find(|record| record.object == "resource default/orders-db").expect("a record");
        assert!(told.detail.contains("visibility"), "{}", told.detail);
        // A file without a `visibility` changes nothing. One with a `visibility` does.
        let (root, access) = (root(), access());
        let apply = |file: &crate::model::Model| {
            let maker = Requester { rights: Rights::of(&root, &access), now: noon(), dry_run: false };
            merge(&after, &Application::of(file, DAEMON, false, maker)).expect("merged")
        };
        let (same, report) = apply(&of(&Visibility::ById));
        assert!(
            seen(&same) == Visibility::Readers && !report.lines().iter().any(|line| line.contains("orders-db")),
            "{report}"
        );
        assert_eq!(seen(&apply(&of(&Visibility::Everyone)).0), Visibility::Everyone);
        // A state with the current layout stays as it is.
        let (same, records) = migrate(&migration, 2, &found);
        assert_eq!((ControlState { links: found.links, ..same }, records), (found, Vec::new()));
    }

    #[test]
    fn no_byte_of_a_body_that_is_not_kept_is_left() {
        let directory = std::env::temp_dir().join(format!("privlink-migrate-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).expect("made");
        let database = rusqlite::Connection::open(directory.join("state.db")).expect("a database");
        database.execute_batch(include_str!("../../tests/states/0.1/state.sql")).expect("the state");
        drop(database);
        std::fs::write(directory.join("state.mark"), include_str!("../../tests/states/0.1/state.mark"))
            .expect("a mark");
        std::fs::copy(directory.join("state.db"), directory.join("state.db.backup-v1")).expect("a copy");
        assert_eq!(holds_secret(&directory).len(), 2);
        let store = Arc::new(SqliteStore::open(&directory).expect("opened").0);
        let mut durable = Durable::new(Arc::clone(&store) as _);
        let (found, format) = (durable.load().expect("read").expect("something"), durable.format().expect("a layout"));
        let actor = root().actor();
        let migration = Migration { by: &actor, at: noon(), link_key: link_key() };
        let (after, records) = migrate(&migration, format, &found);
        assert_eq!((after.links.counted, after.connections.clone()), (found.last_link, found.connections.clone()));
        let said: Vec<&str> = records.iter().map(|record| record.object.as_str()).collect();
        assert!(said.contains(&"resource default/orders-sql"), "{said:?}");
        let lost = records.iter().find(|record| record.object == "resource default/orders-sql").expect("a record");
        assert!(lost.detail.contains("properties.administratorLoginPassword"), "{}", lost.detail);
        let change = Change { before: &found, after: &after, extent: &ChangeExtent::Whole, records: &records };
        durable.commit(&change).expect("committed");
        assert_eq!(holds_secret(&directory), [] as [&str; 0], "while it is open");
        assert_eq!((durable.format().expect("a layout"), durable.load().expect("read")), (FORMAT, Some(after)));
        store.verify().expect("an audit log");
        drop((store, durable));
        assert_eq!(holds_secret(&directory), [] as [&str; 0], "and after it was closed");
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
