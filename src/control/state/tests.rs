use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::control::decisions::{Connection, Damage, DecidedBy, Deleted};
use crate::control::testing::{key, model, noon, root};
use crate::snapshot::ConnectionState;

/// A directory that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("privlink-state-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn decisions() -> Decisions {
    let mut decisions = Decisions { model: model(), file: Some(model()), ..Decisions::default() };
    for state in [ConnectionState::Rejected, ConnectionState::Approved] {
        decisions.connections.insert(
            key(&format!("{state}")),
            Connection {
                state,
                link: 7,
                description: "ticket \"4711\"".into(),
                decided_by: DecidedBy::Live(root()),
                decided_at: noon(),
                created_at: noon(),
            },
        );
    }
    decisions.deleted.insert(key("gone"), Deleted { by: root(), at: noon() });
    decisions
}

fn loaded(directory: &StateDir) -> Decisions {
    match directory.load() {
        StateLoad::Loaded(decisions) => *decisions,
        other @ (StateLoad::Absent | StateLoad::Damaged(_)) => panic!("expected decisions, found {other:?}"),
    }
}

fn damage(directory: &StateDir) -> String {
    match directory.load() {
        StateLoad::Damaged(reason) => reason,
        other @ (StateLoad::Absent | StateLoad::Loaded(_)) => panic!("expected damage, found {other:?}"),
    }
}

#[test]
fn what_is_committed_is_what_the_next_start_reads() {
    let scratch = Scratch::new();
    let path = scratch.0.join("deep/state");
    {
        let mut directory = StateDir::open(&path).unwrap();
        assert!(matches!(directory.load(), StateLoad::Absent));
        directory.commit(&decisions()).unwrap();
    }
    let directory = StateDir::open(&path).unwrap();
    assert_eq!(loaded(&directory), decisions());
    assert_eq!(fs::metadata(path.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!path.join(TEMPORARY).exists());
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused_until_the_first_ends() {
    let scratch = Scratch::new();
    let first = StateDir::open(&scratch.0).unwrap();
    assert!(matches!(StateDir::open(&scratch.0), Err(StateError::Held(_))));
    drop(first);
    StateDir::open(&scratch.0).unwrap();
}

#[test]
fn a_file_cut_off_at_any_byte_is_damaged() {
    let scratch = Scratch::new();
    let directory = StateDir::open(&scratch.0).unwrap();
    let whole = encode(&decisions()).unwrap();
    for length in 0..whole.len() {
        assert!(decode(&whole[..length]).is_err(), "cut off at byte {length} of {}", whole.len());
    }
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(scratch.0.join(NAME), &whole[..length]).unwrap();
        damage(&directory);
    }
}

proptest! {
    #[test]
    fn a_flipped_bit_anywhere_is_damage(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&decisions()).unwrap();
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err(), "byte {position}, bit {bit}");
    }
}

#[test]
fn content_that_was_edited_does_not_match_its_checksum() {
    let text = String::from_utf8(encode(&decisions()).unwrap()).unwrap();
    let edited = text.replace("\"state\":\"Rejected\"", "\"state\":\"Approved\"");
    assert_ne!(text, edited);
    assert!(decode(edited.as_bytes()).unwrap_err().contains("checksum"));
}

#[test]
fn a_newer_layout_a_directory_and_an_unreadable_name_are_damage() {
    let scratch = Scratch::new();
    let directory = StateDir::open(&scratch.0).unwrap();
    let name = scratch.0.join(NAME);
    fs::write(&name, br#"{"format":"privlink-decisions","version":2,"novelty":true}"#).unwrap();
    assert!(damage(&directory).contains("newer privlink"));
    fs::remove_file(&name).unwrap();
    fs::create_dir(&name).unwrap();
    assert!(damage(&directory).contains("cannot be read"));
    let kept = directory.keep_aside(noon()).unwrap().unwrap();
    assert!(scratch.0.join(kept).is_dir());
    std::os::unix::fs::symlink(NAME, &name).unwrap();
    assert!(damage(&directory).contains("cannot be read"), "a link to itself");
}

#[test]
fn damage_never_turns_into_a_first_start() {
    let scratch = Scratch::new();
    let mut directory = StateDir::open(&scratch.0).unwrap();
    fs::write(scratch.0.join(NAME), b"garbage").unwrap();
    damage(&directory);
    let kept = directory.keep_aside(noon()).unwrap().unwrap();
    assert_eq!(kept, "decisions.json.damaged-20260501T120000Z");
    assert_eq!(fs::read(scratch.0.join(&kept)).unwrap(), b"garbage");
    // The daemon is killed here: the next start must see the damage still.
    assert!(damage(&directory).contains(&kept));
    assert_eq!(directory.keep_aside(noon()).unwrap(), Some(kept.clone()), "nothing more to keep aside");

    let note = Damage { reason: "garbage".into(), at: noon(), kept_as: Some(kept.clone()) };
    let after = Decisions { damaged: Some(note), ..decisions() };
    directory.commit(&after).unwrap();
    assert_eq!(loaded(&directory), after, "the note stays as long as the file");
    fs::remove_file(scratch.0.join(kept)).unwrap();
    assert_eq!(loaded(&directory), decisions(), "removing the file settles it");
}

#[test]
fn a_second_damage_in_the_same_second_overwrites_nothing() {
    let scratch = Scratch::new();
    let directory = StateDir::open(&scratch.0).unwrap();
    let kept = |content: &str| {
        fs::write(scratch.0.join(NAME), content).unwrap();
        directory.keep_aside(noon()).unwrap().unwrap()
    };
    let (first, second) = (kept("one"), kept("two"));
    assert_eq!(fs::read_to_string(scratch.0.join(first)).unwrap(), "one");
    assert_eq!(fs::read_to_string(scratch.0.join(second)).unwrap(), "two");
}

#[test]
fn a_failed_write_leaves_the_decisions_before() {
    let scratch = Scratch::new();
    let mut directory = StateDir::open(&scratch.0).unwrap();
    directory.commit(&decisions()).unwrap();
    // A directory in the temporary file's place stops the write even for root.
    fs::create_dir(scratch.0.join(TEMPORARY)).unwrap();
    assert!(directory.commit(&Decisions::default()).is_err());
    assert_eq!(loaded(&directory), decisions());
    fs::remove_dir(scratch.0.join(TEMPORARY)).unwrap();
    directory.commit(&Decisions::default()).unwrap();
    assert_eq!(loaded(&directory), Decisions::default());
}

#[test]
fn looking_takes_no_lock_and_makes_nothing() {
    let scratch = Scratch::new();
    let absent = scratch.0.join("absent");
    assert!(matches!(StateDir::look(&absent).load(), StateLoad::Absent));
    assert!(!absent.exists());
    let _held = StateDir::open(&scratch.0).unwrap();
    assert!(matches!(StateDir::look(&scratch.0).load(), StateLoad::Absent));
}
