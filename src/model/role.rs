//! Role definitions. `not_actions` excludes actions from the same role's `actions`. It does not deny actions of other
//! roles.

use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::actions::{self, Action, is_path};
use super::caseless::{Caseless, Malformed, caseless};
use super::registry::Kind;
use super::scope::Scope;
use super::sentence::Mention;
use super::spelled::{ActionText, OneOrMany, RoleText, ScopeText, in_order};
use super::{ItemKind, Key, Model};

caseless! {
    /// A role's name: 1 to 128 letters, digits, blanks, `-`, `_`, `.`, `(` and `)`. Case does not matter.
    RoleName, check_name
}

fn check_name(text: &str) -> Result<(), Malformed> {
    let fit = |letter: char| letter.is_alphanumeric() || " -_.()".contains(letter);
    let valid = text.trim() == text && !text.is_empty() && text.len() <= 128 && text.chars().all(fit);
    let remedy = "use 1 to 128 letters, digits, `-`, `_`, `.`, `(`, `)`, and blanks between them";
    if valid { Ok(()) } else { Err(Malformed::new(text, "role name", remedy)) }
}

caseless! {
    /// A pattern of actions. `*` matches any characters, also none, and across `/`.
    ActionPattern, check_pattern
}

fn check_pattern(text: &str) -> Result<(), Malformed> {
    let valid = is_path(text, b".-_*") && text.contains(['/', '*']);
    let remedy = "write an action, with `*` for any characters, such as Microsoft.Network/*/read";
    if valid { Ok(()) } else { Err(Malformed::new(text, "action pattern", remedy)) }
}

impl ActionPattern {
    /// Whether `action` matches. Each piece is matched at its first position, which leaves the most for later pieces,
    /// so no backtracking is needed.
    pub fn matches(&self, action: &Action) -> bool {
        self.matches_text(action.folded())
    }

    pub(crate) fn folded(&self) -> &str {
        self.0.folded()
    }

    pub(crate) fn matches_text(&self, text: &str) -> bool {
        let mut pieces = self.0.folded().split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

/// A role of one's own: what may be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Role", transform = in_order::<Self>)]
pub struct RoleDefinition {
    /// Name, unique; compared without regard to case.
    #[schemars(with = "RoleText")]
    pub name: RoleName,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Actions it gives, such as "Microsoft.Network/*/read".
    #[schemars(with = "OneOrMany<ActionText>")]
    pub actions: Vec<ActionPattern>,
    /// Actions it takes out of those again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<ActionText>")]
    pub not_actions: Vec<ActionPattern>,
    /// Where it may be assigned, there and below: scopes as of an assignment; "/" unless set.
    // Whoever changes it needs the right at each.
    #[serde(default = "everywhere")]
    #[schemars(with = "OneOrMany<ScopeText>")]
    pub assignable_scopes: Vec<Scope>,
}

/// The default for roles of releases without assignable scopes.
fn everywhere() -> Vec<Scope> {
    vec![Scope::root()]
}

/// How a role relates to an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect<'a> {
    Gives,
    Lacks,
    TakesBack(&'a ActionPattern),
}

impl RoleDefinition {
    pub(crate) fn effect(&self, action: &Action) -> Effect<'_> {
        if !self.actions.iter().any(|pattern| pattern.matches(action)) {
            return Effect::Lacks;
        }
        self.not_actions.iter().find(|pattern| pattern.matches(action)).map_or(Effect::Gives, Effect::TakesBack)
    }

    /// Whether it may be assigned at `scope`.
    pub fn assignable_at(&self, scope: &Scope) -> bool {
        self.assignable_scopes.iter().any(|assignable| assignable.covers(scope))
    }

    /// Whether the role gives more than reading.
    pub(crate) fn writes(&self) -> bool {
        self.actions.iter().any(|pattern| !pattern.0.folded().ends_with("/read"))
    }

    /// Whether the role gives `action`.
    pub fn gives(&self, action: &Action) -> bool {
        self.effect(action) == Effect::Gives
    }
}

/// Name, description, actions and `not_actions` of each built-in role, from the least powerful to the most. Reader,
/// Network Contributor, User Access Administrator and Owner are as in Azure. Contributor is Azure's without actions
/// that would let it act as somebody else: tokens, copies of the store, and the file, which is applied with the
/// daemon's rights.
const BUILT_IN: [(&str, &str, &[&str], &[&str]); 7] = [
    (READER, "Sees everything, changes nothing.", &["*/read"], &[]),
    (
        // This role is assigned per subnet. It does not include `virtualNetworks/join`, which would also give control
        // of the VNet's names.
        JOINER,
        "Puts endpoints, NAT addresses and backends into subnets.",
        &[
            "Microsoft.Network/virtualNetworks/read",
            "Microsoft.Network/virtualNetworks/subnets/read",
            "Microsoft.Network/virtualNetworks/subnets/join/action",
        ],
        &[],
    ),
    (
        APPROVER,
        "Decides on connections to link resources and sees what it decides on.",
        &[
            "*/read",
            "*/privateEndpointConnectionsApproval/action",
            "*/privateEndpointConnections/write",
            "*/privateEndpointConnections/delete",
        ],
        // Not all of `Microsoft.Authorization`, because one of its types is a link resource.
        &["Microsoft.Authorization/roleAssignments/*", "Microsoft.Authorization/roleDefinitions/*", "Privlink/*"],
    ),
    (
        "Network Contributor",
        "Manages networks, endpoints and private link services, and grants nothing.",
        &[
            "Microsoft.Network/*",
            "Microsoft.Authorization/*/read",
            "Microsoft.Insights/alertRules/*",
            "Microsoft.ResourceHealth/availabilityStatuses/read",
            "Microsoft.Resources/deployments/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Support/*",
        ],
        &[],
    ),
    (
        ADMINISTRATOR,
        "Sees everything, and grants roles to others.",
        &["*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"],
        &[],
    ),
    (
        "Contributor",
        "Manages everything, and grants nothing.",
        &["*"],
        &[
            "Microsoft.Authorization/*/write",
            "Microsoft.Authorization/*/delete",
            "Privlink/tokens/write",
            "Privlink/tokens/delete",
            "Privlink/backup/*",
            "Privlink/configuration/*",
        ],
    ),
    (OWNER, "Does everything, and grants roles to others.", &["*"], &[]),
];

pub(crate) const APPROVER: &str = "Private Link Approver";
pub(crate) const JOINER: &str = "Private Link Joiner";
pub(crate) const ADMINISTRATOR: &str = "User Access Administrator";
pub(crate) const OWNER: &str = "Owner";
pub(crate) const READER: &str = "Reader";

impl RoleName {
    /// For a built-in role.
    pub(crate) fn built_in(name: &'static str) -> Self {
        Self(Caseless::new(name))
    }

    pub(crate) fn folded(&self) -> &str {
        self.0.folded()
    }
}

/// The built-in roles, from the least powerful to the most. They are fixed and cannot be deleted.
pub fn built_in() -> &'static [Arc<RoleDefinition>] {
    static ROLES: LazyLock<Vec<Arc<RoleDefinition>>> = LazyLock::new(|| {
        let patterns = |texts: &[&str]| texts.iter().map(|text| ActionPattern(Caseless::new(text))).collect();
        let role = |(name, description, actions, not_actions): (&'static str, &str, &[&str], &[&str])| {
            Arc::new(RoleDefinition {
                name: RoleName::built_in(name),
                description: description.to_owned(),
                actions: patterns(actions),
                not_actions: patterns(not_actions),
                assignable_scopes: everywhere(),
            })
        };
        BUILT_IN.into_iter().map(role).collect()
    });
    &ROLES
}

impl Kind for RoleDefinition {
    const SINGULAR: &'static str = "role";
    const TYPE: &'static str = actions::ROLE_DEFINITIONS;

    /// A definition holds everywhere.
    fn place<'a>(_model: &'a Model, _key: &Key) -> (&'a str, Scope) {
        (Self::TYPE, Scope::root())
    }

    fn users(model: &Model, key: &Key, _stays: &dyn Fn(&Key) -> bool) -> Vec<Mention> {
        let assigned = model.assignments.iter();
        let assigned = assigned.filter(|(_, given)| given.role.to_string().eq_ignore_ascii_case(&key.name));
        let words = assigned.map(|(id, given)| (id, format!("assignment {id} of {}", given.principal)));
        words.map(|(id, words)| Mention::of(ItemKind::Assignment, id, words)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, action: &str) -> bool {
        let action: Action = action.parse().unwrap_or_else(|error| panic!("{error}"));
        pattern.parse::<ActionPattern>().unwrap_or_else(|error| panic!("{error}")).matches(&action)
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, action, expected) in [
            ("*", "a/read", true),
            ("a/read", "A/READ", true),
            ("a/read", "a/reads", false),
            ("a/read", "b/a/read", false),
            ("*/read", "a/b/c/read", true),
            ("*/read", "a/reader", false),
            ("Microsoft.Network/*", "microsoft.network/privateEndpoints/read", true),
            ("Microsoft.Network/*", "Microsoft.NetworkFunction/x/read", false),
            ("Microsoft.Network/*/read", "Microsoft.Network/read", false),
            ("Microsoft.Network/*/read", "Microsoft.Network/a/b/read", true),
            ("a/*b*/c", "a/xbyb/c", true),
            ("a/*b*/c", "a/x/c", false),
            ("ab/*ab", "ab/ab", true),
            ("a/b*b", "a/b", false),
            ("a/**", "a/b", true),
            ("*/a*a/*", "x/a/y", false),
        ] {
            assert_eq!(matches(pattern, action), expected, "{pattern} on {action}");
        }
    }

    #[test]
    fn what_is_no_pattern_or_no_name_is_refused() {
        for text in ["", "read", "/*", "a//*", "a/?", "a /read", &format!("*/{}", "a".repeat(256))] {
            assert!(text.parse::<ActionPattern>().is_err(), "{text}");
        }
        for text in ["", " ", " a", "a ", "a\"b", "a\nb", "a`b", "a$b", &"a".repeat(129)] {
            assert!(text.parse::<RoleName>().is_err(), "{text}");
        }
        for text in ["Réseau (prod)", "on-call_2.0"] {
            assert!(text.parse::<RoleName>().is_ok(), "{text}");
        }
    }

    #[test]
    fn the_built_in_roles_are_well_formed() {
        for role in built_in() {
            let stored = serde_json::to_string(&**role).unwrap();
            assert_eq!(&serde_json::from_str::<RoleDefinition>(&stored).unwrap(), &**role);
        }
        for name in [READER, JOINER, APPROVER, ADMINISTRATOR, OWNER] {
            assert!(built_in().iter().any(|role| role.name == RoleName::built_in(name)), "{name}");
        }
    }
}
