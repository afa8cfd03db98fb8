//! Rule sets that subnets refer to.

use std::fmt;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::registry::Kind;
use super::sentence::Mention;
use super::spelled::{Any, Keyword, OneOrMany, Ports, Prefix, in_order, port_ranges, words};
use super::{Key, Model, Protocol, actions};

/// A set of rules for the endpoints of a subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = in_order::<Self>)]
pub struct SecurityGroup {
    /// The rules; the lowest priority number is judged first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<SecurityRule>,
}

/// One rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct SecurityRule {
    /// Name, unique in its group.
    pub name: String,
    /// 100 to 4096, unique in its group.
    pub priority: u16,
    /// "allow" or "deny".
    #[schemars(schema_with = "access_words")]
    pub access: Access,
    /// Protocol; every one unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Any<Keyword<Protocol>>")]
    pub protocol: Option<Protocol>,
    /// Prefixes of sources; every one unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Any<OneOrMany<Prefix>>")]
    pub sources: Vec<IpNet>,
    /// Prefixes of endpoint addresses; every one unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Any<OneOrMany<Prefix>>")]
    pub destinations: Vec<IpNet>,
    /// Ports and ranges of ports; every one unless set.
    #[serde(default, with = "port_ranges", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Any<OneOrMany<Ports>>")]
    pub ports: Vec<(u16, u16)>,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Lets it pass.
    #[serde(alias = "Allow")]
    Allow,
    /// Refuses it.
    #[serde(alias = "Deny")]
    Deny,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Allow { "allow" } else { "deny" })
    }
}

fn access_words(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    words(&["allow", "deny", "Allow", "Deny"])
}

impl Kind for SecurityGroup {
    const SINGULAR: &'static str = "security group";
    const TYPE: &'static str = actions::SECURITY_GROUPS;

    fn users(model: &Model, key: &Key, stays: &dyn Fn(&Key) -> bool) -> Vec<Mention> {
        let subnets = model.vnets.iter().flat_map(|(name, vnet)| vnet.subnets.iter().map(move |subnet| (name, subnet)));
        let users = subnets.filter(|(name, subnet)| subnet.security_group.as_ref() == Some(key) && stays(name));
        users.map(|(name, subnet)| Mention::subnet(name, &subnet.name).with(format_args!(" of {name}"))).collect()
    }
}
