//! Attacks that never got through: tricks with paths, races for one version of an object, pages whose objects go, tokens
//! that are revoked while their connection stays open.

use super::*;

const GROUP: &str = "/subscriptions/default/resourceGroups/default";

fn network(rest: &str) -> String {
    format!("{GROUP}/providers/Microsoft.Network/{rest}?api-version=2025-05-01")
}

#[tokio::test]
async fn a_path_is_what_it_says_and_no_trick_makes_it_another() {
    let served = Served::to(0);
    assert_eq!(served.ask("GET", &network("virtualNetworks/spoke"), "").await.0, 200);
    for path in [
        "virtualNetworks/none/../spoke",
        "virtualNetworks/./spoke",
        "virtualNetworks//spoke",
        "virtualNetworks/spoke;x=1",
        "virtualNetworks/spoke%00",
        "virtualNetworks/none%2F..%2Fspoke",
        "virtualNetworks/%2E%2E/virtualNetworks/spoke",
        "virtualNetworks%2Fspoke",
        "virtualNetworks/spoke%20",
        "virtualNetworks/spoke%2F",
        "virtualNetworks/sp%256Fke",
        "virtualNetworks/spoke/subnets/../../spoke",
        "../Microsoft.Network/virtualNetworks/spoke",
    ] {
        for method in ["GET", "DELETE"] {
            let (status, error) = served.ask(method, &network(path), "").await;
            assert!([400, 404].contains(&status), "{method} {path}: {status} {error}");
        }
    }
    for path in ["/v1/../v1/status", "/v1/./status", "/v1//status", "/v1/status/..", "/v1/%2e%2e/status", "/V1/status"]
    {
        assert_eq!(served.ask("GET", path, "").await.0, 404, "{path}");
    }
    assert_eq!(served.ask("GET", &network("virtualNetworks/spoke"), "").await.0, 200, "nothing was deleted");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writes_that_know_one_version_exactly_one_takes_effect() {
    let served = Served::to(0);
    let path = network("virtualNetworks/spoke");
    for round in 0..5 {
        let (_, before) = served.ask("GET", &path, "").await;
        let tag = before["etag"].as_str().expect("a tag").to_owned();
        let (path, tag, served) = (&path, &tag, &served);
        let write = |number: usize| {
            let body = format!(r#"{{"tags":{{"round":"{round}","by":"{number}"}}}}"#);
            let head = format!(
                "PATCH {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nIf-Match: {tag}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            async move { hostile::said(served, (head + &body).as_bytes()).await }
        };
        let answers = futures_util::future::join_all((0..8).map(write)).await;
        let with = |status: &str| answers.iter().filter(|answer| answer.split(' ').nth(1) == Some(status)).count();
        assert_eq!((with("200"), with("412")), (1, 7), "{answers:?}");
        let won = answers.iter().position(|answer| answer.split(' ').nth(1) == Some("200"));
        let (_, after) = served.ask("GET", path, "").await;
        assert_eq!(after["tags"]["by"], won.expect("one").to_string(), "what is in force is what was answered");
    }
    served.stop().await;
}

#[tokio::test]
async fn pages_whose_objects_go_meanwhile_lose_and_repeat_no_other() {
    let served = Served::to(0);
    let body = r#"{"location":"westeurope","properties":{}}"#;
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(served.ask("PUT", &network(&format!("loadBalancers/{name}")), body).await.0, 201);
    }
    let (_, first) = served.ask("GET", &(network("loadBalancers") + "&$top=2"), "").await;
    let names = |page: &Value| -> Vec<String> {
        page["value"].as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("text").into()).collect()
    };
    assert_eq!(names(&first), ["a", "b"]);
    // The last object of the page that was read, the first of the next, and one that is new before them all.
    for name in ["b", "c"] {
        let (status, _) =
            exchange(&served.socket, "DELETE", &network(&format!("loadBalancers/{name}")), String::new()).await;
        assert_eq!(status, 200);
    }
    assert_eq!(served.ask("PUT", &network("loadBalancers/aa"), body).await.0, 201);
    let mut rest = Vec::new();
    let mut link = first["nextLink"].as_str().map(str::to_owned);
    while let Some(next) = link {
        let path = next.split_once("://").and_then(|(_, rest)| rest.split_once('/')).expect("a path").1;
        let (status, page) = served.ask("GET", &format!("/{path}"), "").await;
        assert_eq!(status, 200, "{page}");
        rest.extend(names(&page));
        link = page["nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(rest, ["d", "e", "f"]);
    served.stop().await;
}

#[tokio::test]
async fn a_token_that_is_revoked_ends_with_the_next_request_of_its_open_connection() {
    let served = Served::to(0);
    // The control plane of tests stands still at a moment of the past; who presents a token is judged by now.
    let minting = format!(r#"{{"name":"ci","lifetimeSeconds":{}}}"#, 9 * 366 * 24 * 3_600);
    let (status, minted) = served.ask("POST", "/v1/tokens", &minting).await;
    assert_eq!(status, 200, "{minted}");
    let secret = minted["items"][0]["secret"].as_str().expect("a secret").to_owned();
    let given = r#"{"principal":"token:ci","role":"Reader","scope":"/"}"#;
    assert_eq!(served.ask("POST", "/v1/assignments", given).await.0, 200);
    let stream = tokio::net::UnixStream::connect(&served.socket).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    let mut ask = async |path: &str| {
        let request = hyper::Request::builder().uri(path).header("host", "h");
        let request = request.header("authorization", format!("Bearer {secret}")).body(Full::new(Bytes::new()));
        sender.ready().await.expect("the connection is open");
        let response = sender.send_request(request.expect("a request")).await.expect("an answer");
        let status = response.status().as_u16();
        response.into_body().collect().await.expect("a body");
        status
    };
    assert_eq!((ask("/v1/status").await, ask("/v1/endpoints").await), (200, 200));
    assert_eq!(served.ask("DELETE", "/v1/tokens/ci", "").await.0, 200);
    assert_eq!((ask("/v1/status").await, ask("/v1/endpoints").await), (401, 401));
    // Another token of the name is another one: the old secret does not revive.
    assert_eq!(served.ask("POST", "/v1/tokens", &minting).await.0, 200);
    assert_eq!(ask("/v1/status").await, 401);
    served.stop().await;
}
