//! Role assignments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::actions::{self, is_path};
use super::caseless::{Caseless, Malformed, caseless};
use super::principal::{Principal, TokenName};
use super::registry::Kind;
use super::role::{OWNER, READER, RoleName};
use super::scope::Scope;
use super::spelled::{PrincipalText, RoleText, ScopeText, in_order};
use super::{Key, Model};

/// A role for somebody, at a scope and below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Assignment", transform = in_order::<Self>)]
pub struct RoleAssignment {
    /// "uid:1000", "gid:20", "token:ci" or "token-id:" with the id of a token.
    #[schemars(with = "PrincipalText")]
    pub principal: Principal,
    /// Name of the role.
    #[schemars(with = "RoleText")]
    pub role: RoleName,
    /// "/", a subscription, a resource group, or the ID of a resource.
    #[schemars(with = "ScopeText")]
    pub scope: Scope,
}

caseless! {
    /// An assignment's name: a UUID derived from its content, so that equal assignments have the same name.
    AssignmentId, check_id
}

fn check_id(text: &str) -> Result<(), Malformed> {
    let groups = [8, 4, 4, 4, 12];
    let valid = is_path(text, b"-")
        && text.split('-').map(str::len).eq(groups)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let remedy = "`privlink assignment list` shows the ids";
    if valid { Ok(()) } else { Err(Malformed::new(text, "assignment id", remedy)) }
}

impl RoleAssignment {
    /// The token, if the principal is a token's name.
    pub(crate) fn token(&self) -> Option<&TokenName> {
        match &self.principal {
            Principal::Token(name) => Some(name),
            Principal::Uid(_) | Principal::Gid(_) | Principal::TokenId(_) => None,
        }
    }

    /// Its id: a UUID of version 8 (RFC 9562 §5.8), derived from the lower-case content.
    pub fn id(&self) -> AssignmentId {
        let content = format!("{}\n{}\n{}", self.principal, self.role.folded(), self.scope.folded());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Sha256::digest(content)[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = format!("{:032x}", u128::from_be_bytes(bytes));
        let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        AssignmentId(Caseless::new(&groups.join("-")))
    }
}

/// The built-in assignments: uid 0 and the daemon's user are Owners of everything, and one group may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The daemon's uid: Owner of everything, as uid 0 is.
    pub daemon: u32,
    /// The group of the socket: Reader of everything.
    pub socket_group: Option<u32>,
}

impl Bootstrap {
    /// These assignments. They cannot be deleted.
    pub fn assignments(self) -> Vec<RoleAssignment> {
        let owners = [Some(0), (self.daemon != 0).then_some(self.daemon)];
        let owners = owners.into_iter().flatten().map(|uid| (Principal::Uid(uid), OWNER));
        let readers = self.socket_group.into_iter().map(|gid| (Principal::Gid(gid), READER));
        owners
            .chain(readers)
            .map(|(principal, role)| RoleAssignment { principal, role: RoleName::built_in(role), scope: Scope::root() })
            .collect()
    }
}

impl Kind for RoleAssignment {
    const SINGULAR: &'static str = "assignment";
    const TYPE: &'static str = actions::ROLE_ASSIGNMENTS;

    fn place<'a>(model: &'a Model, key: &Key) -> (&'a str, Scope) {
        (Self::TYPE, model.assignments.get(key).map_or_else(Scope::root, |given| given.scope.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(principal: &str, role: &str, scope: &str) -> RoleAssignment {
        RoleAssignment {
            principal: principal.parse().unwrap(),
            role: role.parse().unwrap(),
            scope: scope.parse().unwrap(),
        }
    }

    #[test]
    fn the_same_assignment_has_the_same_id_and_no_other_has_it() {
        let one = assignment("uid:1000", "Reader", "/subscriptions/a");
        assert_eq!(one.id(), assignment("uid:1000", "READER", "/Subscriptions/A").id());
        // Pinned: stored ids must be those of tomorrow's version too.
        assert_eq!(one.id().to_string(), "84c34fca-88b1-8961-b6d2-e22a0696912e");
        for other in [
            assignment("gid:1000", "Reader", "/subscriptions/a"),
            assignment("uid:1000", "Owner", "/subscriptions/a"),
            assignment("uid:1000", "Reader", "/subscriptions/b"),
        ] {
            assert_ne!(one.id(), other.id(), "{other:?}");
        }
    }

    #[test]
    fn an_id_is_read_as_it_is_shown_and_nothing_else_is_one() {
        let id = assignment("token:ci", "Owner", "/").id();
        assert_eq!(id.to_string().to_uppercase().parse::<AssignmentId>().unwrap(), id);
        for text in ["", "x", &id.to_string()[1..], &format!("{id}0"), &id.to_string().replace('-', "/")] {
            assert!(text.parse::<AssignmentId>().is_err(), "{text}");
        }
    }
}
