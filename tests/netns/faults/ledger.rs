use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};

use serde_json::{Value, json};

use super::api::{call, items};
use crate::lab::{CORE, ask, attachment, consumer_vnet, daemon_table, echo_service, endpoint as declared, two_legs};
use crate::peers::{serve, tcp};

/// No such endpoint.
pub(super) const GONE: &str = "gone";
const STATES: [&str; 4] = ["Pending", "Approved", "Rejected", "Disconnected"];

/// What whoever asked has been told about a few connections that change together.
#[derive(Debug)]
struct Line {
    endpoints: Vec<Endpoint>,
    /// By the last answer.
    acknowledged: &'static str,
    /// Asked for since, and not answered.
    in_flight: Option<&'static str>,
    /// Changes that were acknowledged.
    changes: usize,
}

#[derive(Debug)]
struct Endpoint {
    name: String,
    subnet: &'static str,
    ip: String,
}

/// Namespaces and backend.
pub(super) fn lab() {
    two_legs();
    serve("core", "10.20.0.2:7000", "echo");
}

/// What was acknowledged, written down outside the daemon.
#[derive(Debug)]
pub(super) struct Ledger {
    lines: Vec<Line>,
    /// Requests that were cut off and turned out to be made, and those that turned out not to be.
    pub(super) cut: [usize; 2],
}

impl Ledger {
    /// The ledger of a first start, and the configuration file for it. `e0`, `e2`, … stand in the file, approved. The
    /// pair changes by its author's document, both at once.
    pub(super) fn new(singles: usize) -> (Self, String) {
        let mut lines = Vec::new();
        let mut file = [
            daemon_table(""),
            attachment("spoke"),
            attachment("core"),
            consumer_vnet("spoke", "")
                .replace("subnets = [", "subnets = [{ name = \"routed\", prefix = \"10.1.8.0/24\" }, "),
            CORE.to_owned(),
            echo_service("echo", "10.20.0.2", "\"10.20.99.4\", \"10.20.99.5\""),
        ]
        .concat();
        for number in 0..singles {
            let name = format!("e{number}");
            let ip = format!("10.1.9.{}", 10 + number);
            if number % 2 == 0 {
                file += &declared(&name, "spoke", &ip, "echo", "Approved");
                lines.push(Line::new(vec![Endpoint { name, subnet: "endpoints", ip }], "Approved"));
            } else {
                // Their routes come and go with them.
                let ip = ip.replace("10.1.9.", "10.1.8.");
                lines.push(Line::new(vec![Endpoint { name, subnet: "routed", ip }], GONE));
            }
        }
        let pair = [("one", "10.1.9.100"), ("two", "10.1.9.101")];
        let pair = pair.map(|(name, ip)| Endpoint { name: name.into(), subnet: "endpoints", ip: ip.into() });
        lines.push(Line::new(pair.into(), GONE));
        (Self { lines, cut: [0; 2] }, file)
    }

    /// Every line's author at work, each on its own thread; returns when the daemon no longer answers.
    pub(super) fn work(&mut self, random: &mut fastrand::Rng) {
        std::thread::scope(|scope| {
            for line in &mut self.lines {
                let mut random = random.fork();
                scope.spawn(move || while line.change(&mut random) {});
            }
        });
    }

    /// Each line's author at work, one after the other; stops where the daemon no longer answers.
    pub(super) fn work_in_turn(&mut self, random: &mut fastrand::Rng, changes: usize) -> bool {
        let all = self.lines.len();
        (0..changes).all(|turn| self.lines[turn % all].change(random))
    }

    /// Each line's author at work for so many changes, all at once; each stops where the daemon no longer answers.
    pub(super) fn work_at_once(&mut self, random: &mut fastrand::Rng, each: usize) {
        std::thread::scope(|scope| {
            for line in &mut self.lines {
                let mut random = random.fork();
                scope.spawn(move || (0..each).all(|_| line.change(&mut random)));
            }
        });
    }

    /// Acknowledged changes.
    pub(super) fn changes(&self) -> usize {
        self.lines.iter().map(|line| line.changes).sum()
    }

    /// Packets, both lists and the audit against what was acknowledged; a change that was cut off may be made or not.
    pub(super) fn check(&mut self, when: &str) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let connections: BTreeMap<String, Value> =
            items("/v1/connections").into_iter().map(|item| (text(&item["endpoint"]), item)).collect();
        let endpoints: BTreeSet<String> = items("/v1/endpoints").iter().map(|item| text(&item["id"])).collect();
        assert!(endpoints.iter().eq(connections.keys()), "{when}: {endpoints:?}, {connections:?}");
        let links: BTreeSet<u64> = connections.values().filter_map(|item| item["linkIdentifier"].as_u64()).collect();
        assert_eq!(links.len(), connections.len(), "{when}: each has an identifier of its own");
        let audit = Audit::read();
        for line in &mut self.lines {
            let found = line.endpoints.iter().map(|endpoint| {
                let Some(item) = connections.get(&format!("default/{}", endpoint.name)) else { return GONE };
                assert_eq!(item["addresses"], json!([endpoint.ip]), "{when}: {item}");
                STATES.into_iter().find(|state| item["state"] == *state).expect("a state")
            });
            let found: Vec<&str> = found.collect();
            let state = found[0];
            assert!(found.iter().all(|one| *one == state), "{when}: in halves: {found:?}, {line:?}");
            if let Some(asked) = line.in_flight.take() {
                assert!([asked, line.acknowledged].contains(&state), "{when}: {state}, but {asked} of {line:?}");
                self.cut[usize::from(state != asked)] += 1;
                line.changes += usize::from(state == asked);
            } else {
                assert_eq!(state, line.acknowledged, "{when}: {line:?}");
            }
            line.acknowledged = state;
            for endpoint in &line.endpoints {
                let knock = tcp("spoke", "10.1.0.5:0", &format!("{}:7", endpoint.ip));
                let agrees = match state {
                    "Approved" => knock.as_deref() == Ok("echo"),
                    GONE => matches!(knock, Err(HostUnreachable | NetworkUnreachable)),
                    _ => knock == Err(ConnectionRefused),
                };
                assert!(agrees, "{when}: packets meet {knock:?} at {line:?}");
                let (recorded, changes) = audit.of(&endpoint.name);
                assert_eq!((recorded, changes), (state, line.changes), "{when}: the audit of {line:?}");
            }
        }
        assert!(ask("audit verify").contains("each as it was written"));
    }
}

impl Line {
    fn new(endpoints: Vec<Endpoint>, acknowledged: &'static str) -> Self {
        Self { endpoints, acknowledged, in_flight: None, changes: 0 }
    }

    /// Asks for another state; `false`: no answer.
    fn change(&mut self, random: &mut fastrand::Rng) -> bool {
        let mut likely = match (self.acknowledged, self.endpoints.len()) {
            (GONE, 1) => vec!["Pending"],
            ("Disconnected", _) => vec![GONE],
            (_, 1) => {
                vec!["Approved", "Rejected", "Approved", "Rejected", "Approved", "Rejected", "Disconnected", GONE]
            }
            _ => vec!["Approved", "Rejected", GONE],
        };
        likely.retain(|state| *state != self.acknowledged);
        let to = likely[random.usize(..likely.len())];
        self.in_flight = Some(to);
        let answer = match self.endpoints.as_slice() {
            [one] => one.ask_for(to),
            all => {
                let declared = |one: &Endpoint| declared(&one.name, "spoke", &one.ip, "echo", to);
                let document: String = all.iter().filter(|_| to != GONE).map(declared).collect();
                call("POST", "/v1/apply", &json!({ "name": "pair", "document": document, "prune": true }))
            }
        };
        let Some((status, body)) = answer else { return false };
        assert_eq!(status, 200, "{to} of {self:?}: {body}");
        self.acknowledged = to;
        self.in_flight = None;
        self.changes += 1;
        true
    }
}

impl Endpoint {
    fn ask_for(&self, state: &str) -> Option<(u16, Value)> {
        let Self { name, subnet, ip } = self;
        let decide = |action| call("POST", &format!("/v1/connections/{name}/{action}"), &json!({}));
        match state {
            "Approved" => decide("approve"),
            "Rejected" => decide("reject"),
            "Disconnected" => decide("remove"),
            GONE => call("DELETE", &format!("/v1/endpoints/{name}"), &Value::Null),
            _ => {
                let document = format!(
                    "[[endpoint]]\nname = \"{name}\"\nvnet = \"spoke\"\nsubnet = \"{subnet}\"\nip = \"{ip}\"\n\
                     resource = \"echo\"\nmanual = true\n"
                );
                call("POST", "/v1/apply", &json!({ "name": name, "document": document, "createOnly": true }))
            }
        }
    }
}

/// The audit log, told again from its beginning: the state of each connection, and its changes so far.
struct Audit(BTreeMap<String, (String, usize)>);

impl Audit {
    fn read() -> Self {
        let mut told: BTreeMap<String, (String, usize)> = BTreeMap::new();
        let mut change = |name: &str, from: &Value, to: &str| {
            let (state, changes) = told.entry(name.to_owned()).or_insert_with(|| (GONE.to_owned(), 0));
            assert_eq!(from.as_str().unwrap_or(state), state, "{name}: a change of the audit goes on from the last");
            // The first is the file's, before anybody asked for anything.
            let first = *changes == 0 && to == "Approved" && state == GONE && name.starts_with('e');
            *changes += usize::from(!first);
            to.clone_into(state);
        };
        for record in items("/v1/audit?limit=1000000") {
            let object = record["object"].as_str().expect("an object");
            let to = record["to"].as_str();
            if let Some(name) = object.strip_prefix("connection default/") {
                change(name, &record["from"], to.expect("a state"));
            } else if let Some(name) = object.strip_prefix("endpoint default/")
                && record["action"] != "update"
            {
                change(name, &Value::Null, to.unwrap_or(GONE));
            }
        }
        Self(told)
    }

    fn of(&self, name: &str) -> (&str, usize) {
        self.0.get(name).map_or((GONE, 0), |(state, changes)| (state.as_str(), *changes))
    }
}
