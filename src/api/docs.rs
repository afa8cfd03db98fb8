//! The OpenAPI document: made from the table of routes, so that it says what there is.

use serde_json::{Map, Value, json};

use super::arm::routes::{Operation, ROUTES, Route};

/// Shapes of bodies, by name.
const SCHEMAS: &str = include_str!("arm/schemas.json");

/// The document, in version 3.1 of the format.
pub(super) fn document() -> Value {
    let paths: Map<String, Value> = ROUTES.iter().map(|route| (route.template.to_owned(), path(route))).collect();
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "privlink: private endpoints in Azure Resource Manager's shape",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Any api-version will do. What Azure has no word for stands in properties.privlink.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn path(route: &Route) -> Value {
    let open = route.template.split('/').filter_map(|piece| piece.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } });
    let mut parameters: Vec<Value> = open.map(parameter).collect();
    parameters.push(json!({
        "name": "api-version", "in": "query", "required": true, "schema": { "type": "string", "minLength": 1 },
    }));
    let mut shown = Map::new();
    shown.insert("parameters".into(), Value::Array(parameters));
    for operation in route.operations {
        shown.insert(operation.method.to_lowercase(), described(route, operation));
    }
    Value::Object(shown)
}

fn described(route: &Route, operation: &Operation) -> Value {
    let mut responses = json!({ "default": answer("what is wrong, and what to do", "Error") });
    for (status, schema) in answers(route, operation) {
        responses[status] = match schema {
            Some(schema) => answer("as asked for", schema),
            None => json!({ "description": "as asked for" }),
        };
    }
    let mut shown = json!({ "summary": operation.summary, "responses": responses });
    shown["operationId"] = json!(format!("{} {}", operation.method, route.template));
    if let Some(schema) = body(route.template, operation.method) {
        let content = json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } });
        shown["requestBody"] = json!({ "required": true, "content": content });
    }
    let header = |name: &&str| json!({ "name": name, "in": "header", "schema": { "type": "string" } });
    let conditions = ["If-Match", "If-None-Match"];
    let conditions = conditions.iter().filter(|_| matches!(operation.method, "PUT" | "PATCH" | "DELETE")).map(header);
    // A page's own token is no word of clients.
    let options = operation.options.iter().filter(|name| **name != "$skiptoken").map(|name| {
        let schema = match *name {
            "$top" => json!({ "type": "integer", "minimum": 1 }),
            "$expand" => json!({ "enum": ["networkInterfaces"] }),
            _ => json!({ "type": "string" }),
        };
        json!({ "name": name, "in": "query", "schema": schema })
    });
    let parameters: Vec<Value> = conditions.chain(options).collect();
    if !parameters.is_empty() {
        shown["parameters"] = Value::Array(parameters);
    }
    shown
}

fn answer(description: &str, schema: &str) -> Value {
    let content = json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } });
    json!({ "description": description, "content": content })
}

/// What is answered when all is well: statuses, and the shape of each body.
fn answers(route: &Route, operation: &Operation) -> Vec<(&'static str, Option<&'static str>)> {
    match operation.method {
        "GET" if route.is_list() => vec![("200", Some("List"))],
        "GET" | "PATCH" => vec![("200", Some("Object"))],
        "HEAD" => vec![("204", None)],
        "POST" => vec![("200", Some("Visibility"))],
        "DELETE" => vec![("200", None), ("204", None)],
        _ => vec![("200", Some("Object")), ("201", Some("Object"))],
    }
}

/// The shape of a request's body.
fn body(template: &str, method: &str) -> Option<&'static str> {
    const BODIES: [(&str, &str); 14] = [
        ("/privateEndpointConnections/{connection}", "Connection"),
        ("/subnets/{subnet}", "Subnet"),
        ("/virtualNetworkPeerings/{peering}", "Peering"),
        ("/virtualNetworks/{name}", "VirtualNetwork"),
        ("/loadBalancers/{name}", "LoadBalancer"),
        ("/privateLinkServices/{name}", "PrivateLinkService"),
        ("/privateEndpoints/{name}", "PrivateEndpoint"),
        ("/privateDnsZoneGroups/{zones}", "PrivateDnsZoneGroup"),
        ("/privateDnsZones/{name}", "PrivateDnsZone"),
        ("/virtualNetworkLinks/{link}", "VirtualNetworkLink"),
        ("/{record}/{relative}", "RecordSet"),
        ("/networkInterfaces/{name}", "TagsObject"),
        ("/{type}/{name}", "TypedResource"),
        ("/resourceGroups/{group}", "ResourceGroup"),
    ];
    match method {
        "PUT" => BODIES.iter().find(|(end, _)| template.ends_with(end)).map(|(_, schema)| *schema),
        "PATCH" if template.ends_with("/{relative}") => Some("RecordSet"),
        "PATCH" if template.ends_with("/{link}") => Some("VirtualNetworkLink"),
        "PATCH" => Some("TagsObject"),
        "POST" => Some("Alias"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described_and_every_shape_is_there() {
        let document = document();
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name: String = part.chars().take_while(char::is_ascii_alphanumeric).collect();
            assert!(document["components"]["schemas"].get(&name).is_some(), "{name}");
        }
        let mut operations = 0;
        for (template, path) in document["paths"].as_object().unwrap() {
            for (method, operation) in path.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
                operations += 1;
                let route = ROUTES.iter().find(|route| route.template == template).unwrap();
                let method: axum::http::Method = method.to_uppercase().parse().unwrap();
                assert!(route.operation(&method).is_some(), "{method} {template}");
                let takes = operation.get("requestBody").is_some();
                assert_eq!(takes, matches!(method.as_str(), "PUT" | "PATCH" | "POST"), "{method} {template}");
            }
        }
        assert_eq!(operations, ROUTES.iter().map(|route| route.operations.len()).sum::<usize>());
    }
}
