//! `GET /metadata/endpoints`: where clients of Azure find what, and what names of the daemon's cloud end in. Nobody needs to
//! say who they are for it.

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, Uri};
use serde_json::{Value, json};

use crate::api::{ApiState, Secure, arm};
use crate::model::Cloud;

/// The first version that answers with one object: earlier ones answer with a list of them.
const ONE_OBJECT: &str = "2022-01-01";

#[derive(Debug, serde::Deserialize)]
pub(in crate::api) struct Asked {
    #[serde(default, rename = "api-version")]
    api_version: String,
}

/// `GET /metadata/endpoints?api-version=…`
pub(in crate::api) async fn endpoints(
    State(state): State<ApiState>,
    secure: Option<Extension<Secure>>,
    headers: HeaderMap,
    uri: Uri,
    Query(Asked { api_version }): Query<Asked>,
) -> Json<Value> {
    let one = document(state.control.view().host.cloud, &arm::base(&headers, &uri, secure.is_some()));
    // Versions are dates, which are compared as they are written.
    Json(if api_version.as_str() < ONE_OBJECT && !api_version.is_empty() { json!([one]) } else { one })
}

fn document(cloud: Cloud, base: &str) -> Value {
    let suffixes = cloud.suffixes();
    json!({
        "name": "privlink",
        "resourceManager": format!("{base}/"),
        "portal": cloud.portal(),
        "authentication": { "audiences": [format!("{base}/"), cloud.audience()] },
        "microsoftGraphResourceId": format!("{base}/graph"),
        "suffixes": {
            "storage": suffixes.storage,
            "keyVaultDns": suffixes.key_vault,
            "mhsmDns": suffixes.managed_hsm,
            "sqlServerHostname": suffixes.sql_server,
            "acrLoginServer": suffixes.container_registry,
            "azureDataLakeStoreFileSystem": suffixes.data_lake_store,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_tells_its_own_suffixes() {
        for (cloud, portal, storage, sql) in [
            (Cloud::Commercial, "https://portal.azure.com", "core.windows.net", "database.windows.net"),
            (Cloud::Government, "https://portal.azure.us", "core.usgovcloudapi.net", "database.usgovcloudapi.net"),
            (Cloud::China, "https://portal.azure.cn", "core.chinacloudapi.cn", "database.chinacloudapi.cn"),
        ] {
            let told = document(cloud, "https://lab:8480");
            assert_eq!((&told["portal"], &told["suffixes"]["storage"]), (&json!(portal), &json!(storage)), "{cloud}");
            assert_eq!(told["suffixes"]["sqlServerHostname"], sql, "{cloud}");
            assert_eq!(told["resourceManager"], "https://lab:8480/");
        }
    }
}
