//! The types of link resources that Azure knows, with their subresources: facts with a source, which stands in the
//! first line of each table. A type of one's own needs no entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

/// Azure's clouds.
mod cloud;

pub use cloud::{Cloud, Suffixes};

/// A table of zones: rows of values between commas. Those of government and China name `file_secondary`, which that of
/// the public cloud lacks; that of China names `vault.azure.cn`, which its source lacks and clients are
/// told in `/metadata/endpoints`.
type Table = &'static str;

/// The rows of each cloud's table: behind its source and the names of its columns.
fn rows(cloud: Cloud) -> impl Iterator<Item = &'static str> {
    cloud.table().lines().skip(2)
}

/// Types without a private DNS zone, and so in no table. A subresource of an application gateway is the name of a
/// frontend configuration, hence any.
const WITHOUT_ZONE: [(&str, &[&str]); 4] = [
    (PRIVATE_LINK_SERVICE, &[]),
    ("Microsoft.Network/applicationGateways", &[]),
    ("Microsoft.Logic/integrationAccounts", &["integrationAccount"]),
    ("Microsoft.HealthcareApis/services", &["fhir"]),
];

/// Types that are called the same in each of their zones. Others have names of their own there, which nobody but Azure
/// knows: what they are called in the first zone would be somebody else's in the second.
pub const SAME_NAME: [&str; 1] = ["Microsoft.CognitiveServices/accounts"];

/// The type of a private link service of one's own, which resources without a type are.
pub const PRIVATE_LINK_SERVICE: &str = "Microsoft.Network/privateLinkServices";

/// A type that Azure knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownType {
    /// As Azure writes it.
    pub name: &'static str,
    /// In the order of the tables; empty: none, or any (see [`takes`](Self::takes)).
    pub subresources: Vec<&'static str>,
}

impl KnownType {
    /// Whether it has a subresource of that name, compared without regard to case.
    pub fn takes(&self, subresource: &str) -> bool {
        self.subresources.is_empty() || self.subresources.iter().any(|known| known.eq_ignore_ascii_case(subresource))
    }
}

static KNOWN: LazyLock<BTreeMap<String, KnownType>> = LazyLock::new(|| {
    let mut known: BTreeMap<String, KnownType> = BTreeMap::new();
    let mut enter = |name: &'static str, subresource: Option<&'static str>| {
        let entry = known.entry(name.to_lowercase()).or_insert_with(|| KnownType { name, subresources: Vec::new() });
        if let Some(subresource) = subresource.filter(|new| entry.subresources.is_empty() || !entry.takes(new)) {
            entry.subresources.push(subresource);
        }
    };
    for row in Cloud::ALL.into_iter().flat_map(rows) {
        let mut cells = row.split(',');
        if let (Some(name), Some(subresource)) = (cells.next(), cells.next()) {
            enter(name, Some(subresource));
        }
    }
    for (name, subresources) in WITHOUT_ZONE {
        enter(name, None);
        for subresource in subresources {
            enter(name, Some(subresource));
        }
    }
    known
});

/// The type called `name`, compared without regard to case.
pub fn find(name: &str) -> Option<&'static KnownType> {
    KNOWN.get(&name.to_lowercase())
}

/// Whether `kind` is that of private link services.
pub fn is_service(kind: &str) -> bool {
    kind.eq_ignore_ascii_case(PRIVATE_LINK_SERVICE)
}

/// The names that a resource of a type is reached by, without its own in front, in any cloud.
pub fn public_zones(kind: &str, subresource: &str) -> Vec<&'static str> {
    Cloud::ALL.into_iter().flat_map(|cloud| public_zones_of(cloud, kind, subresource)).collect()
}

/// The same in `cloud` alone.
pub fn public_zones_of(cloud: Cloud, kind: &str, subresource: &str) -> Vec<&'static str> {
    column(cloud, kind, subresource, 1)
}

/// The private DNS zones of a subresource in `cloud`; none where that does not have it.
pub fn private_zones(cloud: Cloud, kind: &str, subresource: &str) -> Vec<&'static str> {
    column(cloud, kind, subresource, 0)
}

type Columns = [Vec<&'static str>; 2];

/// Private zones and public names of each type and subresource of each cloud, both in lower case.
static ZONES: LazyLock<[HashMap<(String, String), Columns>; 3]> = LazyLock::new(|| {
    Cloud::ALL.map(|cloud| {
        let mut zones = HashMap::new();
        for row in rows(cloud) {
            if let [kind, subresource, private, public] = row.split(',').collect::<Vec<_>>().as_slice() {
                let list = |cell: &'static str| cell.split(';').filter(|zone| !zone.is_empty()).collect();
                let key = (kind.to_lowercase(), subresource.to_lowercase());
                zones.entry(key).or_insert_with(|| [list(private), list(public)]);
            }
        }
        zones
    })
});

fn column(cloud: Cloud, kind: &str, subresource: &str, at: usize) -> Vec<&'static str> {
    let row = ZONES[cloud as usize].get(&(kind.to_lowercase(), subresource.to_lowercase()));
    row.and_then(|columns| columns.get(at)).cloned().unwrap_or_default()
}

/// The public and private zones of every known type, in every cloud; of a zone with something to be filled in, what stands
/// behind that.
pub fn guarded_zones() -> BTreeSet<&'static str> {
    let cells = Cloud::ALL.into_iter().flat_map(rows).flat_map(|row| row.split(',').skip(2).take(2));
    let fixed = |zone: &'static str| match zone.rsplit_once('}') {
        Some((_, behind)) => behind.split_once('.').map_or("", |(_, fixed)| fixed),
        None => zone,
    };
    cells.flat_map(|cell| cell.split(';')).map(fixed).filter(|zone| zone.contains('.')).collect()
}

/// Every known type in alphabetical order.
pub fn all() -> impl Iterator<Item = &'static KnownType> {
    KNOWN.values()
}

/// The known type that `name` is most likely a misspelling of.
pub fn nearest(name: &str) -> Option<&'static str> {
    let wanted: String = name.chars().take(128).collect::<String>().to_lowercase();
    let distances = KNOWN.iter().map(|(folded, known)| (strsim::osa_distance(&wanted, folded), known.name));
    distances.filter(|&(distance, name)| distance <= name.len() / 4).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thirteen_subresources_of_the_seed_are_known() {
        let storage = find("microsoft.storage/STORAGEACCOUNTS").expect("known");
        assert_eq!(storage.name, "Microsoft.Storage/storageAccounts");
        for name in ["blob", "table", "queue", "file", "web", "dfs"] {
            assert!(storage.takes(name) && storage.takes(&format!("{name}_secondary")), "{name}");
        }
        assert_eq!(storage.subresources.len(), 12);
        assert_eq!(find("Microsoft.Sql/servers").expect("known").subresources, ["sqlServer"]);
        assert!(!storage.takes("blub"));
    }

    #[test]
    fn every_row_has_a_type_and_a_subresource_that_can_be_written() {
        assert!(all().count() > 60);
        for known in all() {
            assert_eq!(known.name.split('/').count().min(2), 2, "{}", known.name);
            for subresource in &known.subresources {
                let plain = subresource.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
                assert!(plain && !subresource.is_empty(), "{}: {subresource}", known.name);
            }
        }
    }

    #[test]
    fn lockdown_covers_the_zones_of_every_type_and_no_top_level_domain() {
        let zones = guarded_zones();
        for zone in ["blob.core.windows.net", "privatelink.blob.core.windows.net", "kusto.windows.net", "azmk8s.io"] {
            assert!(zones.contains(zone), "{zone}");
        }
        let plain = |zone: &&str| zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        assert!(zones.len() > 300 && zones.iter().all(|zone| plain(zone) && !zone.starts_with('.')), "{zones:?}");
    }

    #[test]
    fn types_without_a_zone_are_known_and_a_gateway_takes_any_frontend() {
        assert!(find("Microsoft.Network/applicationgateways").expect("known").takes("my-frontend"));
        assert!(find("Microsoft.HealthcareApis/services").expect("known").takes("fhir"));
        assert!(find(PRIVATE_LINK_SERVICE).is_some());
    }

    #[test]
    fn a_misspelt_type_finds_the_one_meant_and_another_none() {
        assert_eq!(nearest("Microsoft.Storage/storageAcounts"), Some("Microsoft.Storage/storageAccounts"));
        assert_eq!(nearest("microsoft.sql/server"), Some("Microsoft.Sql/servers"));
        assert_eq!(nearest("Own.Thing/things"), None);
    }
}
