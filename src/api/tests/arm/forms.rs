//! Names in every form that Azure's clients write.

use super::*;

const ACCOUNT: &str = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/accta";
const CONFIGS: &str = "ipConfigurations";

/// An account with a subresource of one member, `blob`, and one of two.
async fn account(served: &Served) {
    let target = |subresource: &str, member: &str| json!({ "subresource": subresource, "member": member });
    let targets = json!([target("blob", ""), target("file", "one"), target("file", "two")]);
    let body = json!({ "location": "West Europe", "properties": { "privlink": { "targets": targets } } });
    assert_eq!(served.made(ACCOUNT, body).await["location"], "westeurope");
}

fn bound(group: &str, addresses: &[(&str, &str)]) -> Value {
    let mut body = endpoint(MANUAL, ACCOUNT);
    body["properties"][MANUAL][0]["properties"]["groupIds"] = json!([group]);
    let config = |(member, ip): &(&str, &str)| json!({ "name": format!("c-{ip}"), "properties": { "groupId": group, "memberName": member, "privateIPAddress": ip } });
    body["properties"][CONFIGS] = addresses.iter().map(config).collect();
    body
}

#[tokio::test]
async fn members_are_called_as_the_resource_says_they_are() {
    let served = Served::to(0);
    served.furnish().await;
    account(&served).await;
    let (_, parts) = served.get(&format!("{ACCOUNT}/privateLinkResources")).await;
    let required = |name: &str| {
        let all = parts["value"].as_array().unwrap();
        all.iter().find(|part| part["name"] == name).unwrap()["properties"]["requiredMembers"].clone()
    };
    assert_eq!((required("blob"), required("file")), (json!(["blob"]), json!(["one", "two"])));
    for (number, member) in ["blob", "BLOB", "", "default", "Default"].into_iter().enumerate() {
        let (name, ip) = (format!("N/privateEndpoints/blob{number}"), format!("10.1.1.{}", 50 + number));
        let made = served.made(&name, bound("Blob", &[(member, &ip)])).await;
        let asked = &made["properties"][MANUAL][0]["properties"];
        assert_eq!(asked["groupIds"], json!(["blob"]), "as the resource spells it");
        let config = &made["properties"][CONFIGS][0]["properties"];
        assert_eq!((&config["memberName"], &config["privateIPAddress"]), (&json!(member), &json!(ip)));
        let (_, nic) = served.get(made["properties"]["networkInterfaces"][0]["id"].as_str().unwrap()).await;
        let config = &nic["properties"]["ipConfigurations"][0]["properties"];
        assert_eq!(config["privateLinkConnectionProperties"]["requiredMemberName"], "blob", "{member}");
        assert_eq!(config["privateLinkConnectionProperties"]["groupId"], "blob", "{member}");
        assert_eq!(config["privateIPAllocationMethod"], "Static", "{member}");
        // The same again, in another case, is the same.
        let (status, again) = served.put(&name, bound("BLOB", &[(member, &ip)])).await;
        assert_eq!((status, &again["etag"]), (200, &made["etag"]), "{member}");
    }
    let made =
        served.made("N/privateEndpoints/file", bound("FILE", &[("TWO", "10.1.1.71"), ("one", "10.1.1.70")])).await;
    let (_, nic) = served.get(made["properties"]["networkInterfaces"][0]["id"].as_str().unwrap()).await;
    let shown: Vec<(&str, &str)> = nic["properties"]["ipConfigurations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|config| &config["properties"])
        .map(|one| {
            let member = one["privateLinkConnectionProperties"]["requiredMemberName"].as_str().unwrap();
            (member, one["privateIPAddress"].as_str().unwrap())
        })
        .collect();
    assert_eq!(shown, [("two", "10.1.1.71"), ("one", "10.1.1.70")]);
    let (_, nics) = served.ask("GET", "/v1/nics/blob0", "").await;
    assert_eq!(nics["items"][0]["addresses"][0]["member"], "blob");
    served.stop().await;
}

#[tokio::test]
async fn an_alias_is_azures_and_the_older_form_is_understood() {
    let served = Served::to(0);
    let shown = served.furnish().await;
    let alias = shown["properties"]["alias"].as_str().unwrap();
    assert!(alias.starts_with("pls1.") && alias.ends_with(".westeurope.azure.privatelinkservice"), "{alias}");
    let older = alias.replace(".azure.privatelinkservice", ".privlink");
    let forms = [alias.to_owned(), alias.to_uppercase(), older.clone(), older.to_uppercase()];
    for (number, form) in forms.iter().enumerate() {
        let made = served.made(&format!("N/privateEndpoints/pe{number}"), endpoint(MANUAL, form)).await;
        let bound = &made["properties"][MANUAL][0]["properties"]["privateLinkServiceId"];
        assert_eq!(bound, &shown["id"], "{form}");
        let at =
            "/subscriptions/s/providers/Microsoft.Network/locations/West%20Europe/checkPrivateLinkServiceVisibility";
        let body = json!({ "privateLinkServiceAlias": form }).to_string();
        assert_eq!(served.ask("POST", &super::at(at), &body).await, (200, json!({ "visible": true })), "{form}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_region_is_shown_in_its_one_spelling() {
    let served = Served::to(0);
    served.furnish().await;
    let shop = "/subscriptions/s/resourceGroups/shop";
    let (_, group) = served.get(shop).await;
    let (_, vnet) = served.get("N/virtualNetworks/vnet1").await;
    for (path, mut body) in [
        (shop, group),
        ("N/virtualNetworks/vnet1", vnet),
        ("N/loadBalancers/lb1", balancer(10000)),
        ("N/privateLinkServices/pls1", service()),
    ] {
        let (_, before) = served.get(path).await;
        body["location"] = json!("West Europe");
        let (status, after) = served.put(path, body).await;
        assert_eq!(
            (status, &after["location"], &after["etag"]),
            (200, &json!("westeurope"), &before["etag"]),
            "{path}"
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn an_interface_has_tags_of_its_own() {
    let served = Served::to(0);
    let shown = served.furnish().await;
    let id = shown["id"].as_str().unwrap();
    let made = served.made("N/privateEndpoints/pe1", endpoint(MANUAL, id)).await;
    let nic = made["properties"]["networkInterfaces"][0]["id"].as_str().unwrap().to_owned();
    let (status, patched) = served.ask("PATCH", &at(&nic), r#"{"tags":{"owner":"net"}}"#).await;
    assert_eq!((status, &patched["tags"]), (200, &json!({ "owner": "net" })));
    assert_eq!(served.get(&nic).await.1, patched);
    // They are not the endpoint's, and stay when that is put again.
    let (_, endpoint_now) = served.get("N/privateEndpoints/pe1").await;
    assert_eq!(endpoint_now["tags"], json!({ "team": "shop" }));
    served.made("N/privateEndpoints/pe1", endpoint(MANUAL, id)).await;
    assert_eq!(served.get(&nic).await.1["tags"], json!({ "owner": "net" }));
    let absent = format!("{N}/networkInterfaces/none");
    assert_eq!(served.ask("PATCH", &at(&absent), r#"{"tags":{}}"#).await.0, 404);
    served.stop().await;
}

#[tokio::test]
async fn a_path_may_leave_the_part_above_a_type_empty() {
    let served = Served::to(0);
    served.furnish().await;
    let path = "/subscriptions/s/resourcegroups/shop/providers/Microsoft.Network//privateLinkServices/pls1";
    assert_eq!(served.get(path).await.0, 200);
    for (name, expected) in [("pls1", 204), ("none", 404)] {
        let path = at(&path.replace("pls1", name));
        assert_eq!(exchange(&served.socket, "HEAD", &path, String::new()).await, (expected, String::new()), "{name}");
    }
    served.stop().await;
}
