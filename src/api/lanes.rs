//! Which threads a request is worked on, by what it asks for alone.

use axum::http::Method;
use serde::Deserialize;

use super::pool::Lane;

/// The lane of a request; `None`: it computes nothing, and may wait long.
pub(super) fn of(method: &Method, path: &str, body: &[u8]) -> Option<Lane> {
    if path == "/v1/epoch" || super::identify::OPEN.contains(&path) {
        return None;
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Some(Lane::Reads);
    }
    Some(if only_revokes(method, path, body) { Lane::Revocations } else { Lane::Changes })
}

fn only_revokes(method: &Method, path: &str, body: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("POST", ["v1", "connections", _, "reject" | "remove"])
        | ("DELETE", ["v1", "endpoints" | "tokens", _])
        | ("DELETE", ["subscriptions", .., "privateendpoints" | "privateendpointconnections", _]) => true,
        ("PUT", ["subscriptions", .., "privateendpointconnections", _]) => rejects(body),
        _ => false,
    }
}

/// Whether the wanted state of a connection is one in which nothing passes.
fn rejects(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Wanted {
        properties: Properties,
    }
    #[derive(Deserialize)]
    struct Properties {
        #[serde(rename = "privateLinkServiceConnectionState")]
        state: State,
    }
    #[derive(Deserialize)]
    struct State {
        status: String,
    }
    let status = serde_json::from_slice(body).map(|wanted: Wanted| wanted.properties.state.status);
    status.is_ok_and(|status| ["rejected", "disconnected"].iter().any(|word| status.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_takes_something_away_has_a_lane_of_its_own() {
        let connection = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/privateLinkServices/r/privateEndpointConnections/c";
        let endpoint = "/Subscriptions/s/resourceGroups/g/providers/Microsoft.Network/PrivateEndpoints/e";
        let state = |status: &str| {
            format!(
                r#"{{"properties":{{"privateLinkServiceConnectionState":{{"status":"{status}","description":"Rejected"}}}}}}"#
            )
        };
        let (rejected, approved) = (state("Rejected"), state("Approved"));
        for (method, path, body, expected) in [
            ("GET", "/v1/status", "", Some(Lane::Reads)),
            ("HEAD", "/v1/endpoints", "", Some(Lane::Reads)),
            ("GET", "/metrics", "", Some(Lane::Reads)),
            ("GET", "/v1/epoch", "", None),
            ("GET", "/healthz", "", None),
            ("POST", "/v1/connections/e/reject", "", Some(Lane::Revocations)),
            ("POST", "/v1/connections/e/remove", "", Some(Lane::Revocations)),
            ("POST", "/v1/connections/e/approve", "", Some(Lane::Changes)),
            ("DELETE", "/v1/endpoints/e", "", Some(Lane::Revocations)),
            ("DELETE", "/v1/tokens/ci", "", Some(Lane::Revocations)),
            ("DELETE", "/v1/vnets/v", "", Some(Lane::Changes)),
            ("POST", "/v1/apply", "", Some(Lane::Changes)),
            ("PUT", connection, &rejected, Some(Lane::Revocations)),
            ("PUT", connection, &approved, Some(Lane::Changes)),
            ("PUT", connection, "[", Some(Lane::Changes)),
            ("DELETE", connection, "", Some(Lane::Revocations)),
            ("DELETE", endpoint, "", Some(Lane::Revocations)),
            ("PUT", endpoint, &rejected, Some(Lane::Changes)),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(of(&method, path, body.as_bytes()), expected, "{method} {path} {body}");
        }
    }
}
