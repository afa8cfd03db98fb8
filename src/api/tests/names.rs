//! What a request may name: conditions that nobody judges, and names that no scope has.

use super::Served;

#[tokio::test]
async fn a_condition_that_is_not_judged_is_refused_and_nothing_is_assigned() {
    let served = Served::to(0);
    for condition in [r#""condition":"@Resource[x] StringEquals 'y'""#, r#""conditionVersion":"2.0""#] {
        let body = format!(r#"{{"principal":"uid:7","role":"Reader","scope":"/",{condition}}}"#);
        let (status, error) = served.ask("POST", "/v1/assignments", &body).await;
        assert_eq!(status, 400, "{error}");
        assert!(error.to_string().contains("conditions are not judged"), "{error}");
    }
    let view = served.state.control.view();
    let principal = "uid:7".parse().unwrap();
    assert!(view.access.grants().iter().all(|grant| grant.assignment.principal != principal));
    // Azure's clients write the field even where there is none.
    let body = r#"{"principal":"uid:7","role":"Reader","scope":"/","condition":null}"#;
    assert_eq!(served.ask("POST", "/v1/assignments", body).await.0, 200);
    served.stop().await;
}
