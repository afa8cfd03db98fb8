//! `[[role]]` and `[[assignment]]`. What a file no longer names stays: the way back from another name takes nothing away.

use super::{Row, See, live};

const SEES: See = See::Says(
    "access why token:watch Microsoft.Network/privateEndpoints/read /subscriptions/default",
    "token:watch may",
);

pub(super) const ROWS: &[Row] = &[
    live(
        "role.actions",
        &[(
            "actions = [\"Microsoft.Network/privateEndpoints/read\",",
            "actions = [\"Microsoft.Network/networkSecurityGroups/write\",",
        )],
        See::Fails(
            "access why token:watch Microsoft.Network/networkSecurityGroups/write /subscriptions/default",
            "token:watch may not",
        ),
        See::Says(
            "access why token:watch Microsoft.Network/networkSecurityGroups/write /subscriptions/default",
            "token:watch may",
        ),
    ),
    live(
        "role.not_actions",
        &[("not_actions = []", "not_actions = [\"Microsoft.Network/virtualNetworks/write\"]")],
        See::Says(
            "access why token:watch Microsoft.Network/virtualNetworks/write /subscriptions/default",
            "token:watch may",
        ),
        See::Fails(
            "access why token:watch Microsoft.Network/virtualNetworks/write /subscriptions/default",
            "token:watch may not",
        ),
    ),
    live(
        "role.description",
        &[("description = \"sees endpoints\"", "description = \"keeps watch\"")],
        See::Says("role list --json", "sees endpoints"),
        See::Says("role list --json", "keeps watch"),
    ),
    live(
        "role.name",
        &[("name = \"watcher\"", "name = \"observer\""), ("role = \"watcher\"", "role = \"observer\"")],
        See::Says("role list --json", "watcher"),
        See::Says("role list --json", "observer"),
    ),
    live(
        "assignment.principal",
        &[("principal = \"token:watch\"", "principal = \"token:second\"")],
        SEES,
        See::Says(
            "access why token:second Microsoft.Network/privateEndpoints/read /subscriptions/default",
            "token:second may",
        ),
    ),
    live(
        "assignment.role",
        &[("role = \"watcher\"", "role = \"Reader\"")],
        SEES,
        See::Says(
            "access why token:watch Microsoft.Network/privateLinkServices/read /subscriptions/default",
            "token:watch may",
        ),
    ),
    live(
        "assignment.scope",
        &[("scope = \"/subscriptions/default\"", "scope = \"/subscriptions/other\"")],
        SEES,
        See::Says(
            "access why token:watch Microsoft.Network/privateEndpoints/read /subscriptions/other",
            "token:watch may",
        ),
    ),
];
