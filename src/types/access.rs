//! Roles, assignments and tokens as JSON.

use serde::{Deserialize, Serialize};

/// What a role lets one do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Actions it gives; `*` stands for any characters.
    pub actions: Vec<String>,
    /// Actions it takes out of those again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_actions: Vec<String>,
    /// Where it may be assigned, there and below; empty in a request: everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assignable_scopes: Vec<String>,
    /// It comes with the system.
    #[serde(default)]
    pub built_in: bool,
}

/// Who has which role where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignment {
    /// Derived from the rest; empty in a request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// `uid:1000`, `gid:20`, `token:ci`, or `token-id:` with the id of a token.
    pub principal: String,
    /// Name of the role.
    pub role: String,
    /// `/`, or an ARM id of a subscription, a resource group or a resource.
    pub scope: String,
    /// What narrows it, in Azure: refused, for it is not judged here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Of `condition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition_version: Option<String>,
    /// It follows from the daemon's own settings.
    #[serde(default)]
    pub built_in: bool,
}

/// A bearer token, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Roles are assigned to `token:NAME`.
    pub name: String,
    /// Names its creation: a later token of the same name has another. Roles may be assigned to `token-id:ID`, too.
    #[serde(default)]
    pub id: String,
    /// RFC 3339.
    pub created_at: String,
    /// Principal.
    pub created_by: String,
    /// RFC 3339.
    pub expires_at: String,
    /// What its holder presents; in the answer to its creation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What the operator should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Who asks, as whoever assigns roles names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Whoami {
    /// For people.
    pub name: String,
    /// Every principal whose roles this caller has, itself first: `uid:1000` and its `gid:20`, or `token:ci` and its
    /// `token-id:UUID`.
    pub principals: Vec<String>,
}

/// A token that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// As in [`Token`].
    pub name: String,
    /// How long it is good, seconds.
    pub lifetime_seconds: u64,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// What was done, a line each.
    pub lines: Vec<String>,
}
