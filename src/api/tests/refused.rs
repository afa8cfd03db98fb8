//! Refused requests are counted exactly in the audit log, by who sent them.

use super::hostile::said;
use super::*;
use crate::control::codec::Record;

/// What the audit log says of refused requests.
fn refusals(served: &Served) -> Vec<Record> {
    served.state.control.audit_refusals().expect("written");
    let read = |(_, _, body): (u64, String, Vec<u8>)| Ok(serde_json::from_slice(&body).ok());
    let records: Result<Vec<Record>, Error> = served.state.control.audit(None, 100, read);
    records.expect("read").into_iter().filter(|record| record.action == "refuse").collect()
}

#[tokio::test]
async fn refused_requests_have_one_record_with_their_exact_number() {
    let served = Served::to(4242);
    for _ in 0..7 {
        assert_eq!(served.ask("GET", "/v1/tokens", "").await.0, 403);
    }
    let bad = "GET /v1/status HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer plk_x_1\r\nConnection: close\r\n\r\n";
    assert!(said(&served, bad.as_bytes()).await.starts_with("HTTP/1.1 401"));
    assert_eq!(served.ask("GET", "/v1/endpoints", "").await.0, 200);

    let told = refusals(&served);
    let [record] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((record.by.principal.to_string(), &*record.object), ("uid:4242".into(), "requests of uid:4242"));
    assert!(record.detail.starts_with("8 refused from "), "{record:?}");
    assert!(record.detail.ends_with("the first: GET /v1/tokens: 403"), "{record:?}");
    // The next interval begins anew, and nothing refused is nothing recorded.
    assert_eq!(refusals(&served).len(), 1);
    assert_eq!(served.ask("POST", "/v1/reload", "").await.0, 403);
    assert!(refusals(&served)[1].detail.starts_with("1 refused"));
    assert!(served.state.control.verify_audit().is_ok());
    served.stop().await;
}

#[tokio::test]
async fn whoever_has_no_good_token_is_known_by_its_address() {
    let served = Served::to(0);
    let listener = bind_metrics("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve_metrics(listener, router(served.state.clone()), async { drop(stopped.await) }));
    for path in ["/v1/status", "/v1/endpoints", "/v1/status"] {
        let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        assert_eq!(converse(stream, "GET", path, String::new()).await.0, 401, "{path}");
    }
    let told = refusals(&served);
    let [record] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(record.object, "requests from 127.0.0.1");
    assert!(record.detail.starts_with("3 refused") && record.detail.ends_with("GET /v1/status: 401"), "{record:?}");
    drop(stop);
    serving.await.expect("joined").expect("served");
    served.stop().await;
}
