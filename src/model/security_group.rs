//! Rule sets that subnets refer to.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::registry::Kind;
use super::sentence::Mention;
use super::{ItemKind, Key, Map, Model, Protocol, actions};

/// A rule set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Lowest priority number first.
    pub rules: Vec<SecurityRule>,
}

/// One rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// Unique within its group.
    pub name: String,
    /// 100 to 4096, unique within its group; the lowest is judged first.
    pub priority: u16,
    /// Allow or deny.
    pub allow: bool,
    /// `None`: any.
    pub protocol: Option<Protocol>,
    /// Empty: any.
    pub sources: Vec<IpNet>,
    /// Empty: any.
    pub destinations: Vec<IpNet>,
    /// Empty: any; first and last.
    pub ports: Vec<(u16, u16)>,
}

impl Kind for SecurityGroup {
    const KIND: ItemKind = ItemKind::SecurityGroup;
    const SINGULAR: &'static str = "security group";
    const PLURAL: &'static str = "security_groups";
    const TYPE: &'static str = actions::SECURITY_GROUPS;

    fn map(model: &Model) -> &Map<Self> {
        &model.security_groups
    }

    fn map_mut(model: &mut Model) -> &mut Map<Self> {
        &mut model.security_groups
    }

    fn users(model: &Model, key: &Key, stays: &dyn Fn(&Key) -> bool) -> Vec<Mention> {
        let subnets = model.vnets.iter().flat_map(|(name, vnet)| vnet.subnets.iter().map(move |subnet| (name, subnet)));
        let users = subnets.filter(|(name, subnet)| subnet.security_group.as_ref() == Some(key) && stays(name));
        users.map(|(name, subnet)| Mention::subnet(name, &subnet.name).with(format_args!(" of {name}"))).collect()
    }
}
