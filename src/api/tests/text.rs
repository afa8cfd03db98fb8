//! Texts that are none are refused at every border, and nothing of the request is in force.

use super::*;

const GROUP: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network";

#[tokio::test]
async fn what_is_no_text_is_refused_at_every_border() {
    let served = Served::to(0);
    let epoch = served.state.control.view().epoch;
    let zone = |tags: &str| format!("{{\"location\":\"global\",\"tags\":{{{tags}}}}}");
    let vnet = |name: &str| {
        format!(
            "{{\"location\":\"westeurope\",\"properties\":{{\"addressSpace\":{{\"addressPrefixes\":[\"10.8.0.0/16\"]}},\"subnets\":\
             [{{\"name\":\"{name}\",\"properties\":{{\"addressPrefix\":\"10.8.1.0/24\"}}}}]}}}}"
        )
    };
    for odd in ["\\u0000", "\\u001b[2K", "\\n", "\\u202e", "\u{9b}", "\u{2066}"] {
        let document = format!(
            "[[endpoint]]\nname = \"new\"\nvnet = \"spoke\"\nsubnet = \"endpoints\"\nresource = \"orders-db\"\nmanual = true\n\
             request_message = \"ticket{odd}\"\n"
        );
        let document = serde_json::json!({ "name": "d.toml", "document": document });
        let role = format!("{{\"name\":\"hand\",\"description\":\"x{odd}\",\"actions\":[\"Microsoft.Network/*\"]}}");
        for (method, path, body) in [
            ("POST", "/v1/connections/orders/approve".to_owned(), format!("{{\"reason\":\"fine{odd}\"}}")),
            ("POST", "/v1/connections/orders/reject".to_owned(), format!("{{\"reason\":\"{odd}\"}}")),
            ("POST", "/v1/apply".to_owned(), document.to_string()),
            ("POST", "/v1/roles".to_owned(), role),
            ("PUT", format!("{GROUP}/privateDnsZones/corp.internal?api-version=1"), zone(&format!("\"a\":\"b{odd}\""))),
            ("PUT", format!("{GROUP}/privateDnsZones/corp.internal?api-version=1"), zone(&format!("\"a{odd}\":\"b\""))),
            ("PUT", format!("{GROUP}/virtualNetworks/v?api-version=1"), vnet(&format!("a{odd}"))),
        ] {
            let (status, answer) = served.ask(method, &path, &body).await;
            assert!([400, 422].contains(&status), "{method} {path} {body}: {status} {answer}");
        }
    }
    assert_eq!(served.state.control.view().epoch, epoch, "nothing has changed");
    served.stop().await;
}
