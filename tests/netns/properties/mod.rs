//! Every property that a file can set, and what it changes: a packet, an answer or a refusal. Each row is flipped while
//! a client talks to another endpoint, seen before, after, and after the way back; the table names every property of
//! the schema and no other, and `docs/azure.md` names those that are stored only.

/// Roles and assignments.
mod access;
mod daemon;
mod endpoints;
/// Checks of servers.
mod health;
/// Resolvers.
mod names;
mod networks;
mod resources;
/// What Azure's clients write.
mod rest;
mod run;
/// The networks of the flips, and the client that outlives them.
mod world;
/// Private DNS zones of one's own, and lockdown.
mod zones;

use std::collections::BTreeSet;

use privlink::config;
use serde_json::Value;

/// A namespace and an address in it.
type Client = (&'static str, &'static str);

/// What replaces what in the file; each left side stands there once.
type Edits = &'static [(&'static str, &'static str)];

/// A property of the file and what it does. One property may have several rows.
struct Row {
    /// Tables and key, such as `vnet.subnets.dedicated`.
    property: &'static str,
    how: How,
}

/// How a property comes into force.
enum How {
    /// At once, by SIGHUP; also what is refused then.
    Live(Flip),
    /// It is what its object is: the object is deleted (`privlink …`, before and after the flip) and made anew. With
    /// words: changing it in place is refused with them.
    Anew { delete: [&'static str; 2], refused: Option<&'static str>, flip: Flip },
    /// At the next start; until then a SIGHUP says that it needs one.
    Start(Flip),
    /// Seen when the daemon has ended.
    End(Flip),
    /// It is kept, and does nothing but to be warned about in these words.
    Stored { edit: Edits, warns: &'static str },
}

/// Two values of a property and what is seen of each.
struct Flip {
    /// What the file needs besides, for both values.
    given: Edits,
    /// From the one value to the other.
    edit: Edits,
    before: See,
    after: See,
}

/// What is seen.
enum See {
    /// A TCP client at the first reaches the second, and a server of this name answers.
    Tcp(Client, &'static str, &'static str),
    /// The same by UDP, with a payload of so many bytes.
    Udp(Client, &'static str, usize, &'static str),
    /// Exactly one packet, a SYN, is dropped and counted under the reason.
    Dropped(Client, &'static str, &'static str),
    /// The same for a datagram; where it does not fit the device, for each of so many fragments.
    DroppedUdp(Client, &'static str, usize, u64, &'static str),
    /// A SYN is answered by a reset.
    Reset(Client, &'static str),
    /// A SYN is not answered.
    Silence(Client, &'static str),
    /// The client's namespace knows no route there.
    NoRoute(Client, &'static str),
    /// A route there says that it is unreachable.
    Unreachable(Client, &'static str),
    /// What `privlink …` answers has the text in it.
    Says(&'static str, &'static str),
    /// It has not.
    SaysNot(&'static str, &'static str),
    /// `privlink …` fails and says so.
    Fails(&'static str, &'static str),
    /// What `ip …` of this host says has the text in it.
    Host(&'static str, &'static str),
    /// The file is refused with the text, and what was in force stays so.
    Refused(&'static str),
    /// What Azure's path answers has the text in it.
    Shows(&'static str, &'static str),
    /// Anything else: an assertion.
    By(fn()),
}

/// Every row.
fn table() -> impl Iterator<Item = &'static Row> {
    [
        daemon::ROWS,
        networks::ROWS,
        resources::ROWS,
        health::ROWS,
        names::ROWS,
        zones::ROWS,
        endpoints::ROWS,
        access::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// A row of the usual kind.
const fn live(property: &'static str, edit: Edits, before: See, after: See) -> Row {
    Row { property, how: How::Live(Flip { given: &[], edit, before, after }) }
}

/// A row of a value that is refused where what stands beside it does not allow it.
const fn refused(property: &'static str, edit: Edits, says: &'static str) -> Row {
    live(property, edit, See::Tcp(("spoke", "10.1.0.5"), "10.1.9.10:7", "first"), See::Refused(says))
}

const fn stored(property: &'static str, edit: Edits, warns: &'static str) -> Row {
    Row { property, how: How::Stored { edit, warns } }
}

/// The tables and plain values that a part of the schema allows; references lead to `definitions`.
fn forms<'a>(definitions: &'a Value, part: &'a Value) -> (Vec<&'a Value>, bool) {
    if let Some(name) = part["$ref"].as_str() {
        let definition = name.rsplit('/').next().expect("a name");
        return forms(definitions, &definitions[definition]);
    }
    if part["properties"].is_object() {
        return (vec![part], false);
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        let Some(parts) = part[choice].as_array() else { continue };
        let parts = parts.iter().map(|part| forms(definitions, part));
        return parts.fold((Vec::new(), false), |(mut tables, plain), (more, other)| {
            tables.extend(more);
            (tables, plain || other)
        });
    }
    if part["items"].is_object() {
        return forms(definitions, &part["items"]);
    }
    (Vec::new(), part["type"] != "null")
}

/// The keys below a table of the schema that take a value, with the path to them.
fn properties(definitions: &Value, table: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (key, part) in table["properties"].as_object().expect("properties") {
        let (tables, plain) = forms(definitions, part);
        assert!(plain || !tables.is_empty(), "{path}{key} takes nothing: {part}");
        if plain {
            into.insert(format!("{path}{key}"));
        }
        for table in tables {
            properties(definitions, table, &format!("{path}{key}."), into);
        }
    }
}

#[test]
fn the_table_names_every_property_of_the_schema() {
    let schema = config::schema();
    let mut known = BTreeSet::new();
    properties(&schema["$defs"], &schema, "", &mut known);
    let named: BTreeSet<String> = table().map(|row| row.property.to_owned()).collect();
    let missing: Vec<&String> = known.difference(&named).collect();
    let unknown: Vec<&String> = named.difference(&known).collect();
    assert!(known.len() > 100, "the schema is not read right: {known:?}");
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "properties without a row: {missing:#?}\nrows without a property: {unknown:#?}"
    );
}

#[test]
fn the_page_names_what_is_stored_only() {
    let page = include_str!("../../../docs/azure.md");
    let (_, section) = page.split_once("\n## Stored, not yet acted upon\n").expect("the section");
    let section = section.split("\n#").next().expect("its text");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('|'));
    let said: BTreeSet<&str> = rows.flat_map(|(keys, _)| keys.split('`')).filter(|key| key.contains('.')).collect();
    let stored: BTreeSet<&str> =
        table().filter(|row| matches!(row.how, How::Stored { .. })).map(|row| row.property).collect();
    assert_eq!(said, stored);
}
