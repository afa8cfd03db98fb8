//! Names of typed resources by Azure's tables: what applications ask for ends in a public zone, and leads to a name in a
//! private one. The two zones mostly differ in the label `privatelink` alone; where they do not (`vault.azure.net` and
//! `privatelink.vaultcore.azure.net`), the public one is the first that the table names.

use super::Fqdn;
use crate::model;
use crate::model::resource_types;
use crate::model::resource_types::Cloud;

/// Names in front of a zone by which the parts of one resource differ.
const SUFFIXES: [&str; 2] = ["-secondary", "-ondemand"];

/// What stands for a region in a zone.
const REGION: [&str; 2] = ["{regionname}", "{region}"];

/// The name of the resource in `label`, which stands in front of a zone.
pub(crate) fn resource_of(label: &str) -> &str {
    SUFFIXES.iter().find_map(|suffix| label.strip_suffix(suffix)).unwrap_or(label)
}

/// The names that the tables make of a resource's own, which are nobody else's.
pub(super) fn names(cloud: Cloud, kind: &str, name: &str, (subresource, region): (&str, &str)) -> Vec<Fqdn> {
    let label = label(name, subresource);
    let private = private(cloud, kind, subresource, region);
    let several = resource_types::SAME_NAME.iter().any(|one| one.eq_ignore_ascii_case(kind));
    let single = private.len() == 1;
    let public = public(cloud, kind, subresource, region);
    if region.is_empty() && public.iter().any(|zone| REGION.iter().any(|mark| zone.contains(mark))) {
        return Vec::new();
    }
    let zones = private.iter().take(if several { private.len() } else { 1 });
    zones.flat_map(|zone| in_zone(zone, single, &public, &label)).collect()
}

/// Every public zone with the private one that its names lead to.
pub(crate) fn zones(cloud: Cloud, kind: &str, subresource: &str, region: &str) -> Vec<(String, String)> {
    let private = private(cloud, kind, subresource, region);
    let mut zones: Vec<(String, String)> = private.iter().map(|zone| (without_mark(zone), zone.clone())).collect();
    if let [only] = private.as_slice() {
        let usual = without_mark(only);
        let others = public(cloud, kind, subresource, region).into_iter();
        let others = others.filter(|zone| !zone.contains('{') && !are_related(zone, &usual));
        zones.extend(others.map(|zone| (zone, only.clone())));
    }
    zones
}

/// What is called `label` in one private zone; `single`: its type has no other one.
fn in_zone(zone: &str, single: bool, public: &[String], label: &str) -> Vec<Fqdn> {
    let usual = without_mark(zone);
    let fqdn =
        |public: String, private: String| Fqdn { public, private: Some(private), zone: zone.to_owned(), own: true };
    let first = public.first().filter(|first| single && !are_related(first, &usual) && !first.contains('{'));
    if let Some(other) = first {
        return vec![fqdn(format!("{label}.{other}"), format!("{label}.{zone}"))];
    }
    // Some have more labels between the name and the zone, such as a region, and some stand in two places.
    let within = public.iter().filter_map(|public| {
        let whole = named(public, label)?;
        let front = whole.strip_suffix(&usual)?.strip_suffix('.')?;
        Some(fqdn(whole.clone(), format!("{front}.{zone}")))
    });
    let mut within: Vec<Fqdn> = within.collect();
    within.truncate(if single { within.len() } else { 1 });
    if within.is_empty() {
        within.push(fqdn(format!("{label}.{usual}"), format!("{label}.{zone}")));
    }
    within
}

/// What is called `label` in a public zone, where the place of the name may be marked; `None`: that asks for more than the
/// name.
fn named(public: &str, label: &str) -> Option<String> {
    let marked = public.strip_prefix('{').and_then(|public| public.split_once('}'));
    let whole = marked.map_or_else(|| format!("{label}.{public}"), |(_, behind)| format!("{label}{behind}"));
    let is_name = marked.is_none_or(|(mark, _)| mark.ends_with("name") && !mark.starts_with("region"));
    (is_name && !whole.contains('{')).then_some(whole)
}

/// What stands in front of the zone: the second place of an account has a name of its own.
fn label(name: &str, subresource: &str) -> String {
    let name = name.to_lowercase();
    if subresource.to_lowercase().ends_with("_secondary") { format!("{name}-secondary") } else { name }
}

/// Private zones of a subresource in a cloud; one that asks for more than the region is left out.
fn private(cloud: Cloud, kind: &str, subresource: &str, region: &str) -> Vec<String> {
    let zones = resource_types::private_zones(cloud, kind, subresource).into_iter().map(|zone| filled(zone, region));
    zones.filter(|zone| !zone.contains('{') && without_mark(zone) != *zone).collect()
}

/// Public zones of a subresource in a cloud, with marks for what is neither a region nor the name.
fn public(cloud: Cloud, kind: &str, subresource: &str, region: &str) -> Vec<String> {
    let zones = resource_types::public_zones_of(cloud, kind, subresource).into_iter();
    zones.map(|zone| filled(zone, region)).collect()
}

/// A zone with its region, in lower case; one that is not known is not filled in.
fn filled(zone: &str, region: &str) -> String {
    let (zone, region) = (zone.to_lowercase(), model::region(region));
    if region.is_empty() { zone } else { REGION.iter().fold(zone, |zone, mark| zone.replace(mark, &region)) }
}

/// `privatelink.blob.core.windows.net` stands behind `blob.core.windows.net`.
fn without_mark(private: &str) -> String {
    let mark = |label: &&str| *label == "privatelink" || label.starts_with("privatelink-");
    private.split('.').filter(|label| !mark(label)).collect::<Vec<_>>().join(".")
}

/// Whether one of two zones is the other, or lies in it.
fn are_related(one: &str, other: &str) -> bool {
    let lies = |inner: &str, outer: &str| {
        inner.strip_suffix(outer).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    lies(one, other) || lies(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cloud: Cloud, kind: &str, part: &str) -> Vec<(String, String)> {
        let names = names(cloud, kind, "Mine", (part, "West Europe")).into_iter();
        names.map(|name| (name.public.clone(), name.host().to_owned())).collect()
    }

    #[test]
    fn a_name_ends_in_the_public_zone_and_leads_into_the_private_one_in_each_cloud() {
        for (kind, part, expected) in [
            (
                "Microsoft.KeyVault/vaults",
                "vault",
                [
                    "mine.vault.azure.net mine.privatelink.vaultcore.azure.net",
                    "mine.vault.usgovcloudapi.net mine.privatelink.vaultcore.usgovcloudapi.net",
                    "mine.vault.azure.cn mine.privatelink.vaultcore.azure.cn",
                ],
            ),
            (
                "Microsoft.ElasticSan/elasticSans",
                "volumegroup",
                ["mine.blob.storage.azure.net mine.privatelink.blob.core.windows.net", "", ""],
            ),
            (
                "Microsoft.DesktopVirtualization/workspaces",
                "global",
                [
                    "mine.wvd.microsoft.com mine.privatelink-global.wvd.microsoft.com",
                    "mine.wvd.azure.us mine.privatelink-global.wvd.azure.us",
                    "mine.wvd.azure.cn mine.privatelink-global.wvd.azure.cn",
                ],
            ),
            (
                "Microsoft.Batch/batchAccounts",
                "batchAccount",
                [
                    "mine.westeurope.batch.azure.com mine.westeurope.privatelink.batch.azure.com",
                    "mine.westeurope.batch.usgovcloudapi.net mine.westeurope.privatelink.batch.usgovcloudapi.net",
                    "mine.westeurope.batch.chinacloudapi.cn mine.westeurope.privatelink.batch.chinacloudapi.cn",
                ],
            ),
            (
                "Microsoft.Web/sites",
                "sites",
                [
                    "mine.azurewebsites.net mine.privatelink.azurewebsites.net, \
                 mine.scm.azurewebsites.net mine.scm.privatelink.azurewebsites.net",
                    "mine.azurewebsites.us mine.privatelink.azurewebsites.us, \
                 mine.scm.azurewebsites.us mine.scm.privatelink.azurewebsites.us",
                    "mine.chinacloudsites.cn mine.privatelink.chinacloudsites.cn",
                ],
            ),
            (
                "Microsoft.App/ManagedEnvironments",
                "managedEnvironments",
                ["mine.westeurope.azurecontainerapps.io mine.privatelink.westeurope.azurecontainerapps.io", "", ""],
            ),
            // What only Azure could fill in is left out.
            (
                "Microsoft.Automation/automationAccounts",
                "Webhook",
                [
                    "mine.azure-automation.net mine.privatelink.azure-automation.net",
                    "mine.azure-automation.us mine.privatelink.azure-automation.us",
                    "mine.azure-automation.cn mine.privatelink.azure-automation.cn",
                ],
            ),
            (
                "Microsoft.Synapse/workspaces",
                "SqlOnDemand",
                [
                    "mine.sql.azuresynapse.net mine.privatelink.sql.azuresynapse.net",
                    "mine-ondemand.sql.azuresynapse.usgovcloudapi.net \
                 mine-ondemand.privatelink.sql.azuresynapse.usgovcloudapi.net",
                    "",
                ],
            ),
        ] {
            for (cloud, expected) in Cloud::ALL.into_iter().zip(expected) {
                let found =
                    of(cloud, kind, part).iter().map(|(one, other)| format!("{one} {other}")).collect::<Vec<_>>();
                assert_eq!(found.join(", "), expected, "{kind} {part}, {cloud}");
            }
        }
    }

    #[test]
    fn a_region_that_is_not_known_is_in_no_name() {
        for (kind, part) in [("Microsoft.Kusto/Clusters", "cluster"), ("Microsoft.Batch/batchAccounts", "batchAccount")]
        {
            assert_eq!(names(Cloud::Commercial, kind, "mine", (part, "")), [], "{kind}");
        }
        let blob = names(Cloud::Commercial, "Microsoft.Storage/storageAccounts", "mine", ("blob", ""));
        assert_eq!(blob[0].public, "mine.blob.core.windows.net");
    }

    #[test]
    fn every_row_makes_names_of_its_own_zones() {
        for cloud in Cloud::ALL {
            for known in resource_types::all() {
                for part in &known.subresources {
                    let (private, public) =
                        (private(cloud, known.name, part, "westeurope"), public(cloud, known.name, part, "westeurope"));
                    let found = of(cloud, known.name, part);
                    assert_eq!(found.is_empty(), private.is_empty(), "{} {part} {cloud}", known.name);
                    for (name, host) in found {
                        assert!(!name.contains('{') && name.starts_with("mine"), "{name}");
                        assert!(private.iter().any(|zone| host.ends_with(&format!(".{zone}"))), "{host}");
                        let zones = public.iter().map(|zone| zone.rsplit('}').next().unwrap_or(zone));
                        let fits = |zone: &str| name.ends_with(zone.trim_start_matches("-ondemand"));
                        assert!(zones.clone().any(fits), "{name}: {public:?}");
                    }
                }
            }
        }
    }
}
