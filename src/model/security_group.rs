//! Rule sets that subnets refer to.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Protocol;

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
