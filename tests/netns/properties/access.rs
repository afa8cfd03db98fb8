//! `[[role]]` and `[[assignment]]`: what they change is who may do what.

use super::{Edits, Flip, How, Row, See, live};

/// A part of what an assignment is: another one is another assignment. `question` is denied before, and allowed after.
const fn given(property: &'static str, edit: Edits, delete: [&'static str; 2], question: &'static str) -> Row {
    let (before, after) = (See::Fails(question, "may not"), See::Says(question, " may "));
    Row { property, how: How::Anew { delete, refused: None, flip: Flip { given: &[], edit, before, after } } }
}

pub(super) const ROWS: &[Row] = &[
    given(
        "assignment.principal",
        &[("principal = \"uid:4711\"", "principal = \"uid:4712\"")],
        [
            "assignment delete 8eee81a3-4afd-8ac2-9964-a5519aaf3b9c",
            "assignment delete 4c967d3a-8818-82f2-b740-ca530c98aa1c",
        ],
        "access why uid:4712 Microsoft.Network/privateLinkServices/read /subscriptions/default",
    ),
    given(
        "assignment.role",
        &[("role = \"watcher\"", "role = \"Contributor\"")],
        [
            "assignment delete 8eee81a3-4afd-8ac2-9964-a5519aaf3b9c",
            "assignment delete a0409fd6-5110-883a-82e7-2e1586e3bd1b",
        ],
        "access why uid:4711 Microsoft.Network/privateEndpoints/write /subscriptions/default",
    ),
    given(
        "assignment.scope",
        &[("scope = \"/subscriptions/default\"", "scope = \"/subscriptions/other\"")],
        [
            "assignment delete 8eee81a3-4afd-8ac2-9964-a5519aaf3b9c",
            "assignment delete 727acc5d-24a6-8915-939e-a17eb575cf6a",
        ],
        "access why uid:4711 Microsoft.Network/privateLinkServices/read /subscriptions/other",
    ),
    live(
        "role.actions",
        &[("actions = [\"Microsoft.Network/privateLinkServices/read\"]", "actions = [\"Microsoft.Network/*/read\"]")],
        See::Fails("access why uid:4711 Microsoft.Network/privateEndpoints/read /subscriptions/default", "may not"),
        See::Says("access why uid:4711 Microsoft.Network/privateEndpoints/read /subscriptions/default", " may "),
    ),
    live(
        "role.not_actions",
        &[("not_actions = [\"Microsoft.Network/loadBalancers/read\"]", "not_actions = [\"*/read\"]")],
        See::Says("access why uid:4711 Microsoft.Network/privateLinkServices/read /subscriptions/default", " may "),
        See::Fails("access why uid:4711 Microsoft.Network/privateLinkServices/read /subscriptions/default", "may not"),
    ),
    live(
        "role.assignable_scopes",
        &[(
            "not_actions = [\"Microsoft.Network/loadBalancers/read\"]",
            "not_actions = [\"Microsoft.Network/loadBalancers/read\"]\nassignable_scopes = [\"/subscriptions/default\", \"/subscriptions/b\"]",
        )],
        See::SaysNot("role show watcher", "/subscriptions/b"),
        See::Says("role show watcher", "/subscriptions/b"),
    ),
    live(
        "role.description",
        &[("sees services", "looks at services")],
        See::Says("role list", "sees services"),
        See::Says("role list", "looks at services"),
    ),
    Row {
        property: "role.name",
        how: How::Anew {
            delete: ["role delete unused", "role delete other"],
            refused: None,
            flip: Flip {
                given: &[],
                edit: &[("name = \"unused\"", "name = \"other\"")],
                before: See::SaysNot("role list", "other "),
                after: See::Says("role list", "other "),
            },
        },
    },
];
