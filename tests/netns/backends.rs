//! Servers that die and come back, that fall silent, that are emptied in time; a NAT address that outlives its removal.
//! The servers are programs that are killed, or hosts that are cut off.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{
    Daemon, ask, cli, drops_exactly, endpoint, eventually, inside, ip, isolated, join, json, leg, metrics, now, orders,
    read_log, rest, sysctl, two_legs, two_sides,
};
use crate::peers::{Program, connect, end_of, greeted, serve};

const ENDPOINT: &str = "10.1.9.4:7";
const HEALTH: &str = "health = { interval = \"1s\", timeout = \"1s\", fall = 2, rise = 2 }, ports";

/// A web server at port 7000 that is a process of its own; dropped, it is killed with SIGKILL.
fn web_server(namespace: &str, at: &str) -> Program {
    let home = format!("/run/www-{at}");
    std::fs::create_dir_all(&home).expect("made");
    std::fs::write(format!("{home}/name"), at).expect("written");
    let line = ["-m", "http.server", "7000", "--bind", at, "--directory", &home];
    let start = || Command::new("python3").args(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Program(inside(namespace, start).expect("python3 starts"))
}

/// Which server answers a new client.
fn who() -> Result<String, ErrorKind> {
    let mut stream = connect("spoke", "10.1.0.5:0", ENDPOINT)?;
    stream.write_all(b"GET /name HTTP/1.0\r\n\r\n").map_err(|error| error.kind())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.kind())?;
    Ok(answer.lines().last().unwrap_or_default().to_owned())
}

fn answers_of(count: usize) -> Vec<String> {
    let mut names: Vec<String> = (0..count).map(|_| who().expect("answered")).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn conditions() -> String {
    json("status")["conditions"].to_string()
}

fn backends() -> String {
    json("resource show echo")["targets"][0]["backends"].to_string()
}

/// `privlink_backend_up` of one backend.
fn up(backend: &str) -> u64 {
    metrics()[&format!("privlink_backend_up{{resource=\"default/echo\",target=\"\",backend=\"{backend}\"}}")]
}

#[test]
fn a_killed_backend_gets_no_session_and_comes_back() {
    isolated("backends::a_killed_backend_gets_no_session_and_comes_back", || {
        two_legs();
        let (first, second) = (web_server("core", "10.20.0.2"), web_server("core", "10.20.0.3"));
        let file =
            orders("Approved").replace("[\"10.20.0.2\"], ports", &format!("[\"10.20.0.2\", \"10.20.0.3\"], {HEALTH}"));
        let _daemon = Daemon::start(&file);
        let both = || (0..4).map(|_| who()).collect::<Result<BTreeSet<String>, _>>();
        eventually("both serve", || both().is_ok_and(|names| names.len() == 2));
        assert_eq!((up("10.20.0.2"), up("10.20.0.3")), (1, 1));

        drop(first);
        eventually("the first is found down", || conditions().contains("BackendDown"));
        assert!(conditions().contains("resource default/echo: 10.20.0.2 down, 1 of 2 take new sessions"));
        // Why it is down is its network's to know: it stands in the daemon's log, and in no view of a resource's reader.
        eventually("the log says why", || read_log().contains("backend is down: Connection refused"));
        let service =
            "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices/echo";
        for view in [
            ask("resource show echo --json"),
            ask("resource show echo"),
            ask("resource list --json"),
            ask("status --json"),
            ask("status"),
            ask("endpoint show orders --json"),
            String::from_utf8_lossy(&cli("doctor orders --vnet spoke --json").stdout).into_owned(),
            ask("audit list --json"),
            rest("GET", service, "").1.to_string(),
            format!("{:?}", metrics()),
        ] {
            for why in ["Connection refused", "os error", "no answer within"] {
                assert!(!view.contains(why), "{why}: {view}");
            }
        }
        assert_eq!(backends(), r#"["10.20.0.2 (down)","10.20.0.3"]"#);
        assert_eq!((up("10.20.0.2"), up("10.20.0.3")), (0, 1));
        assert_eq!(answers_of(20), ["10.20.0.3"], "nobody is sent to the dead one");

        drop(second);
        eventually("none is left", || conditions().contains("NoBackend"));
        let said = conditions();
        assert!(said.contains("has no backend left, 10.20.0.2 10.20.0.3 down: new sessions are refused"), "{said}");
        drops_exactly("no_backend", 1, || who().expect_err("nobody is there"));
        let why = ask("explain --vnet spoke 10.1.0.5 10.1.9.4:7");
        assert!(why.contains("fails its checks"), "{why}");

        let _again = (web_server("core", "10.20.0.2"), web_server("core", "10.20.0.3"));
        eventually("both are back", || !conditions().contains("Backend"));
        // Where both have as many sessions, a client's port decides: several in a row may fall to one of them.
        eventually("both serve again", || both().is_ok_and(|names| names.len() == 2));
        assert_eq!(backends(), r#"["10.20.0.2","10.20.0.3"]"#);
    });
}

/// A service that goes behind a load balancer, over Azure's API: its HTTP probe asks for a file, and takes the server out
/// that does not have it, though it still takes connections; what is written back as it was read changes no packet.
#[test]
fn an_http_probe_of_a_load_balancer_takes_out_the_server_that_does_not_have_its_path() {
    isolated("backends::an_http_probe_of_a_load_balancer_takes_out_the_server_that_does_not_have_its_path", || {
        two_legs();
        let _servers = (web_server("core", "10.20.0.2"), web_server("core", "10.20.0.3"));
        let _daemon = Daemon::start(&orders("Approved"));
        let network = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network";
        let (lb, service) = (format!("{network}/loadBalancers/lb"), format!("{network}/privateLinkServices/echo"));
        let server = |last: u8| {
            let properties = serde_json::json!({ "ipAddress": format!("10.20.0.{last}") });
            serde_json::json!({ "name": format!("b{last}"), "properties": properties })
        };
        let probe = serde_json::json!({ "protocol": "Http", "port": 7000, "requestPath": "/name?x=%20", "intervalInSeconds": 1,
            "probeThreshold": 2 });
        let rule = serde_json::json!({ "protocol": "Tcp", "frontendPort": 7, "backendPort": 7000, "loadDistribution": "SourceIP",
            "frontendIPConfiguration": { "id": format!("{lb}/frontendIPConfigurations/fe") },
            "backendAddressPool": { "id": format!("{lb}/backendAddressPools/be") },
            "probe": { "id": format!("{lb}/probes/up") } });
        let balancer = serde_json::json!({ "location": "westeurope", "properties": {
            "frontendIPConfigurations": [{ "name": "fe" }],
            "backendAddressPools": [{ "name": "be", "properties": { "loadBalancerBackendAddresses": [server(2), server(3)] } }],
            "probes": [{ "name": "up", "properties": probe }],
            "loadBalancingRules": [{ "name": "web", "properties": rule }] } });
        let put = |path: &str, body: &Value| {
            let (status, shown) = rest("PUT", path, &body.to_string());
            assert!(matches!(status, 200 | 201), "{path}: {status} {shown:#}");
            shown
        };
        put(&lb, &balancer);
        let mut behind = rest("GET", &service, "").1;
        behind["properties"]["loadBalancerFrontendIpConfigurations"] =
            serde_json::json!([{ "id": format!("{lb}/frontendIPConfigurations/fe") }]);
        let behind = put(&service, &behind);
        eventually("it serves", || who().is_ok());
        let first = who().expect("served");
        assert_eq!(answers_of(20), std::slice::from_ref(&first), "one client address has one server");
        assert_eq!(put(&service, &behind), behind);
        assert_eq!(answers_of(4), std::slice::from_ref(&first));

        std::fs::rename(format!("/run/www-{first}/name"), format!("/run/www-{first}/gone")).expect("moved");
        eventually("it is found down", || conditions().contains(&format!("{first} down")));
        eventually("the log says why", || read_log().contains("backend is down: HTTP 404"));
        let other = if first == "10.20.0.2" { "10.20.0.3" } else { "10.20.0.2" };
        assert_eq!(answers_of(10), [other]);
        std::fs::rename(format!("/run/www-{first}/gone"), format!("/run/www-{first}/name")).expect("moved");
        eventually("it is up again", || !conditions().contains("BackendDown"));
        assert_eq!(answers_of(4), [first], "and its clients come back");
    });
}

/// A host of its own behind `core`, which can be cut off without a word.
#[test]
fn sessions_of_a_backend_that_falls_silent_are_reset_and_those_of_others_live() {
    isolated("backends::sessions_of_a_backend_that_falls_silent_are_reset_and_those_of_others_live", || {
        two_legs();
        leg("server", &[]);
        join(("core", "down0", "10.20.7.1/24"), ("server", "eth0", "10.20.7.9/24"));
        ip("-n server route add default via 10.20.7.1");
        sysctl("core", "ipv4/ip_forward", "1");
        serve("core", "10.20.0.2:7000", "near");
        serve("server", "10.20.7.9:7000", "far");
        let file =
            orders("Approved").replace("[\"10.20.0.2\"], ports", &format!("[\"10.20.0.2\", \"10.20.7.9\"], {HEALTH}"));
        let _daemon = Daemon::start(&file);
        let mut held: Vec<(String, TcpStream)> = (0..4).map(|_| held_session()).collect();
        held.sort_by(|(one, _), (other, _)| one.cmp(other));
        let names: Vec<&str> = held.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["far", "far", "near", "near"]);

        ip("-n server link set eth0 down");
        for (_, stream) in &mut held[..2] {
            assert_eq!(end_of(stream), Err(ErrorKind::ConnectionReset), "its server is gone");
        }
        held[2..].iter_mut().for_each(|(_, stream)| echoes(stream));
        assert!((0..10).all(|_| held_session().0 == "near"));

        ip("-n server link set eth0 up");
        ip("-n server route replace default via 10.20.7.1");
        eventually("it is back", || !conditions().contains("BackendDown"));
        eventually("and has sessions again", || held_session().0 == "far");
        held[2..].iter_mut().for_each(|(_, stream)| echoes(stream));
    });
}

/// A session, and the name of its server.
fn held_session() -> (String, TcpStream) {
    session_of("10.1.0.5")
}

fn session_of(client: &str) -> (String, TcpStream) {
    let mut stream = connect("spoke", &format!("{client}:0"), ENDPOINT).expect("connected");
    (greeted(&mut stream).expect("greeted"), stream)
}

fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"still").expect("sent");
    stream.read_exact(&mut [0; 5]).expect("echoed");
}

#[test]
fn a_drained_backends_sessions_end_with_its_time_and_not_before() {
    isolated("backends::a_drained_backends_sessions_end_with_its_time_and_not_before", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "first");
        serve("core", "10.20.0.3:7000", "second");
        let file = orders("Approved")
            .replace("[\"10.20.0.2\"]", "[\"10.20.0.2\", \"10.20.0.3\"]")
            .replace("nat = [", "drain = \"3s\"\nnat = [");
        let daemon = Daemon::start(&file);
        let mut held: Vec<(String, TcpStream)> = (0..2).map(|_| held_session()).collect();
        held.sort_by(|(one, _), (other, _)| one.cmp(other));
        let began = now();
        daemon.apply(&file.replace("\"10.20.0.2\",", "{ address = \"10.20.0.2\", drain = true },"));
        assert_eq!(backends(), r#"["10.20.0.2 (drain)","10.20.0.3"]"#);
        echoes(&mut held[0].1);
        assert_eq!(end_of(&mut held[0].1), Err(ErrorKind::ConnectionReset));
        let took = began.elapsed();
        assert!(took > Duration::from_millis(2_900) && took < Duration::from_secs(6), "reset after {took:?}");
        assert_eq!(backends(), r#"["10.20.0.2 (drained)","10.20.0.3"]"#);
        echoes(&mut held[1].1);
        daemon.apply(&file);
        eventually("it is used again", || held_session().0 == "first");
    });
}

#[test]
fn a_nat_address_taken_away_keeps_its_sessions_and_its_route_to_their_end() {
    isolated("backends::a_nat_address_taken_away_keeps_its_sessions_and_its_route_to_their_end", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let both = two_sides("", &endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved"));
        let one = both.replace("\"10.20.99.4\", \"10.20.99.5\"", "\"10.20.99.4\"");
        let daemon = Daemon::start(&both);
        let addresses = || {
            let flows: Value = serde_json::from_str(&ask("flows --json")).expect("JSON");
            let flows = flows["items"].as_array().expect("a list").clone();
            flows.iter().map(|flow| flow["nat"]["ip"].as_str().expect("an address").to_owned()).collect::<Vec<_>>()
        };
        // One client has one address.
        let clients: Vec<String> = (20..40).map(|last| format!("10.1.0.{last}")).collect();
        let all = || clients.iter().map(|client| session_of(client).1);
        for client in &clients {
            ip(&format!("-n spoke address add {client}/32 dev lo"));
        }
        let mut held: Vec<TcpStream> = all().collect();
        let second = || addresses().iter().filter(|nat| *nat == "10.20.99.5").count();
        let retired = second();
        assert!((1..20).contains(&retired), "{retired} of 20 sessions have the second address");
        daemon.apply(&one);
        held.iter_mut().for_each(echoes);
        let routed = || ip("-n core route show").contains("10.20.99.5");
        assert!(routed(), "its sessions need the route");
        let shown = || json("resource show echo")["nat"].to_string();
        assert_eq!(shown(), r#"["10.20.99.4","10.20.99.5 (retired)"]"#);
        held.extend(all());
        assert_eq!(second(), retired, "no new session has it");
        std::thread::sleep(Duration::from_secs(4));
        assert!(routed(), "its sessions live");
        held.iter_mut().for_each(echoes);
        // The newest stay; they have the other address.
        held.drain(..20);
        eventually("the last session has ended", || !routed());
        assert_eq!(shown(), r#"["10.20.99.4"]"#);
        held.iter_mut().for_each(echoes);
        daemon.apply(&both);
        assert!(routed());
    });
}
