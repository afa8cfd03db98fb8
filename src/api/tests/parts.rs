//! Bodies of whoever may write in a part of everything: only the body says whether it is that part.

use std::io::{Read as _, Write as _};

use super::crowded::{HOSTILE, as_user, to_peers};
use super::hostile::{refused_while_sending, said};
use super::unseen::things::{assign, define};
use super::*;
use crate::api::server::before_body::{PART_DOCUMENT_LIMIT, PART_TIMEOUT};
use crate::testing::root;

const OTHER: &str = "/subscriptions/default/resourceGroups/other";

/// A daemon that takes every caller for uid 1000, who has `role` in the group `other` alone.
fn served_to(role: &str) -> Served {
    let served = Served::to(1000);
    let mut items = Box::new(Model::default());
    define(&mut items, "approver", &["Microsoft.Network/privateLinkServices/*/action"]);
    assign(&mut items, "uid:1000", role, OTHER);
    served.state.control.apply(&root(), Put { items, create_only: true }).expect("assigned");
    served
}

fn post(path: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_may_be_about_anything_is_short_and_quick() {
    let served = served_to("Owner");
    for path in ["/v1/apply", "/v1/assignments", "/v1/roles"] {
        let answer = said(&served, &post(path, 50_000, b"{")).await;
        let told = format!("within {} s", PART_TIMEOUT.as_secs());
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains(&told), "{path}: {answer}");
    }
    for (path, most) in [("/v1/apply", PART_DOCUMENT_LIMIT), ("/v1/assignments", BODY_LIMIT), ("/v1/roles", BODY_LIMIT)]
    {
        // It is not waited for.
        let answer = said(&served, &post(path, most + 1, b"{")).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains(&format!("{most} bytes")), "{path}: {answer}");
        let answer = said(&served, &post(path, most, &vec![b' '; most])).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    // What it may not is refused before anything is compared: of what is there like of what is not.
    for scope in ["/subscriptions/default/resourceGroups/default", "/subscriptions/default/resourceGroups/none", "/"] {
        let body = serde_json::json!({ "principal": "uid:7", "role": "Nonesuch", "scope": scope });
        let (status, refused) = served.ask("POST", "/v1/assignments", &body.to_string()).await;
        assert_eq!((status, refused["error"]["code"].as_str()), (403, Some("AuthorizationFailed")), "{refused}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_write_no_object_has_no_document_read() {
    let served = served_to("approver");
    let answer = said(&served, &post("/v1/apply", 50_000, b"")).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("may not change any object"), "{answer}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_write_everywhere_has_all_of_a_document_read() {
    let served = Served::to(0);
    let most = PART_DOCUMENT_LIMIT + 1;
    let answer = said(&served, &post("/v1/apply", most, &vec![b' '; most])).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_no_place_is_told_so_while_it_sends() {
    let served = to_peers();
    let socket = served.socket.clone();
    let size = 96 << 10;
    let connect = move || std::os::unix::net::UnixStream::connect(&socket).expect("connected");
    // Every place of one user is taken by connections that have told whose they are.
    let crowd = move || {
        let mut open = Vec::new();
        for _ in 0..crate::api::server::places::EACH_CALLER {
            let mut stream = connect();
            stream.write_all(b"GET /v1/epoch HTTP/1.1\r\nHost: h\r\n\r\n").expect("sent");
            let mut answer = [0; 1024];
            let read = stream.read(&mut answer).expect("answered");
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
            open.push(stream);
        }
        let head = format!("POST /v1/apply HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
        refused_while_sending(connect(), &head, size)
    };
    // `None`: the tests may not become another user.
    if let Some(answer) = tokio::task::spawn_blocking(|| as_user(HOSTILE, crowd)).await.expect("it is answered") {
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("TooManyConnections"), "{answer}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sends_no_more_than_it_must() {
    let served = Served::to(0);
    let listener = crate::api::listen::NetworkListener::bind("127.0.0.1:0".parse().unwrap(), None).expect("bound");
    let address = listener.address();
    let router = crate::api::router(served.state.clone());
    let network = tokio::spawn(async move { listener.serve(router, std::future::pending()).await });
    let size = 48 << 20;
    let sent = move || {
        let mut stream = std::net::TcpStream::connect(address).expect("connected");
        let head = format!("PUT /subscriptions/s HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the head is taken");
        let piece = vec![b'x'; 64 * 1024];
        (0..size / piece.len()).take_while(|_| stream.write_all(&piece).is_ok()).count() * piece.len()
    };
    let sent = tokio::task::spawn_blocking(sent).await.expect("sent");
    // Besides what the two sockets hold.
    assert!(sent < size, "all of {sent} bytes were taken of nobody");
    network.abort();
    served.stop().await;
}
