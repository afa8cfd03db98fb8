//! Flips rows, and looks.

use std::fs;
use std::io::ErrorKind::{self, ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};

use super::world::{self, BASE, Steady};
use super::{Client, Edits, Flip, How, Row, See, table};
use crate::lab::{Daemon, FILE, ask, cli, drops, drops_exactly, drops_grow, eventually, ip, isolated, read_log, rest};
use crate::peers::{self, tcp_once, udp_of, udp_of_once};

/// `text` with the edits made; each left side has to stand there once.
fn edited(text: &str, edits: Edits, property: &str) -> String {
    edits.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{property}: {from:?} stands in the file once");
        text.replacen(from, to, 1)
    })
}

/// The daemon, and what its file says.
pub(super) struct Lab {
    daemon: Daemon,
    file: String,
}

impl Lab {
    /// A start on `file`.
    pub(super) fn start(file: &str) -> Self {
        fs::write(FILE, file).expect("written");
        let before = read_log().len();
        let mut daemon = Daemon::begin();
        eventually("the daemon is ready", || {
            assert!(daemon.runs(), "it ended:\n{}", read_log());
            read_log()[before..].contains("ready")
        });
        Self { daemon, file: file.to_owned() }
    }

    /// Puts `file` in force; what the reload said.
    fn apply(&mut self, file: &str, property: &str) -> String {
        if self.file == file {
            return String::new();
        }
        let said = self.daemon.reload(file, "configuration ");
        assert!(said.contains("configuration applied"), "{property}: {said}");
        file.clone_into(&mut self.file);
        said
    }

    /// Flips a row to and fro while `steady` talks.
    fn flip(&mut self, row: &Row, steady: &Steady) {
        let property = row.property;
        match &row.how {
            How::Live(flip) => {
                let (before, after) = files(flip, property);
                self.apply(&before, property);
                flip.before.look(property);
                if let See::Refused(text) = flip.after {
                    let said = self.daemon.reload(&after, "configuration ");
                    let refused = said.contains("configuration refused") && said.contains(text);
                    assert!(refused, "{property} is refused with {text:?}: {said}");
                } else {
                    self.apply(&after, property);
                    flip.after.look(property);
                    steady.lives(property);
                    self.apply(&before, property);
                }
                flip.before.look(property);
                self.apply(BASE, property);
            }
            How::Anew { delete, refused, flip } => {
                let (before, after) = files(flip, property);
                self.apply(&before, property);
                flip.before.look(property);
                if let Some(text) = refused {
                    let said = self.apply(&after, property);
                    assert!(said.contains("skipped") && said.contains(text), "{property}: {said}");
                    flip.before.look(property);
                    self.apply(&before, property);
                }
                ask(delete[0]);
                self.apply(&after, property);
                flip.after.look(property);
                ask(delete[1]);
                self.apply(&before, property);
                flip.before.look(property);
                if before != BASE {
                    ask(delete[0]);
                    self.apply(BASE, property);
                }
            }
            How::Stored { edit, warns } => {
                let said = self.apply(&edited(BASE, edit, property), property);
                assert!(said.contains(warns), "{property} is warned about with {warns:?}: {said}");
                self.apply(BASE, property);
            }
            How::Start(flip) => {
                let said = self.apply(&files(flip, property).1, property);
                let setting = match property.split('.').collect::<Vec<_>>()[..] {
                    // A certificate is part of the listener.
                    ["daemon", "tls", ..] => "needs a restart: [daemon] api".to_owned(),
                    ["daemon", setting, ..] => format!("needs a restart: [daemon] {setting}"),
                    _ => "needs a restart: [[attachment]] of default/".to_owned(),
                };
                assert!(said.contains(&setting), "{property}: {said}");
                flip.before.look(property);
                self.apply(BASE, property);
            }
            How::End(_) => {}
        }
        steady.lives(property);
    }
}

fn files(flip: &Flip, property: &str) -> (String, String) {
    let before = edited(BASE, flip.given, property);
    let after = edited(&before, flip.edit, property);
    (before, after)
}

impl See {
    pub(super) fn look(&self, property: &str) {
        match *self {
            Self::Tcp(from, to, name) => {
                assert_eq!(tcp(from, to).as_deref(), Ok(name), "{property}: {from:?} to {to}");
            }
            Self::Udp(from, to, size, name) => {
                assert_eq!(udp(from, to, size).as_deref(), Ok(name), "{property}: {from:?} to {to}");
            }
            Self::Dropped(from, to, reason) => {
                // A client of an earlier row may still be saying good-bye to a daemon that has forgotten it.
                let drops_once = || drops_grow(reason, 1, || once(from, to).expect_err(property));
                let grown = (0..3).map(|_| drops_once()).find(Result::is_ok);
                assert!(
                    grown.is_some(),
                    "{property}: {from:?} to {to}: one packet should drop for {reason}: {:?}",
                    drops()
                );
            }
            Self::DroppedUdp(from, to, size, count, reason) => {
                drops_exactly(reason, count, || udp_once(from, to, size).expect_err(property));
            }
            Self::Reset(from, to) => assert_eq!(tcp(from, to), Err(ConnectionRefused), "{property}: {from:?} to {to}"),
            Self::Silence(from, to) => assert_eq!(once(from, to), Err(TimedOut), "{property}: {from:?} to {to}"),
            Self::NoRoute(from, to) => assert_eq!(tcp(from, to), Err(NetworkUnreachable), "{property}: {to}"),
            Self::Unreachable(from, to) => assert_eq!(tcp(from, to), Err(HostUnreachable), "{property}: {to}"),
            Self::Says(command, text) => {
                let said = ask(command);
                assert!(said.contains(text), "{property}: {command} says {text:?}: {said}");
            }
            Self::SaysNot(command, text) => {
                let said = ask(command);
                assert!(!said.contains(text), "{property}: {command} does not say {text:?}: {said}");
            }
            Self::Fails(command, text) => {
                let output = cli(command);
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                assert!(!output.status.success() && said.contains(text), "{property}: {command}: {said}");
            }
            Self::Host(command, text) => {
                let said = ip(command);
                assert!(said.contains(text), "{property}: ip {command} says {text:?}: {said}");
            }
            Self::Shows(path, text) => {
                let (status, shown) = rest("GET", path, "");
                let shown = shown.to_string();
                assert!(status == 200 && shown.contains(text), "{property}: {path} shows {text:?}: {status} {shown}");
            }
            Self::Refused(_) => panic!("{property}: a refusal is seen where the file is applied, after a flip"),
            Self::By(look) => look(),
        }
    }
}

/// What the lan has learnt must not answer for who would.
fn forget_neighbours(namespace: &str) {
    if namespace == "lan" {
        ip("-n lan neigh flush all");
    }
}

fn tcp((namespace, from): Client, to: &str) -> Result<String, ErrorKind> {
    forget_neighbours(namespace);
    peers::tcp(namespace, &format!("{from}:0"), to)
}

/// [`tcp`] where nobody may answer.
fn once((namespace, from): Client, to: &str) -> Result<String, ErrorKind> {
    forget_neighbours(namespace);
    tcp_once(namespace, &format!("{from}:0"), to)
}

fn udp((namespace, from): Client, to: &str, size: usize) -> Result<String, ErrorKind> {
    udp_of(namespace, &format!("{from}:0"), to, size)
}

/// [`udp`] where nobody may answer.
fn udp_once((namespace, from): Client, to: &str, size: usize) -> Result<String, ErrorKind> {
    udp_of_once(namespace, &format!("{from}:0"), to, size)
}

/// The rows that `wanted` picks; `PRIVLINK_PROPERTY` picks those whose name holds it.
fn rows(wanted: fn(&How) -> bool) -> Vec<&'static Row> {
    let only = std::env::var("PRIVLINK_PROPERTY").unwrap_or_default();
    table().filter(|row| wanted(&row.how) && row.property.contains(&only)).collect()
}

#[test]
fn every_live_property_changes_what_the_table_says_and_nothing_else() {
    isolated("properties::run::every_live_property_changes_what_the_table_says_and_nothing_else", || {
        flip_all(|row| !is_waited_for(row));
    });
}

/// Those whose effect takes the time of several checks: beside the others, not after them.
#[test]
fn every_property_of_health_checks_changes_what_the_table_says_and_nothing_else() {
    isolated("properties::run::every_property_of_health_checks_changes_what_the_table_says_and_nothing_else", || {
        flip_all(is_waited_for);
    });
}

fn is_waited_for(row: &Row) -> bool {
    row.property.starts_with("resource.targets.health")
}

fn flip_all(wanted: fn(&Row) -> bool) {
    world::build();
    let mut lab = Lab::start(BASE);
    let steady = Steady::begin();
    let live = rows(|how| !matches!(how, How::Start(_) | How::End(_)));
    for row in live.into_iter().filter(|row| wanted(row)) {
        let began = crate::lab::now();
        lab.flip(row, &steady);
        println!("{:>5} ms {}", began.elapsed().as_millis(), row.property);
    }
}

#[test]
fn every_property_of_the_start_changes_what_the_table_says() {
    isolated("properties::run::every_property_of_the_start_changes_what_the_table_says", || {
        world::build();
        let starts = || rows(|how| matches!(how, How::Start(_)));
        let mut lab = Lab::start(BASE);
        let steady = Steady::begin();
        for row in starts() {
            lab.flip(row, &steady);
        }
        drop(steady);
        for row in starts() {
            let How::Start(flip) = &row.how else { continue };
            lab.daemon.stop();
            let began = crate::lab::now();
            lab = Lab::start(&files(flip, row.property).1);
            flip.after.look(row.property);
            println!("{:>5} ms {}", began.elapsed().as_millis(), row.property);
        }
        lab.daemon.stop();
        lab = Lab::start(BASE);
        for row in starts() {
            let How::Start(flip) = &row.how else { continue };
            flip.before.look(row.property);
        }
        lab.daemon.stop();
        for row in rows(|how| matches!(how, How::End(_))) {
            let How::End(flip) = &row.how else { continue };
            let (before, after) = files(flip, row.property);
            for (file, see) in [(&before, &flip.before), (&after, &flip.after), (&before, &flip.before)] {
                Lab::start(file).daemon.stop();
                see.look(row.property);
            }
        }
    });
}
