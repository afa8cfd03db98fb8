//! Azure's resource IDs, which are compared without case, and aliases of private link services, which do not reveal the
//! service's location.

use std::fmt;

use sha2::{Digest, Sha256};

use super::grammar::{GROUP_REMEDY, PART_REMEDY, is_part, stands_for_group};
use super::resource_types::PRIVATE_LINK_SERVICE;
use super::{Key, LinkResource, Model, PrivateEndpoint, region, resource_types};

/// Type of a VNet.
pub const VNET: &str = "Microsoft.Network/virtualNetworks";
/// Type of a subnet.
pub const SUBNET: &str = "Microsoft.Network/virtualNetworks/subnets";
/// Type of a security group.
pub const SECURITY_GROUP: &str = "Microsoft.Network/networkSecurityGroups";
/// Type of a load balancer.
pub const LOAD_BALANCER: &str = "Microsoft.Network/loadBalancers";
/// Type of a private DNS zone.
pub const DNS_ZONE: &str = "Microsoft.Network/privateDnsZones";
/// Type of a private endpoint.
pub const ENDPOINT: &str = "Microsoft.Network/privateEndpoints";
/// Type of an endpoint's network interface.
pub const NETWORK_INTERFACE: &str = "Microsoft.Network/networkInterfaces";
/// Type of a connection, below that of its resource.
pub const CONNECTIONS: &str = "privateEndpointConnections";

/// The ID of an object: `/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V`. Shown in
/// Azure's spelling where it has one.
#[derive(Clone, Debug)]
pub struct ArmId {
    /// Subscription, group and name of the outermost object.
    key: Key,
    /// Such as `Microsoft.Network`.
    provider: String,
    /// Type and name of each part, from the outermost object to the innermost. Never empty.
    path: Vec<(String, String)>,
}

impl ArmId {
    /// The ID of the top-level object `name` of type `kind`.
    fn top(kind: &str, key: &Key) -> Self {
        let (provider, kind) = kind.split_once('/').unwrap_or(("", kind));
        let path = vec![(kind.to_owned(), key.name.clone())];
        Self { key: key.clone(), provider: provider.to_owned(), path }
    }

    /// The object `name` of type `kind` within this one.
    #[must_use]
    pub fn below(mut self, kind: &str, name: &str) -> Self {
        self.path.push((kind.to_owned(), name.to_owned()));
        self
    }

    /// Whether `text` is an ID: it begins with a slash.
    pub fn is_meant(text: &str) -> bool {
        text.trim_start().starts_with('/')
    }

    /// Reads an ID.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.trim().trim_end_matches('/').split('/').collect();
        let ["", subscriptions, subscription, groups, group, providers, provider, path @ ..] = parts.as_slice() else {
            return Err(format!("`{text}` is not a resource ID: it is {FORM}"));
        };
        let words = [(subscriptions, "subscriptions"), (groups, "resourceGroups"), (providers, "providers")];
        if let Some((found, word)) = words.into_iter().find(|(found, word)| !found.eq_ignore_ascii_case(word)) {
            return Err(format!("`{text}` has `{found}` where `{word}` belongs: a resource ID is {FORM}"));
        }
        let pairs: Vec<(String, String)> =
            path.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
        let complete = !pairs.is_empty() && path.len().is_multiple_of(2);
        if !complete || parts.iter().skip(1).any(|part| part.trim().is_empty()) {
            return Err(format!("`{text}` is incomplete: a resource ID is {FORM}"));
        }
        let others = [subscription, provider].into_iter().chain(path).filter(|part| !is_part(part));
        if let Some(bad) = others.chain([group].into_iter().filter(|group| !stands_for_group(group))).next() {
            let remedy = if bad == group { GROUP_REMEDY } else { PART_REMEDY };
            return Err(format!("`{text}` has `{bad}` in it, which is not a name: {remedy}"));
        }
        let key = Key::of(*subscription, *group, &*pairs[0].1);
        Ok(Self { key, provider: (*provider).to_owned(), path: pairs }.canonical())
    }

    /// In Azure's spelling, as far as the type is known.
    fn canonical(mut self) -> Self {
        let kind = self.kind();
        let outer = format!("{}/{}", self.provider, self.path[0].0);
        let known =
            [SUBNET, VNET, SECURITY_GROUP, LOAD_BALANCER, DNS_ZONE, ENDPOINT, NETWORK_INTERFACE, PRIVATE_LINK_SERVICE];
        let exact = known.into_iter().find(|known| known.eq_ignore_ascii_case(&kind));
        let of_outer = || known.into_iter().find(|known| known.eq_ignore_ascii_case(&outer));
        let spelling = exact
            .or_else(of_outer)
            .or_else(|| resource_types::find(&outer).map(|known| known.name))
            .unwrap_or_default();
        let mut words = spelling.split('/');
        if let Some(provider) = words.next().filter(|provider| !provider.is_empty()) {
            provider.clone_into(&mut self.provider);
        }
        for (kind, word) in self.path.iter_mut().map(|(kind, _)| kind).zip(words) {
            word.clone_into(kind);
        }
        if let Some((last, _)) = self.path.last_mut().filter(|(last, _)| last.eq_ignore_ascii_case(CONNECTIONS)) {
            CONNECTIONS.clone_into(last);
        }
        self
    }

    /// Type of the object, such as `Microsoft.Network/virtualNetworks/subnets`.
    pub fn kind(&self) -> String {
        let kinds: Vec<&str> = self.path.iter().map(|(kind, _)| kind.as_str()).collect();
        format!("{}/{}", self.provider, kinds.join("/"))
    }

    /// Whether the object is of type `kind`.
    pub fn is(&self, kind: &str) -> bool {
        self.kind().eq_ignore_ascii_case(kind)
    }

    /// Subscription, group and name of the outermost object: of a subnet, its VNet's.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Name of the object itself: of a subnet, the subnet's.
    pub fn name(&self) -> &str {
        self.path.last().map_or("", |(_, name)| name)
    }
}

/// Every ID in `text`, between quotes, spaces or the like.
pub fn written_in(text: &str) -> impl Iterator<Item = ArmId> + '_ {
    let ends = |c: char| c.is_whitespace() || c == '"' || c == '\'';
    text.split(ends).filter(|part| ArmId::is_meant(part)).filter_map(|part| ArmId::parse(part).ok())
}

/// The form of an ID, for messages.
const FORM: &str = "/subscriptions/S/resourceGroups/G/providers/PROVIDER/TYPE/NAME";

impl fmt::Display for ArmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, provider, path } = self;
        write!(f, "/subscriptions/{}/resourceGroups/{}/providers/{provider}", key.subscription, key.group)?;
        path.iter().try_for_each(|(kind, name)| write!(f, "/{kind}/{name}"))
    }
}

impl PartialEq for ArmId {
    fn eq(&self, other: &Self) -> bool {
        self.to_string().to_lowercase() == other.to_string().to_lowercase()
    }
}
impl Eq for ArmId {}

/// The ID of a VNet.
pub fn vnet(key: &Key) -> ArmId {
    ArmId::top(VNET, key)
}

/// The ID of a subnet of `vnet`.
pub fn subnet(vnet: &Key, name: &str) -> ArmId {
    ArmId::top(VNET, vnet).below("subnets", name)
}

/// The ID of a load balancer.
pub fn load_balancer(key: &Key) -> ArmId {
    ArmId::top(LOAD_BALANCER, key)
}

/// The ID of a private DNS zone.
pub fn dns_zone(key: &Key) -> ArmId {
    ArmId::top(DNS_ZONE, key)
}

/// The ID of a security group.
pub fn security_group(key: &Key) -> ArmId {
    ArmId::top(SECURITY_GROUP, key)
}

/// The ID of a link resource; `kind` is `None` for a private link service.
pub fn resource(kind: Option<&str>, key: &Key) -> ArmId {
    ArmId::top(kind.unwrap_or(PRIVATE_LINK_SERVICE), key).canonical()
}

/// The ID of a private endpoint.
pub fn endpoint(key: &Key) -> ArmId {
    ArmId::top(ENDPOINT, key)
}

/// The ID of an endpoint's interface, with the name that its author gave, or one derived from its key.
pub fn network_interface(key: &Key, endpoint: &PrivateEndpoint) -> ArmId {
    let given = endpoint.labels.as_ref().and_then(|labels| labels.interface.clone());
    let name = given.unwrap_or_else(|| format!("{}.nic.{}", key.name, guid("network interface", key)));
    ArmId::top(NETWORK_INTERFACE, &Key::of(&*key.subscription, &*key.group, name))
}

/// The ID of the connection between `endpoint` and the link resource `key` of type `kind`, on the resource's side.
/// Endpoints of two groups may have the same name, so the connection's name contains a hash of the whole key.
pub fn connection(kind: Option<&str>, key: &Key, endpoint: &Key) -> ArmId {
    resource(kind, key).below(CONNECTIONS, &format!("{}.{}", endpoint.name, guid("connection", endpoint)))
}

/// The alias of a private link service that has one: `prefix.<guid>.<region>.azure.privatelinkservice`. It stays the
/// same as long as the service keeps its name.
pub fn alias(key: &Key, resource: &LinkResource) -> Option<String> {
    let prefix = resource.alias.as_deref().filter(|_| resource.kind.is_none())?;
    Some(format!("{prefix}.{}.{}{ALIAS_END}", guid("alias", key), region(&resource.region)))
}

/// The service with this alias, in either form. Case does not matter.
pub fn by_alias<'a>(model: &'a Model, text: &str) -> Option<&'a Key> {
    let front = before_end(text)?;
    let named = |(key, resource): &(&Key, &LinkResource)| {
        let prefix = resource.alias.as_ref().and_then(|prefix| text.get(..prefix.len()).zip(Some(prefix)));
        prefix.is_some_and(|(begins, prefix)| begins.eq_ignore_ascii_case(prefix))
            && alias(key, resource)
                .is_some_and(|alias| before_end(&alias).is_some_and(|own| own.eq_ignore_ascii_case(front)))
    };
    model.resources.iter().find(named).map(|(key, _)| key)
}

/// Whether `text` has the form of an alias.
pub fn is_alias(text: &str) -> bool {
    before_end(text).is_some_and(|front| front.split('.').count() > 2)
}

/// An alias without the common suffix.
fn before_end(text: &str) -> Option<&str> {
    let without = |end: &str| {
        let (front, rest) = text.split_at_checked(text.len().checked_sub(end.len())?)?;
        rest.eq_ignore_ascii_case(end).then_some(front)
    };
    without(ALIAS_END).or_else(|| without(OLD_ALIAS_END))
}

/// The common suffix of aliases, as in Azure.
const ALIAS_END: &str = ".azure.privatelinkservice";

/// The suffix of aliases in earlier releases.
const OLD_ALIAS_END: &str = ".privlink";

/// A UUID derived from its purpose and its owner (RFC 9562 §5.8, version 8).
pub fn guid(purpose: &str, key: &Key) -> String {
    let digest = Sha256::digest(format!("privlink {purpose} {}", key.folded()));
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn ids_are_read_without_regard_to_case_and_shown_as_azure_writes_them() {
        for (text, shown, kind, name) in [
            (
                "/SUBSCRIPTIONS/s/resourcegroups/G/Providers/microsoft.network/VIRTUALNETWORKS/spoke/SUBNETS/a",
                "/subscriptions/s/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/spoke/subnets/a",
                SUBNET,
                "a",
            ),
            (
                "/subscriptions/s/resourceGroups/g/providers/microsoft.storage/storageaccounts/acct/",
                "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct",
                "Microsoft.Storage/storageAccounts",
                "acct",
            ),
            (
                "/subscriptions/s/resourceGroups/g/providers/microsoft.sql/servers/db/privateendpointconnections/c",
                "/subscriptions/s/resourceGroups/g/providers/Microsoft.Sql/servers/db/privateEndpointConnections/c",
                "Microsoft.Sql/servers/privateEndpointConnections",
                "c",
            ),
            (
                "/subscriptions/s/resourceGroups/g/providers/Own.Thing/things/t",
                "/subscriptions/s/resourceGroups/g/providers/Own.Thing/things/t",
                "Own.Thing/things",
                "t",
            ),
            (
                "/subscriptions/s/resourceGroups/Réseau_(prod)/providers/Microsoft.Network/privateDnsZones/_tcp.x.y",
                "/subscriptions/s/resourceGroups/Réseau_(prod)/providers/Microsoft.Network/privateDnsZones/_tcp.x.y",
                DNS_ZONE,
                "_tcp.x.y",
            ),
        ] {
            let id = ArmId::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((id.to_string().as_str(), id.kind().as_str(), id.name()), (shown, kind, name));
            assert_eq!(ArmId::parse(shown).as_ref(), Ok(&id));
            assert_eq!(ArmId::parse(&shown.to_uppercase()), Ok(id));
        }
    }

    #[test]
    fn what_is_not_an_id_says_why() {
        for (text, expected) in [
            ("", "is not a resource ID"),
            ("/subscriptions/s", "is not a resource ID"),
            ("/subscription/s/resourceGroups/g/providers/N/t/n", "has `subscription` where `subscriptions` belongs"),
            ("/subscriptions/s/resourceGroups/g/providers/N/t", "is incomplete"),
            ("/subscriptions/s/resourceGroups//providers/N/t/n", "is incomplete"),
            ("/subscriptions/s/resourceGroups/g/providers/N/t/n/u", "is incomplete"),
            (
                "/subscriptions/s/resourceGroups/g h/providers/N/t/n",
                "has `g h` in it, which is not a name: use 1 to 90",
            ),
            ("/subscriptions/s/resourceGroups/a%2Fb/providers/N/t/n", "has `a%2Fb` in it"),
            ("/subscriptions/s(x)/resourceGroups/g/providers/N/t/n", "has `s(x)` in it"),
            ("/subscriptions/s/resourceGroups/g/providers/N/t/../u/n", "has `..` in it"),
            ("/subscriptions/s/resourceGroups/g/providers/N/t/n?x", "has `n?x` in it"),
        ] {
            let error = ArmId::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn every_object_has_an_id_that_is_read_back() {
        let key = Key::of("s", "g", "n");
        for id in [
            vnet(&key),
            subnet(&key, "a"),
            security_group(&key),
            dns_zone(&key),
            load_balancer(&key),
            resource(None, &key),
            resource(Some("microsoft.sql/SERVERS"), &key),
            endpoint(&key),
            network_interface(&key, &testing::endpoint("spoke", None, "orders-db")),
            connection(Some("Microsoft.Sql/servers"), &key, &Key::of("t", "h", "e")),
        ] {
            assert_eq!(ArmId::parse(&id.to_string()).map(|id| id.to_string()), Ok(id.to_string()));
        }
        assert_ne!(connection(None, &key, &Key::of("t", "h", "e")), connection(None, &key, &Key::of("t", "i", "e")));
    }

    #[test]
    fn an_alias_is_stable_and_finds_its_service_in_any_case() {
        let mut model = testing::model();
        let key = testing::key("orders-db");
        assert_eq!(alias(&key, &model.resources[&key]), None);
        model.resources.get_mut(&key).unwrap().alias = Some("orders".into());
        model.resources.get_mut(&key).unwrap().region = "West Europe".into();
        let shown = alias(&key, &model.resources[&key]).unwrap();
        // Consumers keep aliases in their files: they must not change with a version of this program.
        assert_eq!(shown, "orders.10d13357-75f0-8371-b038-f9167166d548.westeurope.azure.privatelinkservice");
        let old = shown.replace(".azure.privatelinkservice", ".privlink");
        for form in [shown.to_uppercase(), old.to_uppercase(), old] {
            assert!(is_alias(&form) && by_alias(&model, &form) == Some(&key), "{form}");
        }
        for other in ["orders.privlink", "privlink", "a.azure.privatelinkservice", ".azure.privatelinkservice", "é"] {
            assert!(!is_alias(other) && by_alias(&model, other).is_none(), "{other}");
        }
        assert_eq!(by_alias(&model, &shown.replace("orders", "other")), None);
        model.resources.get_mut(&key).unwrap().kind = Some("Microsoft.Sql/servers".into());
        assert_eq!(by_alias(&model, &shown), None);
    }
}
