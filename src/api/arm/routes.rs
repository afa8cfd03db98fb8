//! The table of all paths and methods. Requests are matched against it, and the OpenAPI document is made from it.

use std::collections::BTreeMap;

use axum::http::Method;

use super::request::{ArmRequest, Looks, decode};
use super::response::ArmResponse;
use super::{
    Error, adapter, connections, groups, interfaces, kinds, locations, records, subnets, typed, zone_groups, zones,
};
use crate::control::View;
use crate::model::{DnsZone, LinkResource, LoadBalancer, PrivateEndpoint, Vnet};

/// Answers a request.
pub(super) type Handler = fn(&ArmRequest) -> Result<ArmResponse, Error>;

/// What a method does at a path.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Operation {
    pub(in crate::api) method: &'static str,
    pub(super) handler: Handler,
    /// Accepted query parameters besides `api-version`, in lower case. Others are refused.
    pub(in crate::api) options: &'static [&'static str],
    /// What it does, for people; begins with a verb.
    pub(in crate::api) summary: &'static str,
}

/// A path.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Route {
    /// With `{name}` for each part that is left open.
    pub(in crate::api) template: &'static str,
    pub(in crate::api) operations: &'static [Operation],
}

impl Route {
    /// The operation for `method`. HEAD uses GET's unless it has its own.
    pub(in crate::api) fn operation(&self, method: &Method) -> Option<&'static Operation> {
        let named = |name: &str| self.operations.iter().find(|operation| operation.method == name);
        let like_get = || named("GET").filter(|_| method == Method::HEAD);
        named(method.as_str()).or_else(like_get)
    }

    /// Whether `method` here takes an option.
    #[cfg(test)]
    pub(in crate::api) fn honours(&self, method: &str, option: &str) -> bool {
        let mut operations = self.operations.iter().filter(|operation| operation.method == method);
        operations.any(|operation| operation.options.contains(&&*option.to_lowercase()))
    }

    /// Whether it shows several objects.
    pub(in crate::api) fn is_list(&self) -> bool {
        !self.template.ends_with('}') || self.template.ends_with("/{type}") || self.template.ends_with("/{record}")
    }

    /// What a request with `method` only looks at.
    pub(super) fn looks(&self, method: &Method) -> Looks {
        match *method {
            Method::GET => Looks::At,
            Method::HEAD if !self.is_list() => Looks::Whether,
            _ => Looks::Not,
        }
    }

    /// For `Allow`.
    pub(in crate::api) fn methods(&self) -> String {
        self.operations.iter().map(|operation| operation.method).collect::<Vec<_>>().join(", ")
    }

    /// What `path` has in place of the open parts; `None`: it is another path.
    fn matches(&self, path: &str) -> Option<BTreeMap<&'static str, String>> {
        let mut parameters = BTreeMap::new();
        // Without a parent type, clients leave that part empty: `providers/Microsoft.Network//privateEndpoints`.
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let is_left_empty = |at: usize| {
            let above = at.checked_sub(2).and_then(|at| parts.get(at));
            parts.get(at).is_some_and(|part| part.is_empty())
                && above.is_some_and(|word| word.eq_ignore_ascii_case("providers"))
        };
        let mut parts = parts.iter().enumerate().filter(|(at, _)| !is_left_empty(*at)).map(|(_, part)| *part);
        for piece in self.template.trim_start_matches('/').split('/') {
            let part = parts.next()?;
            match piece.strip_prefix('{').and_then(|piece| piece.strip_suffix('}')) {
                Some(name) if !part.is_empty() => _ = parameters.insert(name, decode(part)),
                None if piece.eq_ignore_ascii_case(part) => {}
                Some(_) | None => return None,
            }
        }
        parts.next().is_none().then_some(parameters)
    }
}

/// The route of `path`, and its parameters.
///
/// # Errors
/// 404: the path does not exist, or its resource type is unknown.
pub(in crate::api) fn find(view: &View, path: &str) -> Result<(&'static Route, BTreeMap<&'static str, String>), Error> {
    let matched = ROUTES.iter().find_map(|route| route.matches(path).map(|parameters| (route, parameters)));
    let (route, parameters) = matched.ok_or_else(Error::unknown_path)?;
    if parameters.contains_key("type") {
        kinds::kind(&view.state.model, &parameters)?;
    }
    Ok((route, parameters))
}

macro_rules! routes {
    ($( $template:expr => { $( $method:ident $handler:path $([ $($option:literal)+ ])?, $summary:literal; )+ } )+) => {
        /// See the module. More specific paths come first.
        pub(in crate::api) const ROUTES: &[Route] = &[
            $( Route { template: $template, operations: &[
                $( Operation {
                    method: stringify!($method),
                    handler: $handler,
                    options: &[$($($option),+)?],
                    summary: $summary,
                }, )+
            ] }, )+
        ];
    };
}

macro_rules! subscription {
    ($rest:literal) => {
        concat!("/subscriptions/{subscription}", $rest)
    };
}

macro_rules! group {
    ($rest:literal) => {
        concat!("/subscriptions/{subscription}/resourceGroups/{group}", $rest)
    };
}

macro_rules! network {
    ($rest:literal) => {
        concat!("/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Network", $rest)
    };
}

macro_rules! resource {
    ($rest:literal) => {
        concat!("/subscriptions/{subscription}/resourceGroups/{group}/providers/{provider}/{type}", $rest)
    };
}

routes! {
    subscription!("/resourceGroups") => {
        GET groups::list ["$top" "$skiptoken"], "List resource groups";
    }
    group!("") => {
        GET groups::get, "Show a resource group";
        HEAD groups::exists, "Tell whether a resource group exists";
        PUT groups::put, "Create or change a resource group";
        PATCH groups::patch, "Change the tags of a resource group";
        DELETE groups::delete, "Delete a resource group with all that is in it";
    }

    subscription!("/providers/Microsoft.Network/locations/{location}/availablePrivateEndpointTypes") => {
        GET locations::types ["$top" "$skiptoken"], "List the types that private endpoints of a region can be bound to";
    }
    network!("/locations/{location}/availablePrivateEndpointTypes") => {
        GET locations::types ["$top" "$skiptoken"], "List the types that private endpoints of a region can be bound to";
    }
    subscription!("/providers/Microsoft.Network/locations/{location}/autoApprovedPrivateLinkServices") => {
        GET locations::auto_approved ["$top" "$skiptoken"], "List the services that approve this subscription at once";
    }
    network!("/locations/{location}/autoApprovedPrivateLinkServices") => {
        GET locations::auto_approved ["$top" "$skiptoken"], "List the services that approve this subscription at once";
    }
    subscription!("/providers/Microsoft.Network/locations/{location}/checkPrivateLinkServiceVisibility") => {
        POST locations::visibility, "Tell whether a service is visible to this subscription";
    }
    network!("/locations/{location}/checkPrivateLinkServiceVisibility") => {
        POST locations::visibility, "Tell whether a service is visible to this subscription";
    }

    subscription!("/providers/Microsoft.Network/virtualNetworks") => {
        GET adapter::list::<Vnet> ["$top" "$skiptoken"], "List VNets";
    }
    network!("/virtualNetworks") => {
        GET adapter::list::<Vnet> ["$top" "$skiptoken"], "List the VNets of a group";
    }
    network!("/virtualNetworks/{name}") => {
        GET adapter::get::<Vnet>, "Show a VNet";
        PUT adapter::put::<Vnet>, "Create or change a VNet";
        PATCH adapter::patch::<Vnet>, "Change the tags of a VNet";
        DELETE adapter::delete::<Vnet>, "Delete a VNet";
    }
    network!("/virtualNetworks/{name}/subnets") => {
        GET subnets::list ["$top" "$skiptoken"], "List the subnets of a VNet";
    }
    network!("/virtualNetworks/{name}/subnets/{subnet}") => {
        GET subnets::get, "Show a subnet";
        PUT subnets::put, "Create or change a subnet";
        DELETE subnets::delete, "Delete a subnet";
    }
    network!("/virtualNetworks/{name}/virtualNetworkPeerings") => {
        GET subnets::list_peerings ["$top" "$skiptoken"], "List the peerings of a VNet";
    }
    network!("/virtualNetworks/{name}/virtualNetworkPeerings/{peering}") => {
        GET subnets::get_peering, "Show a peering";
        PUT subnets::put_peering, "Create or change a peering";
        DELETE subnets::delete_peering, "Delete a peering";
    }

    subscription!("/providers/Microsoft.Network/loadBalancers") => {
        GET adapter::list::<LoadBalancer> ["$top" "$skiptoken"], "List load balancers";
    }
    network!("/loadBalancers") => {
        GET adapter::list::<LoadBalancer> ["$top" "$skiptoken"], "List the load balancers of a group";
    }
    network!("/loadBalancers/{name}") => {
        GET adapter::get::<LoadBalancer>, "Show a load balancer";
        PUT adapter::put::<LoadBalancer>, "Create or change a load balancer";
        PATCH adapter::patch::<LoadBalancer>, "Change the tags of a load balancer";
        DELETE adapter::delete::<LoadBalancer>, "Delete a load balancer";
    }

    subscription!("/providers/Microsoft.Network/privateLinkServices") => {
        GET adapter::list::<LinkResource> ["$top" "$skiptoken"], "List private link services";
    }
    network!("/privateLinkServices") => {
        GET adapter::list::<LinkResource> ["$top" "$skiptoken"], "List the private link services of a group";
    }
    network!("/privateLinkServices/{name}") => {
        GET adapter::get::<LinkResource>, "Show a private link service";
        PUT adapter::put::<LinkResource>, "Create or change a private link service";
        PATCH adapter::patch::<LinkResource>, "Change the tags of a private link service";
        DELETE adapter::delete::<LinkResource>, "Delete a private link service without connections";
    }
    network!("/privateLinkServices/{name}/privateEndpointConnections") => {
        GET connections::list ["$top" "$skiptoken"], "List the connections of a private link service";
    }
    network!("/privateLinkServices/{name}/privateEndpointConnections/{connection}") => {
        GET connections::get, "Show a connection of a private link service";
        PUT connections::put, "Approve or reject a connection of a private link service";
        DELETE connections::delete, "Remove a connection of a private link service for good";
    }

    subscription!("/providers/Microsoft.Network/privateEndpoints") => {
        GET adapter::list::<PrivateEndpoint> ["$top" "$skiptoken" "$expand"], "List private endpoints";
    }
    network!("/privateEndpoints") => {
        GET adapter::list::<PrivateEndpoint> ["$top" "$skiptoken" "$expand"], "List the private endpoints of a group";
    }
    network!("/privateEndpoints/{name}/privateDnsZoneGroups") => {
        GET zone_groups::list ["$top" "$skiptoken"], "List the zone groups of a private endpoint: one at most";
    }
    network!("/privateEndpoints/{name}/privateDnsZoneGroups/{zones}") => {
        GET zone_groups::get, "Show the zones that a private endpoint's records stand in";
        PUT zone_groups::put, "Say which zones a private endpoint's records stand in";
        DELETE zone_groups::delete, "Take a private endpoint's records out of all zones";
    }
    network!("/privateEndpoints/{name}") => {
        GET adapter::get::<PrivateEndpoint> ["$expand"], "Show a private endpoint";
        PUT adapter::put::<PrivateEndpoint>, "Create or change a private endpoint";
        PATCH adapter::patch::<PrivateEndpoint>, "Change the tags of a private endpoint";
        DELETE adapter::delete::<PrivateEndpoint>, "Delete a private endpoint";
    }

    subscription!("/providers/Microsoft.Network/privateDnsZones") => {
        GET adapter::list::<DnsZone> ["$top" "$skiptoken"], "List private DNS zones";
    }
    network!("/privateDnsZones") => {
        GET adapter::list::<DnsZone> ["$top" "$skiptoken"], "List the private DNS zones of a group";
    }
    network!("/privateDnsZones/{name}") => {
        GET adapter::get::<DnsZone>, "Show a private DNS zone";
        PUT adapter::put::<DnsZone>, "Create or change a private DNS zone";
        PATCH adapter::patch::<DnsZone>, "Change the tags of a private DNS zone";
        DELETE adapter::delete::<DnsZone>, "Delete a private DNS zone without links";
    }
    network!("/privateDnsZones/{name}/virtualNetworkLinks") => {
        GET zones::list_links ["$top" "$skiptoken"], "List the VNets that a zone is linked to";
    }
    network!("/privateDnsZones/{name}/virtualNetworkLinks/{link}") => {
        GET zones::get_link, "Show a link of a zone to a VNet";
        PUT zones::put_link, "Link a zone to a VNet";
        PATCH zones::patch_link, "Change a link of a zone to a VNet";
        DELETE zones::delete_link, "Take a zone away from a VNet";
    }
    network!("/privateDnsZones/{name}/{record}") => {
        GET records::list ["$top" "$skiptoken" "$recordsetnamesuffix"], "List the record sets of a type, or ALL";
    }
    network!("/privateDnsZones/{name}/{record}/{relative}") => {
        GET records::get, "Show a record set";
        PUT records::put, "Create or replace a record set";
        PATCH records::patch, "Change a record set";
        DELETE records::delete, "Delete a record set";
    }

    subscription!("/providers/Microsoft.Network/networkInterfaces") => {
        GET interfaces::list ["$top" "$skiptoken"], "List the interfaces of private endpoints";
    }
    network!("/networkInterfaces") => {
        GET interfaces::list ["$top" "$skiptoken"], "List the interfaces of the private endpoints of a group";
    }
    network!("/networkInterfaces/{name}") => {
        GET interfaces::get, "Show the interface of a private endpoint";
        PUT interfaces::put, "Refused: an interface follows its private endpoint";
        PATCH interfaces::patch, "Change the tags of the interface of a private endpoint";
        DELETE interfaces::delete, "Refused: an interface goes with its private endpoint";
    }

    subscription!("/providers/{provider}/{type}") => {
        GET adapter::list::<LinkResource> ["$top" "$skiptoken"], "List resources of a type";
    }
    resource!("") => {
        GET adapter::list::<LinkResource> ["$top" "$skiptoken"], "List the resources of a type in a group";
    }
    resource!("/{name}") => {
        GET adapter::get::<LinkResource>, "Show a resource";
        PUT typed::put, "Create or change a resource";
        PATCH typed::patch, "Change the tags of a resource";
        DELETE adapter::delete::<LinkResource>, "Delete a resource; its connections are Disconnected since";
    }
    resource!("/{name}/privateLinkResources") => {
        GET typed::subresources ["$top" "$skiptoken"], "List the subresources that a resource has";
    }
    resource!("/{name}/privateLinkResources/{subresource}") => {
        GET typed::subresource, "Show a subresource of a resource";
    }
    resource!("/{name}/privateEndpointConnections") => {
        GET connections::list ["$top" "$skiptoken"], "List the connections of a resource";
    }
    resource!("/{name}/privateEndpointConnections/{connection}") => {
        GET connections::get, "Show a connection of a resource";
        PUT connections::put, "Approve or reject a connection of a resource";
        DELETE connections::delete, "Remove a connection of a resource for good";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_found_in_any_case_and_by_itself() {
        for route in ROUTES {
            let path = route.template.replace(['{', '}'], "");
            for path in [path.to_uppercase(), path.to_lowercase(), format!("{path}/")] {
                let found = ROUTES.iter().find(|route| route.matches(&path).is_some());
                assert_eq!(found.map(|route| route.template), Some(route.template), "{path}");
            }
        }
    }

    #[test]
    fn what_is_left_open_is_read_without_percent_signs() {
        let path = "/subscriptions/a%20b/resourceGroups/g%2Fh/providers/Microsoft.Network/virtualNetworks/%zz";
        let found = ROUTES.iter().find_map(|route| route.matches(path)).unwrap();
        assert_eq!(
            (found["subscription"].as_str(), found["group"].as_str(), found["name"].as_str()),
            ("a b", "g/h", "%zz")
        );
        for path in [
            "/subscriptions//resourceGroups",
            "/subscriptions/a/resourceGroups//providers/Microsoft.Network/virtualNetworks",
            "/subscriptions/a/resourceGroups/g/providers/Microsoft.Network/virtualNetworks//subnets",
            "/subscriptions/a/resourceGroups/g/providers/Microsoft.Network///virtualNetworks",
        ] {
            assert!(ROUTES.iter().all(|route| route.matches(path).is_none()), "{path}");
        }
        let empty = "/subscriptions/a/resourcegroups/g/Providers/Microsoft.Network//virtualNetworks/v";
        assert!(ROUTES.iter().any(|route| route.matches(empty).is_some_and(|found| found["name"] == "v")));
    }
}
