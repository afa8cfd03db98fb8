//! The command line as its users see it: arguments in; text, JSON and exit code out. The daemon is a
//! socket that gives one prepared answer.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use super::*;
use crate::types::{
    ApplyReport, Check, ErrorBody, Explanation, Line, List, Plan, PlannedStep, Restored, Severity, Side, Status,
    Totals, Transition, Who,
};

/// A directory of one test's own.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("privlink-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("temporary directory");
        Self(path)
    }

    fn socket(&self) -> String {
        self.0.join("privlink.sock").display().to_string()
    }

    /// Answers one request with `status` and `body`; gives the request's first line and its body.
    fn answer(&self, status: u16, body: &impl serde::Serialize) -> JoinHandle<(String, String)> {
        let listener = UnixListener::bind(self.socket()).expect("bound");
        let body = serde_json::to_string(body).expect("serialises");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            let mut request = String::new();
            let mut buffer = [0; 4096];
            let complete = |request: &str| {
                let (head, body) = request.split_once("\r\n\r\n")?;
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                (body.len() >= length.map_or(0, |length| length.parse().expect("a length"))).then_some(())
            };
            while complete(&request).is_none() {
                let read = stream.read(&mut buffer).expect("readable");
                assert!(read > 0, "the request ended early: {request}");
                request.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
            }
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").expect("writable");
            let (head, sent) = request.split_once("\r\n\r\n").expect("a head");
            (head.lines().next().unwrap_or_default().to_owned(), sent.to_owned())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a command left: exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (Exit, String, String) {
    let daemon = Daemon {
        run: &|_| Ok(()),
        plan: &|options| {
            if options.prune {
                return Err(Error::bad_config(&"x.toml:3:1: error: unknown key"));
            }
            let step = PlannedStep { namespace: "spoke".to_owned(), change: "ip link set pl-spoke up".to_owned() };
            let file =
                ApplyReport { created: vec!["vnet default/spoke".to_owned()], dry_run: true, ..ApplyReport::default() };
            Ok(Plan { file, steps: vec![step], warnings: vec!["forwarding is off".to_owned()] })
        },
        restore: &|_, agree| {
            agree(&Restored::default())?;
            Ok(Restored::default())
        },
        clean: &|directory| {
            let removed = vec![format!("route below {}", directory.display())];
            let failed = if directory.join("busy").exists() { vec!["rule 7: busy".to_owned()] } else { Vec::new() };
            Ok(Cleaned { removed, failed })
        },
    };
    let (mut data, mut talk) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("privlink").chain(arguments.iter().copied()).map(OsString::from);
    let exit = execute(arguments, daemon, &mut data, &mut talk);
    (exit, String::from_utf8(data).expect("text"), String::from_utf8(talk).expect("text"))
}

fn status(ready: bool) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 7,
        config: "/etc/privlink/privlink.toml".to_owned(),
        last_reload: None,
        ready,
        workers: 2,
        steering: false,
        conditions: vec![crate::types::Condition {
            severity: Severity::Notice,
            code: "SteeringOff".to_owned(),
            message: "the kernel refuses BPF here".to_owned(),
            remedy: String::new(),
        }],
        endpoints: vec![Line {
            endpoint: "default/orders".to_owned(),
            addresses: vec!["10.1.9.4".to_owned()],
            resource: "default/orders-db".to_owned(),
            state: "Approved".to_owned(),
            backends: Some(2),
            sessions: 14,
            ..Line::default()
        }],
        clean_up: Vec::new(),
        totals: Totals {
            read: 3,
            forwarded: 2,
            dropped: 1,
            drops: [("not_syn".to_owned(), 1)].into(),
            ..Totals::default()
        },
    }
}

#[test]
fn exit_codes_are_those_of_the_table() {
    for (answer, exit) in [
        (400, Exit::Failed),
        (403, Exit::Denied),
        (404, Exit::NotFound),
        (409, Exit::Conflict),
        (500, Exit::Failed),
        (503, Exit::NotReady),
    ] {
        let place = Place::new();
        let served = place.answer(answer, &ErrorBody::new("Code", "it is so").with_remedy("do this"));
        let (seen, data, talk) = run(&["--socket", &place.socket(), "connection", "approve", "orders"]);
        assert_eq!((seen, data.as_str(), talk.as_str()), (exit, "", "privlink: it is so\n  do this\n"), "{answer}");
        served.join().expect("served");
    }
    for (arguments, exit) in [
        (vec!["--help"], Exit::Done),
        (vec!["--version"], Exit::Done),
        (vec![], Exit::Usage),
        (vec!["nonsense"], Exit::Usage),
        (vec!["flows", "--limit", "0"], Exit::Usage),
        (vec!["status", "--json", "-o", "table"], Exit::Usage),
        (vec!["--socket", "/nonexistent/socket", "status"], Exit::Unreachable),
        (vec!["run", "-c", "x.toml"], Exit::Done),
        (vec!["run", "-c", "x.toml", "--dry-run", "--prune"], Exit::BadConfig),
        (vec!["check", "/nonexistent/privlink.toml"], Exit::BadConfig),
    ] {
        assert_eq!(run(&arguments).0, exit, "{arguments:?}");
    }
}

#[test]
fn status_in_json_is_stable() {
    let place = Place::new();
    let served = place.answer(200, &List::one(status(true)));
    let (exit, data, talk) = run(&["status", "--json", "--socket", &place.socket()]);
    assert_eq!((exit, talk.as_str()), (Exit::Done, ""));
    assert_eq!(data, include_str!("status.golden.json"));
    assert_eq!(served.join().expect("served").0, "GET /v1/status HTTP/1.1");
}

#[test]
fn status_of_a_daemon_that_is_not_ready_exits_with_three() {
    let place = Place::new();
    let served = place.answer(200, &List::one(status(false)));
    let (exit, data, talk) = run(&["status", "--socket", &place.socket()]);
    assert_eq!(exit, Exit::NotReady);
    assert!(data.contains("\norders 10.1.9.4 → orders-db Approved, 2 backends, 14 sessions\n"), "{data}");
    assert!(talk.contains("not ready"), "{talk}");
    served.join().expect("served");
}

#[test]
fn a_decision_goes_out_with_its_reason_and_comes_back_in_one_line() {
    let place = Place::new();
    let transition = Transition {
        endpoint: "default/orders".to_owned(),
        from: "Approved".to_owned(),
        to: "Rejected".to_owned(),
        changed: true,
        ending: None,
        in_force_microseconds: 1_900,
        warnings: vec!["the file says Approved".to_owned()],
    };
    let served = place.answer(200, &List::one(transition));
    let arguments =
        ["--socket", &place.socket(), "connection", "reject", "default/orders", "--reason", "contract ended"];
    let (exit, data, talk) = run(&arguments);
    assert_eq!(exit, Exit::Done, "{talk}");
    assert_eq!(data, "orders: Approved → Rejected, in force after 1.9 ms\n");
    assert_eq!(talk, "warning: the file says Approved\n");
    let (line, body) = served.join().expect("served");
    assert_eq!(line, "POST /v1/connections/default%2Forders/reject HTTP/1.1");
    assert_eq!(body, r#"{"reason":"contract ended"}"#);
}

#[test]
fn what_is_no_privlink_is_told_apart_from_a_refusal() {
    let place = Place::new();
    let served = place.answer(502, &"<html>");
    let (exit, _, talk) = run(&["--socket", &place.socket(), "endpoint", "list"]);
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("does not speak this version"), "{talk}");
    served.join().expect("served");
}

#[test]
fn a_failure_is_json_where_json_is_asked_for() {
    let (exit, data, talk) = run(&["--json", "--socket", "/nonexistent/socket", "status"]);
    let error: serde_json::Value = serde_json::from_str(&talk).expect("JSON");
    assert_eq!((exit, data.as_str(), &error["apiVersion"]), (Exit::Unreachable, "", &"privlink/v1".into()));
    assert_eq!(
        (&error["error"]["code"], &error["error"]["details"][0]["code"]),
        (&"Unreachable".into(), &"Remedy".into())
    );
}

#[test]
fn flows_on_a_wide_screen_show_every_column() {
    let side = |ip: &str, port| crate::types::Side { ip: ip.to_owned(), port };
    let flow = crate::types::Flow {
        endpoint: "default/orders".to_owned(),
        link_identifier: 4711,
        vnet: "default/spoke".to_owned(),
        protocol: "tcp".to_owned(),
        consumer: side("10.1.0.5", 40_000),
        endpoint_address: side("10.1.9.4", 5432),
        nat: side("10.20.99.4", 1_024),
        backend: side("10.20.0.2", 5432),
        state: "established".to_owned(),
        idle_seconds: 130,
        packets_to_service: 12,
        bytes_to_service: 2_048,
        packets_to_consumer: 34,
        bytes_to_consumer: 4_096,
        worker: 3,
    };
    for (form, shown) in [("table", false), ("wide", true)] {
        let place = Place::new();
        let served = place.answer(200, &List::one(flow.clone()));
        let (exit, data, _) = run(&["--socket", &place.socket(), "flows", "-o", form]);
        assert_eq!(exit, Exit::Done);
        assert!(data.contains("4711") && data.contains("2 min"), "{data}");
        for word in ["default/spoke", "WORKER", "PACKETS", "  34  "] {
            assert_eq!(data.contains(word), shown, "{word}: {data}");
        }
        served.join().expect("served");
    }
}

#[test]
fn an_empty_list_is_a_head_alone() {
    for (arguments, head) in [
        (["endpoint", "list"], "ENDPOINT"),
        (["connection", "list"], "ENDPOINT"),
        (["resource", "list"], "RESOURCE"),
        (["vnet", "list"], "VNET"),
        (["security-group", "list"], "SECURITY GROUP"),
    ] {
        let place = Place::new();
        let served = place.answer(200, &List::<()>::new(Vec::new()));
        let (exit, data, _) = run(&["--socket", &place.socket(), arguments[0], arguments[1]]);
        assert_eq!((exit, data.lines().count()), (Exit::Done, 1), "{arguments:?}");
        assert!(data.starts_with(head), "{data}");
        served.join().expect("served");
    }
}

#[test]
fn init_writes_a_file_that_check_accepts_and_never_overwrites_one() {
    let place = Place::new();
    let file = place.0.join("privlink.toml").display().to_string();
    assert_eq!(run(&["init", &file]).0, Exit::Done);
    let (exit, data, talk) = run(&["check", &file]);
    assert_eq!(exit, Exit::Done, "{talk}");
    assert!(data.starts_with(&format!("{file}: ok, ")), "{data}");
    let (exit, _, talk) = run(&["init", &file]);
    assert_eq!(exit, Exit::Conflict, "{talk}");
    let (exit, data, _) = run(&["init"]);
    assert_eq!((exit, data), (Exit::Done, std::fs::read_to_string(&file).expect("written")));
}

#[test]
fn a_bad_file_is_reported_without_a_speaker_and_in_json_too() {
    let place = Place::new();
    let file = place.0.join("bad.toml");
    std::fs::write(&file, "nonsense = 1\n").expect("written");
    let file = file.display().to_string();
    let (exit, data, talk) = run(&["check", &file]);
    assert_eq!((exit, data.as_str()), (Exit::BadConfig, ""));
    assert!(!talk.starts_with("privlink: "), "{talk}");
    let (exit, data, talk) = run(&["check", &file, "--json"]);
    assert_eq!((exit, talk.as_str()), (Exit::BadConfig, ""));
    serde_json::from_str::<serde_json::Value>(&data).expect("JSON");
}

#[test]
fn clean_refuses_while_a_daemon_runs() {
    let place = Place::new();
    let (exit, data, _) = run(&["clean", "--socket", &place.socket()]);
    assert_eq!((exit, data), (Exit::Done, format!("removed route below {}\n", place.0.display())));
    std::fs::write(place.0.join("busy"), "").expect("written");
    let (exit, _, talk) = run(&["clean", "--socket", &place.socket()]);
    assert_eq!(exit, Exit::Failed);
    assert!(talk.ends_with("\n  rule 7: busy\n"), "what is left is named: {talk}");
    let _daemon = UnixListener::bind(place.socket()).expect("bound");
    let (exit, _, talk) = run(&["clean", "--socket", &place.socket()]);
    assert_eq!(exit, Exit::Conflict, "{talk}");
}

#[test]
fn every_generator_writes_what_its_name_says() {
    let place = Place::new();
    let (exit, page, _) = run(&["gen", "man"]);
    assert_eq!(exit, Exit::Done);
    assert!(page.contains(".TH privlink 1"), "{page}");
    let pages = place.0.join("man");
    assert_eq!(run(&["gen", "man", &pages.display().to_string()]).0, Exit::Done);
    for page in ["privlink.1", "privlink-connection-approve.1", "privlink-gen-man.1"] {
        assert!(pages.join(page).is_file(), "{page}");
    }
    for (shell, sign) in [("bash", "complete "), ("zsh", "#compdef privlink"), ("fish", "--command privlink")] {
        let (exit, script, _) = run(&["gen", "completions", shell]);
        assert!(exit == Exit::Done && script.contains(sign), "{shell}");
    }
    let (exit, schema, _) = run(&["gen", "schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert!(exit == Exit::Done && schema["properties"]["daemon"].is_object(), "{schema}");
}

#[test]
fn the_plan_of_a_start_is_json_where_json_is_asked_for() {
    let (exit, data, talk) = run(&["run", "-c", "x.toml", "--dry-run"]);
    assert_eq!((exit, data.as_str()), (Exit::Done, "spoke: ip link set pl-spoke up\nwarning: forwarding is off\n"));
    assert!(talk.starts_with("created: vnet default/spoke\nwould apply: 1 created"), "{talk}");
    let (exit, data, talk) = run(&["run", "-c", "x.toml", "--dry-run", "-o", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!((exit, talk.as_str(), &plan["apiVersion"]), (Exit::Done, "", &"privlink/v1".into()));
    let item = &plan["items"][0];
    let step = serde_json::json!({ "namespace": "spoke", "change": "ip link set pl-spoke up" });
    assert_eq!((&item["steps"][0], &item["file"]["created"][0]), (&step, &"vnet default/spoke".into()));
    assert_eq!(item["warnings"], serde_json::json!(["forwarding is off"]));
}

#[test]
fn what_is_not_found_or_would_be_dropped_shows_in_the_exit_code() {
    let place = Place::new();
    let nat = Side { ip: "10.20.99.4".to_owned(), port: 5 };
    let nobody = Who { nat, matches: Vec::new(), more: 0, lost: None, warnings: vec!["look here".to_owned()] };
    let asked = place.answer(200, &List::one(nobody));
    let (exit, data, talk) = run(&["who", "10.20.99.4:5", "--socket", &place.socket()]);
    asked.join().expect("asked");
    let expected = "warning: look here\nprivlink: no session is known that had 10.20.99.4:5\n";
    assert_eq!((exit, data.as_str(), talk.as_str()), (Exit::NotFound, "", expected));
    // For a program one document is the whole answer.
    let place = Place::new();
    let nat = Side { ip: "10.20.99.4".to_owned(), port: 5 };
    let asked =
        place.answer(200, &List::one(Who { nat, matches: Vec::new(), more: 0, lost: None, warnings: Vec::new() }));
    let (exit, data, talk) = run(&["who", "10.20.99.4:5", "--json", "--socket", &place.socket()]);
    asked.join().expect("asked");
    let answer: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!((exit, &answer["items"][0]["matches"], talk.as_str()), (Exit::NotFound, &serde_json::json!([]), ""));

    for (admitted, extra, expected) in
        [(false, None, Exit::Done), (false, Some("--exit-code"), Exit::Failed), (true, Some("--exit-code"), Exit::Done)]
    {
        let place = Place::new();
        let reason = (!admitted).then(|| "not_approved_pending".to_owned());
        let checks = vec![Check::default()];
        let asked = place.answer(200, &List::one(Explanation { admitted, reason, checks, ..Explanation::default() }));
        let socket = place.socket();
        let line = ["explain", "--vnet", "spoke", "10.1.0.5", "10.1.9.4:7", "--socket", &socket];
        let (exit, data, talk) = run(&line.into_iter().chain(extra).collect::<Vec<_>>());
        asked.join().expect("asked");
        assert_eq!((exit, talk.as_str()), (expected, ""), "{data}");
        assert!(data.contains(if admitted { "passes" } else { "dropped as not_approved_pending" }), "{data}");
    }
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let daemon = Daemon {
        run: &|_| Ok(()),
        plan: &|_| Ok(Plan::default()),
        clean: &|_| Ok(Cleaned::default()),
        restore: &|_, _| Ok(Restored::default()),
    };
    for arguments in [["privlink", "gen", "man"], ["privlink", "gen", "schema"], ["privlink", "init", "-"]] {
        let mut talk = Vec::new();
        let exit = execute(arguments.map(OsString::from), daemon, &mut Closed, &mut talk);
        assert_eq!((exit, talk.as_slice()), (Exit::Done, &b""[..]), "{arguments:?}");
    }
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    definition().debug_assert();
}
