//! How much the API answers beside traffic. Figures, no assertion about them: `PRIVLINK_TESTS=netns cargo test --release
//! --test netns load:: -- --ignored --nocapture`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Daemon, ask, endpoint, isolated, now, two_legs, two_sides};

/// Callers at once.
const CALLERS: usize = 8;

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(10);

const PATH: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateEndpoints";

/// A connection that stays.
struct Caller {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Caller {
    fn new() -> Self {
        let stream = TcpStream::connect("127.0.0.1:8480").expect("connected");
        stream.set_nodelay(true).expect("set");
        let token = std::fs::read_to_string("/run/privlink/load.token").expect("a token");
        Self { stream: BufReader::new(stream), token: token.trim().to_owned() }
    }

    /// The status and body of the answer.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let request = format!(
            "{method} {path}?api-version=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).expect("sent");
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("a line");
            match line.trim_end().to_lowercase().as_str() {
                "" => break,
                head if head.starts_with("http/1.1 ") => status = head[9..12].parse().expect("a status"),
                head => {
                    if let Some(value) = head.strip_prefix("content-length: ") {
                        length = value.parse().expect("a length");
                    }
                }
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        (status, body)
    }
}

/// Answers per second while every caller asks as fast as it can; `next` makes the request of a number.
fn rate(expected: u16, next: impl Fn(u64) -> (&'static str, String, String) + Sync) -> f64 {
    let (number, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let began = now();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut caller = Caller::new();
                while !ended.load(Ordering::Relaxed) {
                    let (method, path, body) = next(number.fetch_add(1, Ordering::Relaxed));
                    let (status, said) = caller.ask(method, &path, &body);
                    assert_eq!(status, expected, "{}", String::from_utf8_lossy(&said));
                }
            });
        }
        std::thread::sleep(SPAN);
        ended.store(true, Ordering::Relaxed);
    });
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let answered = number.load(Ordering::Relaxed) as f64;
    answered / began.elapsed().as_secs_f64()
}

/// Traffic through the endpoint for a while, paced, and what of it arrives: Mbit/s.
struct Traffic(Child);

impl Traffic {
    fn start(seconds: u64) -> Self {
        let client = Command::new("ip")
            .args(["netns", "exec", "spoke", "iperf3", "-J", "-c", "10.1.9.4", "-p", "7", "-b", "400M", "-t"])
            .arg(seconds.to_string())
            .stdout(Stdio::piped())
            .spawn();
        Self(client.expect("iperf3"))
    }

    fn arrived(self) -> f64 {
        let output = self.0.wait_with_output().expect("ended");
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        said["end"]["sum_received"]["bits_per_second"].as_f64().expect("a rate") / 1e6
    }
}

fn put(number: u64) -> (&'static str, String, String) {
    let subnet =
        "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/virtualNetworks/spoke/subnets/many";
    let service = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices/echo";
    let body = serde_json::json!({ "location": "local", "properties": {
        "subnet": { "id": subnet },
        "manualPrivateLinkServiceConnections": [{ "name": "c", "properties": { "privateLinkServiceId": service } }],
    } });
    ("PUT", format!("{PATH}/e{number}"), body.to_string())
}

#[test]
#[ignore = "a measurement, not a test"]
fn how_much_the_api_answers_beside_traffic() {
    isolated("load::how_much_the_api_answers_beside_traffic", || {
        two_legs();
        let mut server = Command::new("ip")
            .args(["netns", "exec", "core", "iperf3", "-s", "-B", "10.20.0.2", "-p", "7000"])
            .stdout(Stdio::null())
            .spawn()
            .expect("iperf3");
        let file =
            two_sides("api = \"http://127.0.0.1:8480\"", &endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved"));
        let many = "{ name = \"endpoints\", prefix = \"10.1.9.0/24\", dedicated = true }, { name = \"many\", prefix = \"10.1.128.0/17\", dedicated = true }";
        let file = file.replacen("{ name = \"endpoints\", prefix = \"10.1.9.0/24\", dedicated = true }", many, 1);
        let _daemon = Daemon::start(&file);
        ask("token create load --out /run/privlink/load.token");
        ask("assignment create --principal token:load --role Owner --scope /subscriptions/default");
        let seconds = SPAN.as_secs();
        let alone = Traffic::start(seconds).arrived();
        let traffic = Traffic::start(seconds);
        let puts = rate(201, put);
        let beside_puts = traffic.arrived();
        let traffic = Traffic::start(seconds);
        let gets = rate(200, |number| ("GET", format!("{PATH}/e{}", number % 100), String::new()));
        let beside_gets = traffic.arrived();
        println!("traffic alone:        {alone:7.0} Mbit/s");
        println!(
            "durable PUT:          {puts:7.0} /s, traffic beside it {beside_puts:.0} Mbit/s ({:.0} %)",
            beside_puts / alone * 100.0
        );
        println!(
            "GET:                  {gets:7.0} /s, traffic beside it {beside_gets:.0} Mbit/s ({:.0} %)",
            beside_gets / alone * 100.0
        );
        server.kill().expect("killed");
        server.wait().expect("ended");
    });
}
