//! Many callers at once: each has its share, and none keeps the others from being served.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::super::places::EACH_CALLER;
use super::*;

/// The status of one more request on an open connection.
async fn status_on<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut S, head: &str) -> String {
    stream.write_all(format!("{head}\r\nHost: h\r\n\r\n").as_bytes()).await.expect("sent");
    let mut answer = vec![0; 16 * 1024];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer)).await.expect("in time");
    let answer = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
    answer.split(' ').nth(1).unwrap_or("nothing").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_control_socket_has_its_share_of_connections() {
    let served = Served::to(1000);
    // The peer is this process, whatever its uid: requests tell that they are of uid 1000.
    let mut open = Vec::new();
    for _ in 0..EACH_CALLER {
        let mut stream = UnixStream::connect(&served.socket).await.expect("connected");
        assert_eq!(status_on(&mut stream, "GET /v1/epoch HTTP/1.1").await, "200");
        open.push(stream);
    }
    let (status, refused) = served.ask("GET", "/v1/epoch", "").await;
    assert_eq!((status, refused["error"]["code"].as_str()), (503, Some("TooManyConnections")), "{refused}");
    drop(open.pop());
    let mut answered = 503;
    while answered == 503 {
        answered = served.ask("GET", "/v1/epoch", "").await.0;
    }
    assert_eq!(answered, 200);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_change_nothing_is_refused_before_its_document_is_read() {
    let served = Served::to(1000);
    let mut stream = UnixStream::connect(&served.socket).await.expect("connected");
    // The body never comes, and nobody waits for it.
    let head = "POST /v1/apply HTTP/1.1\r\nContent-Length: 5000000";
    assert_eq!(status_on(&mut stream, head).await, "403");
    let (status, refused) = served.ask("POST", "/v1/apply", "no document at all").await;
    assert_eq!((status, refused["error"]["code"].as_str()), (403, Some("AuthorizationFailed")), "{refused}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_a_few_long_polls_and_more_are_answered_at_once() {
    let served = Served::to(1000);
    let epoch = served.ask("GET", "/v1/epoch", "").await.1["items"][0]["epoch"].as_u64().expect("a number");
    let path = format!("/v1/epoch?after={epoch}&wait=15");
    // Those that wait are given up by the listener after a while, with another status.
    let polls = (0..12).map(|_| Box::pin(exchange(&served.socket, "GET", &path, String::new())));
    let (first, _, others) = futures_util::future::select_all(polls).await;
    assert_eq!(first.0, 200, "one more than may wait is answered");
    drop(others);
    served.stop().await;
}
