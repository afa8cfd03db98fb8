//! `[[role]]` and `[[assignment]]`.

use crate::config::read::{At, OneOrMany, table};

table! {
    /// A role of one's own: what may be done.
    Role {
        /// Name, unique; compared without regard to case.
        "name" name Required At<String>,
        /// For people.
        "description" description Optional At<String>,
        /// Actions it gives, such as "Microsoft.Network/*/read".
        "actions" actions Required OneOrMany<String>,
        /// Actions it takes out of those again.
        "not_actions" not_actions Optional OneOrMany<String>,
        /// Where it may be assigned, there and below: scopes as of an assignment; "/" unless set.
        "assignable_scopes" assignable_scopes Optional OneOrMany<String>,
    }
}

table! {
    /// A role for somebody, at a scope and below it.
    Assignment {
        /// "uid:1000", "gid:20", "token:ci" or "token-id:" with the id of a token.
        "principal" principal Required At<String>,
        /// Name of the role.
        "role" role Required At<String>,
        /// "/", a subscription, a resource group, or the ID of a resource.
        "scope" scope Required At<String>,
    }
}
