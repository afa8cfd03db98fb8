//! Requests that nobody means well: each is refused in time, and the next caller is served.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::*;

const PATH: &str =
    "/subscriptions/s/resourceGroups/default/providers/Microsoft.Network/privateEndpoints/e?api-version=1";

/// Everything that is answered to `bytes` until the connection is closed, or nothing more comes.
pub(super) async fn said(served: &Served, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(&served.socket).await.expect("connected");
    // It may be closed before everything is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let patience = Duration::from_secs(10);
    let _ = tokio::time::timeout(patience, stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn put(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("PUT {PATH} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn sized(body: &[u8]) -> Vec<u8> {
    put(&format!("Connection: close\r\nContent-Length: {}\r\n", body.len()), body)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("nothing")
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused() {
    let served = Served::to(0);
    let deep = [b"[".repeat(30_000), b"]".repeat(30_000)].concat();
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("deeply nested", sized(&deep), "400"),
        ("not UTF-8", sized(b"{\"location\":\"\xff\xfe\"}"), "400"),
        ("not JSON", sized(b"<xml/>"), "400"),
        ("cut off", sized(b"{\"location\":"), "400"),
        ("a number", sized(b"7"), "400"),
        ("too large", sized(&vec![b' '; 70_000]), "413"),
        ("said to be too large", put("Connection: close\r\nContent-Length: 99999999999\r\n", b"{"), "413"),
    ];
    for (name, request, expected) in cases {
        let answer = said(&served, &request).await;
        assert_eq!(status(&answer), expected, "{name}: {answer}");
        assert!(answer.contains("\"error\""), "{name}: {answer}");
    }
    served.stop().await;
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_read_in_none() {
    let served = Served::to(0);
    let smuggled = "GET /v1/status HTTP/1.1\r\nHost: h\r\n\r\n";
    let cases = [
        ("two lengths", put("Content-Length: 2\r\nContent-Length: 3\r\n", b"{}x")),
        ("a length that is none", put("Content-Length: +2\r\n", b"{}")),
        ("a chunk of no size", put("Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n")),
        ("a chunk that is too long", put("Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n")),
        ("a folded header", put("X-A: b\r\n c\r\nContent-Length: 2\r\n", b"{}")),
        ("a blank before the colon", put("Content-Length : 2\r\n", b"{}")),
        ("an encoding that is none", put("Transfer-Encoding: chunked, identity\r\n", b"2\r\n{}\r\n0\r\n\r\n")),
    ];
    for (name, request) in cases {
        let answer = said(&served, &[&request, smuggled.as_bytes()].concat()).await;
        assert_eq!(status(&answer), "400", "{name}: {answer}");
        assert!(!answer.contains("workers"), "{name}: what follows is no request of its own: {answer}");
    }
    // Both a length and chunks: the chunks count (RFC 9112 §6.3), and what follows them is on nobody's account.
    let both = put("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n");
    let answer = said(&served, &both).await;
    assert!(status(&answer).starts_with('4'), "{answer}");
    served.stop().await;
}

#[tokio::test]
async fn heads_have_an_end() {
    let served = Served::to(0);
    let many = format!("GET {PATH} HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(200));
    assert_eq!(status(&said(&served, many.as_bytes()).await), "431");
    let long = format!("GET {PATH} HTTP/1.1\r\nX-A: {}\r\n\r\n", "b".repeat(100_000));
    assert_eq!(status(&said(&served, long.as_bytes()).await), "431");
    let path = format!("GET /subscriptions/{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(100_000));
    assert!(["414", "431"].contains(&status(&said(&served, path.as_bytes()).await)));
    served.stop().await;
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "how long a slow client is borne is measured in real time")]
async fn who_dawdles_keeps_nobody_waiting() {
    let served = Served::to(0);
    let began = Instant::now();
    // More than are served at once, and none of them ever ends its head.
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = UnixStream::connect(&served.socket).await.expect("connected");
        stream.write_all(b"GET /v1/st").await.expect("sent");
        idle.push(stream);
    }
    let (answered, _) = served.ask("GET", "/v1/status", "").await;
    assert_eq!(answered, 200);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let answer = said(&served, &put("Connection: close\r\nContent-Length: 100\r\n", b"{")).await;
    assert_eq!(status(&answer), "408", "a body that never comes: {answer}");
    drop(idle);
    served.stop().await;
}

#[tokio::test]
async fn every_answer_has_a_number_and_gives_the_clients_back() {
    let served = Served::to(0);
    let request =
        format!("GET {PATH} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nx-ms-client-request-id: mine\r\n\r\n");
    let answer = said(&served, request.as_bytes()).await.to_lowercase();
    assert!(answer.contains("x-ms-client-request-id: mine") && answer.contains("x-ms-request-id: "), "{answer}");
    let nobody = format!("GET {PATH} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer no\r\n\r\n");
    let answer = said(&served, nobody.as_bytes()).await;
    assert_eq!(status(&answer), "401");
    assert!(answer.contains("www-authenticate: Bearer") && answer.contains("InvalidAuthenticationToken"), "{answer}");
    served.stop().await;
}

/// A body of `size` bytes over a stream whose other end may stop reading: the answer, and whether it came whole.
pub(super) fn refused_while_sending<S: std::io::Read + std::io::Write>(
    mut stream: S,
    head: &str,
    size: usize,
) -> String {
    stream.write_all(head.as_bytes()).expect("the head is taken");
    let piece = vec![b'x'; 64 * 1024];
    // Like a client that looks for an answer when it has sent everything.
    for _ in 0..size / piece.len() {
        stream.write_all(&piece).expect("the body is taken, though it is thrown away");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and an end, and no reset");
    answer
}

#[tokio::test]
async fn an_oversized_body_is_answered_and_not_reset() {
    let served = Served::to(0);
    let listener = crate::api::listen::NetworkListener::bind("127.0.0.1:0".parse().unwrap(), None).expect("bound");
    let address = listener.address();
    let router = crate::api::router(served.state.clone());
    let network = tokio::spawn(async move { listener.serve(router, std::future::pending()).await });
    // Of nobody less is taken than of a caller.
    let nobody = "Authorization: Bearer privlink_nobody\r\n";
    for (path, token, size) in [(PATH, "", 16 << 20), ("/v1/apply", "", 16 << 20), (PATH, nobody, 512 << 10)] {
        for length in [format!("Content-Length: {size}"), "Transfer-Encoding: chunked".to_owned()] {
            let method = if path == PATH { "PUT" } else { "POST" };
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n{token}{length}\r\n\r\n"
            );
            let head = if length.starts_with('T') { format!("{head}{:x}\r\n", size * 2) } else { head };
            let socket = served.socket.clone();
            let asked = move || match token {
                "" => refused_while_sending(std::os::unix::net::UnixStream::connect(socket).unwrap(), &head, size),
                _ => refused_while_sending(std::net::TcpStream::connect(address).unwrap(), &head, size),
            };
            let answer = tokio::task::spawn_blocking(asked).await.expect("it is answered");
            let expected = if token.is_empty() { "413" } else { "401" };
            assert_eq!(status(&answer), expected, "{path} {length}: {answer}");
            let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
            assert!(
                serde_json::from_str::<Value>(body).is_ok_and(|body| body["error"]["code"].is_string()),
                "{answer}"
            );
        }
    }
    network.abort();
    served.stop().await;
}
