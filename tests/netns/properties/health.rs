//! `health` of a target: one listener is asked, another serves, and the looks open and close the one that is asked.

use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use super::{Client, Edits, Flip, How, Row, See, refused};
use crate::lab::{drops_grow, eventually};
use crate::peers::{connect, end_of, greeted, listen, tcp, tcp_once};

const CLIENT: Client = ("spoke", "10.1.0.5:0");
const QUEUE: &str = "10.1.9.18:7";
const PLAIN: &str = "drain = false }], ports";

/// The queue's server is checked at port 7998, with these settings.
macro_rules! checked {
    ($settings:literal) => {
        &[(PLAIN, concat!("drain = false }], health = { port = 7998, timeout = \"1s\", ", $settings, " }, ports"))]
    };
}

const fn row(property: &'static str, given: Edits, edit: Edits, before: fn(), after: fn()) -> Row {
    let (before, after) = (See::By(before), See::By(after));
    Row { property, how: How::Live(Flip { given, edit, before, after }) }
}

pub(super) const ROWS: &[Row] = &[
    row(
        "resource.targets.health.port",
        &[],
        checked!("interval = \"1s\", fall = 1, rise = 1"),
        stays_when_the_door_closes,
        follows_the_door,
    ),
    row(
        "resource.targets.health.port",
        checked!("interval = \"1s\", fall = 1, rise = 1"),
        &[("health = { port = 7998", "health = { port = 7000")],
        follows_the_door,
        stays_when_the_door_closes,
    ),
    row(
        "resource.targets.health.interval",
        checked!("interval = \"2h\", fall = 1, rise = 1"),
        &[("interval = \"2h\"", "interval = \"1s\"")],
        stays_when_the_door_closes,
        follows_the_door,
    ),
    row(
        "resource.targets.health.fall",
        checked!("interval = \"1s\", fall = 10, rise = 1"),
        &[("fall = 10", "fall = 1")],
        stays_when_the_door_closes,
        follows_the_door,
    ),
    row(
        "resource.targets.health.rise",
        checked!("interval = \"1s\", fall = 1, rise = 10"),
        &[("rise = 10", "rise = 1")],
        stays_down_when_the_door_opens,
        || eventually("one success is enough", serves),
    ),
    row(
        "resource.targets.health.path",
        checked!("interval = \"1s\", fall = 1, rise = 1"),
        &[("health = { port = 7998", "health = { path = \"/healthz\", port = 7998")],
        follows_the_door,
        takes_no_open_door_for_an_answer,
    ),
    refused(
        "resource.targets.health.timeout",
        &[(PLAIN, "drain = false }], health = { interval = \"1s\", timeout = \"2s\" }, ports")],
        "a check may take longer than the time between two",
    ),
];

/// Listens where the checks ask. Whoever connects is never spoken to: a connection is all that a check wants.
static DOOR: Mutex<Option<std::net::TcpListener>> = Mutex::new(None);

fn open_door() {
    let mut door = DOOR.lock().expect("the door");
    door.get_or_insert_with(|| listen("core", "10.20.0.8:7998", 1_000));
}

fn close_door() {
    *DOOR.lock().expect("the door") = None;
}

fn serves() -> bool {
    tcp(CLIENT.0, CLIENT.1, QUEUE).as_deref() == Ok("queue")
}

/// Longer than two of the checks that come every second, and shorter than ten.
fn two_checks() {
    std::thread::sleep(Duration::from_millis(2_500));
}

fn stays_when_the_door_closes() {
    open_door();
    eventually("the queue serves", serves);
    close_door();
    two_checks();
    assert!(serves(), "nobody looked, or not often enough");
    open_door();
}

fn follows_the_door() {
    open_door();
    eventually("the queue serves", serves);
    close_door();
    let refused = || tcp_once(CLIENT.0, CLIENT.1, QUEUE).is_err();
    eventually("nobody serves the queue", || drops_grow("no_backend", 1, refused).is_ok_and(|refused| refused));
    open_door();
    eventually("the queue serves again", serves);
}

fn takes_no_open_door_for_an_answer() {
    open_door();
    eventually("whoever does not speak HTTP serves nobody", || !serves());
}

fn stays_down_when_the_door_opens() {
    close_door();
    eventually("nobody serves the queue", || !serves());
    open_door();
    two_checks();
    assert!(!serves(), "two successes are enough");
}

/// A connection to the queue that is kept.
static HELD: Mutex<Option<TcpStream>> = Mutex::new(None);

pub(super) fn hold() {
    let mut stream = connect(CLIENT.0, CLIENT.1, QUEUE).expect("connected");
    assert_eq!(greeted(&mut stream).expect("greeted"), "queue");
    *HELD.lock().expect("held") = Some(stream);
}

pub(super) fn reset() {
    let mut stream = HELD.lock().expect("held").take().expect("a connection");
    assert_eq!(end_of(&mut stream), Err(std::io::ErrorKind::ConnectionReset), "its time is over");
}
